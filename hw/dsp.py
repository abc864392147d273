"""Multiplier blocks of chips, by name: where synthesis leaves their registers in the fabric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Value

from systolith.hw.technology import Technology

__all__ = ["PRIMITIVES", "Registers"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Registers:
    """Registers of a multiplier besides that of the product, which it always has.

    Parameters
    ----------
    operands: of both operands; that of the weight is enabled.
    inner: inside the multiplier.
    """

    operands: bool
    inner: bool


def _extended(value: Value, bits: int) -> Value:
    """A signed value in ``bits`` bits."""
    return Cat(value, value[-1].replicate(bits - len(value)))


def _bits(direction: str, port: str, value: Value) -> dict[str, Value]:
    """Connections of a port whose bits are ports of their own."""
    return {f"{direction}_{port}{n}": value[n] for n in range(len(value))}


def ecp5(x: Value, w: Value, take: Value, o: Value, registers: Registers) -> Instance | None:
    """MULT18X18D; all flip-flops are the block's.

    Without operand registers the weight's would be the block's only one there, which nextpnr has no
    timing of: synthesis does no worse.
    """
    if max(len(x), len(w)) > 18 or not registers.operands:
        return None
    clock = {True: "CLK0", False: "NONE"}
    return Instance(
        "MULT18X18D",
        p_REG_INPUTA_CLK="CLK0", p_REG_INPUTB_CLK="CLK0", p_REG_INPUTB_CE="CE1",
        p_REG_PIPELINE_CLK=clock[registers.inner], p_REG_OUTPUT_CLK="CLK0",
        i_CLK0=ClockSignal(), i_CE0=Const(1), i_CE1=take, i_RST0=Const(0),
        i_SIGNEDA=Const(1), i_SIGNEDB=Const(1), i_SOURCEA=Const(0), i_SOURCEB=Const(0),
        **_bits("i", "A", _extended(x, 18)), **_bits("i", "B", _extended(w, 18)),
        **_bits("o", "P", o),
    )  # fmt: skip


PRIMITIVES: Mapping[
    Technology, Callable[[Value, Value, Value, Value, Registers], Instance | None]
] = {
    Technology.ECP5: ecp5,
}
"""Makes the block of a technology, from activation, weight, its enable, and the product with a
register; None if synthesis does as well."""
