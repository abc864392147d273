"""The AXI4-Lite slave: handshakes in any order, strobes, the map's edges, registers, stamps."""

from collections.abc import Callable

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.control import ControlSlave
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.configuration import PRESETS, spec_fingerprint
from systolith.spec.registers import COUNTERS, IDENTIFIER, REGISTERS, VERSION, Window, window_stride

OKAY, SLVERR = 0, 2
OFFSET = {r.name: r.offset for r in REGISTERS}
SPEC = AcceleratorSpec(
    array=ArraySpec(rows=3, columns=6),
    memory=MemorySpec(
        activation_regions=3, activation_bytes=72, weight_bytes=6 * 20, parameter_channels=2 * 9,
        command_words=100, tables=3, stamps=5, accumulator_depth=4,
    ),
    post=PostSpec(lanes=2, softmax_tables=3),
)  # fmt: skip
SIZES = {
    Window.WEIGHTS: 20 * 8,
    Window.PARAMETERS: 9 * 64,
    Window.TABLES: 3 * 256,
    Window.COMMANDS: 400, Window.EXPONENTS: 3 * 1024,
}  # fmt: skip


class Host:
    """A master with random delays, and the memories behind the slave."""

    def __init__(self, spec: AcceleratorSpec = SPEC, *, seed: int = 0, pace: float = 1.0) -> None:
        self.dut = ControlSlave(spec)
        self.rng, self.pace = np.random.default_rng(seed), pace
        self.ready = 1.0  # how often the windows take a write, or grant a read
        self.taken: list[tuple[Window, int, int, int]] = []
        self.starts = 0

    def _delay(self) -> int:
        return 0 if self.pace == 1.0 else int(self.rng.geometric(self.pace)) - 1

    async def tick(self, ctx: SimulatorContext) -> None:
        """One cycle, in which the windows answer."""
        dut = self.dut
        ctx.set(dut.w_ready, int(self.rng.random() < self.ready))
        ctx.set(dut.a_ready, int(self.rng.random() < self.ready))
        selected = ctx.get(dut.w_select)
        if selected and ctx.get(dut.w_ready):
            assert selected.bit_count() == 1 and ctx.get(dut.bus.awready)
            window = Window(selected.bit_length() - 1)
            fields = (dut.w_address, dut.w_data, dut.w_strobe)
            self.taken.append((window, *(ctx.get(f) for f in fields)))
        self.starts += ctx.get(dut.start)
        granted = ctx.get(dut.a_valid) and ctx.get(dut.a_ready)
        address = ctx.get(dut.a_address)
        await ctx.tick()
        if granted:  # the data follows three cycles after the grant, for one cycle
            self.due = {3: address}
        if hasattr(self, "due"):
            self.due = {k - 1: a for k, a in self.due.items()}
            valid = self.due.get(0)
            ctx.set(dut.a_data, 0xDEAD if valid is None else valid * 0x01010101 & 0xFFFFFFFF)

    async def write(
        self, ctx: SimulatorContext, address: int, data: int, strobe: int = 15, order: str = "both"
    ) -> int:
        """Write with AW and W in some order; return the response."""
        bus = self.dut.bus
        after = {"both": (0, 0), "aw": (0, 5), "w": (5, 0)}[order]
        after = tuple(a + self._delay() for a in after)
        back = self._delay()
        ctx.set(bus.bready, 0)
        cycle, done = 0, False
        while not done:
            ctx.set(bus.awvalid, int(cycle >= after[0]))
            ctx.set(bus.awaddr, address if cycle >= after[0] else int(self.rng.integers(1 << 28)))
            ctx.set(bus.wvalid, int(cycle >= after[1]))
            ctx.set(bus.wdata, data if cycle >= after[1] else int(self.rng.integers(1 << 32)))
            ctx.set(bus.wstrb, strobe)
            ctx.set(self.dut.w_ready, 0)
            await self._settle(ctx)
            assert ctx.get(bus.awready) == ctx.get(bus.wready)
            assert not ctx.get(bus.bvalid)
            done = bool(ctx.get(bus.awready))
            await self._finish(ctx)
            cycle += 1
            assert cycle < 1000
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        for _ in range(back):
            assert ctx.get(bus.bvalid)
            await self.tick(ctx)
        ctx.set(bus.bready, 1)
        assert ctx.get(bus.bvalid)
        response = ctx.get(bus.bresp)
        await self.tick(ctx)
        assert not ctx.get(bus.bvalid)
        return response

    async def _settle(self, ctx: SimulatorContext) -> None:
        """Choose the windows' answer of this cycle before looking at ready."""
        ctx.set(self.dut.w_ready, int(self.rng.random() < self.ready))

    async def _finish(self, ctx: SimulatorContext) -> None:
        """`tick` with the answer already chosen."""
        chosen, self.ready = self.ready, float(ctx.get(self.dut.w_ready))
        await self.tick(ctx)
        self.ready = chosen

    async def read(self, ctx: SimulatorContext, address: int) -> tuple[int, int]:
        """Read; return data and response."""
        bus = self.dut.bus
        for _ in range(self._delay()):
            await self.tick(ctx)
        back = self._delay()
        ctx.set(bus.rready, 0)
        ctx.set(bus.araddr, address)
        ctx.set(bus.arvalid, 1)
        for _ in range(1000):
            ready = ctx.get(bus.arready)
            await self.tick(ctx)
            if ready:
                break
        ctx.set(bus.arvalid, 0)
        ctx.set(bus.araddr, int(self.rng.integers(1 << 28)))
        for _ in range(back):
            assert ctx.get(bus.rvalid)
            await self.tick(ctx)
        ctx.set(bus.rready, 1)
        assert ctx.get(bus.rvalid)
        result = ctx.get(bus.rdata), ctx.get(bus.rresp)
        await self.tick(ctx)
        assert not ctx.get(bus.rvalid)
        return result


def check(host: Host, body: Callable) -> None:
    async def bench(ctx: SimulatorContext) -> None:
        await body(ctx)

    simulate(host.dut, bench)


def at(window: Window, offset: int = 0) -> int:
    return (window << 24) + offset


@pytest.mark.parametrize("order", ["both", "aw", "w"])
@pytest.mark.parametrize("pace", [1.0, 0.4])
@pytest.mark.parametrize("ready", [1.0, 0.3])
def test_writes_reach_their_window_once(order: str, pace: float, ready: float) -> None:
    host = Host(pace=pace, seed=3)
    host.ready = ready
    wanted = []

    async def body(ctx: SimulatorContext) -> None:
        for k in range(25):
            window = [Window.ACTIVATIONS, *SIZES][k % 5]
            size = SIZES.get(window, 72)
            offset, data = int(host.rng.integers(size)), int(host.rng.integers(1 << 32))
            assert await host.write(ctx, at(window, offset), data, order=order) == OKAY
            wanted.append((window, offset & ~3, data, 15))

    check(host, body)
    assert host.taken == wanted


def test_strobes() -> None:
    """Bytes where bytes can be written; whole words or nothing of parameters and commands."""
    host = Host()

    async def body(ctx: SimulatorContext) -> None:
        for window in (Window.ACTIVATIONS, *SIZES):
            for strobe in range(16):
                host.taken.clear()
                assert await host.write(ctx, at(window, 8), strobe, strobe) == OKAY
                words = window in (Window.PARAMETERS, Window.COMMANDS, Window.EXPONENTS)
                wanted = [] if words and strobe != 15 else [(window, 8, strobe, strobe)]
                assert host.taken == wanted

    check(host, body)


def test_registers_by_bytes() -> None:
    host = Host()

    async def body(ctx: SimulatorContext) -> None:
        entry = 0
        for strobe in [*range(16), 15, 1]:
            data = int(host.rng.integers(1 << 32))
            assert await host.write(ctx, OFFSET["entry"], data, strobe) == OKAY
            mask = sum(255 << 8 * i for i in range(2) if strobe >> i & 1)
            entry = entry & ~mask | data & mask
            assert await host.read(ctx, OFFSET["entry"]) == (entry, OKAY)
            assert ctx.get(host.dut.entry) == entry
        for strobe, value, want in ((14, 1, 0), (1, 1, 1), (0, 0, 1), (15, 0, 0)):
            assert await host.write(ctx, OFFSET["interrupt"], value, strobe) == OKAY
            assert await host.read(ctx, OFFSET["interrupt"]) == (want, OKAY)
        for strobe, value in ((14, 1), (15, 0), (15, 0xFFFFFFFE), (0, 1)):
            assert await host.write(ctx, OFFSET["control"], value, strobe) == OKAY
            assert host.starts == 0
        assert await host.write(ctx, OFFSET["control"], 1, 1) == OKAY
        assert host.starts == 1

    check(host, body)


@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_every_register_reads(pace: float) -> None:
    host = Host(pace=pace)
    fixed = {"identifier": IDENTIFIER, "version": VERSION, "fingerprint": spec_fingerprint(SPEC)}

    async def body(ctx: SimulatorContext) -> None:
        for register in REGISTERS:
            got = await host.read(ctx, register.offset)
            if register.access == "wo" or register.name in ("memory_low", "memory_high"):
                assert got == (0, SLVERR)
            else:
                assert got == (fixed.get(register.name, 0), OKAY), register.name

    check(host, body)


def test_outside_the_map() -> None:
    """Writes of what cannot be written and reads of what cannot be read change nothing."""
    host = Host()
    no_write = [0x20, 0x7C, 0x1000, 0xFFFFFC, 0x80 + 4 * len(COUNTERS)]
    no_write += [r.offset for r in REGISTERS if r.access == "ro"]
    no_write += [at(w, size) for w, size in SIZES.items()]
    no_write += [at(w, 0xFFFFFC) for w in (Window.ACTIVATIONS, *SIZES)]
    # Activations: three regions of 72 bytes, 128 apart.
    holes = [at(Window.ACTIVATIONS, o) for o in (72, 124, 200, 3 * 128, 2 * 128 + 72)]
    no_write += [*holes, at(Window.STAMPS), 8 << 24, 15 << 24]
    no_read = [0x20, 0x7C, OFFSET["control"], *holes, at(Window.STAMPS, 20), 8 << 24, 15 << 24]
    no_read += [at(w) for w in SIZES]

    async def body(ctx: SimulatorContext) -> None:
        for address in no_write:
            assert await host.write(ctx, address, 0xFFFFFFFF) == SLVERR, hex(address)
        for address in no_read:
            assert await host.read(ctx, address) == (0, SLVERR), hex(address)
        assert not host.taken and not host.starts
        for window, size in SIZES.items():  # the last words exist
            assert await host.write(ctx, at(window, size - 4), 1) == OKAY
        for region in range(3):
            assert await host.write(ctx, at(Window.ACTIVATIONS, region * 128 + 68), 1) == OKAY

    check(host, body)


def test_parts_left_out() -> None:
    """No tables: no window of tables."""
    host = Host(AcceleratorSpec(memory=MemorySpec(tables=0)))

    async def body(ctx: SimulatorContext) -> None:
        assert await host.write(ctx, at(Window.TABLES), 1) == SLVERR

    check(host, body)


@pytest.mark.parametrize("ready", [1.0, 0.2])
@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_activation_reads(ready: float, pace: float) -> None:
    """The word is taken in the one cycle in which the memory gives it; low bits are ignored."""
    host = Host(pace=pace, seed=9)
    host.ready = ready

    async def body(ctx: SimulatorContext) -> None:
        for _ in range(30):
            offset = int(host.rng.integers(3)) * 128 + int(host.rng.integers(72))
            data, response = await host.read(ctx, at(Window.ACTIVATIONS, offset))
            assert (data, response) == ((offset & ~3) * 0x01010101 & 0xFFFFFFFF, OKAY)

    check(host, body)


def test_reads_and_writes_at_once() -> None:
    """The channels do not wait for each other."""
    host = Host()

    async def body(ctx: SimulatorContext) -> None:
        bus = host.dut.bus
        ctx.set(bus.araddr, OFFSET["identifier"])
        for signal in (bus.arvalid, bus.rready, bus.bready, bus.awvalid, bus.wvalid):
            ctx.set(signal, 1)
        ctx.set(bus.awaddr, OFFSET["entry"])
        ctx.set(bus.wstrb, 15)
        reads = writes = 0
        for k in range(60):
            ctx.set(bus.wdata, k)
            if ctx.get(bus.rvalid):
                assert ctx.get(bus.rdata) == IDENTIFIER
            reads += ctx.get(bus.rvalid)
            writes += ctx.get(bus.bvalid)
            await ctx.tick()
        assert reads >= 60 // 4 and writes >= 60 // 2 - 1

    check(host, body)


def test_a_run() -> None:
    """Status, error, counters, time stamps and interrupt of runs that end well and badly."""
    host = Host()
    dut = host.dut

    async def status(ctx: SimulatorContext) -> int:
        return (await host.read(ctx, OFFSET["status"]))[0]

    async def go(ctx: SimulatorContext, cycles: int, stamps: list[int], error: int) -> None:
        await host.write(ctx, OFFSET["control"], 1)  # `start` was in one of its cycles
        ctx.set(dut.running, 1)
        assert await status(ctx) & 0b111 == 0b001
        for cycle in range(cycles):
            ctx.set(dut.stamp, int(cycle in stamps))
            ctx.set(dut.event_array_busy, cycle & 1)
            await ctx.tick()
        ctx.set(dut.stamp, 0)
        ctx.set(dut.event_array_busy, 0)
        ctx.set(dut.finish, 1)
        await ctx.tick()
        ctx.set(dut.finish, 0)
        ctx.set(dut.running, 0)
        ctx.set(dut.error, error)
        await ctx.tick()

    async def body(ctx: SimulatorContext) -> None:
        assert await status(ctx) == 0
        await go(ctx, 40, [1, 2, 30], 0)
        assert await status(ctx) == 0b010
        assert not ctx.get(dut.irq)
        await host.write(ctx, OFFSET["interrupt"], 1)
        assert ctx.get(dut.irq)
        busy = (await host.read(ctx, OFFSET["array_busy"]))[0]
        cycles = (await host.read(ctx, OFFSET["cycles"]))[0]
        assert busy == 20 and cycles > 40
        assert (await host.read(ctx, OFFSET["stamps"]))[0] == 3
        times = [(await host.read(ctx, at(Window.STAMPS, 4 * i)))[0] for i in range(3)]
        assert np.diff(times).tolist() == [1, 28]
        await go(ctx, 40, list(range(0, 16, 2)), 1)
        assert await status(ctx) == 0b110 and ctx.get(dut.irq)
        assert (await host.read(ctx, OFFSET["error"]))[0] == 1
        # More stamps than places: all are counted, the first are kept.
        assert (await host.read(ctx, OFFSET["stamps"]))[0] == 8
        times = [(await host.read(ctx, at(Window.STAMPS, 4 * i)))[0] for i in range(5)]
        assert np.diff(times).tolist() == [2] * 4
        ctx.set(dut.error, 0)
        await host.write(ctx, OFFSET["control"], 1)
        assert not ctx.get(dut.irq)
        assert (await host.read(ctx, OFFSET["array_busy"]))[0] == 0
        assert (await host.read(ctx, OFFSET["stamps"]))[0] == 0

    check(host, body)


def test_a_start_while_busy_changes_nothing() -> None:
    host = Host()
    dut = host.dut

    async def body(ctx: SimulatorContext) -> None:
        await host.write(ctx, OFFSET["control"], 1)
        ctx.set(dut.running, 1)
        ctx.set(dut.stamp, 1)
        ctx.set(dut.event_post_busy, 1)
        await ctx.tick().repeat(7)
        ctx.set(dut.stamp, 0)
        ctx.set(dut.event_post_busy, 0)
        await host.write(ctx, OFFSET["control"], 1)
        assert (await host.read(ctx, OFFSET["stamps"]))[0] == 7
        assert (await host.read(ctx, OFFSET["post_busy"]))[0] == 7

    check(host, body)


def test_a_memory_too_large_for_its_window() -> None:
    """Weight words of 5 bytes take 8 bytes of address space each."""
    spec = AcceleratorSpec(
        array=ArraySpec(rows=4, columns=5),
        memory=MemorySpec(weight_bytes=5 * 3_000_000),
        post=PostSpec(lanes=1),
    )
    text = r"^window WEIGHTS must take at most 2\*\*24 bytes of addresses, not 24000000: "
    with pytest.raises(ValueError, match=text):
        ControlSlave(spec)


def test_windows_do_not_overlap() -> None:
    """Every window of the largest presets fits in its 24 address bits."""
    for spec in PRESETS.values():
        words = {
            Window.ACTIVATIONS: spec.region_stride * spec.memory.activation_regions,
            Window.WEIGHTS: spec.weight_words,
            Window.PARAMETERS: spec.lane_words,
            Window.COMMANDS: spec.memory.command_words,
        }
        for window, count in words.items():
            assert count * window_stride(spec, window) <= 1 << 24
