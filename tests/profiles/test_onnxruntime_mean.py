"""ReduceMean between DequantizeLinear and QuantizeLinear, against the live onnxruntime.

Its float32 sums have an order of their own: a sum of codes decides the result but where a float
error meets a tie. All must lie within the bounds, and agree where these meet.
"""

from types import ModuleType

import numpy as np
import pytest

from systolith.arithmetic import PoolArithmetic
from systolith.compiler.compile import compile_graph
from systolith.errors import CompileError
from systolith.host import run_model
from systolith.profiles.pooling import average_pool_bounds
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime
from systolith.sim.backends import get_backend

AXES = [(2, 3), (1,), (2,), (3,), (1, 2), (1, 3), (1, 2, 3), (-1, -2)]


def draw(onnx_writer: ModuleType, axes: tuple[int, ...], seed: int) -> tuple[bytes, np.ndarray]:
    """A model of one mean, and many samples."""
    rng = np.random.default_rng([seed, 12])
    dtype = ("int8", "uint8")[seed % 2]
    limits, model = np.iinfo(dtype), onnx_writer.Model()
    shape = (1, int(rng.integers(1, 20)), *rng.integers(1, 9, 2).tolist())
    zeros = [int(rng.choice([limits.min, limits.max, rng.integers(limits.max)])) for _ in "xy"]
    source, out = (model.codes(float(rng.uniform(0.02, 0.1)), zero, dtype) for zero in zeros)
    model.add("DequantizeLinear", ["x", *source], "d")
    if axes == (2, 3) and seed % 3 == 0:
        model.add("GlobalAveragePool", ["d"], "r")
    else:
        given = model.constant(list(axes), "int64")
        model.add("ReduceMean", ["d", given], "r", keepdims=int(rng.integers(0, 2)))
    model.add("QuantizeLinear", ["r", *out], "y")
    codes = rng.integers(limits.min, limits.max + 1, (8, *shape[1:])).astype(dtype)
    return model.bytes({"x": (dtype, shape)}, {"y": dtype}), codes


def check(
    onnx_writer: ModuleType, third_party: ModuleType, axes: tuple[int, ...], seeds: range
) -> tuple[int, int]:
    """Compare random means; return values compared, and those decided by the float order."""
    total = undecided = 0
    for seed in seeds:
        data, codes = draw(onnx_writer, axes, seed)
        graph = third_party.imported(data, "onnxruntime")
        expected = run_runtime(graph, {"x": codes})["y"].reshape(len(codes), -1)
        arithmetic = next(n.arithmetic for n in graph if n.arithmetic is not None)
        try:
            model = compile_graph(graph, third_party.SPEC)
        except CompileError as error:
            text = str(error)
            assert "float32 additions decides" in text or "is not proven equal" in text
            model = None
        for sample, want in zip(codes, expected, strict=True):
            given = {"x": graph.tensors["x"].canonical(sample[None])}
            ways = [evaluate_graph(graph, given)]
            if model is not None:
                ways.append(run_model(model, get_backend("golden"), given).tensors)
            if isinstance(arithmetic, PoolArithmetic) and arithmetic.requant.formula == "ort_mean":
                acc = sample.astype(np.int64) - arithmetic.input_zero_point
                acc = acc.sum(axis=tuple(a - 1 if a > 0 else a for a in axes)).reshape(-1)
                (count,) = arithmetic.requants
                low, high = average_pool_bounds(acc, arithmetic, count)
            else:
                low = high = want.astype(np.int64)
            assert np.all((low <= want) & (want <= high)), f"seed {seed}"
            for values in ways:
                got = graph.tensors["y"].source(values["y"]).reshape(-1)
                assert np.all((low <= got) & (got <= high)), f"seed {seed}"
                np.testing.assert_array_equal(got[low == high], want[low == high], f"seed {seed}")
            total, undecided = total + want.size, undecided + int((low != high).sum())
    return total, undecided


@pytest.mark.parametrize("axes", AXES)
def test_means(onnx_writer: ModuleType, third_party: ModuleType, axes: tuple[int, ...]) -> None:
    total, undecided = check(onnx_writer, third_party, axes, range(4))
    assert total > 0 and undecided < 0.05 * total


@pytest.mark.slow
@pytest.mark.parametrize("axes", AXES)
def test_many_means(
    onnx_writer: ModuleType, third_party: ModuleType, axes: tuple[int, ...]
) -> None:
    total, undecided = check(onnx_writer, third_party, axes, range(100, 160))
    assert total > 0 and undecided < 0.01 * total
