"""Multiplier blocks of chips, by name: where synthesis leaves their registers in the fabric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value

from systolith.hw.technology import Technology

__all__ = ["PRIMITIVES", "Operands", "ecp5", "gowin"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Operands:
    """What is multiplied, and the registers besides that of the product, which there always is.

    Parameters
    ----------
    x, w: activation and weight, signed; both have registers.
    take: the register of the weight takes it.
    inner: a register inside the multiplier.
    """

    x: Value
    w: Value
    take: Value
    inner: bool

    @property
    def bits(self) -> int:
        """Width of the wider one."""
        return max(len(self.x), len(self.w))


def _extended(value: Value, bits: int) -> Value:
    """A signed value in ``bits`` bits."""
    return Cat(value, value[-1].replicate(bits - len(value)))


def _bits(port: str, value: Value) -> dict[str, Value]:
    """Connections of a port whose bits are ports of their own."""
    return {f"{port}{n}": value[n] for n in range(len(value))}


def ecp5(m: Module, operands: Operands) -> Value | None:
    """MULT18X18D; all flip-flops are the block's."""
    if operands.bits > 18:
        return None
    product = Signal(36)
    m.submodules.dsp = Instance(
        "MULT18X18D",
        p_REG_INPUTA_CLK="CLK0", p_REG_INPUTB_CLK="CLK0", p_REG_INPUTB_CE="CE1",
        p_REG_PIPELINE_CLK="CLK0" if operands.inner else "NONE", p_REG_OUTPUT_CLK="CLK0",
        i_CLK0=ClockSignal(), i_CE0=Const(1), i_CE1=operands.take, i_RST0=Const(0),
        i_SIGNEDA=Const(1), i_SIGNEDB=Const(1), i_SOURCEA=Const(0), i_SOURCEB=Const(0),
        **_bits("i_A", _extended(operands.x, 18)), **_bits("i_B", _extended(operands.w, 18)),
        **_bits("o_P", product),
    )  # fmt: skip
    return product


def gowin(m: Module, operands: Operands) -> Value | None:
    """MULT9X9, half a multiplier of 18 bits, or MULT18X18.

    One enable serves all its registers, so that of the weight stays in the fabric.
    """
    if operands.bits > 18:
        return None
    bits = 9 if operands.bits <= 9 else 18
    product = Signal(2 * bits)
    weight = Signal(operands.w.shape(), reset_less=True)
    with m.If(operands.take):
        m.d.sync += weight.eq(operands.w)
    off, on = Const(0, 1), Const(1, 1)
    m.submodules.dsp = Instance(
        f"MULT{bits}X{bits}",
        p_AREG=on, p_BREG=off, p_PIPE_REG=on if operands.inner else off, p_OUT_REG=on,
        p_ASIGN_REG=off, p_BSIGN_REG=off, p_SOA_REG=off, p_MULT_RESET_MODE="SYNC",
        i_CLK=ClockSignal(), i_CE=on, i_RESET=off, i_ASIGN=on, i_BSIGN=on, i_ASEL=off, i_BSEL=off,
        i_A=_extended(operands.x, bits), i_SIA=Const(0, bits),
        i_B=_extended(weight, bits), i_SIB=Const(0, bits),
        o_DOUT=product,
    )  # fmt: skip
    return product


PRIMITIVES: Mapping[Technology, Callable[[Module, Operands], Value | None]] = {
    Technology.ECP5: ecp5,
    Technology.GOWIN: gowin,
}
"""Adds a technology's block to a module and returns the product; None if it is too narrow.

All take two or three cycles. Without registers of operands there is none: synthesis does as well.
Nor is there one where it infers the block with its registers and the adder behind it: Xilinx' DSP48
and the SB_MAC16 of an iCE40, whose registers `ice40_dsp` would drop if the block came by name.
"""
