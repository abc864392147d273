"""Reductions over any axes: pools of one window, or products with ones where channels are reduced.

The canonical axes that are reduced are known to the caller, `H`, `W` and `C` being 0, 1 and 2. A
reduction of rows and columns alone is a pool over the whole image along them. With channels, the
reduced elements become the last axis first, which is free unless an axis that stays lies between.
"""

from collections.abc import Collection

import numpy as np

from systolith.arithmetic import (
    Codes,
    LutArithmetic,
    MacArithmetic,
    MaxPoolArithmetic,
    PoolArithmetic,
    Requant,
)
from systolith.graph import Op, Tensor
from systolith.importers.builder import GraphBuilder
from systolith.importers.geometry import Window
from systolith.importers.places import all_places

__all__ = ["add_maximum", "add_mean", "canonical_axes"]


def canonical_axes(axes: Collection[int], rank: int, *, channels_first: bool) -> frozenset[int]:
    """Return the canonical axes of a runtime's; the batch, which has one element, is left out.

    Parameters
    ----------
    axes: of the runtime's shape, below 0 from the end.
    rank: at most 4.
    channels_first: whether four sides are NCHW.
    """
    order = {0: -1, 1: 2, 2: 0, 3: 1} if channels_first and rank == 4 else {}
    found = {order.get(axis % rank, axis % rank + 3 - rank) for axis in axes}
    return frozenset(axis for axis in found if axis >= 0)


def _window(source: Tensor, axes: Collection[int]) -> Window:
    height, width, _ = source.shape
    kernel = (height if 0 in axes else 1, width if 1 in axes else 1)
    return Window(kernel=kernel, strides=kernel)


def _lined_up(builder: GraphBuilder, source: Tensor, axes: Collection[int]) -> Tensor:
    """Return the tensor (1, kept, reduced) of a reduction."""
    kept = [axis for axis in range(3) if axis not in axes]
    places = all_places(source.shape).transpose(*kept, *sorted(axes))
    count = int(np.prod([source.shape[axis] for axis in axes]))
    shape = (1, source.size // count, count)
    name = f"{source.name}/{builder.layer}"
    lined = builder.add_tensor(
        Tensor(
            name=name,
            shape=shape,
            dtype=source.dtype,
            quantization=source.quantization,
            source_name=name,
            source_shape=shape,
            limits=source.limits,
        )
    )
    builder.add_choice(source.name, name, places, "/lined_up")
    return lined


def add_mean(
    builder: GraphBuilder,
    source: Tensor,
    target: Tensor,
    axes: Collection[int],
    zero_point: int,
    requant: Requant,
    codes: tuple[Codes, Codes],
) -> None:
    """Append the mean over canonical axes.

    Parameters
    ----------
    source, target: the target has the source's elements that stay, in their order.
    zero_point: subtracted from every code before they are summed.
    requant: of the sum.
    codes: of source and target.
    """
    if 2 not in axes:
        window = _window(source, axes)
        count = window.kernel[0] * window.kernel[1]
        pool = PoolArithmetic(input_zero_point=zero_point, requants={count: requant}, source=codes)
        _add_pool(builder, Op.AVG_POOL, source, target, window, pool)
        return
    lined = _lined_up(builder, source, axes)
    if requant.formula == "ort_mean":
        # What a sum leaves open is known of pools only.
        images = builder.reshaped(lined, (*lined.shape[1:], 1), "/rows")
        pool = PoolArithmetic(
            input_zero_point=zero_point, requants={lined.shape[2]: requant}, source=codes
        )
        window = Window(kernel=(1, lined.shape[2]), strides=(1, lined.shape[2]))
        _add_pool(builder, Op.AVG_POOL, images, target, window, pool)
        return
    arithmetic = MacArithmetic(
        weights=np.ones((1, 1, 1, lined.shape[2]), np.int8),
        weight_zero_point=0,
        bias=np.zeros(1, np.int32),
        input_zero_point=zero_point,
        requant=requant,
    )
    result = builder.unfolded(target, (1, lined.shape[1], 1), f"/{builder.layer}")
    builder.add_mac(Op.FULLY_CONNECTED, lined, result, arithmetic)
    builder.fold(result, target, "/out")


def _add_pool(
    builder: GraphBuilder,
    op: Op,
    source: Tensor,
    target: Tensor,
    window: Window,
    arithmetic: PoolArithmetic | MaxPoolArithmetic,
) -> None:
    rows, columns = window.positions(*source.shape[:2])
    shape = (rows, columns, source.shape[2])
    result = builder.unfolded(target, shape, f"/{builder.layer}")
    names = (source.name,), (result.name,)
    builder.add_node(op, *names, arithmetic, window.attributes())
    builder.fold(result, target, "/out")


def add_maximum(
    builder: GraphBuilder,
    source: Tensor,
    target: Tensor,
    axes: Collection[int],
    codes: Codes,
    *,
    least: bool = False,
) -> None:
    """Append the maximum over canonical axes.

    Parameters
    ----------
    source, target: of the same codes.
    least: the minimum instead: the maximum between two tables that turn the codes around.
    """
    arithmetic = MaxPoolArithmetic(low=codes.low, high=codes.high)
    if least:
        source, last = _turned(builder, source, "/turned"), target
        target = builder.unfolded_copy(target, f"/{builder.layer} maximum")
    if 2 in axes:
        lined = _lined_up(builder, source, axes)
        # Rows of elements to reduce, as images of one channel.
        images = builder.reshaped(lined, (*lined.shape[1:], 1), "/rows")
        window = Window(kernel=(1, lined.shape[2]), strides=(1, lined.shape[2]))
        _add_pool(builder, Op.MAX_POOL, images, target, window, arithmetic)
    else:
        _add_pool(builder, Op.MAX_POOL, source, target, _window(source, axes), arithmetic)
    if least:
        _add_turn(builder, target, last, "/back")


def _turned(builder: GraphBuilder, source: Tensor, suffix: str) -> Tensor:
    turned = builder.unfolded_copy(source, f"/{builder.layer} turned")
    _add_turn(builder, source, turned, suffix)
    return turned


def _add_turn(builder: GraphBuilder, source: Tensor, target: Tensor, suffix: str) -> None:
    """Append ``-1 - code``, which is ``255 - code`` of uint8."""
    table = (255 - np.arange(256)).astype(np.uint8)
    lookup = LutArithmetic(table=table, formula="complement")
    builder.add_node(Op.LUT, (source.name,), (target.name,), lookup, suffix=suffix)
