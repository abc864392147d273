"""The search for the largest array, on parts and costs that are made up."""

from dataclasses import replace

import pytest

from systolith.build.estimate import Estimate
from systolith.build.families import Resources
from systolith.build.largest import busy_share, largest_array, shapes
from systolith.build.scaling import MEMORIES, least_lanes, predict_resources, with_array
from systolith.constraints import Capacity, Family
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import PRESETS

BASE = PRESETS["tiny"]
KIB = 1024


def costs(spec: AcceleratorSpec) -> Estimate:
    """An element: a multiplier and 20 look-up tables; a lane: 8 multipliers; the rest is fixed."""
    array, lanes = spec.array, spec.post.lanes
    memory = spec.memory.weight_bytes + spec.activation_total
    return Estimate(
        family=Family.ECP5,
        components={
            "array": Resources(luts=20 * spec.macs_per_cycle, dsps=spec.macs_per_cycle),
            "lanes": Resources(luts=700 * lanes, dsps=8 * lanes),
            "accumulators": Resources(luts=50 * array.columns, block_rams=2 * array.columns),
            "weight memory": Resources(block_rams=memory / 2 / KIB),
            "feeder": Resources(luts=4000, ffs=3000),
        },
    )


class Counted:
    """Costs, counted, with an error that prediction does not know of."""

    def __init__(self, error: float = 1.0) -> None:
        self.error = error
        self.made: list[AcceleratorSpec] = []

    def __call__(self, spec: AcceleratorSpec) -> Estimate:
        self.made.append(spec)
        found = costs(spec)
        extra = Resources(luts=int(found.total.luts * (self.error - 1)))
        return replace(found, components={**found.components, "between": extra})


def test_multipliers_are_the_limit() -> None:
    part = Capacity(luts=83640, ffs=83640, dsps=156, block_rams=400)
    takes = Counted()
    found = largest_array(BASE, part, takes, 16384, {})
    assert found.spec is not None
    assert (found.spec.array.rows, found.spec.array.columns) == (8, 16), "all of 64 channels"
    assert found.resources.dsps == 128 + 2 * 8
    assert set(found.limit) == {"dsps"} and found.limit["dsps"][1] == 156
    assert found.most[0] * found.most[1] == 144
    assert found.next_array[0] * found.next_array[1] > found.most[0] * found.most[1]
    assert found.syntheses == len(takes.made) <= 3
    assert takes.made[-1] == found.spec, "what is returned was synthesised"


@pytest.mark.parametrize("error", [0.8, 1.0, 1.3])
def test_look_up_tables_are_the_limit(error: float) -> None:
    part = Capacity(luts=9000, ffs=83640, dsps=300, block_rams=400)
    takes = Counted(error)
    found = largest_array(BASE, part, takes, 16384, {})
    assert found.spec is not None and found.limit.keys() == {"luts"}
    assert found.resources.luts <= 0.95 * part.luts
    assert takes.made[-1] == found.spec or found.spec in takes.made
    assert found.syntheses <= 6


def test_memory_and_lanes_take_what_is_left() -> None:
    large = Capacity(luts=83640, ffs=83640, dsps=40, block_rams=800)
    small = replace(large, block_rams=60)
    found = [largest_array(BASE, part, Counted(), 16384, {}).spec for part in (large, small)]
    assert found[0] is not None and found[1] is not None
    assert found[0].macs_per_cycle == found[1].macs_per_cycle
    assert found[0].memory.weight_bytes > found[1].memory.weight_bytes
    roomy = replace(large, dsps=1000)
    spec = largest_array(BASE, replace(roomy, luts=9000), Counted(), 16384, {}).spec
    assert spec is not None and spec.beats <= 8


def test_nothing_fits() -> None:
    found = largest_array(BASE, Capacity(luts=1000, ffs=9, dsps=8), Counted(), 4096, {})
    assert found.spec is None and found.syntheses == 1


def test_what_was_synthesised_for_another_board_is_used() -> None:
    known: dict[AcceleratorSpec, Estimate] = {}
    part = Capacity(luts=83640, ffs=83640, dsps=60, block_rams=400)
    largest_array(BASE, part, Counted(), 16384, known)
    again = largest_array(BASE, replace(part, dsps=156), Counted(), 16384, known)
    assert again.syntheses == 1
    other = replace(BASE, post=replace(BASE.post, residual=False))
    assert largest_array(other, part, Counted(), 16384, known).syntheses == 1, "not alike"


def test_predictions_grow_with_what_grows() -> None:
    old = with_array(BASE, 4, 4, 1, MEMORIES[-3])
    found = costs(old)
    same = predict_resources(found, old, old, 16384)
    assert same == found.total
    wide = predict_resources(found, old, with_array(BASE, 4, 8, 2, MEMORIES[-3]), 16384)
    assert wide.dsps == 32 + 16
    assert wide.luts == 20 * 32 + 700 * 2 + 50 * 8 + 4000


def test_shapes_and_lanes() -> None:
    order = shapes(16, plain=True)
    elements = [rows * columns for rows, columns in order]
    assert elements == sorted(elements, reverse=True)
    assert all(max(p) <= 2 * min(p) for p in order)
    assert busy_share(16) == 1 and busy_share(64) < 1
    at_work = [r * c * busy_share(r) * busy_share(c) for r, c in shapes(16)]
    assert at_work == pytest.approx(sorted(at_work, reverse=True))
    assert shapes(16).index((16, 13)) < shapes(16).index((15, 14)), "of 64 channels 65 and 70"
    assert [least_lanes(n) for n in (4, 8, 12, 16, 17, 32)] == [1, 1, 2, 2, 17, 4]


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (4, 8), (12, 12), (15, 14), (64, 64)])
def test_any_array_makes_a_valid_accelerator(name: str, rows: int, columns: int) -> None:
    if name == "sparse" and rows % 2:
        pytest.skip("sparse weights take an even number of rows")
    for memories in MEMORIES:
        spec = with_array(PRESETS[name], rows, columns, least_lanes(columns), memories)
        assert (spec.array.rows, spec.array.columns) == (rows, columns)
        assert spec.memory.activation_bytes >= memories.activation_bytes
