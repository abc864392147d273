"""The activation memory: independent regions, each with one unaligned read and write a cycle."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.lines import bank_lines, place_mask, read_window, rotate_line
from systolith.hw.pipeline import Pipeline
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["ActivationMemory"]


class ActivationMemory(wiring.Component):
    """Byte-addressed memory of `activation_regions` regions, two banks of lines each.

    Reads take ``read_latency`` cycles from a granted request to data; writes are seen by reads
    granted at least ``write_latency`` cycles later. Each region grants one read and one write a
    cycle, to the first port of the member list below that asks for it; but while ``x_urgent`` is
    high, the array's stream comes before the residual stream. A request that is not granted has no
    effect and may change or go away.

    Parameters
    ----------
    spec: sizes; regions, bytes, and the line width.

    Attributes
    ----------
    banks: per region its memories of even and of odd lines, for simulators.

    Members
    -------
    r_valid, r_address, r_ready, r_data: the residual stream, `lanes` bytes from any address.
    x_valid, x_address, x_ready, x_data: the array's stream, `rows` bytes from any address; if the
        array is sparse ``2 * rows`` bytes, which from the second line on are right if the address
        is a multiple of a line.
    x_urgent: the array's stream must not wait for the residual stream.
    x_pair, x_below, x_below_data: the array's stream reads whole lines, and with each the one at
        `x_below`, which is in the same region's other bank. Only with `AcceleratorSpec.row_pairs`.
    c_valid, c_address, c_ready, c_data: copies read a line of bytes from any address.
    s_valid, s_address, s_ready, s_data: saves read `external.data_bytes` bytes from any address.
    hr_valid, hr_address, hr_ready, hr_data: host reads an aligned 32-bit word.
    p_valid, p_address, p_count, p_data: post-processing writes `p_count` of `lanes` bytes, always
        granted.
    f_valid, f_address, f_count, f_data, f_ready: the move unit writes `f_count` bytes, up to a
        line.
    l_valid, l_address, l_count, l_data, l_ready: loads write `l_count` bytes, up to
        `external.data_bytes`.
    hw_valid, hw_address, hw_strobe, hw_data, hw_ready: host writes bytes of an aligned 32-bit word.

    The ports `s` and `l` exist only with an external memory, `r` only with residual adds.
    """

    read_latency = 3
    write_latency = 2

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        lanes, bus = spec.post.lanes, spec.external.data_bytes
        self._readers = {"r": lanes, "x": spec.vector_bytes, "c": spec.line_bytes}
        self._writers = {"p": lanes, "f": spec.line_bytes}
        if bus:
            self._readers["s"] = self._writers["l"] = bus
        self._readers["hr"] = self._writers["hw"] = 4
        super().__init__(self._members())
        depth = spec.memory.activation_bytes // (2 * spec.line_bytes)
        self.banks = [
            tuple(Memory(shape=8 * spec.line_bytes, depth=depth, init=[]) for _ in range(2))
            for _ in range(spec.memory.activation_regions)
        ]

    def _members(self) -> dict[str, wiring.Member]:
        """Ports of all readers and writers."""
        bits = self.spec.activation_address_bits
        members: dict[str, wiring.Member] = {"x_urgent": In(1), "hw_strobe": In(4)}
        for port, count in self._readers.items():
            members |= {
                f"{port}_valid": In(1), f"{port}_address": In(bits),
                f"{port}_ready": Out(1), f"{port}_data": Out(8 * count),
            }  # fmt: skip
        if self.spec.row_pairs:
            members |= {
                "x_pair": In(1), "x_below": In(bits), "x_below_data": Out(8 * self.spec.array.rows)
            }  # fmt: skip
        for port, count in self._writers.items():
            members |= {
                f"{port}_valid": In(1), f"{port}_address": In(bits), f"{port}_data": In(8 * count)
            }  # fmt: skip
            if port != "hw":
                members[f"{port}_count"] = In(range(count + 1))
            if port != "p":
                members[f"{port}_ready"] = Out(1)
        return members

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

    def _asks(self, m: Module, port: str, region: int) -> Signal:
        """Whether ``port`` has a request for ``region``."""
        asks = Signal(name=f"{port}_asks{region}")
        here = getattr(self, f"{port}_address")[self._offset_bits :] == region
        m.d.comb += asks.eq(getattr(self, f"{port}_valid") & here)
        return asks

    def _meets(self, first: str, port: str) -> Value:
        """Whether the requests of two readers, if there are such, are for the same region."""
        count = self.spec.memory.activation_regions
        if count == 1:
            return Const(1)
        one, other = (getattr(self, f"{p}_address")[self._offset_bits :] for p in (first, port))
        return (one == other) & (one < count)

    def _reads(self, m: Module, banks: list) -> None:
        """Grant one reader per region, then select region and window for each reader.

        Whether the stream has a request is known last: for whom that matters is known by then.
        """
        m.d.comb += [self.x_ready.eq(1), *([self.r_ready.eq(1)] if "r" in self._readers else [])]
        others = [port for port in self._readers if port not in "rx"]
        for i, port in enumerate(others):
            earlier = [p for p in self._readers if p in "rx"] + others[:i]
            claims = Cat(getattr(self, f"{p}_valid") & self._meets(p, port) for p in earlier)
            m.d.comb += getattr(self, f"{port}_ready").eq(~claims.any())
        for g in self._regions:
            asks = {port: self._asks(m, port, g) for port in self._readers}
            taken: Value = asks["x"]
            by_stream: Value = asks["x"]
            lines = self._lines("x")
            if "r" in asks:
                with m.If(asks["r"] & asks["x"]):
                    m.d.comb += [self.r_ready.eq(~self.x_urgent), self.x_ready.eq(self.x_urgent)]
                taken = asks["r"] | asks["x"]
                by_stream = asks["x"] & (self.x_urgent | ~asks["r"])
                pairs = zip(lines, self._lines("r"), strict=True)
                lines = [Mux(by_stream, own, theirs) for own, theirs in pairs]
            for port in others:
                theirs = self._lines(port)
                lines = [Mux(taken, line, own) for line, own in zip(lines, theirs, strict=True)]
                taken = taken | asks[port]
            if self.spec.row_pairs:
                lines = self._paired(lines, by_stream & self.x_pair)
            for (read, _), line in zip(banks[g], lines, strict=True):
                m.d.comb += [read.addr.eq(line), read.en.eq(taken)]
        for port, count in self._readers.items():
            valid, address = getattr(self, f"{port}_valid"), getattr(self, f"{port}_address")
            data = self._window(m, port, valid, address, banks)
            m.d.comb += getattr(self, f"{port}_data").eq(data[: 8 * count])

    def _lines(self, port: str) -> Sequence[Value]:
        """The lines that a reader wants of the two banks, made before it is known who may read.

        The host's words never begin in one line and end in the next.
        """
        address = getattr(self, f"{port}_address")[: self._offset_bits]
        lines = bank_lines(address, self.spec.line_bytes)
        return (lines[1], lines[1]) if port == "hr" else lines

    def _paired(self, lines: Sequence[Value], pair: Value) -> list[Value]:
        """Let the bank in which `x_below` lies read there."""
        low = (self.spec.line_bytes - 1).bit_length()
        below = self.x_below[low : self._offset_bits]
        here = [~below[0], below[0]]
        return [Mux(pair & bank, below[1:], line) for bank, line in zip(here, lines, strict=True)]

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
        array = self.spec.array
        beside = name == "x" and (self.spec.row_pairs or array.sparse)
        if beside:
            p["x_other"] = Mux(p["x_place"][-1], *lines)
        p.advance()
        if name == "x" and self.spec.row_pairs:
            m.d.comb += self.x_below_data.eq(p["x_other"][: 8 * array.rows])
        assert p.stage == self.read_latency
        if beside and array.sparse:
            return Cat(p["x_window"], p["x_other"])
        return p[f"{name}_window"]

    def _select(self, m: Module, name: str, lines: Sequence[Value], place: Value) -> Value:
        return read_window(m, lines[0], lines[1], place, self.spec.line_bytes)

    def _writes(self, m: Module, banks: list) -> None:
        """Grant one writer per region, register, rotate onto a pair of lines, write."""
        line = self.spec.line_bytes
        m.d.comb += [getattr(self, f"{port}_ready").eq(1) for port in self._writers if port != "p"]
        for g in self._regions:
            address = Signal(self._offset_bits, name=f"write_address{g}", reset_less=True)
            data = Signal(8 * line, name=f"write_data{g}", reset_less=True)
            mask = Signal(line, name=f"write_mask{g}")
            m.d.sync += mask.eq(0)
            taken: Value = Const(0)
            for port in self._writers:
                asks = self._asks(m, port, g)
                if port != "p":
                    with m.If(taken & asks):
                        m.d.comb += getattr(self, f"{port}_ready").eq(0)
                with m.If(asks & ~taken):
                    m.d.sync += [
                        address.eq(getattr(self, f"{port}_address")),
                        data.eq(getattr(self, f"{port}_data")),
                        mask.eq(self._bytes(port)),
                    ]
                taken = taken | asks
            place = address[: (2 * line - 1).bit_length()]
            rotated, placed = rotate_line(data, place[:-1], line), place_mask(mask, place, line)
            for b, (_, write) in enumerate(banks[g]):
                m.d.comb += [
                    write.addr.eq(bank_lines(address, line)[b]),
                    write.data.eq(rotated),
                    write.en.eq(placed[line * b : line * (b + 1)]),
                ]

    def _bytes(self, port: str) -> Value:
        """Which bytes ``port`` writes, a bit each."""
        return self.hw_strobe if port == "hw" else (1 << getattr(self, f"{port}_count")) - 1
