"""The weight loader: what the array's shadow weights hold when a tile is ready."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.technology import Technology
from systolith.hw.weights import WeightLoader
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, encode

TILES = 40


def spec_of(rows: int, columns: int, queue_depth: int = 2) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns),
        memory=MemorySpec(weight_bytes=columns * max(16, TILES * rows), parameter_channels=4),
        post=PostSpec(lanes=1),
        queue_depth=queue_depth,
    )


def tiles_of(spec: AcceleratorSpec, memory: np.ndarray, fields: dict[str, int]) -> list:
    """Values of every tile of a command in order, from the definition."""
    codes = memory.view(np.int8) if fields["w_signed"] else memory
    values = codes.astype(int) - fields["w_zero"]
    per_pass = fields["ky_count"] * fields["kx_count"] * fields["kc_count"]
    rows = spec.array.rows
    if fields["w_hold"]:
        starts = [0]
    else:
        one = [k * rows for k in range(fields["n_count"] * per_pass)]
        starts = one * fields["t_count"]
    return [values[fields["w_base"] + s : fields["w_base"] + s + rows] for s in starts]


def run(
    spec: AcceleratorSpec,
    commands: list[dict[str, int]],
    memory: np.ndarray,
    wait,
    loader: WeightLoader | None = None,
    *others,
) -> list:
    """Load the commands' tiles; switch ``wait(tile number)`` cycles after each is ready.

    Returns, per tile, the shadow weights at the switch, and the cycle of the switch.
    """
    rows, columns = spec.array.rows, spec.array.columns
    loader = loader or WeightLoader(spec)
    total = sum(len(tiles_of(spec, memory, c)) for c in commands)
    shadow = np.zeros((rows, columns), int)
    switched = []

    async def push(ctx: SimulatorContext) -> None:
        for command in commands:
            words = encode(Opcode.MATMUL, **command)
            ctx.set(loader.i, sum(w << 32 * i for i, w in enumerate(words)))
            ctx.set(loader.push, 1)
            await ctx.tick().until(loader.push_ready)
            ctx.set(loader.push, 0)

    async def bench(ctx: SimulatorContext) -> None:
        nonlocal shadow
        for i, row in enumerate(memory):
            ctx.set(loader.memory.data[i], int.from_bytes(row.tobytes(), "little"))
        waited, cycle, due = 0, 0, []
        while len(switched) < total:
            ready = bool(ctx.get(loader.ready))
            switch = ready and waited >= wait(len(switched) + len(due))
            waited = waited + 1 if ready and not switch else 0
            ctx.set(loader.i_switch, switch)
            if switch:
                due.append(cycle)
            # The array sees switches two cycles after the loader, as it does the weights.
            if due and due[0] == cycle - 2:
                switched.append((shadow.copy(), due.pop(0)))
            enables, word = ctx.get(loader.o_shift), ctx.get(loader.o_w)
            operands = np.array([(word >> 9 * c & 511) for c in range(columns)])
            operands -= operands >> 8 << 9
            above = np.vstack([operands, shadow[:-1]])
            shadow = np.where([[enables >> r & 1] for r in range(rows)], above, shadow)
            cycle += 1
            assert cycle < 20_000
            await ctx.tick()
        ctx.set(loader.i_switch, 0)
        await ctx.tick().repeat(3)
        assert not ctx.get(loader.busy)

    simulate(loader, push, bench, *others)
    return switched


def draw(rng: np.random.Generator, spec: AcceleratorSpec) -> dict[str, int]:
    signed = int(rng.integers(2))
    counts = {f"{n}_count": int(rng.integers(1, 3)) for n in ("t", "n", "ky", "kx", "kc")}
    return counts | {
        "w_signed": signed,
        "w_zero": int(rng.integers(-128, 128) if signed else rng.integers(0, 256)),
        "w_hold": int(rng.integers(4) == 0),
        "w_base": int(rng.integers(0, (TILES - 16) * spec.array.rows)),
        "my_count": int(rng.integers(1, 9)),
    }


@pytest.mark.parametrize(
    ("rows", "columns", "depth"), [(1, 1, 1), (1, 5, 2), (4, 1, 1), (3, 5, 2), (6, 4, 16)]
)
@pytest.mark.parametrize("slow", [False, True])
def test_tiles_in_order(rows: int, columns: int, depth: int, slow: bool) -> None:
    """Random commands one after the other, switched at once or after random waits."""
    spec = spec_of(rows, columns, depth)
    rng = np.random.default_rng(rows * 100 + columns)
    memory = rng.integers(0, 256, (spec.weight_words, columns)).astype(np.uint8)
    commands = [draw(rng, spec) for _ in range(6)]
    waits = (rng.integers(0, 3 * rows, 1000) * slow).tolist()
    switched = run(spec, commands, memory, lambda k: waits[k])
    expected = [tile for c in commands for tile in tiles_of(spec, memory, c)]
    for k, ((got, _), want) in enumerate(zip(switched, expected, strict=True)):
        np.testing.assert_array_equal(got, want, err_msg=f"tile {k}")


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (5, 4), (8, 8)])
def test_a_tile_takes_rows_cycles(rows: int, columns: int) -> None:
    """Within a command, tile follows tile in exactly `rows` cycles, t repeats included."""
    spec = spec_of(rows, columns)
    memory = np.zeros((spec.weight_words, columns), np.uint8)
    command = {"t_count": 2, "n_count": 3, "ky_count": 2, "kx_count": 1, "kc_count": 2}
    command |= {"w_signed": 0, "w_zero": 0, "w_hold": 0, "w_base": 0}
    cycles = [cycle for _, cycle in run(spec, [command], memory, lambda _: 0)]
    assert set(np.diff(cycles)) == {rows}


@pytest.mark.parametrize(("signed", "zero"), [(1, -128), (1, 127), (0, 0), (0, 255), (0, 128)])
def test_zero_points(signed: int, zero: int) -> None:
    """All codes at the extremes of zero points, up to the rails of 9 bits."""
    spec = spec_of(4, 4)
    memory = np.resize(np.arange(256, dtype=np.uint8), (spec.weight_words, 4))
    command = {"t_count": 1, "n_count": 16, "ky_count": 1, "kx_count": 1, "kc_count": 1}
    command |= {"w_signed": signed, "w_zero": zero, "w_hold": 0, "w_base": 0}
    switched = run(spec, [command], memory, lambda _: 0)
    got = np.concatenate([tile for tile, _ in switched])
    codes = memory[: len(got)]
    want = (codes.view(np.int8) if signed else codes).astype(int) - zero
    np.testing.assert_array_equal(got, want)
    assert len(np.unique(codes)) == 256


def test_host_writes() -> None:
    """Bytes of 32-bit words of weight words that are no whole number of them."""
    for columns in (1, 4, 5, 12):
        spec = spec_of(2, columns)
        loader = WeightLoader(spec)
        rng = np.random.default_rng(columns)
        image = np.zeros((spec.weight_words, 4 * -(-columns // 4)), np.uint8)

        async def bench(ctx: SimulatorContext, spec=spec, loader=loader, rng=rng, image=image):
            for _ in range(150):
                address = int(rng.integers(spec.weight_words))
                lane = int(rng.integers(image.shape[1] // 4))
                strobe, data = int(rng.integers(16)), bytes(rng.integers(0, 256, 4).tolist())
                valid = int(rng.integers(4) > 0)
                for name, value in (
                    ("h_valid", valid), ("h_address", address), ("h_lane", lane),
                    ("h_strobe", strobe), ("h_data", int.from_bytes(data, "little")),
                ):  # fmt: skip
                    ctx.set(getattr(loader, name), value)
                if valid:
                    for i in range(4):
                        if strobe >> i & 1:
                            image[address, 4 * lane + i] = data[i]
                await ctx.tick()
            ctx.set(loader.h_valid, 0)
            await ctx.tick()
            for i, row in enumerate(image[:, : spec.array.columns]):
                assert ctx.get(loader.memory.data[i]) == int.from_bytes(row.tobytes(), "little")

        simulate(loader, bench)


def test_one_port() -> None:
    """The host's writes wait while tiles are read, which are as early as with two ports."""
    spec = spec_of(3, 5)
    rng = np.random.default_rng(17)
    memory = rng.integers(0, 256, (spec.weight_words, 5)).astype(np.uint8)
    command = {"t_count": 2, "n_count": 3, "ky_count": 1, "kx_count": 2, "kc_count": 2}
    command |= {"w_signed": 1, "w_zero": 0, "w_hold": 0, "w_base": 0}
    loader = WeightLoader(spec, Technology.ICE40)
    first, written, waited = 36, [], 0

    async def host(ctx: SimulatorContext) -> None:
        nonlocal waited
        ctx.set(loader.h_strobe, 15)
        for address in range(first, spec.weight_words):
            data = int(rng.integers(1 << 32))
            written.append(data)
            ctx.set(loader.h_valid, 1)
            ctx.set(loader.h_address, address)
            ctx.set(loader.h_data, data)
            while not ctx.get(loader.h_ready):
                waited += 1
                await ctx.tick()
            await ctx.tick()
            ctx.set(loader.h_valid, 0)
            await ctx.tick().repeat(int(rng.integers(1, 3)))
        for address, data in enumerate(written, first):
            assert ctx.get(loader.memory.data[address]) & 0xFFFFFFFF == data

    def late(_: int) -> int:
        return 2

    plain = run(spec, [command] * 2, memory, late)
    shared = run(spec, [command] * 2, memory, late, loader, host)
    assert len(written) == spec.weight_words - first > 50 and waited > 10
    for (tile, cycle), (other, other_cycle) in zip(plain, shared, strict=True):
        np.testing.assert_array_equal(tile, other)
        assert cycle == other_cycle
