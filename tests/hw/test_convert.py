"""The converter in Amaranth's simulator: every lane, both directions, one vector a cycle."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.golden.quantize import dequantize_codes, inverse_scale, quantize_codes
from systolith.hw.convert import Converter
from systolith.sim.float_samples import numbers
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, PostSpec
from systolith.spec.commands import Opcode, encode
from systolith.spec.quantize import QuantizeForm

_SCALE = 0x3CA0A0A1


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("opcode", [Opcode.QUANTIZE, Opcode.DEQUANTIZE])
def test_vectors(lanes: int, opcode: Opcode) -> None:
    spec = AcceleratorSpec(
        array=ArraySpec(rows=16, columns=16), post=PostSpec(lanes=8, quantize_lanes=lanes)
    )
    converter, rng = Converter(spec), np.random.default_rng(80 + lanes)
    fields = {"scale": _SCALE, "zero": -5}
    if opcode is Opcode.QUANTIZE:
        form = QuantizeForm.FUSED_EVEN
        values = numbers(rng, np.full(40 * lanes, _SCALE)).reshape(40, lanes)
        fields |= {"form": form, "inverse": int(inverse_scale(_SCALE)), "low": -128, "high": 127}
        wanted = quantize_codes(values, form, _SCALE, -5, low=-128, high=127) & 255
    else:
        values = rng.integers(0, 256, (40, lanes))
        fields |= {"signed": 1}
        wanted = dequantize_codes(values.astype(np.uint8).view(np.int8), _SCALE, -5)
    words = encode(opcode, **fields)
    sizes = (32, 8) if opcode is Opcode.QUANTIZE else (8, 32)
    got = []

    async def drive(ctx: SimulatorContext) -> None:
        ctx.set(converter.command, sum(word << 32 * i for i, word in enumerate(words)))
        for row in [*values.tolist(), *[None] * 8]:
            ctx.set(converter.i_valid, row is not None)
            ctx.set(converter.i, sum(v << sizes[0] * i for i, v in enumerate(row or [])))
            await ctx.tick()
            if ctx.get(converter.o_valid):
                vector = ctx.get(converter.o)
                mask = (1 << sizes[1]) - 1
                got.append([vector >> sizes[1] * i & mask for i in range(lanes)])
        assert ctx.get(converter.active)
        assert ctx.get(converter.widens) == (opcode is Opcode.DEQUANTIZE)

    simulate(converter, drive)
    assert got == wanted.tolist()
