"""The quantize lane against golden, which other tests compare with the runtimes."""

import re
from collections.abc import Collection

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray

from systolith.golden.quantize import inverse_scale, quantize_codes
from systolith.hw.quantize import QuantizeLane
from systolith.sim.dut import Dut
from systolith.sim.float_samples import numbers, scales
from systolith.sim.pysim import simulate
from systolith.spec.quantize import CodeFormat, QuantizeForm

Int = NDArray[np.int64]
SIZES = [60_000, pytest.param(4_000_000, marks=pytest.mark.slow)]
_DIVISIONS = (QuantizeForm.DIVIDE_EVEN, QuantizeForm.DIVIDE_AWAY)


def samples(seed: int, count: int, forms: Collection[QuantizeForm]) -> tuple[dict[str, Int], Int]:
    """Return the lane's inputs and the codes, in blocks of one form, format and zero point."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, list[Int]] = {name: [] for name in ("", *_PARAMETERS)}
    wanted = []
    block = 500
    for _ in range(count // block):
        form = QuantizeForm(rng.choice(list(forms)))
        kind = CodeFormat(rng.choice(list(CodeFormat)))
        zero = int(rng.integers(kind.low, kind.high + 1))
        scale = np.repeat(scales(rng, 20), block // 20)
        x = numbers(rng, scale)
        wanted.append(quantize_codes(x, form, scale, zero, low=kind.low, high=kind.high) & 255)
        values = (x, int(form), scale, inverse_scale(scale), zero, kind.low, kind.high)
        for name, value in zip(inputs, values, strict=True):
            inputs[name].append(np.broadcast_to(np.asarray(value, np.int64), x.shape))
    return {n: np.concatenate(v) for n, v in inputs.items()}, np.concatenate(wanted)


_PARAMETERS = ("form", "scale", "inverse", "zero", "low", "high")


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize(
    "forms",
    [
        tuple(QuantizeForm),
        _DIVISIONS,
        *(pytest.param((form,), marks=pytest.mark.slow) for form in QuantizeForm),
    ],
    ids=str,
)
def test_codes(forms: tuple[QuantizeForm, ...], count: int) -> None:
    inputs, wanted = samples(60 + len(forms), count, forms)
    rest = np.zeros(QuantizeLane.latency, np.int64)
    driven = {
        f"i_{name}" if name else "i": np.concatenate([value, rest])
        for name, value in inputs.items()
    }
    driven["i_valid"] = np.concatenate([np.ones_like(wanted), rest])
    with Dut.build(QuantizeLane(forms)) as dut:
        got = dut.drive(driven, ["o", "o_valid"])
    codes = got["o"][QuantizeLane.latency :]
    wrong = np.flatnonzero(codes != wanted)
    if wrong.size:
        k = wrong[0]
        shown = {name or "x": hex(value[k]) for name, value in inputs.items()}
        raise AssertionError(
            f"{wrong.size} of {wanted.size} wrong: {shown}, {codes[k]} {wanted[k]}"
        )
    assert got["o_valid"][QuantizeLane.latency :].all()
    assert not got["o_valid"][: QuantizeLane.latency].any()


def test_held_parameters_and_gaps() -> None:
    """A lane whose parameters hold still, in Amaranth's simulator, with idle cycles between."""
    rng = np.random.default_rng(66)
    lane = QuantizeLane(QuantizeForm, held=True)
    scale = 0x3CA0A0A1
    x = numbers(rng, np.full(300, scale))
    wanted = quantize_codes(x, QuantizeForm.DIVIDE_EVEN, scale, -3, low=-128, high=127) & 255
    got = []

    async def drive(ctx: SimulatorContext) -> None:
        for name, value in zip(
            _PARAMETERS, (0, scale, int(inverse_scale(scale)), -3, -128, 127), strict=True
        ):
            ctx.set(getattr(lane, f"i_{name}"), value)
        for value in [*x.tolist(), *[None] * lane.latency]:
            while value is not None and rng.integers(3) == 0:
                ctx.set(lane.i_valid, 0)
                await tick(ctx)
            ctx.set(lane.i_valid, value is not None)
            ctx.set(lane.i, value or 0)
            await tick(ctx)

    async def tick(ctx: SimulatorContext) -> None:
        await ctx.tick()
        if ctx.get(lane.o_valid):
            got.append(ctx.get(lane.o))

    simulate(lane, drive)
    assert got == wanted.tolist()


def test_forms_must_be_forms() -> None:
    text = "forms must be QuantizeForms, at least one, not ()"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        QuantizeLane(())
