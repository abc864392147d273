"""Dynamic quantization against golden, in packets that stall; golden against onnxruntime."""

import random
import re

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray

from systolith.golden.quantize import dynamic_quantize
from systolith.hw.dynamic_quantize import DynamicQuantizeStream
from systolith.sim.emit import lint, readable_verilog
from systolith.sim.pysim import PATTERNS, simulate

Floats = NDArray[np.float32]


def packets(rng: np.random.Generator, count: int, longest: int) -> list[Floats]:
    """Ranges on both sides or one side of 0, all equal, all 0, ties, tiny and huge."""
    found = []
    for index in range(count):
        size = int(rng.integers(1, longest + 1))
        x = rng.normal(0, 1, size) * 10.0 ** rng.integers(-30, 30)
        kind = index % 7
        if kind == 1:
            x = np.abs(x)
        elif kind == 2:
            x = -np.abs(x)
        elif kind == 3:
            x[:] = x[0]
        elif kind == 4:
            x[:] = 0
        elif kind == 5:
            x = np.concatenate([[-127.5, 127.5], rng.integers(-255, 256, size) / 2])[:size]
        found.append(x.astype(np.float32))
    return found


def as_bits(x: Floats) -> NDArray[np.int64]:
    return x.view(np.uint32).astype(np.int64)


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_golden_is_the_runtime(count: int) -> None:
    helper = pytest.importorskip("onnx").helper
    runtime = pytest.importorskip("onnxruntime")
    outputs = [("y", 2), ("s", 1), ("z", 2)]
    graph = helper.make_graph(
        [helper.make_node("DynamicQuantizeLinear", ["x"], [n for n, _ in outputs])],
        "dynamic",
        [helper.make_tensor_value_info("x", 1, [None])],
        [helper.make_tensor_value_info(n, k, [None] if n == "y" else []) for n, k in outputs],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = runtime.InferenceSession(model.SerializeToString())
    for x in packets(np.random.default_rng(90), count, 300):
        codes, scale, zero = dynamic_quantize(as_bits(x))
        wanted, s, z = session.run(None, {"x": x})
        assert (scale, zero) == (int(s.view(np.uint32)), int(z)), x
        np.testing.assert_array_equal(codes, wanted)


@pytest.mark.parametrize(("idle", "stall"), [("none", "none"), ("3of4", "random")])
def test_packets(idle: str, stall: str) -> None:
    unit = DynamicQuantizeStream(40)
    sent = packets(np.random.default_rng(91), 21, 40)
    sent[3:3] = [np.float32([1, np.inf]), np.float32([3e38, -3e38]), np.float32([1e-39])]
    sent.append(np.ones(41, np.float32))
    active = {name: PATTERNS[p](random.Random(6)) for name, p in (("s", idle), ("m", stall))}

    async def write(ctx: SimulatorContext) -> None:
        for packet in sent:
            for index, number in enumerate(as_bits(packet).tolist()):
                while not next(active["s"]):
                    await ctx.tick()
                ctx.set(unit.s_axis_tvalid, 1)
                ctx.set(unit.s_axis_tdata, number)
                ctx.set(unit.s_axis_tlast, index == len(packet) - 1)
                await ctx.tick().until(unit.s_axis_tready)
                ctx.set(unit.s_axis_tvalid, 0)

    async def read(ctx: SimulatorContext) -> None:
        for packet in sent:
            codes: list[int] = []
            last = 0
            while not last:
                ready = next(active["m"])
                ctx.set(unit.m_axis_tready, ready)
                _, _, valid, code, ends, scale, zero, error = await ctx.tick().sample(
                    unit.m_axis_tvalid, unit.m_axis_tdata, unit.m_axis_tlast, unit.m_scale,
                    unit.m_zero, unit.m_error,
                )  # fmt: skip
                if valid and ready:
                    codes.append(code)
                    last = ends
            assert len(codes) == min(len(packet), 40)
            try:
                wanted = dynamic_quantize(as_bits(packet))
            except ValueError:
                assert error
                continue
            assert error == (len(packet) > 40)
            assert (codes, scale, zero) == (wanted[0].tolist()[:40], *wanted[1:])

    simulate(unit, write, read)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1, np.nan], "numbers must be finite"),
        ([3e38, -3e38], "the numbers' range must be finite"),
        ([1e-38], "scale must be a positive, finite and normal float32 number, not a subnormal"),
    ],
)
def test_ranges_without_a_scale(values: list[float], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        dynamic_quantize(as_bits(np.array(values, np.float32)))


def test_depth_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"^depth must be between 1 and 1048576, not 0$"):
        DynamicQuantizeStream(0)


def test_verilog_is_clean() -> None:
    assert lint(readable_verilog(DynamicQuantizeStream(), "unit"), "unit") == []
