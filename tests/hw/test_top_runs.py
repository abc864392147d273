"""The whole accelerator run more than once: after errors, and again."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.top import Accelerator
from systolith.sim.images import program_words, split_activations
from systolith.sim.pysim import simulate
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_specs import random_spec
from systolith.spec.commands import Opcode, encode
from systolith.spec.program import Program
from systolith.spec.requant import PARAMETER_FIELDS


class Machine:
    """An accelerator driven through its bus, for more runs than one."""

    def __init__(self, program: Program) -> None:
        self.program, self.dut = program, Accelerator(program.spec)

    async def load(self, ctx: SimulatorContext, image: np.ndarray) -> None:
        """Fill all memories, the activations with ``image``."""
        dut, words = self.dut, program_words(self.program)
        memories = {"fetch.memory": dut.fetch.memory, "weights.memory": dut.weights.memory}
        for f in PARAMETER_FIELDS:
            memories[f"store.parameters.{f.name}_memory"] = dut.store.parameters.memories[f.name]
        for name, rows in split_activations(self.program.spec, image).items():
            g, side = int(name[len("activations.region")]), name.rpartition("_")[2]
            bank = dut.activations.banks[g][("even", "odd").index(side)]
            for i, row in enumerate(rows):
                ctx.set(bank.data[i], int.from_bytes(row.tobytes(), "little"))
        for name, memory in memories.items():
            for i, row in enumerate(words[name]):
                ctx.set(memory.data[i], int.from_bytes(row.tobytes(), "little"))

    async def write(self, ctx: SimulatorContext, address: int, data: int) -> None:
        bus = self.dut.bus
        for signal, value in (
            (bus.awaddr, address), (bus.wdata, data), (bus.wstrb, 15), (bus.awvalid, 1),
            (bus.wvalid, 1), (bus.bready, 1),
        ):  # fmt: skip
            ctx.set(signal, value)
        await ctx.tick().until(bus.awready)
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        await ctx.tick().until(bus.bvalid)

    async def run(self, ctx: SimulatorContext, entry: int) -> int:
        """Run from a command word; return the error."""
        await self.write(ctx, 0x10, entry)
        await self.write(ctx, 0x08, 1)
        for _ in range(3000):
            if not ctx.get(self.dut.busy):
                return ctx.get(self.dut.fetch.error)
            await ctx.tick()
        raise AssertionError("the accelerator must stop")

    def image(self, ctx: SimulatorContext) -> np.ndarray:
        spec, parts = self.program.spec, []
        for even, odd in self.dut.activations.banks:
            lines = [ctx.get(b.data[i]) for i in range(even.depth) for b in (even, odd)]
            data = b"".join(v.to_bytes(spec.line_bytes, "little") for v in lines)
            parts.append(np.frombuffer(data.ljust(spec.region_stride, b"\0"), np.uint8))
        return np.concatenate(parts)


@pytest.mark.parametrize(("rows", "late"), [(3, 1), (3, 40), (3, 90), (12, 0), (12, 1), (12, 2)])
def test_a_run_after_an_error(reference: ModuleType, rows: int, late: int) -> None:
    """An error in the middle of work, at any time, leaves nothing behind that a run could see.

    The broken program has results without a STORE, a unit that waits for a token for ever, and
    tokens that nobody takes; ``late`` commands more before the opcode that does not exist. With
    many rows, vectors are still in the array when the next run starts.
    """
    spec = reference.spec_of(
        rows, 4, 2, accumulator_depth=5 if rows == 3 else 64, command_words=2048
    )
    counts = {"t_count": 3, "mx_count": 4 if rows == 3 else 16}
    matmul = (
        reference.MATMUL
        | counts
        | {"ky_count": 2 if rows == 3 else 1, "x_mx_stride": 3, "x_t_stride": 7}
    )
    store = reference.STORE | counts | {
        "channels": 4, "tile_channels": 4, "y_base": spec.region_stride, "y_mx_stride": 4,
        "y_t_stride": 64, "stamp": 1,
    }  # fmt: skip
    fill = {"d_base": 900, "length": 5, "value": 7}
    good = encode(Opcode.MATMUL, **matmul) + encode(Opcode.STORE, **store)
    good += encode(Opcode.FILL, **fill) + encode(Opcode.END)
    bad = encode(Opcode.MATMUL, **matmul, signal=5) + encode(Opcode.STORE, **store, wait=1)
    bad += encode(Opcode.FILL, **fill, signal=6) * late + [0xF]
    program = reference.program_of(spec, good + bad)
    inputs = random_inputs(np.random.default_rng(3), program)
    only = reference.program_of(spec, good)
    image = reference.image_of(only, inputs)
    want = reference.Reference(only, image.copy()).image
    reference.assert_varied(image, want)
    machine = Machine(program)

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(2):
            await machine.load(ctx, image)
            assert await machine.run(ctx, len(good)) == 1
            await machine.load(ctx, image)
            assert await machine.run(ctx, 0) == 0
            np.testing.assert_array_equal(machine.image(ctx), want)
            assert ctx.get(machine.dut.stamps) == 1

    simulate(machine.dut, bench)


def test_runs_repeat(reference: ModuleType) -> None:
    """The same program again: the same result in the same number of cycles, from any ring place."""
    rng = np.random.default_rng(77)
    spec = random_spec(rng)
    spec = replace(spec, memory=replace(spec.memory, tables=0))  # `Machine` loads none
    program = random_program(rng, spec, layers=2)
    inputs = random_inputs(rng, program)
    image = reference.image_of(program, inputs)
    want = reference.Reference(program, image.copy()).image
    machine, cycles = Machine(program), []

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(3):
            await machine.load(ctx, image)
            before = 0
            await machine.write(ctx, 0x08, 1)
            while ctx.get(machine.dut.busy):
                before += 1
                await ctx.tick()
            cycles.append(before)
            inside = [program.buffers[n].addresses() for n in program.outputs]
            for addresses in inside:
                np.testing.assert_array_equal(machine.image(ctx)[addresses], want[addresses])

    simulate(machine.dut, bench)
    assert len(set(cycles)) == 1
