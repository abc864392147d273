"""Opening model files: what kind they are by content, and which importer reads them."""

from pathlib import Path

from systolith.errors import ModelError, SpecError
from systolith.graph import Graph
from systolith.importers.tflite import import_tflite
from systolith.profiles.table import get_profile

__all__ = ["DEFAULT_PROFILES", "load_model", "model_kind"]

DEFAULT_PROFILES = {"tflite": "tflite-reference", "onnx": "onnxruntime"}
"""Profile of each kind of file when none is asked for."""

QONNX = "qonnx"
"""Profile of ONNX files with QONNX's quantizers, when none is asked for."""

# As types of operators lie in the file: field 4 of a NodeProto, its length, its text.
_QONNX_NAMES = tuple(
    b"\x22" + bytes([len(name)]) + name
    for name in (b"Quant", b"IntQuant", b"BipolarQuant", b"Trunc", b"MultiThreshold")
)


def model_kind(data: bytes) -> str:
    """Return tflite or onnx, judged by the content.

    Raises
    ------
    ModelError: it is neither.
    """
    if data[4:8] == b"TFL3":
        return "tflite"
    # An ONNX file is a protobuf message; its first field is ir_version (1, varint) in practice,
    # any other field of ModelProto at worst: a wrong guess is found by the parser.
    if data[:1] in (b"\x08", b"\x12", b"\x1a", b"\x3a", b"\x42"):
        return "onnx"
    if not data:
        raise ModelError("file must be a TFLite or ONNX model, not empty")
    raise ModelError(f"file must be a TFLite or ONNX model, it begins with {data[:8]!r}")


def load_model(path: str | Path, profile: str | None = None) -> Graph:
    """Return the graph of a TFLite or ONNX file, with the exact arithmetic of `profile`.

    Parameters
    ----------
    path: the file; its kind is found by content.
    profile: name of the arithmetic profile; if None tflite-reference, qonnx (for files with
        QONNX's quantizers) or onnxruntime.

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
        if chosen.name == QONNX:
            from systolith.importers.qonnx import import_qonnx

            return import_qonnx(data, chosen, name=path.stem, path=str(path))
        # onnx takes half a second to import: only its users wait for it.
        from systolith.importers.onnx import import_onnx

        return import_onnx(data, chosen, name=path.stem, path=str(path))
    except ModelError as error:
        error.args = (f"{path.name}: {error}",)
        raise
