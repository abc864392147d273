"""The whole accelerator on random programs: gates, golden model and a plain reference agree."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.golden.requant import requantize
from systolith.golden.residual import residual_add
from systolith.hw.top import Accelerator
from systolith.sim.backend import Result
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.images import program_words, split_activations
from systolith.sim.pysim import simulate
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_specs import random_spec
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import (
    COPY_LOOPS,
    FILL_LOOPS,
    MATMUL_LOOPS,
    STORE_LOOPS,
    Command,
    Opcode,
    decode,
    encode,
)
from systolith.spec.program import Buffer, Program
from systolith.spec.requant import PARAMETER_FIELDS, RequantMode, ResidualRounding

Image = np.ndarray


def nest(command: Command, loops: tuple[str, ...]) -> Iterator[dict[str, int]]:
    """Indices of a nest, outermost first."""
    for index in itertools.product(*(range(command[f"{n}_count"]) for n in loops)):
        yield dict(zip(loops, index, strict=True))


def place(command: Command, stream: str, at: dict[str, int]) -> int:
    return command[f"{stream}_base"] + sum(
        i * command[f"{stream}_{n}_stride"] for n, i in at.items()
    )


class Reference:
    """Commands one after the other, byte by byte, as the tables of the spec say them."""

    def __init__(self, program: Program, image: Image) -> None:
        self.program, self.image = program, image
        self.results: list[np.ndarray] = []
        self.left: dict[tuple[int, ...], np.ndarray] = {}
        for command in decode(program.commands.tolist()):
            if command.opcode is not Opcode.END:
                getattr(self, command.opcode.name.lower())(command)
        assert not self.results

    def fill(self, c: Command) -> None:
        for at in nest(c, FILL_LOOPS):
            start = place(c, "d", at)
            self.image[start : start + c["length"]] = c["value"]

    def copy(self, c: Command) -> None:
        runs = [
            (place(c, "d", at), self.image[start : start + c["length"]].copy())
            for at in nest(c, COPY_LOOPS)
            for start in [place(c, "s", at)]
        ]
        for start, run in runs:
            self.image[start : start + len(run)] = run

    def matmul(self, c: Command) -> None:
        spec = self.program.spec
        rows = spec.array.rows
        codes = self.program.weights
        weights = (codes.view(np.int8) if c["w_signed"] else codes).astype(np.int64) - c["w_zero"]
        passes = c["ky_count"] * c["kx_count"] * c["kc_count"]
        partial = self.left if c["accumulate"] else {}
        for at in nest(c, MATMUL_LOOPS):
            k = (at["ky"] * c["kx_count"] + at["kx"]) * c["kc_count"] + at["kc"]
            tile = 0 if c["w_hold"] else at["n"] * passes + k
            first = c["w_base"] + tile * rows
            start = place(c, "x", at)
            x = self.image[start : start + rows]
            x = (x.view(np.int8) if c["x_signed"] else x).astype(np.int64)
            sums = x @ weights[first : first + rows]
            where = at["t"], at["n"], at["my"], at["mx"]
            if k or c["accumulate"]:
                old = partial[where]
                sums = np.maximum(old, sums) if c["maximum"] else old + sums
            partial[where] = sums
        if c["partial"]:
            self.left = partial
        else:
            self.results += [partial[where] for where in sorted(partial)]

    def store(self, c: Command) -> None:
        lanes = self.program.spec.post.lanes
        writes = []
        for at in nest(c, STORE_LOOPS):
            acc = self.results.pop(0)
            width = c["tile_channels"]
            count = min(width, c["channels"] - at["n"] * width)
            base = c["p_base"] + at["n"] * c["p_stride"]
            words = [self.program.parameters[base + i // lanes, i % lanes] for i in range(count)]
            fields = {f.name: np.array([field(w, f) for w in words]) for f in PARAMETER_FIELDS}
            value = requantize(
                acc[:count], mode=RequantMode(c["mode"]), zero_point=c["zero"], low=c["low"],
                high=c["high"], **fields,
            )  # fmt: skip
            if c["residual"]:
                value = self.add(c, value, place(c, "r", at), count)
            byte = (value & 255).astype(np.uint8)
            if c["table"]:
                byte = self.program.tables[c["table_index"]][byte]
            writes.append((place(c, "y", at), byte))
        for start, byte in writes:
            self.image[start : start + len(byte)] = byte

    def add(self, c: Command, value: np.ndarray, start: int, count: int) -> np.ndarray:
        r = self.image[start : start + count]
        r = (r.view(np.int8) if c["r_signed"] else r).astype(np.int64)
        names = ("multiplier_y", "multiplier_r", "offset", "shift", "zero", "low", "high")
        fields = {name: c[f"r_{name}"] for name in names}
        if c["r_product"]:
            value = value * (r - c["r_zero_r"])
            r = value < 0
        return residual_add(value, r, rounding=ResidualRounding(c["r_rounding"]), **fields)


def field(words: np.ndarray, f) -> int:
    value = sum(int(words[f.word + i]) << 32 * i for i in range(-(-f.bits // 32)))
    value &= (1 << f.bits) - 1
    return value - (value >> f.bits - 1 << f.bits) if f.signed else value


def image_of(program: Program, tensors: dict[str, np.ndarray]) -> Image:
    spec = program.spec
    image = np.zeros(spec.region_stride * spec.memory.activation_regions, np.uint8)
    for name, tensor in tensors.items():
        image[program.buffers[name].addresses()] = tensor
    return image


def assert_varied(before: Image, after: Image) -> None:
    """Codes written differ: a test of clamped ones alone would miss most errors."""
    assert len(set(after[before != after].view(np.int8).tolist()) - {-128, 127}) > 8


def check(
    program: Program, inputs: dict[str, np.ndarray], note: str, *, varied: bool = False
) -> Result:
    """Run in Amaranth's simulator, compare all of the activation memory."""
    image = image_of(program, inputs)
    golden = GoldenBackend().run(program, inputs)
    reference = Reference(program, image).image
    if varied:
        assert_varied(image_of(program, inputs), reference)
    result = PysimBackend().run(program, inputs)
    for name, got in result.tensors.items():
        want = reference[program.buffers[name].addresses()]
        np.testing.assert_array_equal(golden.tensors[name], want, err_msg=f"golden: {note}")
        np.testing.assert_array_equal(got, want, err_msg=f"gates: {note}")
    stamped = [c["stamp"] for c in decode(program.commands.tolist())]
    assert len(result.stamps) == sum(stamped)
    assert list(result.stamps) == sorted(set(result.stamps))
    return result


def random_case(seed: int, layers: int) -> Result:
    rng = np.random.default_rng(seed)
    spec = random_spec(rng)
    program = random_program(rng, spec, layers=layers)
    return check(program, random_inputs(rng, program), f"seed {seed}, {spec}")


@pytest.mark.parametrize("seed", range(12))
def test_random_accelerators_and_programs(seed: int) -> None:
    random_case(seed, 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1080))
def test_many_random_accelerators_and_programs(seed: int) -> None:
    random_case(seed, 5)


def spec_of(rows: int, columns: int, lanes: int, **memory: int) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns),
        memory=MemorySpec(
            **{
                "activation_bytes": 1024, "weight_bytes": columns * rows * 24,
                "accumulator_depth": 16, "parameter_channels": lanes * 16, "command_words": 256,
                "tables": 0, **memory,
            }
        ),
        post=PostSpec(lanes=lanes, modes=frozenset({RequantMode.FIXED})),
    )  # fmt: skip


def program_of(spec: AcceleratorSpec, commands: list[int]) -> Program:
    """Random weights and parameters around given commands; all activations are one input."""
    rng = np.random.default_rng(0)
    parameters = np.zeros((spec.lane_words, spec.post.lanes, 8), np.uint32)
    parameters[..., 1], parameters[..., 4] = 1 << 30, 38
    size = spec.memory.activation_bytes
    buffers = {
        f"region{g}": Buffer(
            base=g * spec.region_stride, shape=(1, 1, size), strides=(size, size, 1), dtype="uint8"
        )
        for g in range(spec.memory.activation_regions)
    }
    return Program(
        spec=spec, commands=np.array(commands, np.uint32),
        weights=rng.integers(0, 256, (spec.weight_words, spec.array.columns)).astype(np.uint8),
        parameters=parameters, tables=np.zeros((0, 256), np.uint8), buffers=buffers,
        inputs=tuple(buffers), outputs=tuple(buffers), layers=(),
    )  # fmt: skip


MATMUL = {"x_signed": 1, "w_signed": 1}
STORE = {"mode": 2, "low": -128, "high": 127}


@pytest.mark.parametrize(("rows", "columns", "lanes"), [(4, 4, 4), (3, 5, 5), (8, 4, 2), (1, 3, 3)])
@pytest.mark.parametrize("extra", [0, 5])
def test_tiles_follow_without_bubbles(rows: int, columns: int, lanes: int, extra: int) -> None:
    """With at least as many vectors as rows, and lanes that keep up, the array never waits."""
    spec = spec_of(rows, columns, lanes, accumulator_depth=64)
    vectors = max(3, rows) + extra
    counts = {"t_count": 2, "n_count": 2, "mx_count": vectors}
    # Each result takes columns / lanes cycles: over ky * kc passes the lanes have the time.
    matmul = MATMUL | counts | {"ky_count": 2, "kc_count": 2, "x_mx_stride": rows, "x_kc_stride": 1}
    store = STORE | counts | {"channels": 2 * columns, "tile_channels": columns}
    store |= {"y_base": spec.region_stride, "y_mx_stride": 2 * columns, "y_n_stride": columns}
    store |= {"y_t_stride": 2 * columns * vectors}
    words = encode(Opcode.MATMUL, **matmul) + encode(Opcode.STORE, **store) + encode(Opcode.END)
    program = program_of(spec, words)
    result = check(
        program, random_inputs(np.random.default_rng(1), program), "no bubbles", varied=True
    )
    counters = result.counters
    assert counters["array_busy"] == 2 * 2 * 4 * vectors
    # The first tile is loaded once the command is there; after that nothing stalls.
    assert counters["stall_weights"] <= rows + 2
    for name in ("stall_tokens", "stall_accumulators", "stall_activations"):
        assert counters[name] == 0, name
    # Before the first vector: fetch of the command and the first tile.
    start = len(encode(Opcode.MATMUL)) + rows + 12
    drain = len(encode(Opcode.STORE)) + 60 + columns
    assert counters["cycles"] <= counters["array_busy"] + start + drain
    busy = counters["array_busy"] + sum(v for k, v in counters.items() if k.startswith("stall_"))
    assert counters["cycles"] - busy <= 2, "every other cycle has a reason"


def test_read_port_conflicts() -> None:
    """A residual stream in the array's own region costs a cycle a vector, and changes nothing."""
    counters = []
    for region in (0, 1):
        spec = spec_of(2, 4, 4, activation_regions=3, accumulator_depth=4)
        counts = {"t_count": 6, "mx_count": 2}
        matmul = (
            MATMUL | counts | {"ky_count": 3, "x_mx_stride": 3, "x_ky_stride": 5, "x_t_stride": 11}
        )
        store = STORE | counts | {
            "channels": 4, "tile_channels": 4, "y_base": 2 * spec.region_stride, "y_mx_stride": 4,
            "y_t_stride": 8, "residual": 1, "r_base": region * spec.region_stride + 3,
            "r_mx_stride": 1, "r_t_stride": 9, "r_multiplier_y": 1 << 20,
            "r_multiplier_r": 1 << 20, "r_shift": 21, "r_low": -128, "r_high": 127,
        }  # fmt: skip
        words = encode(Opcode.MATMUL, **matmul) + encode(Opcode.STORE, **store)
        program = program_of(spec, words + encode(Opcode.END))
        inputs = random_inputs(np.random.default_rng(2), program)
        counters.append(check(program, inputs, f"region {region}", varied=True).counters)
    assert counters[0]["stall_activations"] > 0
    assert counters[1]["stall_activations"] == 0


class Machine:
    """An accelerator driven through its bus, for more runs than one."""

    def __init__(self, program: Program) -> None:
        self.program, self.dut = program, Accelerator(program.spec)

    async def load(self, ctx: SimulatorContext, inputs: dict[str, np.ndarray]) -> None:
        dut, words = self.dut, program_words(self.program)
        memories = {"fetch.memory": dut.fetch.memory, "weights.memory": dut.weights.memory}
        for f in PARAMETER_FIELDS:
            memories[f"store.parameters.{f.name}_memory"] = dut.store.parameters.memories[f.name]
        image = image_of(self.program, inputs)
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

    def image(self, ctx: SimulatorContext) -> Image:
        spec, parts = self.program.spec, []
        for even, odd in self.dut.activations.banks:
            lines = [ctx.get(b.data[i]) for i in range(even.depth) for b in (even, odd)]
            data = b"".join(v.to_bytes(spec.line_bytes, "little") for v in lines)
            parts.append(np.frombuffer(data.ljust(spec.region_stride, b"\0"), np.uint8))
        return np.concatenate(parts)


@pytest.mark.parametrize(("rows", "late"), [(3, 1), (3, 40), (3, 90), (12, 0), (12, 1), (12, 2)])
def test_a_run_after_an_error(rows: int, late: int) -> None:
    """An error in the middle of work, at any time, leaves nothing behind that a run could see.

    The broken program has results without a STORE, a unit that waits for a token for ever, and
    tokens that nobody takes; ``late`` commands more before the opcode that does not exist. With
    many rows, vectors are still in the array when the next run starts.
    """
    spec = spec_of(rows, 4, 2, accumulator_depth=5 if rows == 3 else 64, command_words=2048)
    counts = {"t_count": 3, "mx_count": 4 if rows == 3 else 16}
    matmul = (
        MATMUL | counts | {"ky_count": 2 if rows == 3 else 1, "x_mx_stride": 3, "x_t_stride": 7}
    )
    store = STORE | counts | {
        "channels": 4, "tile_channels": 4, "y_base": spec.region_stride, "y_mx_stride": 4,
        "y_t_stride": 64, "stamp": 1,
    }  # fmt: skip
    fill = {"d_base": 900, "length": 5, "value": 7}
    good = encode(Opcode.MATMUL, **matmul) + encode(Opcode.STORE, **store)
    good += encode(Opcode.FILL, **fill) + encode(Opcode.END)
    bad = encode(Opcode.MATMUL, **matmul, signal=5) + encode(Opcode.STORE, **store, wait=1)
    bad += encode(Opcode.FILL, **fill, signal=6) * late + [0xF]
    program = program_of(spec, good + bad)
    inputs = random_inputs(np.random.default_rng(3), program)
    only = program_of(spec, good)
    want = Reference(only, image_of(only, inputs)).image
    assert_varied(image_of(only, inputs), want)
    machine = Machine(program)

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(2):
            await machine.load(ctx, inputs)
            assert await machine.run(ctx, len(good)) == 1
            await machine.load(ctx, inputs)
            assert await machine.run(ctx, 0) == 0
            np.testing.assert_array_equal(machine.image(ctx), want)
            assert ctx.get(machine.dut.stamps) == 1

    simulate(machine.dut, bench)


def test_runs_repeat() -> None:
    """The same program again: the same result in the same number of cycles, from any ring place."""
    rng = np.random.default_rng(77)
    spec = random_spec(rng)
    spec = replace(spec, memory=replace(spec.memory, tables=0))  # `Machine` loads none
    program = random_program(rng, spec, layers=2)
    inputs = random_inputs(rng, program)
    want = Reference(program, image_of(program, inputs)).image
    machine, cycles = Machine(program), []

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(3):
            await machine.load(ctx, inputs)
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
