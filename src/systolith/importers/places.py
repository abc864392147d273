"""Operators that only choose elements, on arrays of places: numpy computes where each comes from.

A place is the flat position of an element in the runtime's array of the operator's input. What an
operator of a file does to its input, numpy does to the array of all places in the input's shape.
"""

from collections.abc import Sequence

import numpy as np

from systolith.strides import Int64Array

__all__ = ["all_places", "depth_to_space", "space_to_depth", "static_slice"]


def all_places(shape: Sequence[int]) -> Int64Array:
    """Return the place of every element of an array."""
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)


def static_slice(
    places: Int64Array, axes: Sequence[int], cuts: Sequence[tuple[int | None, int | None, int]]
) -> Int64Array:
    """Return ``places[start:end:step]`` along each of `axes`."""
    whole: list[slice] = [slice(None)] * places.ndim
    for axis, (start, end, step) in zip(axes, cuts, strict=True):
        whole[axis] = slice(start, end, step)
    return places[tuple(whole)]


def depth_to_space(places: Int64Array, block: int, *, columns_first: bool = False) -> Int64Array:
    """Return NHWC places with `block` x `block` pixels out of each pixel's channels.

    Parameters
    ----------
    columns_first: whether a channel's pixels are neighbours (ONNX's CRD), not a pixel's channels.
    """
    _check_block(block)
    n, h, w, c = places.shape
    depth = c // (block * block)
    if columns_first:
        parts = places.reshape(n, h, w, depth, block, block).transpose(0, 1, 4, 2, 5, 3)
    else:
        parts = places.reshape(n, h, w, block, block, depth).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(n, h * block, w * block, depth)


def space_to_depth(places: Int64Array, block: int) -> Int64Array:
    """Return NHWC places with the channels of `block` x `block` pixels in one."""
    _check_block(block)
    n, h, w, c = places.shape
    parts = places.reshape(n, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(n, h // block, w // block, block * block * c)


def _check_block(block: int) -> None:
    if block < 1:
        raise ValueError(f"the block size must be at least 1, not {block}")
