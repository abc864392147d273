"""Tiles cover a region exactly; reductions place every byte once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.compiler.reduction import Kernel, Reduction, best_reduction, pack_tiles
from systolith.compiler.tiling import Load, Region, cut_region, growing
from systolith.spec.configuration import load_spec


def load(depth, least=16, passes=9, beats=2, channel_tiles=1):
    return Load(depth=depth, least=least, passes=passes, beats=beats, channel_tiles=channel_tiles)


def pixels(tiles):
    for t in tiles:
        for i in range(t.count):
            for y in range(t.height):
                for x in range(t.width):
                    yield t.y + i * t.step_y + y, t.x + i * t.step_x + x


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(4, 64), st.integers(1, 9))
def test_tiles_cover_the_region_once(height, width, depth, passes):
    region = Region(y=3, x=5, height=height, width=width)
    tiles = cut_region(region, load(depth, passes=passes), linear=False)
    assert max(t.height * t.width for t in tiles) <= depth
    wanted = [(3 + y, 5 + x) for y in range(height) for x in range(width)]
    assert sorted(pixels(tiles)) == wanted


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(4, 64))
def test_linear_tiles_cover_the_line_once(height, width, depth):
    region = Region(y=3, x=5, height=height, width=width)
    tiles = cut_region(region, load(depth), linear=True)
    assert sorted(pixels(tiles)) == [(3, 5 + i) for i in range(height * width)]


def test_tiles_are_no_smaller_than_the_array():
    tiles = cut_region(Region(y=0, x=0, height=8, width=8), load(128), linear=False)
    assert all(t.height * t.width >= 16 for t in tiles)


@pytest.mark.parametrize(
    ("kernel", "rows", "passes"),
    [
        ((3, 3, 99, 3, 3), 16, 3),
        ((3, 3, 528, 16, 16), 16, 9),
        ((10, 4, 11, 1, 1), 16, 5),
        ((3, 3, 80, 8, 8), 16, 6),
        ((1, 1, 64, 64, 64), 16, 4),
        ((1, 3, 100, 10, 5), 16, 2),
        ((3, 3, 4, 2, 1), 16, 3),
    ],
)
def test_fewest_passes(kernel, rows, passes):
    height, width, row, pixel, channels = kernel
    shape = Kernel(height=height, width=width, row=row, pixel=pixel, channels=channels)
    assert best_reduction(shape, rows).passes == passes


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 16),
    st.integers(1, 4),
    st.booleans(),
)
def test_every_weight_meets_its_byte(height, width, channels, rows, group, whole):
    """Pass address plus array row is the tap's own address, and no place is used twice."""
    pixel, row = channels + 2, (channels + 2) * 7
    kernel = Kernel(height=height, width=width, row=row, pixel=pixel, channels=channels)
    reduction = Reduction(kernel=kernel, rows=rows, group=min(group, height), whole_rows=whole)
    number, place = reduction.positions()
    counts, strides = reduction.counts, reduction.strides
    index = np.unravel_index(number, counts)
    address = sum(i * s for i, s in zip(index, strides, strict=True)) + place
    y, x, c = np.ogrid[:height, :width, :channels]
    np.testing.assert_array_equal(address, y * row + x * pixel + c)
    assert place.max() < rows and number.max() < reduction.passes
    assert np.unique(number * rows + place).size == height * width * channels


def test_unused_places_hold_the_zero_code():
    spec = load_spec("tiny")
    kernel = Kernel(height=1, width=1, row=9, pixel=3, channels=3)
    blocks = np.arange(6).reshape(1, 2, 1, 1, 3)
    tiles = pack_tiles(best_reduction(kernel, 4), blocks, 99, spec)
    wanted = [[0, 3, 99, 99], [1, 4, 99, 99], [2, 5, 99, 99], [99] * 4]
    np.testing.assert_array_equal(tiles, [[wanted]])


def test_growing_parts_cover_all_rows_once():
    assert list(growing(21, 2, 6)) == [(0, 2), (2, 4), (6, 6), (12, 6), (18, 3)]
    assert list(growing(5, 9, 9)) == [(0, 5)]
