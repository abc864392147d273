"""The activation memory: independent regions, each with one unaligned read and write a cycle."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.lines import bank_lines, must_wait, place_mask, rotate_line, same_region
from systolith.hw.technology import Technology
from systolith.hw.window import ReadWindow
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["ActivationMemory"]


class ActivationMemory(wiring.Component):
    """Byte-addressed memory of `activation_regions` regions, two banks of lines each.

    Reads take ``read_latency`` cycles from a granted request to data; writes are seen by reads
    granted at least ``write_latency`` cycles later. Each region grants one read and one write a
    cycle, to the first port of the member list below that asks for it; but while ``x_urgent`` is
    high, the array's stream comes before the residual stream. A request that is not granted has no
    effect and may change or go away. Data stands at its port in the one cycle in which it is due.

    All readers of a single region share the window that selects their bytes, as one of them reads a
    cycle. With more regions each has its own, but the host uses that of the copies, and waits while
    they ask.

    On an iCE40, whose registers are dear and whose clock is slow, requests are registered in front
    of the banks, and not the data behind them: reads see writes a cycle younger. No program writes
    what it reads in the same cycle.

    Parameters
    ----------
    spec: sizes; regions, bytes, and the line width.
    technology: for which the memory is made.

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

    The ports `s` and `l` exist only with an external memory, `c` and `f` only with a move unit.
    """

    read_latency = ReadWindow.latency
    write_latency = 2

    def __init__(self, spec: AcceleratorSpec, technology: Technology = Technology.GENERIC):
        self.spec = spec
        self._late = technology is Technology.ICE40
        lanes, bus = spec.post.lanes, spec.external.data_bytes
        self._readers = {"r": lanes, "x": spec.vector_bytes}
        self._writers = {"p": lanes}
        if spec.moves:
            self._readers["c"] = self._writers["f"] = spec.line_bytes
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
        self._place_bits = (2 * spec.line_bytes - 1).bit_length()
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
        if port == "hr" and "c" in self._readers:
            m.d.comb += asks.eq(self.hr_valid & here & ~self.c_valid)
        return asks

    def _wait(self, m: Module, ports: Sequence[str], free: int) -> None:
        """All ports but the first ``free`` of them wait for those before them."""
        requests = {p: (getattr(self, f"{p}_valid"), getattr(self, f"{p}_address")) for p in ports}
        for port in ports[free:]:
            waits = must_wait(requests, port, self._offset_bits, len(self._regions))
            m.d.comb += getattr(self, f"{port}_ready").eq(~waits)

    def _reads(self, m: Module, banks: list) -> None:
        """Grant one reader per region, then select region and window for each reader."""
        names, alone = list(self._readers), len(self._regions) == 1
        self._wait(m, names, 2)
        meet = same_region(self.r_address, self.x_address, self._offset_bits, len(banks))
        m.d.comb += self.r_ready.eq(~(self.x_valid & (meet & self.x_urgent)))
        m.d.comb += self.x_ready.eq(~(self.r_valid & (meet & ~self.x_urgent)))
        for g in self._regions:
            asks = {port: self._asks(m, port, g) for port in self._readers}
            taken, by_stream, wanted = self._grant(asks)
            lines: Sequence[Value] = wanted
            if self._late:
                address = self._held(m, wanted[0], f"read_address{g}", taken)
                lines = bank_lines(address, self.spec.line_bytes)
                if self.spec.row_pairs:
                    below = self._held(m, self.x_below, "below")
                    pair = self._held(m, by_stream & self.x_pair, "is_pair")
                    lines = self._paired(lines, below, pair)
            for (read, _), line in zip(banks[g], lines, strict=False):
                m.d.comb += [read.addr.eq(line), read.en.eq(self._held(m, taken, "read_taken"))]
            if alone:
                request = {"valid": taken, "place": wanted[-1][: self._place_bits]}
                self._window(m, names, banks, request)
        if not alone:
            self._windows(m, banks)

    def _grant(self, asks: Mapping[str, Value]) -> tuple[Value, Value, list[Value]]:
        """Grant a region; whether there is a read, whether the stream's, and what it wants.

        That is made for every reader before it is known who may read: lines of the two banks, and
        in a single region the place. Registers in front of the banks take the address. Whether the
        stream asks is known last: the others are settled by then.
        """
        taken: Value = asks["r"]
        wanted = self._wants("r")
        for port in list(self._readers)[2:]:
            theirs = self._wants(port)
            wanted = [Mux(taken, one, own) for one, own in zip(wanted, theirs, strict=True)]
            taken = taken | asks[port]
        by_stream = asks["x"] & (self.x_urgent | ~asks["r"])
        pairs = zip(self._wants("x"), wanted, strict=True)
        wanted = [Mux(by_stream, own, theirs) for own, theirs in pairs]
        return taken | asks["x"], by_stream, wanted

    def _wants(self, port: str) -> list[Value]:
        """What a reader wants; no word of the host begins in one line and ends in the next."""
        address = getattr(self, f"{port}_address")[: self._offset_bits]
        if self._late:
            return [address]
        lines: Sequence[Value] = bank_lines(address, self.spec.line_bytes)
        if port == "hr":
            lines = lines[1], lines[1]
        if port == "x" and self.spec.row_pairs:
            lines = self._paired(lines, self.x_below, self.x_pair)
        alone = len(self._regions) == 1
        return [*lines, address[: self._place_bits]] if alone else [*lines]

    def _held(self, m: Module, value: Value, name: str, enable: ValueLike = 1) -> Value:
        """What goes to the banks with a request."""
        if not self._late:
            return value
        register = Signal(len(value), name=name)
        with m.If(enable):
            m.d.sync += register.eq(value)
        return register

    def _paired(self, lines: Sequence[Value], below: Value, pair: Value) -> list[Value]:
        """Let the bank in which `x_below` lies read there."""
        low = (self.spec.line_bytes - 1).bit_length()
        below = below[low : self._offset_bits]
        here = [~below[0], below[0]]
        return [
            Mux(pair & bank, below[1:], line) for bank, line in zip(here, lines[:2], strict=True)
        ]

    def _windows(self, m: Module, banks: list) -> None:
        """A window for every reader, but one for copies and the host."""
        for port in self._readers:
            readers = [port]
            if port == "hr" and "c" in self._readers:
                continue
            if port == "c":
                readers = ["c", "hr"]
            valid, address = (getattr(self, f"{port}_{n}") for n in ("valid", "address"))
            if len(readers) > 1:
                address = Mux(self.c_valid, address, self.hr_address)
                valid = valid | self.hr_valid
            place, region = address[: self._place_bits], address[self._offset_bits :]
            self._window(m, readers, banks, {"valid": valid, "place": place, "region": region})

    def _window(
        self, m: Module, readers: Sequence[str], banks: list, request: Mapping[str, Value]
    ) -> None:
        """A window, ``read_latency`` cycles after its request, for one or several readers."""
        window = ReadWindow(self.spec, late=self._late)
        m.submodules["_".join((*readers, "window"))] = window
        m.d.comb += [getattr(window, f"i_{part}").eq(value) for part, value in request.items()]
        for g, pair in enumerate(banks):
            for name, (read, _) in zip(("even", "odd"), pair, strict=True):
                m.d.comb += getattr(window, f"{name}{g}").eq(read.data)
        for port in readers:
            data: Value = window.o
            if port == "x" and self.spec.array.sparse:
                data = Cat(data, window.o_other)
            m.d.comb += getattr(self, f"{port}_data").eq(data)
        if "x" in readers and self.spec.row_pairs:
            m.d.comb += self.x_below_data.eq(window.o_other)

    def _writes(self, m: Module, banks: list) -> None:
        """Grant one writer per region, register, rotate onto a pair of lines, write.

        Single bytes, and the host's words, are everywhere in a line before it is known where they
        go: if no other writes there is nothing to rotate.
        """
        line = self.spec.line_bytes
        self._wait(m, list(self._writers), 1)
        turns = any(size > 1 for port, size in self._writers.items() if port != "hw")
        for g in self._regions:
            address = Signal(self._offset_bits, name=f"write_address{g}", reset_less=True)
            data = Signal(8 * line, name=f"write_data{g}", reset_less=True)
            mask = Signal(line, name=f"write_mask{g}")
            asks = {port: self._asks(m, port, g) for port in self._writers}
            taken = Cat(*asks.values()).any()
            addresses = [getattr(self, f"{port}_address")[: self._offset_bits] for port in asks]
            written = self._choose(asks, [self._bytes(port) for port in asks])
            m.d.sync += mask.eq(Mux(taken, written, 0))
            with m.If(taken):
                m.d.sync += [
                    address.eq(self._choose(asks, addresses)),
                    data.eq(self._choose(asks, [self._spread(port, turns) for port in asks])),
                ]
            place = address[: self._place_bits]
            rotated = rotate_line(m, data, place[:-1]) if turns else data
            placed = place_mask(mask, place, line)
            for b, (_, write) in enumerate(banks[g]):
                m.d.comb += [
                    write.addr.eq(bank_lines(address, line)[b]),
                    write.data.eq(rotated),
                    write.en.eq(placed[line * b : line * (b + 1)]),
                ]

    @staticmethod
    def _choose(asks: Mapping[str, Value], values: Sequence[Value]) -> Value:
        """The value of the first port that asks; the last port's if none does."""
        *first, chosen = zip(asks.values(), values, strict=True)
        result = chosen[1]
        for asking, value in reversed(first):
            result = Mux(asking, value, result)
        return result

    def _spread(self, port: str, turns: bool) -> Value:
        """The bytes of ``port`` in a line: from byte 0 on, or everywhere where none is turned."""
        data: Value = getattr(self, f"{port}_data")
        return data if turns else data.replicate(8 * self.spec.line_bytes // len(data))

    def _bytes(self, port: str) -> Value:
        """Which bytes ``port`` writes, a bit each."""
        return self.hw_strobe if port == "hw" else (1 << getattr(self, f"{port}_count")) - 1
