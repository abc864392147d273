"""The activation memory: independent regions, each with one unaligned read and write a cycle."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.lines import bank_lines, read_window, rotate_in
from systolith.hw.pipeline import Pipeline
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["ActivationMemory"]


class ActivationMemory(wiring.Component):
    """Byte-addressed memory of `activation_regions` regions, two banks of lines each.

    Reads take ``read_latency`` cycles from a granted request to data. Each region grants one read a
    cycle, to the residual stream before the array's stream before the host, and one write, to
    post-processing before the fill unit before the host. Writes are seen by reads granted at least
    ``write_latency`` cycles later.

    Parameters
    ----------
    spec: sizes; regions, bytes, and the line width.

    Attributes
    ----------
    banks: per region its memories of even and of odd lines, for simulators.

    Members
    -------
    x_valid, x_address, x_ready, x_data: the array's stream, `rows` bytes from any address.
    r_valid, r_address, r_data: the residual stream, `lanes` bytes, always granted.
    p_valid, p_address, p_count, p_data: post-processing writes `p_count` of `lanes` bytes.
    f_valid, f_address, f_count, f_value, f_ready: fill writes `f_count` bytes, up to a line.
    hr_valid, hr_address, hr_ready, hr_data: host reads an aligned 32-bit word.
    hw_valid, hw_address, hw_strobe, hw_data, hw_ready: host writes bytes of an aligned 32-bit word.
    """

    read_latency = 3
    write_latency = 2

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        bits, line = spec.activation_address_bits, spec.line_bytes
        lanes = spec.post.lanes
        super().__init__(
            {
                "x_valid": In(1), "x_address": In(bits), "x_ready": Out(1),
                "x_data": Out(8 * spec.array.rows),
                "r_valid": In(1), "r_address": In(bits), "r_data": Out(8 * lanes),
                "p_valid": In(1), "p_address": In(bits), "p_count": In(range(lanes + 1)),
                "p_data": In(8 * lanes),
                "f_valid": In(1), "f_address": In(bits), "f_count": In(range(line + 1)),
                "f_value": In(8), "f_ready": Out(1),
                "hr_valid": In(1), "hr_address": In(bits), "hr_ready": Out(1), "hr_data": Out(32),
                "hw_valid": In(1), "hw_address": In(bits), "hw_strobe": In(4), "hw_data": In(32),
                "hw_ready": Out(1),
            }
        )  # fmt: skip
        depth = spec.memory.activation_bytes // (2 * line)
        self.banks = [
            tuple(Memory(shape=8 * line, depth=depth, init=[]) for _ in range(2))
            for _ in range(spec.memory.activation_regions)
        ]

    def elaborate(self, platform: object) -> Module:
        """Banks, then the read side, then the write side."""
        m = Module()
        spec = self.spec
        self._offset_bits = (spec.region_stride - 1).bit_length()
        self._regions = range(spec.memory.activation_regions)
        banks = []
        for g, pair in enumerate(self.banks):
            for name, memory in zip(("even", "odd"), pair, strict=True):
                m.submodules[f"region{g}_{name}"] = memory
            banks.append([(b.read_port(), b.write_port(granularity=8)) for b in pair])
        self._reads(m, banks)
        self._writes(m, banks)
        return m

    def _here(self, address: Value, region: int) -> Value:
        """Whether ``address`` lies in ``region``."""
        return address[self._offset_bits :] == region

    def _reads(self, m: Module, banks: list) -> None:
        """Grant one reader per region, then select region and window for each reader."""
        m.d.comb += [self.x_ready.eq(1), self.hr_ready.eq(1)]
        for g in self._regions:
            use_r = Signal(name=f"use_r{g}")
            use_x = Signal(name=f"use_x{g}")
            m.d.comb += use_r.eq(self.r_valid & self._here(self.r_address, g))
            m.d.comb += use_x.eq(self.x_valid & self._here(self.x_address, g))
            with m.If(use_r & use_x):
                m.d.comb += self.x_ready.eq(0)
            with m.If((use_r | use_x) & self._here(self.hr_address, g)):
                m.d.comb += self.hr_ready.eq(0)
            address = Mux(use_r, self.r_address, Mux(use_x, self.x_address, self.hr_address))
            lines = bank_lines(address[: self._offset_bits], self.spec.line_bytes)
            here = use_r | use_x | (self.hr_valid & self._here(self.hr_address, g))
            for (read, _), line in zip(banks[g], lines, strict=True):
                m.d.comb += [read.addr.eq(line), read.en.eq(here)]
        for name, count in (("x", self.spec.array.rows), ("r", self.spec.post.lanes), ("hr", 4)):
            valid, address = getattr(self, f"{name}_valid"), getattr(self, f"{name}_address")
            data = self._window(m, name, valid, address, banks)
            m.d.comb += getattr(self, f"{name}_data").eq(data[: 8 * count])

    def _window(self, m: Module, name: str, valid: Value, address: Value, banks: list) -> Value:
        """A reader's window, ``read_latency`` cycles after its request."""
        p = Pipeline(m, valid)
        p[f"{name}_region"] = address[self._offset_bits :][: (max(2, len(banks)) - 1).bit_length()]
        p[f"{name}_place"] = address[: (2 * self.spec.line_bytes - 1).bit_length()]
        p.advance()
        for b, bank in enumerate(("even", "odd")):
            chosen = banks[0][b][0].data
            for g in self._regions[1:]:
                chosen = Mux(p[f"{name}_region"] == g, banks[g][b][0].data, chosen)
            p[f"{name}_{bank}"] = chosen
        p.advance()
        lines = [p[f"{name}_even"], p[f"{name}_odd"]]
        p[f"{name}_window"] = self._select(m, name, lines, p[f"{name}_place"])
        p.advance()
        assert p.stage == self.read_latency
        return p[f"{name}_window"]

    def _select(self, m: Module, name: str, lines: Sequence[Value], place: Value) -> Value:
        return read_window(m, lines[0], lines[1], place, self.spec.line_bytes)

    def _writes(self, m: Module, banks: list) -> None:
        """Rotate each writer onto a pair of lines, grant one per region, register, write."""
        line = self.spec.line_bytes
        place_bits = (2 * line - 1).bit_length()
        p_mask, f_mask = Signal(2 * line), Signal(2 * line)
        p_pair = Signal(16 * line)
        m.d.comb += [
            p_pair.eq(rotate_in(self.p_data, self.p_address[:place_bits], 8, line)),
            p_mask.eq(rotate_in((1 << self.p_count) - 1, self.p_address[:place_bits], 1, line)),
            f_mask.eq(rotate_in((1 << self.f_count) - 1, self.f_address[:place_bits], 1, line)),
        ]
        h_mask = rotate_in(self.hw_strobe, self.hw_address[:place_bits], 1, line)
        m.d.comb += [self.f_ready.eq(1), self.hw_ready.eq(1)]
        for g in self._regions:
            use_p, use_f = Signal(name=f"use_p{g}"), Signal(name=f"use_f{g}")
            use_h = Signal(name=f"use_h{g}")
            m.d.comb += use_p.eq(self.p_valid & self._here(self.p_address, g))
            m.d.comb += use_f.eq(self.f_valid & self._here(self.f_address, g))
            m.d.comb += use_h.eq(self.hw_valid & self._here(self.hw_address, g))
            with m.If(use_p & use_f):
                m.d.comb += self.f_ready.eq(0)
            with m.If((use_p | use_f) & use_h):
                m.d.comb += self.hw_ready.eq(0)
            address = Signal(self._offset_bits, name=f"write_address{g}", reset_less=True)
            pair = Signal(16 * line, name=f"write_pair{g}", reset_less=True)
            mask = Signal(2 * line, name=f"write_mask{g}")
            m.d.sync += mask.eq(0)
            with m.If(use_p):
                m.d.sync += [address.eq(self.p_address), pair.eq(p_pair), mask.eq(p_mask)]
            with m.Elif(use_f):
                m.d.sync += [address.eq(self.f_address), mask.eq(f_mask)]
                m.d.sync += pair.eq(self.f_value.replicate(2 * line))
            with m.Elif(use_h):
                m.d.sync += [address.eq(self.hw_address), mask.eq(h_mask)]
                m.d.sync += pair.eq(self.hw_data.replicate(line // 2))
            lines = bank_lines(address, line)
            for b, (_, write) in enumerate(banks[g]):
                m.d.comb += [
                    write.addr.eq(lines[b]),
                    write.data.eq(pair[8 * line * b : 8 * line * (b + 1)]),
                    write.en.eq(mask[line * b : line * (b + 1)]),
                ]
