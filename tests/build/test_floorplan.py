"""Places of an array's multipliers: all distinct, legal for the part, near their neighbours."""

import json
import re
from itertools import product

import pytest

from systolith.build.floorplan import MULTIPLIER, SITES, Sites, fix_multipliers, fold
from systolith.build.routes import LARGE, ROUTES
from systolith.constraints import Family, board_names, load_board

SHAPES = list(product(range(1, 17), repeat=2))


def blocks(sites: Sites) -> int:
    return len(sites.rows) * len(sites.columns)


@pytest.mark.parametrize("device", SITES)
def test_every_array_has_its_own_blocks(device: str) -> None:
    """Of 1x1 to 16x16: distinct blocks of the part, or none because there is no room."""
    sites, laid = SITES[device], 0
    for rows, columns in SHAPES:
        needed = -(-rows // 2) * -(-columns // 2)
        places = fold(rows, columns, sites)
        if places is None:
            # What strips have left at their ends is less than a row or a column of blocks each.
            left = min(rows, columns) * len(sites.rows) // 2
            assert needed + left > blocks(sites), f"{rows}x{columns}"
            continue
        laid += 1
        assert len(places) == len(set(places.values())) == needed
        for strip, block in places.values():
            assert strip < len(sites.rows) and block < len(sites.columns), f"{rows}x{columns}"
    assert laid > 20


def test_an_array_that_fills_a_part() -> None:
    """12x12 on an 85F: a column of the array stays in its strip, and the next one is beside it."""
    places = fold(12, 12, SITES["85k"])
    assert places is not None
    for column in range(6):
        strips, across = zip(*(places[row, column] for row in range(6)), strict=True)
        assert len(set(strips)) == 1
        assert list(across) == list(range(across[0], across[0] + 6))
    assert [places[0, column][0] for column in range(6)] == [0, 0, 1, 1, 2, 2]


def test_a_small_array_is_in_the_middle() -> None:
    places = fold(4, 4, SITES["85k"])
    assert places is not None
    assert {strip for strip, _ in places.values()} == {1}
    assert sorted(block for _, block in places.values()) == [4, 5, 6, 7]


def netlist(names: list[str]) -> str:
    cells = {name: {"type": MULTIPLIER, "attributes": {"src": "x"}} for name in names}
    cells["other"] = {"type": "LUT4", "attributes": {}}
    return json.dumps({"modules": {"top": {"cells": cells}}})


def bels(text: str) -> dict[str, str]:
    cells = json.loads(text)["modules"]["top"]["cells"]
    assert "BEL" not in cells["other"]["attributes"]
    return {
        name: cell["attributes"]["BEL"]
        for name, cell in cells.items()
        if "BEL" in cell.get("attributes", {})
    }


@pytest.mark.parametrize(
    ("rows", "columns", "device"), [(12, 12, "85k"), (5, 3, "45k"), (4, 6, "25k")]
)
def test_enables_of_a_block(rows: int, columns: int, device: str) -> None:
    """At most three of a block's four enables are of cycles in which weights are taken."""
    names = {f"a.pe_{r}_{c}.block.dsp": r + c for r in range(rows) for c in range(columns)}
    found = bels(fix_multipliers(netlist(list(names)), device))
    assert len(set(found.values())) == len(found) == rows * columns
    cycles: dict[tuple[int, int], set[int]] = {}
    for name, bel in found.items():
        x, y, number = map(int, re.findall(r"^X(\d+)/Y(\d+)/MULT18_(\d)$", bel)[0])
        assert number in (0, 1, 4, 5) and y in SITES[device].rows
        block = x - number
        assert block in SITES[device].columns
        cycles.setdefault((block, y), set()).add(names[name])
    assert max(map(len, cycles.values())) <= 3


def test_other_multipliers_are_together() -> None:
    """Of one instance, in one block; none of them in the array's."""
    array = [f"t.array.pe_{r}_{c}.block.dsp" for r in range(12) for c in range(12)]
    lanes = [f"t.store.lane{n}.requantizer.product_{k}" for n in range(3) for k in range(4)]
    found = bels(fix_multipliers(netlist([*lanes, *array]), "85k"))
    assert len(set(found.values())) == 156
    for n in range(3):
        of_lane = [found[name] for name in lanes[4 * n : 4 * n + 4]]
        places = [tuple(map(int, re.findall(r"X(\d+)/Y(\d+)", bel)[0])) for bel in of_lane]
        assert len({y for _, y in places}) == 1
        assert max(x for x, _ in places) - min(x for x, _ in places) == 5


def test_what_has_no_place_is_left_to_the_placer() -> None:
    without = netlist(["a.product"])
    assert fix_multipliers(without, "85k") == without
    large = netlist([f"pe_{r}_{c}.dsp" for r in range(16) for c in range(16)])
    assert fix_multipliers(large, "85k") == large


def test_boards_of_the_family() -> None:
    """The sites of each board's part are known, and there are as many as the data sheet says."""
    boards = [load_board(name) for name in board_names()]
    array = netlist([f"pe_{r}_{c}.dsp" for r in range(4) for c in range(4)])
    for board in (b for b in boards if b.family is Family.ECP5):
        assert 4 * blocks(SITES[board.part.device.rpartition("-")[2]]) == board.capacity.dsps
        assert len(bels(ROUTES[Family.ECP5].floorplan(array, board))) == 16
    board = load_board("icebreaker")
    assert ROUTES[Family.ICE40].floorplan(array, board) == array


def test_large_designs_have_options_of_their_own() -> None:
    board, route = load_board("orangecrab_85f"), ROUTES[Family.ECP5]
    small, large = (route.place_arguments(board, 60, 1, luts) for luts in (LARGE - 1, LARGE))
    assert large == [*small, "--placer", "static", "--router", "router2"]
