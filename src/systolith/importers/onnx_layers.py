"""ONNX layers with weights or windows: QLinearConv, QLinearMatMul, QGemm, pools."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Codes, MacArithmetic, PoolArithmetic, Requant
from systolith.graph import Op, Tensor
from systolith.importers.builder import mac_requant, same_pads
from systolith.importers.geometry import Window
from systolith.importers.onnx_context import OnnxContext
from systolith.profiles.multipliers import SCALE_RULES

__all__ = [
    "average_pool",
    "check_ceil",
    "conv",
    "gemm",
    "global_average_pool",
    "matmul",
    "window_of",
]


def window_of(ctx: OnnxContext, source: Tensor, kernel: tuple[int, ...]) -> Window:
    """Return the window of the current node's attributes."""
    if (named := ctx.attribute("kernel_shape", tuple(kernel))) != tuple(kernel):
        ctx.fail(f"attribute 'kernel_shape' must be {list(kernel)} as its weights, not {named}")
    strides = ctx.attribute("strides", (1, 1))
    dilations = ctx.attribute("dilations", (1, 1))
    pads = ctx.attribute("pads", (0, 0, 0, 0))
    if (len(kernel), len(strides), len(dilations), len(pads)) != (2, 2, 2, 4):
        ctx.unsupported("its window must have two sides")
    if ctx.attribute("channels_last", 0):
        ctx.unsupported("its layout must be NCHW (channels_last 0)")
    window = Window(
        kernel=(kernel[0], kernel[1]),
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        pads=(pads[0], pads[2], pads[1], pads[3]),
    )
    if not window.valid():
        ctx.fail(f"kernel, strides, dilations and pads must be in range, not {window}")
    automatic = ctx.attribute("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        pairs = [
            same_pads(*each)
            for each in zip(source.shape, window.kernel, strides, dilations, strict=False)
        ]
        if automatic == "SAME_LOWER":
            pairs = [(after, before) for before, after in pairs]
        window = replace(window, pads=(*pairs[0], *pairs[1]))
    elif automatic == "VALID":
        window = replace(window, pads=(0, 0, 0, 0))
    return window


def _weights(ctx: OnnxContext, position: int) -> tuple[NDArray[Any], NDArray[np.float32], int]:
    """Return codes, scales and the one zero point of constant weights at `position`."""
    weights = ctx.constant(position, "weights")
    scales = ctx.scales(position + 1, "weights'")
    zeros = ctx.constant(position + 2, "weights' zero point").reshape(-1)
    if weights.dtype not in (np.int8, np.uint8) or zeros.dtype != weights.dtype:
        ctx.fail(f"weights and zero point must be int8 or uint8, not {weights.dtype}")
    if not zeros.size or np.any(zeros != zeros[0]):
        ctx.fail("weights must have one zero point for all channels")
    return weights, scales, int(zeros[0])


def _bias(ctx: OnnxContext, position: int, channels: int) -> NDArray[np.int32]:
    """Return the int32 bias, zeros if there is none."""
    if position >= len(ctx.node.input) or not ctx.node.input[position]:
        return np.zeros(channels, np.int32)
    bias = ctx.constant(position, "bias")
    if bias.dtype != np.int32:
        ctx.fail(f"bias must be int32, not {bias.dtype}")
    return bias.reshape(-1)


def conv(ctx: OnnxContext) -> None:
    """QLinearConv: x, its scale and zero point, weights likewise, output likewise, bias."""
    ctx.arity(8, 9)
    codes, out = ctx.codes(1, "input"), ctx.codes(6, "output")
    source = ctx.image(0, codes.dtype)
    weights, scales, zero = _weights(ctx, 3)
    groups = ctx.attribute("group", 1)
    if weights.ndim != 4 or groups < 1 or weights.shape[1] * groups != source.shape[2]:
        ctx.fail(f"weights {list(weights.shape)} must fit {source.shape[2]} input channels")
    channels = weights.shape[0]
    if channels % groups:
        ctx.fail(f"{groups} groups must divide {channels} output channels")
    window = window_of(ctx, source, weights.shape[2:])
    target = _windowed(ctx, window, source, channels, out)
    arithmetic = MacArithmetic(
        weights=np.ascontiguousarray(weights.transpose(0, 2, 3, 1)),
        weight_zero_point=zero,
        bias=_bias(ctx, 8, channels),
        input_zero_point=codes.zero_point,
        requant=mac_requant(ctx.row("conv2d"), codes, scales, out),
    )
    ctx.add_mac(Op.CONV2D, source, target, arithmetic, window.attributes(groups=groups))


def _windowed(
    ctx: OnnxContext, window: Window, source: Tensor, channels: int, out: Codes
) -> Tensor:
    rows, columns = window.positions(*source.shape[:2])
    if rows < 1 or columns < 1:
        ctx.fail(f"kernel {window.kernel} must fit the input {source.shape[:2]}")
    return ctx.output((1, channels, rows, columns), out)


def _linear(
    ctx: OnnxContext,
    weights: NDArray[Any],
    zero: int,
    codes: Codes,
    requant: Requant,
    bias: NDArray[np.int32],
    out: Codes,
) -> None:
    """Append rows of the first input times weights [K, N]."""
    source = ctx.input(0, codes.dtype)
    shape = source.source_shape
    if weights.ndim != 2 or len(shape) not in (2, 3) or weights.shape[0] != shape[-1]:
        ctx.unsupported(f"weights {list(weights.shape)} must be a matrix that fits {list(shape)}")
    depth, channels = weights.shape
    rows = source.size // depth
    if source.order is not None:
        # The bytes lie in canonical order, not in the file's: move the weights' rows instead.
        if rows != 1:
            ctx.unsupported("a reshape or transpose before it moves the data")
        weights = weights[source.order]
    flat = ctx.reshaped(source, (1, rows, depth), f"/rows_{ctx.layer}")
    target = ctx.output((*shape[:-1], channels), out)
    arithmetic = MacArithmetic(
        weights=np.ascontiguousarray(weights.T).reshape(channels, 1, 1, depth),
        weight_zero_point=zero,
        bias=bias,
        input_zero_point=codes.zero_point,
        requant=requant,
    )
    ctx.add_mac(Op.FULLY_CONNECTED, flat, target, arithmetic)


def matmul(ctx: OnnxContext) -> None:
    """QLinearMatMul with constant second operand."""
    ctx.arity(8, 8)
    codes, out = ctx.codes(1, "input"), ctx.codes(6, "output")
    if ctx.node.input[3] not in ctx.constants:
        ctx.unsupported("its second operand must be a constant (weights)")
    weights, scales, zero = _weights(ctx, 3)
    requant = mac_requant(ctx.row("fully_connected"), codes, scales, out)
    bias = np.zeros(weights.shape[-1], np.int32)
    _linear(ctx, weights, zero, codes, requant, bias, out)


def gemm(ctx: OnnxContext) -> None:
    """com.microsoft QGemm: ``alpha * A @ B + C`` with int32 C."""
    ctx.arity(6, 9)
    if len(ctx.node.input) < 9 or not ctx.node.input[8]:
        ctx.unsupported("its output is float32; quantize the output of this layer")
    if ctx.attribute("transA", 0):
        ctx.unsupported("its input must not be transposed")
    codes, out = ctx.codes(1, "input"), ctx.codes(7, "output")
    weights, scales, zero = _weights(ctx, 3)
    if ctx.attribute("transB", 0):
        weights = weights.T
    alpha = np.float32(ctx.attribute("alpha", 1.0))
    scaled = Codes(
        dtype=codes.dtype,
        scale=float(alpha * np.float32(codes.scale)),
        zero_point=codes.zero_point,
    )
    requant = mac_requant(ctx.row("fully_connected"), scaled, scales, out)
    bias = _bias(ctx, 6, weights.shape[-1])
    _linear(ctx, weights, zero, codes, requant, bias, out)


def _pool_codes(ctx: OnnxContext) -> tuple[Codes, Codes]:
    ctx.arity(4, 5)
    return ctx.codes(1, "input"), ctx.codes(3, "output")


def check_ceil(ctx: OnnxContext) -> None:
    """Refuse windows that end beyond the padding."""
    if ctx.attribute("ceil_mode", 0):
        ctx.unsupported("ceil_mode must be 0")


def average_pool(ctx: OnnxContext) -> None:
    """com.microsoft QLinearAveragePool: a float32 mean, see ``ort_average``."""
    codes, out = _pool_codes(ctx)
    source = ctx.image(0, codes.dtype)
    check_ceil(ctx)
    window = window_of(ctx, source, ctx.attribute("kernel_shape", ()))
    target = _windowed(ctx, window, source, source.shape[2], out)
    area = window.kernel[0] * window.kernel[1]
    padded = ctx.attribute("count_include_pad", 0)
    requants = {}
    for count in window.counts(*source.shape[:2]):
        if count < 1:
            ctx.fail("every window must see at least one input")
        requants[count] = Requant(
            formula=ctx.row("avg_pool").formula,
            zero_point=0,
            low=out.low,
            high=out.high,
            scale=np.array([codes.scale], np.float32),
            divisor=area if padded else count,
            offset=float(out.zero_point),
            output_scale=out.scale,
        )
    arithmetic = PoolArithmetic(
        input_zero_point=codes.zero_point, requants=requants, source=(codes, out)
    )
    ctx.add_node(Op.AVG_POOL, (source.name,), (target.name,), arithmetic, window.attributes())


def global_average_pool(ctx: OnnxContext) -> None:
    """com.microsoft QLinearGlobalAveragePool: M2 with ``scale = x / float32(y * n)``."""
    codes, out = _pool_codes(ctx)
    source = ctx.image(0, codes.dtype)
    if ctx.attribute("channels_last", 0):
        ctx.unsupported("its layout must be NCHW (channels_last 0)")
    height, width, channels = source.shape
    count = height * width
    scale = SCALE_RULES["single"](codes.scale, 1.0, np.float32(out.scale) * np.float32(count))
    requant = Requant(
        formula=ctx.row("global_avg_pool").formula,
        zero_point=out.zero_point,
        low=out.low,
        high=out.high,
        scale=scale,
    )
    target = ctx.output((1, channels, 1, 1), out)
    arithmetic = PoolArithmetic(
        input_zero_point=codes.zero_point, requants={count: requant}, source=(codes, out)
    )
    window = Window(kernel=(height, width), strides=(height, width))
    ctx.add_node(Op.AVG_POOL, (source.name,), (target.name,), arithmetic, window.attributes())
