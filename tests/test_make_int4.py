"""The 4-bit versions of networks: what is in the files, and that the runtimes agree on them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from systolith.arithmetic import MacArithmetic
from systolith.compiler.compile import compile_graph
from systolith.compiler.model import CompiledModel
from systolith.graph import Graph
from systolith.host import run_model
from systolith.importers import load_model
from systolith.runtimes import run_runtime
from systolith.sim.backends import get_backend
from systolith.spec.commands import Opcode, decode
from systolith.spec.configuration import PRESETS
from systolith.spec.precision import Precision

TFLITE = ("resnet8", "dscnn", "mobilenetv1_vww", "autoencoder")
ONNX = ("ic_resnet8_qdq_s8s8_pc", "kws_dscnn_qdq_u8s8_pc")


@pytest.fixture(scope="module")
def make() -> ModuleType:
    pytest.importorskip("ai_edge_litert")
    path = Path(__file__).parents[1] / "scripts" / "make_int4.py"
    spec = importlib.util.spec_from_file_location("make_int4", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(
    make: ModuleType, models: Path, folder: Path, name: str, *, activations: bool = False
) -> Graph:
    """The graph of a network's 4-bit version."""
    kind = "onnx" if name in ONNX else "tflite"
    target = folder / f"{name}.{kind}"
    unsigned = name == ONNX[1]
    make.make_int4(models / kind / target.name, target, activations=activations, unsigned=unsigned)
    return load_model(target)


def compared(graph: Graph, backend: str) -> tuple[CompiledModel, int]:
    """Compare every tensor with the runtime; return the program and the values compared."""
    rng = np.random.default_rng(4)
    tensor = graph.tensor(graph.inputs[0])
    x = rng.normal(0.0, 1.0, tensor.source_shape).astype(np.float32)
    if tensor.dtype == "int8":
        x = rng.integers(-128, 128, tensor.source_shape).astype(np.int8)
    model = compile_graph(graph, PRESETS["mixed"])
    inputs = {tensor.name: tensor.canonical(x)}
    found = run_model(model, get_backend(backend), inputs, capture=True).tensors
    wanted, values = run_runtime(graph, x), 0
    for name, value in found.items():
        if name in wanted:
            got = graph.tensor(name).source(value)
            np.testing.assert_array_equal(got, wanted[name].reshape(got.shape), err_msg=name)
            values += got.size
    return model, values


def precisions(model: CompiledModel) -> set[Precision]:
    """Those of the program's MATMULs."""
    words: list[int] = model.program.commands.tolist()
    return {Precision(c["precision"]) for c in decode(words) if c.opcode is Opcode.MATMUL}


@pytest.mark.parametrize("name", TFLITE)
def test_weights_have_15_codes(make: ModuleType, models: Path, tmp_path: Path, name: str) -> None:
    graph = written(make, models, tmp_path, name)
    layers = [n.arithmetic for n in graph if isinstance(n.arithmetic, MacArithmetic)]
    for arithmetic in layers:
        channels = arithmetic.weights.reshape(len(arithmetic.weights), -1)
        peaks = np.abs(channels.astype(np.int64)).max(axis=1)
        assert set(peaks.tolist()) <= {0, 7}
    size = (tmp_path / f"{name}.tflite").stat().st_size
    assert size < 0.85 * (models / "tflite" / f"{name}.tflite").stat().st_size


def test_onnx_codes_are_of_4_bits(make: ModuleType, models: Path, tmp_path: Path) -> None:
    for name, kind in zip(ONNX, (onnx.TensorProto.INT4, onnx.TensorProto.UINT4), strict=True):
        written(make, models, tmp_path, name)
        model = onnx.load(tmp_path / f"{name}.onnx")
        assert sum(t.data_type == kind and len(t.dims) > 1 for t in model.graph.initializer) == 10


def test_autoencoder_by_golden(make: ModuleType, models: Path, tmp_path: Path) -> None:
    model, values = compared(written(make, models, tmp_path, "autoencoder"), "golden")
    assert values > 2000 and Precision.W4A8 in precisions(model)
    graph = written(make, models, tmp_path, "autoencoder", activations=True)
    model, values = compared(graph, "golden")
    assert values > 2000 and Precision.W4A4 in precisions(model)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["golden", "verilator-fast"])
@pytest.mark.parametrize("activations", [False, True])
@pytest.mark.parametrize("name", TFLITE)
def test_litert_every_tensor(
    make: ModuleType, models: Path, tmp_path: Path, name: str, activations: bool, backend: str
) -> None:
    graph = written(make, models, tmp_path, name, activations=activations)
    assert compared(graph, backend)[1] > 2000


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["golden", "verilator-fast"])
@pytest.mark.parametrize("name", ONNX)
def test_onnxruntime_every_tensor(
    make: ModuleType, models: Path, tmp_path: Path, name: str, backend: str
) -> None:
    assert compared(written(make, models, tmp_path, name), backend)[1] > 70_000
