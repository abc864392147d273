"""QONNX layers with weights as nodes, and their sums themselves as codes: one byte, or two.

Sums of two bytes need no wider result: the high byte is a result like any other, and a second layer
with the high byte among its inputs, times -256, leaves the low one.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Codes, ConcatArithmetic, MacArithmetic, Requant
from systolith.graph import Op, Quantization, Tensor
from systolith.importers.qonnx_context import QonnxContext, channel_axis
from systolith.importers.qonnx_pending import MacBase, PoolBase

__all__ = ["add_sums", "pool_of_ones", "sum_bytes"]

Int64Array = NDArray[np.int64]


def add_sums(
    ctx: QonnxContext,
    base: MacBase,
    target: Tensor,
    requant: Requant,
    bias: Int64Array | None = None,
) -> None:
    """Append the layer of sums of products, requantized to `target`."""
    weights, channels = base.weights, len(base.weights)
    low, high = int(weights.min()), int(weights.max())
    if not (low >= -128 and high <= 127 or low >= 0 and high <= 255):
        ctx.unsupported(
            f"its weights {low} to {high} are no 8-bit codes (a negative factor turns a channel's "
            "signs); use a narrow range"
        )
    source = ctx.tensors[base.source]
    arithmetic = MacArithmetic(
        weights=weights.astype(np.int8 if high <= 127 else np.uint8),
        weight_zero_point=0,
        bias=(np.zeros(channels) if bias is None else bias).astype(np.int32),
        input_zero_point=_zero(source),
        requant=requant,
    )
    if base.window is None:
        flat = ctx.unfolded(target, (1, source.shape[1], channels), f"/{ctx.layer}")
        ctx.add_mac(Op.FULLY_CONNECTED, source, flat, arithmetic)
        ctx.fold(flat, target, "/out")
        return
    attributes = base.window.attributes(groups=base.groups)
    ctx.add_mac(Op.CONV2D, source, target, arithmetic, attributes)


def _zero(source: Tensor) -> int:
    return int(source.quantization.zero_point[0]) if source.quantization is not None else 0


def _shifted(offset: int, ends: tuple[int, int], shift: int = 0) -> Requant:
    """Return ``(sum >> shift) + offset`` of sums between two ends: one byte."""
    low, high = ((end >> shift) + offset for end in ends)
    steps = (np.arange(low + 1, high + 1, dtype=np.int64) - offset) << shift
    return Requant(
        formula="thresholds",
        zero_point=0,
        low=low,
        high=high,
        scale=np.ones(1),
        thresholds=steps[:, None],
    )


def _codes(requant: Requant, dtype: str, scale: float, zero: int) -> Codes:
    limits = requant.low, requant.high
    return Codes(dtype=dtype, scale=scale, zero_point=zero, limits=limits)


def sum_bytes(
    ctx: QonnxContext, base: MacBase, shape: tuple[int, ...], name: str
) -> tuple[tuple[str, ...], int]:
    """Append a layer with its sums as codes.

    Parameters
    ----------
    base: the layer.
    shape: the runtime's, of the sums.
    name: of the tensor to make.

    Returns
    -------
    One tensor, or high and low bytes; and what is to be subtracted from their code (one tensor)
    or from ``256 * high + low``.
    """
    ends = int(base.lo.min()), int(base.hi.max())
    if ends[1] - ends[0] > 255:
        return _two_bytes(ctx, base, ends, shape, name)
    offset = 0 if ends[0] >= -128 and ends[1] <= 127 else -128 - ends[0]
    requant = _shifted(offset, ends)
    made = ctx.quantized(name, shape, _codes(requant, "int8", 1.0, offset))
    if base.output:
        made = replace(made, source_name=base.output, quantization=_worth(base, shape, offset))
        ctx.tensors[name] = made
    add_sums(ctx, base, made, requant)
    return (made.name,), offset


def _worth(base: MacBase, shape: tuple[int, ...], offset: int) -> Quantization:
    """Return what the codes of sums are worth, in the runtime's tensor of them."""
    scale = base.sums.unit.astype(np.float32)
    axis = channel_axis(len(shape)) if scale.size > 1 else None
    return Quantization(scale=scale, zero_point=np.full(scale.shape, offset, np.int64), axis=axis)


def _joined(ctx: QonnxContext, source: Tensor, more: int, name: str) -> Tensor:
    """Make the tensor of a source and as many more channels of its type."""
    shape = (1, source.shape[1], source.shape[2] + more)
    zero = np.array([_zero(source)], np.int64)
    return ctx.add_tensor(
        Tensor(
            name=name,
            shape=shape,
            dtype=source.dtype,
            quantization=Quantization(scale=np.ones(1, np.float32), zero_point=zero),
            source_name=name,
            source_shape=shape,
        )
    )


def _two_bytes(
    ctx: QonnxContext, base: MacBase, ends: tuple[int, int], shape: tuple[int, ...], name: str
) -> tuple[tuple[str, ...], int]:
    if base.window is not None or ends[0] < -(1 << 15) or ends[1] >= 1 << 15:
        ctx.unsupported(
            f"its sums of {ends[0]} to {ends[1]} are the network's float output: they must fit 16 "
            "bits and come from a MatMul or Gemm; put a Quant before the output"
        )
    source, channels = ctx.tensors[base.source], len(base.weights)
    layer = ctx.layer
    # The high byte twice, of the source's type, so that both can be inputs of one layer.
    up = 0 if source.dtype == "int8" else 128
    requant = _shifted(up, ends, 8)
    rows = source.shape[1]
    twice = (1, rows, 2 * channels)
    high = ctx.quantized(f"{name}/high", twice, _codes(requant, source.dtype, 1.0, up))
    ctx.layer = f"{layer}/high"
    double = replace(base, weights=np.concatenate([base.weights, base.weights]))
    add_sums(ctx, double, high, requant)
    ctx.layer = layer
    joined = _joined(ctx, source, 2 * channels, f"{name}/joined")
    copied = ConcatArithmetic(tables=(None, None))
    names = (source.name, high.name)
    ctx.add_node(Op.CONCAT, names, (joined.name,), copied, {"axis": 2}, "/join")
    parts = [np.eye(channels, dtype=np.int64) * -128] * 2
    weights = np.concatenate([base.weights.reshape(channels, -1), *parts], axis=1)
    lowest = _shifted(-128, (0, 255))
    low = ctx.quantized(name, shape, _codes(lowest, "int8", 1.0, -128))
    rest = replace(base, source=joined.name, weights=weights[:, None, None])
    bias = np.full(channels, 256 * (up - _zero(source)), np.int64)
    add_sums(ctx, rest, low, lowest, bias)
    return (high.name, low.name), 256 * up - 128


def pool_of_ones(ctx: QonnxContext, base: PoolBase) -> MacBase:
    """Return the pool as a depthwise convolution with ones, which has a function a channel."""
    channels, codes = ctx.tensors[base.source].shape[2], base.codes
    kernel = base.window.kernel
    count, zero = kernel[0] * kernel[1], codes.zero_point
    full = np.ones(channels, np.int64)
    ends = (min(codes.low, zero) - zero, max(codes.high, zero) - zero)
    return MacBase(
        source=base.source,
        weights=np.ones((channels, *kernel, 1), np.int64),
        window=base.window,
        groups=channels,
        sums=base.sums,
        lo=full * count * ends[0],
        hi=full * count * ends[1],
    )
