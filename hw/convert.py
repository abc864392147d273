"""Lanes that convert the lines of QUANTIZE and DEQUANTIZE commands."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.dequantize import DequantizeLane
from systolith.hw.fields import command_bits, command_fields
from systolith.hw.quantize import QuantizeLane
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode

__all__ = ["Converter"]


class Converter(wiring.Component):
    """Convert a vector of numbers a cycle, as the running command says; nothing stalls.

    Results come `QuantizeLane.latency` or `DequantizeLane.latency` cycles later.

    Parameters
    ----------
    spec: lanes, forms and width of a line.

    Members
    -------
    command: the command, which must hold still while vectors are under way.
    active, widens: it is a QUANTIZE or a DEQUANTIZE; it is a DEQUANTIZE.
    i_valid, i: there is a vector: float32 numbers of four bytes, or codes of one, from byte 0 on.
    o_valid, o: codes or numbers, likewise.
    """

    command: Signal
    active: Signal
    widens: Signal
    i_valid: Signal
    i: Signal
    o_valid: Signal
    o: Signal

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        self._forms = spec.post.quantize_forms
        bits = 32 * spec.post.quantize_lanes
        super().__init__(
            {
                "command": In(max(map(command_bits, (Opcode.QUANTIZE, Opcode.DEQUANTIZE)))),
                "active": Out(1), "widens": Out(1),
                "i_valid": In(1), "i": In(bits), "o_valid": Out(1), "o": Out(bits),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Both kinds of lanes side by side, each with the fields of its command."""
        m = Module()
        to_codes, to_numbers = (
            command_fields(opcode, self.command) for opcode in (Opcode.QUANTIZE, Opcode.DEQUANTIZE)
        )
        quantizes, dequantizes = (
            to_codes["opcode"] == opcode for opcode in (Opcode.QUANTIZE, Opcode.DEQUANTIZE)
        )
        codes: list[Value] = []
        numbers: list[Value] = []
        valid: list[Value] = []
        for lane in range(self.spec.post.quantize_lanes):
            quantize = QuantizeLane(self._forms, held=True)
            dequantize = DequantizeLane(held=True)
            m.submodules[f"quantize{lane}"] = quantize
            m.submodules[f"dequantize{lane}"] = dequantize
            for name in ("form", "scale", "inverse", "zero", "low", "high"):
                m.d.comb += getattr(quantize, f"i_{name}").eq(to_codes[name])
            code = self.i.word_select(lane, 8)
            m.d.comb += [
                quantize.i_valid.eq(self.i_valid & quantizes),
                quantize.i.eq(self.i.word_select(lane, 32)),
                dequantize.i_valid.eq(self.i_valid & dequantizes),
                dequantize.i.eq(Cat(code, code[7] & to_numbers["signed"])),
                dequantize.i_scale.eq(to_numbers["scale"]),
                dequantize.i_zero.eq(to_numbers["zero"]),
            ]
            codes.append(quantize.o)
            numbers.append(dequantize.o)
            valid = [quantize.o_valid, dequantize.o_valid]
        m.d.comb += [
            self.active.eq(quantizes | dequantizes), self.widens.eq(dequantizes),
            self.o_valid.eq(valid[0] | valid[1]),
            self.o.eq(Mux(quantizes, Cat(*codes), Cat(*numbers))),
        ]  # fmt: skip
        return m
