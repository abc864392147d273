"""Quantize and dequantize units: streams that stall, parameters of channels, bad parameters."""

import random
import re

import numpy as np
import pytest
from amaranth.lib.wiring import Component
from amaranth.sim import SimulatorContext

from systolith.golden.quantize import dequantize_codes, inverse_scale, quantize_codes
from systolith.hw.convert_stream import DequantizeStream, QuantizeStream, code_bytes
from systolith.sim.emit import lint, readable_verilog
from systolith.sim.float_samples import numbers, scales
from systolith.sim.pysim import PATTERNS, simulate
from systolith.spec.quantize import CodeFormat, QuantizeForm


def run(unit: Component, words: list[int], beats: list[int], idle: str, stall: str) -> list[int]:
    """Write parameters, stream beats with `tlast` at the end, and return what comes out."""
    got: list[int] = []
    active = {name: PATTERNS[p](random.Random(5)) for name, p in (("s", idle), ("m", stall))}

    async def write(ctx: SimulatorContext) -> None:
        for index, word in enumerate(words):
            ctx.set(unit.p_axis_tvalid, 1)
            ctx.set(unit.p_axis_tdata, word)
            ctx.set(unit.p_axis_tlast, index == len(words) - 1)
            await ctx.tick()
        ctx.set(unit.p_axis_tvalid, 0)
        for index, beat in enumerate(beats):
            while not next(active["s"]):
                await ctx.tick()
            ctx.set(unit.s_axis_tvalid, 1)
            ctx.set(unit.s_axis_tdata, beat)
            ctx.set(unit.s_axis_tlast, index == len(beats) - 1)
            await ctx.tick().until(unit.s_axis_tready)
            ctx.set(unit.s_axis_tvalid, 0)

    async def read(ctx: SimulatorContext) -> None:
        while len(got) < len(beats):
            ready = next(active["m"])
            ctx.set(unit.m_axis_tready, ready)
            _, _, valid, data, last = await ctx.tick().sample(
                unit.m_axis_tvalid, unit.m_axis_tdata, unit.m_axis_tlast
            )
            if valid and ready:
                got.append(data)
                assert last == (len(got) == len(beats))

    simulate(unit, write, read)
    return got


def joined(rows: np.ndarray, bits: int) -> list[int]:
    """Beats of the rows' values, the first in the low bits."""
    mask = (1 << bits) - 1
    return [sum((int(v) & mask) << bits * i for i, v in enumerate(row)) for row in rows]


@pytest.mark.parametrize(
    ("idle", "stall"), [("none", "none"), ("none", "random"), ("3of4", "3of4")]
)
@pytest.mark.parametrize(
    ("kind", "lanes", "channels"),
    [("int8", 1, 1), ("uint8", 2, 6), ("int4", 2, 1), ("uint4", 4, 8)],
)
def test_there_and_back(kind: str, lanes: int, channels: int, idle: str, stall: str) -> None:
    code, rng = CodeFormat(kind), np.random.default_rng(channels)
    scale = scales(rng, channels)
    zero = rng.integers(code.low, code.high + 1, channels)
    x = numbers(rng, np.resize(scale, 24 * lanes))
    form = QuantizeForm.DIVIDE_EVEN
    every = [np.resize(v, x.size) for v in (scale, zero)]
    codes = quantize_codes(x, form, *every, low=code.low, high=code.high).reshape(-1, lanes)
    words = [
        int(s) | int(r) << 32 | (int(z) & 0xFFFF) << 64
        for s, r, z in zip(scale, inverse_scale(scale), zero, strict=True)
    ]
    unit = QuantizeStream(code, form, lanes=lanes, channels=channels)
    beats = joined(codes, code.bits)
    assert run(unit, words, joined(x.reshape(-1, lanes), 32), idle, stall) == beats
    back = dequantize_codes(codes.reshape(-1), *every).reshape(-1, lanes)
    words = [int(s) | (int(z) & 0xFFFF) << 32 for s, z in zip(scale, zero, strict=True)]
    other = DequantizeStream(code, lanes=lanes, channels=channels)
    assert run(other, words, beats, idle, stall) == joined(back, 32)


@pytest.mark.parametrize("unit", [QuantizeStream, DequantizeStream])
def test_bad_parameters_are_noted(unit: type[QuantizeStream | DequantizeStream]) -> None:
    dut = unit(CodeFormat.INT4)
    place = 64 if unit is QuantizeStream else 32
    good = 0x3F800000
    cases = [
        (good, 7, 0), (0, 0, 1), (good, 0, 0), (0x7FC00000, 0, 1), (0x7F800000, 0, 1),
        (0x00400000, 0, 1), (0xBF800000, 0, 1), (good, 8, 1), (good, -9, 1), (good, -8, 0),
    ]  # fmt: skip

    async def write(ctx: SimulatorContext) -> None:
        for scale, zero, error in cases:
            ctx.set(dut.p_axis_tvalid, 1)
            ctx.set(dut.p_axis_tlast, 1)
            ctx.set(dut.p_axis_tdata, scale | (zero & 0xFFFF) << place)
            await ctx.tick()
            assert ctx.get(dut.p_error) == error, (hex(scale), zero)

    simulate(dut, write)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lanes": 0}, "lanes must be between 1 and 64, not 0"),
        ({"channels": 0}, "channels must be between 1 and 65536, not 0"),
        ({"lanes": 4, "channels": 6}, "channels must be 1 or a multiple of 4 lanes, not 6"),
    ],
)
def test_options_out_of_range(options: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        QuantizeStream(CodeFormat.INT8, **options)


def test_bytes_of_codes() -> None:
    assert [code_bytes(CodeFormat.INT4, n) for n in (1, 2, 3)] == [1, 1, 2]
    assert code_bytes(CodeFormat.UINT8, 3) == 3


@pytest.mark.parametrize("unit", [QuantizeStream, DequantizeStream])
def test_verilog_is_clean(unit: type[QuantizeStream | DequantizeStream]) -> None:
    assert lint(readable_verilog(unit(CodeFormat.INT4, lanes=2), "unit"), "unit") == []
