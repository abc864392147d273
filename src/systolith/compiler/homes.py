"""Tensors that lie inside others: whole, as boxes, or as rows and pixels at steps."""

from dataclasses import dataclass

import numpy as np

from systolith.strides import Int64Array

__all__ = ["Home", "part_of"]

Step3 = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """A tensor inside another: at an origin, or the same bytes under another shape.

    Parameters
    ----------
    parent: the other tensor.
    origin: where it begins; None for the same bytes.
    steps: (rows, pixels, channels) of the parent from row to row and from pixel to pixel of the
        tensor, for a part that is not a box of the parent.
    """

    parent: str
    origin: tuple[int, int, int] | None
    steps: tuple[Step3, Step3] | None = None


def part_of(
    parent: str, whole: tuple[int, int, int], shape: tuple[int, int, int], index: Int64Array
) -> Home | None:
    """Return how a tensor of elements ``index`` lies in a parent, if its channels are neighbours.

    Rows must lie behind each other, and pixels in a row, whatever gaps the parent has.
    """
    places = np.array(np.unravel_index(index, whole), np.int64).T.reshape(*shape, 3)
    origin = places[0, 0, 0]
    steps = np.zeros((3, 3), np.int64)
    for axis, count in enumerate(shape):
        if count > 1:
            steps[axis] = np.take(places, 1, axis=axis)[0, 0] - origin
    grid = np.moveaxis(np.indices(shape), 0, -1)
    if (places != origin + grid @ steps).any() or (shape[2] > 1 and tuple(steps[2]) != (0, 0, 1)):
        return None
    scale = np.array([whole[1] * whole[2], whole[2], 1])
    row, pixel, _ = (int(step @ scale) for step in steps)
    ordered = shape[1] == 1 or (pixel >= shape[2] and (steps[1] >= 0).all())
    width = (shape[1] - 1) * pixel + shape[2]
    if not ordered or (shape[0] > 1 and (row < width or (steps[0] < 0).any())):
        return None
    # A side of one element has any step: that of dense tensors is the least surprising.
    if shape[1] == 1:
        steps[1] = (0, 0, shape[2])
    if shape[0] == 1:
        steps[0] = steps[1] * shape[1]
    (a, b, c), (d, e, f), (g, h, i) = origin.tolist(), steps[0].tolist(), steps[1].tolist()
    return Home(parent=parent, origin=(a, b, c), steps=((d, e, f), (g, h, i)))
