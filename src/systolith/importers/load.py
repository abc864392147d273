"""Opening model files: what kind they are by content, and which importer reads them."""

import io
import zipfile
from pathlib import Path

from systolith.errors import ModelError, SpecError
from systolith.graph import Graph
from systolith.importers.tflite import import_tflite
from systolith.profiles.table import get_profile

__all__ = ["DEFAULT_PROFILES", "load_model", "model_kind"]

DEFAULT_PROFILES = {
    "tflite": "tflite-reference",
    "onnx": "onnxruntime",
    "torchscript": "torch-x86",
    "torch-export": "torch-export",
}
"""Profile of each kind of file when none is asked for."""

QONNX = "qonnx"
"""Profile of ONNX files with QONNX's quantizers, when none is asked for."""

# As types of operators lie in the file: field 4 of a NodeProto, its length, its text.
_QONNX_NAMES = tuple(
    b"\x22" + bytes([len(name)]) + name
    for name in (b"Quant", b"IntQuant", b"BipolarQuant", b"Trunc", b"MultiThreshold")
)


def model_kind(data: bytes) -> str:
    """Return tflite, onnx, torchscript or torch-export, judged by the content.

    Raises
    ------
    ModelError: it is neither.
    """
    if data[4:8] == b"TFL3":
        return "tflite"
    if data[:4] == b"PK\x03\x04":
        return _archive_kind(data)
    # An ONNX file is a protobuf message; its first field is ir_version (1, varint) in practice,
    # any other field of ModelProto at worst: a wrong guess is found by the parser.
    if data[:1] in (b"\x08", b"\x12", b"\x1a", b"\x3a", b"\x42"):
        return "onnx"
    wanted = "file must be a TFLite, ONNX or PyTorch model"
    if not data:
        raise ModelError(f"{wanted}, not empty")
    raise ModelError(f"{wanted}, it begins with {data[:8]!r}")


def _archive_kind(data: bytes) -> str:
    """Return what kind of PyTorch's archives a zip file is."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise ModelError(f"damaged or truncated archive ({error})") from error
    if any(name.startswith("code/") for name in names):
        return "torchscript"
    if any(name.startswith("models/") for name in names):
        return "torch-export"
    raise ModelError(
        "archive must be a PyTorch model; save it with torch.jit.save or torch.export.save, "
        "not with torch.save"
    )


def load_model(path: str | Path, profile: str | None = None) -> Graph:
    """Return the graph of a TFLite, ONNX or PyTorch file, with the exact arithmetic of `profile`.

    Parameters
    ----------
    path: the file; its kind is found by content.
    profile: name of the arithmetic profile; if None that of `DEFAULT_PROFILES`, or qonnx for files
        with QONNX's quantizers.

    Raises
    ------
    ModelError: the file cannot be read, is damaged, or has what cannot be imported.
    SpecError: the profile does not exist or belongs to another kind of file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir() and not path.is_file():
        raise ModelError(f"model must be a file, not a device or pipe: {str(path)!r}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    try:
        kind = model_kind(data)
        own = QONNX if kind == "onnx" and any(name in data for name in _QONNX_NAMES) else ""
        chosen = get_profile(profile or own or DEFAULT_PROFILES[kind])
        if chosen.container != kind:
            raise SpecError(f"profile must be one for {kind} files, not {chosen.name!r}")
        if kind == "tflite":
            return import_tflite(data, chosen, name=path.stem, path=str(path))
        if kind == "torchscript":
            from systolith.importers.torchscript import import_torchscript

            return import_torchscript(data, chosen, name=path.stem, path=str(path))
        if kind == "torch-export":
            from systolith.importers.torch_export import import_export

            return import_export(data, chosen, name=path.stem, path=str(path))
        if chosen.name == QONNX:
            from systolith.importers.qonnx import import_qonnx

            return import_qonnx(data, chosen, name=path.stem, path=str(path))
        # onnx takes half a second to import: only its users wait for it.
        from systolith.importers.onnx import import_onnx

        return import_onnx(data, chosen, name=path.stem, path=str(path))
    except ModelError as error:
        error.args = (f"{path.name}: {error}",)
        raise
