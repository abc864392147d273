"""The post-processing lane's gates against the golden model."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.sim import Simulator, SimulatorContext

from systolith.golden.requant import requantize
from systolith.golden.residual import residual_add, residual_product
from systolith.hw.lane import LANE_CONTROL, PostLane
from systolith.spec.commands import COMMANDS, Opcode
from systolith.spec.requant import RequantMode, ResidualRounding

SEED = 20261123
EVERY = frozenset(RequantMode)
RESIDUAL = {
    "r_multiplier_y": 1_400_000_000,
    "r_multiplier_r": -900_000_000,
    "r_offset": 3 << 28,
    "r_shift": 30,
    "r_rounding": ResidualRounding.HALF_AWAY,
    "r_zero": -11,
    "r_low": -120,
    "r_high": 127,
}
PRODUCT = RESIDUAL | {
    "r_product": 1,
    "r_zero_r": 17,
    "r_multiplier_y": 11_000_000,
    "r_multiplier_r": -300_000_000,
}
PARAMETERS = ("bias", "multiplier", "shift", "offset")


@dataclass(frozen=True)
class Case:
    """One command's samples: the arrays of `columns`, and the control fields."""

    control: dict[str, int]
    columns: dict[str, np.ndarray] = field(repr=False)


def case(rng: np.random.Generator, count: int, mode: RequantMode, **control: int) -> Case:
    multiplier, shift = {
        RequantMode.DOUBLE: ((1 << 30, 1 << 31), (-9, -6)),
        RequantMode.FLOAT32: ((1 << 23, 1 << 24), (-32, -29)),
        RequantMode.FIXED: ((1 << 30, 1 << 31), (38, 41)),
        RequantMode.MAGNITUDE: ((1 << 30, 1 << 31), (38, 41)),
    }[mode]
    columns = {
        "acc": rng.integers(-40_000, 40_000, count),
        "bias": rng.integers(-9_000, 9_000, count),
        "multiplier": rng.integers(*multiplier, count),
        "shift": rng.integers(*shift, count),
        "offset": rng.integers(-(1 << 40), 1 << 40, count),
        "r": rng.integers(-128, 128, count),
    }
    clamp = {"zero": 4, "low": -128, "high": 127}
    return Case({"mode": mode} | clamp | control, columns)


def expected(case: Case, tables: np.ndarray) -> np.ndarray:
    c = case.control
    z = requantize(
        case.columns["acc"],
        mode=RequantMode(c["mode"]),
        **{name: case.columns[name] for name in PARAMETERS},
        zero_point=c["zero"],
        low=c["low"],
        high=c["high"],
    )
    if c.get("residual"):
        names = ("multiplier_y", "multiplier_r", "offset", "shift", "zero", "low", "high")
        rounding = ResidualRounding(c["r_rounding"])
        fields = {name: c[f"r_{name}"] for name in names}
        if c.get("r_product"):
            fields["zero_r"] = c["r_zero_r"]
        combine = residual_product if c.get("r_product") else residual_add
        z = combine(z, case.columns["r"], rounding=rounding, **fields)
    code = z & 255
    return tables[c["table_index"], code] if c.get("table") else code


def simulate(lane: PostLane, cases: list[Case], tables: np.ndarray) -> list[np.ndarray]:
    results = []

    async def bench(ctx: SimulatorContext) -> None:
        for address, value in enumerate(tables.reshape(-1).tolist()):
            ctx.set(lane.i_table_write, 1)
            ctx.set(lane.i_table_address, address)
            ctx.set(lane.i_table_data, value)
            await ctx.tick()
        ctx.set(lane.i_table_write, 0)
        for one in cases:
            ctx.set(lane.i_control, one.control)
            outputs = []
            rows = list(zip(*(column.tolist() for column in one.columns.values()), strict=True))
            for row in rows + rows[-1:] * lane.latency:
                for name, value in zip(one.columns, row, strict=True):
                    ctx.set(getattr(lane, f"i_{name}"), value)
                outputs.append(ctx.get(lane.o))
                await ctx.tick()
            results.append(np.array(outputs[lane.latency :]))

    simulator = Simulator(lane)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def check(lane: PostLane, cases: list[Case], tables: np.ndarray) -> None:
    for one, got in zip(cases, simulate(lane, cases, tables), strict=True):
        want = expected(one, tables)
        assert len(set(want.tolist())) > 40, "samples must not all be clamped alike"
        np.testing.assert_array_equal(got, want, err_msg=f"seed {SEED}: {one.control}")


@pytest.mark.parametrize("mode", RequantMode)
def test_every_combination_of_units(mode: RequantMode) -> None:
    """One lane does commands with and without each unit, all with the same latency."""
    rng = np.random.default_rng(SEED + mode)
    tables = rng.integers(0, 256, (3, 256))
    cases = [
        case(rng, 150, mode),
        case(rng, 150, mode, residual=1, **RESIDUAL),
        case(rng, 150, mode, table=1, table_index=2),
        case(rng, 150, mode, residual=1, table=1, table_index=0, **RESIDUAL),
        case(rng, 150, mode, residual=1, table=1, table_index=1, **PRODUCT),
        case(rng, 150, mode, zero=128, low=0, high=255, table=1, table_index=1),
        case(rng, 150, mode, zero=128, low=0, high=255),
    ]
    check(PostLane(EVERY, residual=True, product=True, tables=3), cases, tables)


@pytest.mark.parametrize("mode", RequantMode)
def test_residual_without_multipliers(mode: RequantMode) -> None:
    """The same bytes from look-up tables in place of multipliers, and from tables so placed."""
    rng = np.random.default_rng(SEED + mode)
    tables = rng.integers(0, 256, (1, 256))
    cases = [
        case(rng, 100, mode, residual=1, **RESIDUAL),
        case(rng, 100, mode, residual=1, table=1, table_index=0, **PRODUCT),
        case(rng, 100, mode, residual=1, **RESIDUAL),
    ]
    lane = PostLane(
        EVERY, residual=True, product=True, residual_multipliers=False,
        tables=1, table_attributes={"ram_style": "distributed"},
    )  # fmt: skip
    check(lane, cases, tables)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("tables", [0, 1, 16])
def test_every_build(residual: bool, tables: int) -> None:
    rng = np.random.default_rng(SEED)
    control = {"residual": 1, **RESIDUAL} if residual else {}
    if tables:
        control |= {"table": 1, "table_index": tables - 1}
    mode = RequantMode.FIXED
    lane = PostLane(frozenset({mode}), residual=residual, tables=tables)
    cases = [case(rng, 200, mode, **control), case(rng, 100, mode)]
    check(lane, cases, rng.integers(0, 256, (tables, 256)))
    assert lane.latency == 9 + (8 if residual else 0) + (1 if tables else 0)


def test_control_has_the_fields_of_store() -> None:
    """A STORE command's fields go to the lanes by name and shape."""
    fields = {f.name: (f.bits, f.signed) for f in COMMANDS[Opcode.STORE].fields}
    for name, member in LANE_CONTROL:
        assert (member.shape.width, member.shape.signed) == fields[name], name


@pytest.mark.parametrize("tables", [-1, 17])
def test_tables_are_checked(tables: int) -> None:
    with pytest.raises(ValueError, match=rf"^tables must be 0 to 16, not {tables}$"):
        PostLane(EVERY, residual=False, tables=tables)
