"""Cells counted, and capacities compared."""

import pytest

from systolith.build.families import FAMILIES, Resources
from systolith.build.synthesis import check_capacity
from systolith.constraints import Family, load_board
from systolith.errors import CapacityError


def test_every_family_of_fpgas_has_a_target() -> None:
    assert set(FAMILIES) == set(Family) - {Family.ASIC}


def test_cells_are_counted() -> None:
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_FF": 7, "MULT18X18D": 2, "DP16KD": 1, "PFUMX": 5}
    assert FAMILIES[Family.ECP5].count(cells) == Resources(luts=16, ffs=7, dsps=2, block_rams=1)
    halves = FAMILIES[Family.XC7].count({"RAMB18E1": 3, "RAMB36E1": 1})
    assert halves.block_rams == 2.5


def test_what_does_not_fit_is_named_with_its_excess() -> None:
    takes = Resources(luts=6000, ffs=5280, dsps=9, block_rams=29.5)
    message = (
        r"^the accelerator does not fit icebreaker \(ICE40UP5K-SG48I\): LUT 6,000 of 5,280 "
        r"\(720 too many, 114 %\); SB_MAC16 9 of 8 \(1 too many, 113 %\): take a smaller array, "
    )
    with pytest.raises(CapacityError, match=message):
        check_capacity(takes, load_board("icebreaker"))


def test_what_fits_exactly_fits() -> None:
    check_capacity(Resources(luts=5280, dsps=8, block_rams=30), load_board("icebreaker"))


def test_a_resource_that_the_part_lacks() -> None:
    message = r"^the accelerator does not fit pynq_z2 .*: large_rams 1 of 0 \(1 too many\)"
    with pytest.raises(CapacityError, match=message):
        check_capacity(Resources(large_rams=1), load_board("pynq_z2"))
