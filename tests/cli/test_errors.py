"""Bad input of every kind: one line on stderr, exit status 2, nothing on stdout."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from systolith.verify.samples import default_model

Words = list[object]
MODEL = default_model()
GOLDEN: Words = ["--backend", "golden"]


def saved(name: str, **arrays: Any) -> str:
    """Save arrays in the current folder."""
    np.savez(name, **arrays)
    return name


def written(name: str, data: bytes | str) -> str:
    """Write a file in the current folder."""
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
    return name


def float_model() -> str:
    """An ONNX model without a quantized operator."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, ir_version=8), "float.onnx")
    return "float.onnx"


def dynamic_model() -> str:
    """The embedded model with an unknown height."""
    model = onnx.load(MODEL)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, "dynamic.onnx")
    return "dynamic.onnx"


def unsupported_model() -> str:
    """The embedded model with an operator that nothing here computes."""
    model = onnx.load(MODEL)
    for node in model.graph.node:
        if node.op_type == "QLinearGlobalAveragePool":
            node.op_type, node.name = "QLinearReduceMean", "odd"
    onnx.save(model, "odd.onnx")
    return "odd.onnx"


IMAGES = np.zeros((2, 1, 8, 8), np.float32)


def cut_inputs() -> str:
    """An .npz file that ends too early."""
    return written("i.npz", Path(saved("whole.npz", inputs=IMAGES)).read_bytes()[:90])


CASES: dict[str, tuple[Callable[[], Words], str]] = {
    "missing model": (lambda: ["verify", "no.onnx"], "cannot read 'no.onnx': No such file"),
    "weights of no layer": (
        lambda: ["compile", MODEL, "--weights", "conv_quant=dense"],
        "--weights must name a layer with weights, such as 'conv",
    ),
    "weights of an empty layer": (
        lambda: ["compile", MODEL, "--weights", "=dense"],
        "--weights must be VALUE or LAYER=VALUE, VALUE one of",
    ),
    "unknown weight format": (
        lambda: ["verify", MODEL, "--weights", "conv2_quant=int3", *GOLDEN],
        "--weights must be VALUE or LAYER=VALUE, VALUE one of dense, int4, ",
    ),
    "weight format twice": (
        lambda: ["simulate", MODEL, "--weights", "dense", "--weights", "dense", *GOLDEN],
        "--weights must be given once for all layers, not again as 'dense'",
    ),
    "weight format not built": (
        lambda: ["compile", MODEL, "--weights", "bitmap"],
        "--weights must be one that this array has (dense), not 'bitmap'",
    ),
    "precision of a layer not built": (
        lambda: ["compile", MODEL, "--precision", "conv2_quant=w4a8"],
        "layer 'conv2_quant' (QLinearConv): array.precisions lacks w4a8",
    ),
    "folder as model": (lambda: ["verify", "."], "cannot read '.': Is a directory"),
    "text as model": (
        lambda: ["verify", written("notes.onnx", "these are notes")],
        "notes.onnx: file must be a TFLite, ONNX or PyTorch model",
    ),
    "empty model": (lambda: ["inspect", written("e.tflite", b"")], "not empty"),
    "truncated onnx": (
        lambda: ["verify", written("cut.onnx", MODEL.read_bytes()[:9000]), *GOLDEN],
        "cut.onnx: ",
    ),
    "truncated tflite": (
        lambda: ["verify", written("cut.tflite", b"\x1c\0\0\0TFL3" + b"\x20\0\0\0" * 4), *GOLDEN],
        "cut.tflite: ",
    ),
    "float model": (lambda: ["verify", float_model()], "float.onnx: model must be quantized"),
    "dynamic shape": (lambda: ["verify", dynamic_model()], "dynamic.onnx: "),
    "unsupported operator": (
        lambda: ["verify", unsupported_model()],
        "layer 'odd': operator QLinearReduceMean is not supported",
    ),
    "unknown runtime": (
        lambda: ["verify", "--against", "torch"],
        (
            "profile must be one of tflite-reference, tflite-xnnpack, tflm, onnxruntime, "
            "torch-x86, torch-qnnpack, torch-export, qonnx, not 'torch'"
        ),
    ),
    "runtime of the other format": (
        lambda: ["verify", "--against", "tflm"],
        "profile must be one for onnx files, not 'tflm'",
    ),
    "unknown backend": (
        lambda: ["verify", "--backend", "board"],
        "netlist-ecp5, netlist-gowin, netlist-ice40, netlist-xilinx7, uart:PORT, not 'board'",
    ),
    "unknown preset": (
        lambda: ["verify", "--preset", "huge"],
        "preset must be one of tiny, nano, small, base, stream, sparse, mixed, large, not 'huge'",
    ),
    "array not NxM": (lambda: ["verify", "--array", "16"], "array must be ROWSxCOLUMNS"),
    "array out of range": (
        lambda: ["verify", "--array", "16x65"],
        "array.columns must be between 1 and 64, not 65",
    ),
    "array of nothing": (
        lambda: ["generate", "--array", "0x4"],
        "array.rows must be between 1 and 64, not 0",
    ),
    "array of nothing either way": (
        lambda: ["verify", "--array", "0x0"],
        "array.rows must be between 1 and 64, not 0",
    ),
    "array without columns": (
        lambda: ["verify", "--array", "4x0"],
        "array.columns must be between 1 and 64, not 0",
    ),
    "name that is a keyword": (
        lambda: ["generate", "--spec", written("s.toml", 'name = "module"\n')],
        "s.toml: name must not be a keyword of Verilog, which 'module' is",
    ),
    "name beyond ASCII": (
        lambda: ["generate", "--spec", written("s.toml", 'name = "été"\n')],
        "s.toml: name must be a Verilog identifier, not 'été'",
    ),
    "device as model": (
        lambda: ["verify", "/dev/zero"],
        "model must be a file, not a device or pipe: '/dev/zero'",
    ),
    "two reports on stdout": (
        lambda: ["verify", *GOLDEN, "--json", "-", "--junit", "-"],
        "only one of --json and --junit can go to stdout",
    ),
    "two accelerators": (
        lambda: ["verify", "--array", "8x8", "--preset", "tiny"],
        "only one of --array, --spec and --preset can be given",
    ),
    "missing specification": (
        lambda: ["generate", "--spec", "no.toml"],
        "cannot read 'no.toml': No such file",
    ),
    "specification out of range": (
        lambda: ["verify", "--spec", written("s.toml", "[array]\nrows = 65\n")],
        "s.toml: array.rows must be between 1 and 64, not 65",
    ),
    "specification of the wrong type": (
        lambda: ["verify", "--spec", written("s.toml", '[array]\nrows = "many"\n')],
        "s.toml: array.rows must be an integer, not 'many'",
    ),
    "unknown field": (
        lambda: ["verify", "--spec", written("s.toml", "[array]\nwidth = 4\n")],
        "s.toml: unknown field 'width' in [array]",
    ),
    "TOML syntax": (
        lambda: ["verify", "--spec", written("s.toml", "[array\nrows = 4\n")],
        "s.toml: specification must be TOML: ",
    ),
    "specification in binary": (
        lambda: ["verify", "--spec", written("s.toml", b"\xff\xfe\0")],
        "s.toml: ",
    ),
    "network too large": (
        lambda: [
            "compile",
            MODEL,
            "--spec",
            written("s.toml", "[memory]\nweight_bytes = 256\n"),
        ],
        "weight_bytes",
    ),
    "missing inputs": (lambda: ["verify", "--inputs", "no.npy"], "cannot read 'no.npy'"),
    "text as inputs": (
        lambda: ["verify", "--inputs", written("i.npy", "1 2 3")],
        "i.npy must be a .npy or .npz file of numbers",
    ),
    "truncated inputs": (
        lambda: ["verify", "--inputs", cut_inputs()],
        "i.npz must be a .npy or .npz file of numbers",
    ),
    "inputs of another shape": (
        lambda: ["verify", "--inputs", saved("i.npz", inputs=np.zeros((2, 8, 8), np.float32))],
        "i.npz: input 'image' must have shape ('N', 1, 8, 8), not (2, 8, 8)",
    ),
    "inputs of another type": (
        lambda: ["verify", "--inputs", saved("i.npz", inputs=IMAGES.astype(np.int8))],
        "i.npz: input 'image' must be float32, not int8",
    ),
    "no inputs": (
        lambda: ["verify", "--inputs", saved("i.npz", inputs=IMAGES[:0])],
        "must have shape",
    ),
    "inputs of another name": (
        lambda: ["verify", "--inputs", saved("i.npz", picture=IMAGES)],
        "i.npz must hold an array 'inputs', not ['picture']",
    ),
    "pickled inputs": (
        lambda: ["verify", "--inputs", saved("i.npz", inputs=np.array([None, "x"], object))],
        "i.npz must be a .npy or .npz file of numbers",
    ),
    "count of nothing": (lambda: ["verify", "--count", "0"], "count must be between 1 and 360"),
    "count that is no number": (
        lambda: ["verify", "--count", "few"],
        "Invalid value for '--count'",
    ),
    "more inputs than there are": (
        lambda: ["verify", "--inputs", saved("i.npz", inputs=IMAGES), "--count", "3"],
        "count must be between 1 and 2, not 3",
    ),
    "reference without inputs": (
        lambda: ["verify", "--reference", saved("r.npz", logits=np.zeros((1, 10), np.float32))],
        "r.npz must hold an array 'inputs'",
    ),
    "reference of another model": (
        lambda: ["verify", "--reference", saved("r.npz", inputs=IMAGES, t1=IMAGES)],
        "r.npz must hold tensors of the model",
    ),
    "reference of another shape": (
        lambda: ["verify", "--reference", saved("r.npz", inputs=IMAGES, logits=IMAGES)],
        "r.npz: tensor 'logits' must have shape (2, 10), not (2, 1, 8, 8)",
    ),
    "trace of golden": (
        lambda: ["simulate", "--trace", "t.vcd", *GOLDEN],
        "waveforms can be traced with backend verilator only",
    ),
    "trace of another kind": (lambda: ["simulate", "--trace", "t.png"], "trace must be a .fst"),
    "output into a file": (
        lambda: ["generate", "--preset", "tiny", "-o", written("busy", "x")],
        "cannot write 'busy/",
    ),
    "unknown option": (lambda: ["verify", "--fast"], "No such option: --fast"),
    "unknown command": (lambda: ["prove"], "No such command 'prove'"),
    "missing argument": (lambda: ["inspect"], "Missing argument 'MODEL'"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_status_2(cli: Any, inside: Path, name: str) -> None:
    words, message = CASES[name]
    result = cli(*words())
    assert result.status == 2, result.out + result.err
    assert result.err.startswith("error: ") and result.err.endswith("\n")
    assert result.err.count("\n") == 1, result.err
    assert message.lower() in result.err.lower()
    assert result.out == ""


def test_missing_compiler(cli: Any, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTOLITH_CACHE", str(inside / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = cli("verify", "--preset", "tiny", "--count", "1")
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert "CXX must be a working C++ compiler, not 'no-such-compiler'" in result.err
    assert "apt-get install g++" in result.err


@pytest.mark.parametrize("words", ['"g++', " "])
def test_compiler_that_is_no_command(
    cli: Any, inside: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setenv("CXX", words)
    result = cli("simulate", "--trace", "t.fst")
    assert result.status == 2 and result.err.count("\n") == 1
    assert "CXX must be a working C++ compiler" in result.err


def test_cache_that_cannot_be_written(
    cli: Any, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("busy").write_text("a file in the way")
    monkeypatch.setenv("SYSTOLITH_CACHE", str(inside / "busy"))
    result = cli("verify", "--preset", "tiny", "--count", "1")
    assert result.status == 2 and result.err.count("\n") == 1
    assert "cannot write to the cache" in result.err and "set SYSTOLITH_CACHE" in result.err


@pytest.mark.parametrize("package", ["ai_edge_litert", "tflite_micro"])
def test_missing_runtime(
    cli: Any, inside: Path, monkeypatch: pytest.MonkeyPatch, writer: ModuleType, package: str
) -> None:
    import sys

    T, O = writer.T, writer.O  # noqa: E741 - the writer's own names
    weights = np.ones((2, 4), np.int8)
    tensors = [T((1, 4), scale=0.1), T((2, 4), scale=0.1, data=weights), T((1, 2), scale=0.2)]
    layer = O("FULLY_CONNECTED", (0, 1, -1), (2,), "FullyConnectedOptions")
    Path("m.tflite").write_bytes(writer.write_tflite(tensors, [layer], (0,), (2,)))
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    against = "tflm" if package == "tflite_micro" else "tflite-reference"
    result = cli("verify", "m.tflite", *GOLDEN, "--against", against)
    assert result.status == 2
    assert result.err.count("\n") == 1 and "pip install systolith[" in result.err


def test_interruption(cli: Any, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from systolith.verify import flow

    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(flow, "compile_graph", stop)
    result = cli("verify", *GOLDEN)
    assert result.status == 130 and result.err == "error: interrupted\n" and not result.out
