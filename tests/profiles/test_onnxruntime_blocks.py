"""MatMulNBits' integers and floats against onnxruntime's own, and the bytes of sums."""

from types import ModuleType

import numpy as np
import pytest

from systolith.arithmetic import Requant
from systolith.compiler.fit import mode_formula
from systolith.float_steps import BlockQuantizeArithmetic, BlockSumsArithmetic
from systolith.graph import Graph
from systolith.importers.onnx import import_onnx
from systolith.profiles import get_profile
from systolith.profiles.blocks import block_outputs, block_sums, quantize_blocks
from systolith.profiles.formulas import requantize, requantize_codes
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime
from systolith.spec.requant import RequantMode

# Rows, inputs, outputs, block, bits of a weight.
SIDES = [
    (1, 64, 8, 16, 4),
    (7, 512, 96, 128, 4),
    (5, 200, 24, 32, 4),
    (2, 100, 20, 16, 4),
    (3, 130, 9, 64, 4),
    (4, 512, 33, 256, 4),
    (6, 33, 5, 32, 4),
    (3, 128, 24, 32, 2),
    (2, 200, 9, 128, 2),
    (3, 100, 24, 16, 8),
    (5, 512, 17, 256, 8),
]


def imported(data: bytes) -> Graph:
    return import_onnx(data, get_profile("onnxruntime"), name="blocks")


def byte(position: int) -> Requant:
    return Requant(
        formula="byte",
        zero_point=0,
        low=-128,
        high=128,
        scale=np.ones(1),
        shift=np.array([8 * position]),
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_bytes_make_the_sum(count: int) -> None:
    half = 1 << (8 * count - 1)
    rng = np.random.default_rng(count)
    ends = np.arange(-300, 300)
    sums = np.concatenate([rng.integers(-half, half, 5000), ends - half + 300, ends + half - 300])
    sums = sums[(sums >= -half) & (sums < half)]
    parts = [requantize_codes(sums, byte(i)).astype(np.int8) for i in range(count)]
    np.testing.assert_array_equal(block_sums(parts), sums)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_mode_double_is_the_byte(position: int) -> None:
    """All sums of 18 bits, and others of 32."""
    rng = np.random.default_rng(position)
    sums = np.concatenate([np.arange(-(1 << 17), 1 << 17), rng.integers(-(1 << 31), 1 << 31, 9999)])
    mode = mode_formula(
        RequantMode.DOUBLE,
        multiplier=np.array([1 << 7]),
        shift=np.array([24 - 8 * position]),
        low=-128,
        high=128,
    )
    np.testing.assert_array_equal(mode(sums[:, None]), requantize(sums[:, None], byte(position)))


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_every_tensor(blocks_writer: ModuleType, sides: tuple[int, ...], zeros: bool) -> None:
    """Codes, scales and bytes of sums are onnxruntime's; its floats lie within the bounds."""
    pytest.importorskip("onnxruntime")
    writer = blocks_writer.Blocks.of(sides, zeros=zeros)
    graph, value = imported(writer.data()), writer.inputs()
    live = run_runtime(graph, value)
    own = evaluate_graph(graph, {"A": graph.tensors["A"].canonical(value)})
    for name, got in own.items():
        if name != "Y":
            found = graph.tensors[name].source(got)
            np.testing.assert_array_equal(found, live[name], err_msg=name)
    layer = graph.producer("Y")
    assert layer is not None and isinstance(layer.arithmetic, BlockSumsArithmetic)
    operands = [own[name] for name in layer.inputs]
    least, most = (block_outputs(operands, layer.arithmetic, side) for side in (-1, 1))
    assert np.all((live["Y"] >= least) & (live["Y"] <= most))
    # The bound would find what a wrong code of a channel's weights does.
    assert np.abs(most - least).max() < 2e-4 * np.abs(live["Y"]).max()


@pytest.mark.parametrize("block", [16, 32, 128])
def test_codes(blocks_writer: ModuleType, block: int) -> None:
    """Ties, wide ranges, few values, single values, and blocks too small for an inverse."""
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(block)
    shape = (64, 256)
    kinds = [
        rng.integers(-254, 255, shape) / 2,
        rng.normal(size=shape) * np.exp(8 * rng.normal(size=shape)),
        rng.integers(-3, 4, shape) * 0.3,
        rng.normal(size=shape) * (rng.random(shape) < 0.02),
        rng.normal(size=shape) * 1e-38,
    ]
    kinds[0][:, ::block] = 127
    value = np.concatenate(kinds).astype(np.float32)
    writer = blocks_writer.Blocks(rows=len(value), depth=256, channels=2, block=block)
    graph = imported(writer.data())
    live = run_runtime(graph, value)
    for name in (f"A/codes_{block}", f"A/scales_{block}"):
        own = quantize_blocks(value, BlockQuantizeArithmetic(block=block, scales="scales" in name))
        np.testing.assert_array_equal(own, live[name][0], err_msg=name)
        if "codes" in name:
            assert set(np.unique(own[-64:])) == {-128}
            assert own[:-64].min() == -127
