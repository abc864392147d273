"""Technologies reach the blocks that have primitives."""

import pytest

from systolith.hw.array import WeightStationaryArray
from systolith.hw.technology import Technology
from systolith.hw.top import Accelerator
from systolith.spec.configuration import preset_for_array


@pytest.mark.parametrize("technology", Technology)
def test_accelerators_hand_it_to_their_array(technology: Technology) -> None:
    accelerator = Accelerator(preset_for_array(2, 2), technology=technology)
    assert accelerator.technology is technology
    assert isinstance(accelerator.array, WeightStationaryArray)
    assert accelerator.array.technology is technology


def test_generic_is_the_default() -> None:
    assert Accelerator(preset_for_array(2, 2)).technology is Technology.GENERIC
    assert WeightStationaryArray(2, 2).technology is Technology.GENERIC
