"""Fields of commands as hardware values against the spec's encoder and decoder."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import SimulatorContext

from systolith.hw.fields import command_bits, command_fields
from systolith.sim.pysim import simulate
from systolith.spec.commands import COMMANDS, Opcode, encode


class Bits(wiring.Component):
    """A command's bits, used by nothing."""

    def __init__(self, width: int):
        super().__init__({"bits": In(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += Signal(len(self.bits)).eq(self.bits)
        return m


@pytest.mark.parametrize("opcode", [o for o in Opcode if o is not Opcode.END])
def test_fields_are_those_encoded(opcode: Opcode) -> None:
    rng = np.random.default_rng(int(opcode))
    dut = Bits(command_bits(opcode))
    fields = command_fields(opcode, dut.bits)
    table = {f.name: f for f in COMMANDS[opcode].fields}
    assert set(fields) == set(table)
    body = [f for f in table.values() if f.name not in ("opcode", "words")]
    cases = [{f.name: f.low for f in body}, {f.name: f.high for f in body}]
    cases += [{f.name: int(rng.integers(f.low, f.high + 1)) for f in body} for _ in range(20)]

    async def bench(ctx: SimulatorContext) -> None:
        for case in cases:
            words = encode(opcode, **case)
            assert 32 * len(words) == len(dut.bits)
            ctx.set(dut.bits, sum(w << 32 * i for i, w in enumerate(words)))
            got = {name: ctx.get(value) for name, value in fields.items()}
            assert got == {**case, "opcode": int(opcode), "words": len(words)}

    simulate(dut, bench)
