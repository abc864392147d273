"""Run programs on Amaranth's own simulator: slow, and independent of Verilog and Verilator."""

import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator
from numpy.typing import NDArray

from systolith.hw.top import Accelerator
from systolith.sim.axi_monitor import AxiMonitor
from systolith.sim.backend import (
    Progress,
    Result,
    RunError,
    external_image,
    read_buffer,
    write_inputs,
)
from systolith.sim.external import DEFAULT_TIMING, AxiMemory, MemoryTiming
from systolith.sim.images import (
    activation_names,
    join_activations,
    program_words,
    split_activations,
)
from systolith.sim.limits import cycle_limit
from systolith.spec.program import Program
from systolith.spec.registers import COUNTERS, REGISTERS, ErrorCode, Window

__all__ = ["PysimBackend"]

_OFFSETS = {register.name: register.offset for register in REGISTERS}


def _memories(dut: Accelerator) -> dict[str, Memory]:
    """Every memory that is loaded or read directly, by its name in the accelerator."""
    result = {"fetch.memory": dut.fetch.memory, "weights.memory": dut.weights.memory}
    result["control.stamp_memory"] = dut.control.stamp_memory
    if dut.move is not None and dut.move.softmax is not None:
        result["move.softmax.exponents"] = dut.move.softmax.exponents
    for name, memory in dut.store.parameters.memories.items():
        result[f"store.parameters.{name}_memory"] = memory
    for names, banks in zip(activation_names(dut.spec), dut.activations.banks, strict=True):
        result |= dict(zip(names, banks, strict=True))
    return result


class PysimBackend:
    """A thousand cycles a second or so: for small arrays and small programs.

    The protocol of the external memory's bus is checked in every cycle.

    Parameters
    ----------
    memory: timing of external memory: by default a latency of 16 cycles and no stalls.
    """

    name = "pysim"

    def __init__(self, *, memory: MemoryTiming = DEFAULT_TIMING):
        self._memory = memory

    def run(
        self,
        program: Program,
        inputs: Mapping[str, NDArray[np.generic]],
        *,
        capture: Collection[str] = (),
        progress: Progress | None = None,
    ) -> Result:
        """Run ``program`` once; see `Backend.run`."""
        session = _Session(
            program, inputs, set(capture) | set(program.outputs), progress, self._memory
        )
        simulator = Simulator(session.dut)
        simulator.add_clock(1e-8)
        simulator.add_testbench(session.drive)
        if program.spec.external.data_bytes:
            simulator.add_testbench(session.serve, background=True)
        start = time.perf_counter()
        simulator.run()
        return Result(
            tensors=session.tensors,
            counters=session.counters,
            stamps=session.stamps,
            seconds=time.perf_counter() - start,
        )


class _Session:
    """One run: the testbench and what it collects."""

    def __init__(
        self,
        program: Program,
        inputs: Mapping[str, NDArray[np.generic]],
        wanted: set[str],
        progress: Progress | None,
        timing: MemoryTiming,
    ) -> None:
        self.program, self.wanted, self.progress = program, wanted, progress
        self.timing = timing
        self.dut = Accelerator(program.spec)
        self.memories = _memories(self.dut)
        spec = program.spec
        image = np.zeros(spec.region_stride * spec.memory.activation_regions, np.uint8)
        self.external = external_image(program)
        write_inputs(program, inputs, image, self.external)
        self.words = {**program_words(program), **split_activations(spec, image)}
        self.tensors: dict[str, NDArray[np.generic]] = {}
        self.counters: dict[str, int] = {}
        self.stamps: tuple[int, ...] = ()

    async def drive(self, ctx: Any) -> None:
        """Load, start, watch the time stamps, collect."""
        for name, memory in self.memories.items():
            for index, row in enumerate(self.words.get(name, ())):
                value = int.from_bytes(row.tobytes(), "little")
                if value:
                    ctx.set(memory.data[index], value)
        await self._load_tables(ctx)
        for name in sorted(self.wanted & set(self.program.inputs)):
            self.tensors[name] = self._read(ctx, name)
        if self.program.spec.external.data_bytes:
            await self._write(ctx, _OFFSETS["memory_low"], self.timing.base & 0xFFFFFFFF)
            await self._write(ctx, _OFFSETS["memory_high"], self.timing.base >> 32)
        await self._write(ctx, _OFFSETS["control"], 1)
        await self._watch(ctx)
        error = ErrorCode(ctx.get(self.dut.fetch.error))
        if error is not ErrorCode.NONE:
            raise RunError(f"the accelerator stopped with error {error.name.lower()}")
        # What lies in external memory is saved after its stamp, and stays.
        layers = self.wanted.intersection(layer.tensor for layer in self.program.layers)
        late = {name for name in layers if self.program.buffers[name].external}
        for name in sorted(late | set(self.program.outputs)):
            self.tensors[name] = self._read(ctx, name)
        count = ctx.get(self.dut.stamps)
        stamp_memory = self.memories["control.stamp_memory"]
        self.stamps = tuple(ctx.get(stamp_memory.data[i]) for i in range(count))
        for counter in COUNTERS:
            self.counters[counter.name] = await self._read_register(ctx, _OFFSETS[counter.name])

    async def serve(self, ctx: Any) -> None:
        """Be the external memory."""
        external = self.program.spec.external
        memory = AxiMemory(self.external, external.data_bytes, self.timing)
        monitor = AxiMonitor(external.data_bytes, external.burst_beats, external.outstanding)
        while True:
            memory.step(ctx, self.dut.memory)
            monitor.step(ctx, self.dut.memory)
            await ctx.tick()

    async def _watch(self, ctx: Any) -> None:
        layers = {layer.stamp + 1: layer for layer in self.program.layers}
        seen = 0
        for _ in range(cycle_limit(self.program, self.timing)):
            if not ctx.get(self.dut.busy):
                return
            await ctx.tick()
            stamps = ctx.get(self.dut.stamps)
            if stamps != seen:
                seen = stamps
                layer = layers.get(seen)
                if layer is not None and layer.tensor in self.wanted:
                    self.tensors[layer.tensor] = self._read(ctx, layer.tensor)
                if self.progress is not None:
                    self.progress(min(seen, len(layers)), len(layers))
        raise RunError(f"the accelerator is stuck after {seen} layers")

    def _read(self, ctx: Any, name: str) -> NDArray[np.generic]:
        if self.program.buffers[name].external:
            return read_buffer(self.external, self.program.buffers[name])
        spec = self.program.spec
        words = {}
        for bank in (b for pair in activation_names(spec) for b in pair):
            data = self.memories[bank].data
            rows = [ctx.get(data[i]).to_bytes(spec.line_bytes, "little") for i in range(data.depth)]
            words[bank] = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, spec.line_bytes)
        return read_buffer(join_activations(spec, words), self.program.buffers[name])

    async def _load_tables(self, ctx: Any) -> None:
        if not self.program.tables.any():
            return
        for index, word in enumerate(np.ascontiguousarray(self.program.tables).view("<u4").ravel()):
            await self._write(ctx, (Window.TABLES << 24) + 4 * index, int(word))

    async def _write(self, ctx: Any, address: int, data: int) -> None:
        bus = self.dut.bus
        for signal, value in ((bus.awaddr, address), (bus.wdata, data), (bus.wstrb, 15)):
            ctx.set(signal, value)
        for signal in (bus.awvalid, bus.wvalid, bus.bready):
            ctx.set(signal, 1)
        await ctx.tick().until(bus.awready)
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        await ctx.tick().until(bus.bvalid)

    async def _read_register(self, ctx: Any, address: int) -> int:
        bus = self.dut.bus
        ctx.set(bus.araddr, address)
        ctx.set(bus.arvalid, 1)
        ctx.set(bus.rready, 1)
        await ctx.tick().until(bus.arready)
        ctx.set(bus.arvalid, 0)
        (value,) = await ctx.tick().sample(bus.rdata).until(bus.rvalid)
        return int(value)
