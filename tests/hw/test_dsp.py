"""Blocks by name: which technologies have one, and up to which width of operands."""

import pytest

from systolith.hw.array import WeightStationaryArray
from systolith.hw.dsp import PRIMITIVES
from systolith.hw.multiplier import Multiplier, PackedMultiplier, SplitMultiplier, WideMultiplier
from systolith.hw.multiplier_block import MultiplierBlock
from systolith.hw.technology import Technology
from systolith.sim.emit import to_rtlil
from systolith.spec.precision import Precision

NAMES = {
    Technology.ECP5: ("MULT18X18D", "MULT18X18D"),
    Technology.GOWIN: ("MULT9X9", "MULT18X18"),
}
"""For operands of 9 bits and of 18, by technology."""
ALL = frozenset(Precision)


def cells(component: MultiplierBlock | WeightStationaryArray, name: str) -> int:
    """Cells of a type."""
    return to_rtlil(component).count(f"cell {name} " if name[0] == "$" else f"cell \\{name} ")


def block(technology: Technology, multiplier: Multiplier, stages: int = 1) -> MultiplierBlock:
    return MultiplierBlock(multiplier, stages=stages, pipelined=True, technology=technology)


def test_all_have_names() -> None:
    assert NAMES.keys() == PRIMITIVES.keys()


@pytest.mark.parametrize("technology", PRIMITIVES)
def test_blocks(technology: Technology) -> None:
    """One block, if it holds the operands and they have registers; operators otherwise."""
    narrow, wide = NAMES[technology]
    for stages in (1, 2):
        assert cells(block(technology, Multiplier(), stages), narrow) == 1
        packed = block(technology, PackedMultiplier(ALL), stages)
        assert cells(packed, wide) == 1
    assert cells(block(technology, Multiplier(), 0), narrow) == 0
    for other in (WideMultiplier(ALL), SplitMultiplier(ALL)):
        assert cells(block(technology, other), "$mul") > 0


@pytest.mark.parametrize("technology", [t for t in Technology if t not in PRIMITIVES])
def test_others_are_inferred(technology: Technology) -> None:
    assert cells(block(technology, Multiplier()), "$mul") == 1


@pytest.mark.parametrize("technology", PRIMITIVES)
def test_arrays(technology: Technology) -> None:
    """One block an element."""
    array = WeightStationaryArray(2, 3, pipelined=True, stages=1, technology=technology)
    assert cells(array, NAMES[technology][0]) == 6
