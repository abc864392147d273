"""Loop nests of sequences of positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.strides import loop_nest, positions

NESTS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(-40, 40), st.integers(-40, 40)), max_size=5
)


@given(NESTS, st.integers(0, 1000))
def test_every_nest_is_found_again(loops: list[tuple[int, int, int]], offset: int) -> None:
    sizes = [loop[0] for loop in loops]
    one, two = (positions(offset, sizes, [loop[k] for loop in loops]) for k in (1, 2))
    found = loop_nest(one, two)
    assert found is not None
    least, strides = found
    assert len(least) <= len([n for n in sizes if n > 1])
    for sequence, steps in zip((one, two), strides, strict=True):
        np.testing.assert_array_equal(positions(int(sequence[0]), least, steps), sequence)


@pytest.mark.parametrize(
    ("shape", "axes", "sizes", "strides"),
    [
        ((4, 5, 6), (0, 1, 2), (120,), (1,)),
        ((4, 5, 6), (1, 0, 2), (5, 4, 6), (6, 30, 1)),
        ((4, 5, 6), (2, 0, 1), (6, 20), (1, 6)),
        ((1, 5, 6), (0, 2, 1), (6, 5), (1, 6)),
    ],
)
def test_transposes(
    shape: tuple[int, ...], axes: tuple[int, ...], sizes: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    places = np.arange(int(np.prod(shape))).reshape(shape).transpose(axes).ravel()
    assert loop_nest(places) == (sizes, (strides,))


@pytest.mark.parametrize("sequence", [[0, 1, 3], [0, 1, 5, 7], [0, 1, 2, 5, 6]])
def test_what_is_no_nest(sequence: list[int]) -> None:
    assert loop_nest(np.array(sequence)) is None
