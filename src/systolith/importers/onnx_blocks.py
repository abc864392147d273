"""com.microsoft MatMulNBits: weights of few bits with a scale a block, int8 activations likewise.

The integer sums of blocks are a grouped convolution, a group a block, stored as bytes; activations
are quantized before it and scales multiplied behind it on the host. So are the zero points: they
move a sum by a multiple of the sum of its block's codes, and the array's weights keep their bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import (
    MacArithmetic,
    Requant,
)
from systolith.float_steps import BlockQuantizeArithmetic, BlockSumsArithmetic
from systolith.graph import Op, Tensor
from systolith.importers.geometry import Window
from systolith.importers.onnx_context import OnnxContext
from systolith.spec.quantize import scale_fault

__all__ = ["matmul_nbits"]

Int64Array = NDArray[np.int64]

_BLOCKS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {2: (32, 64, 128), 4: (16, 32, 64, 128, 256), 8: (16, 32, 64, 128, 256)}
)
"""Sizes of blocks for which onnxruntime has kernels of int8 activations, by bits of a weight."""
_INTEGER = 4
"""The accuracy level at which onnxruntime quantizes activations to int8."""
_CODE = 128
"""Greatest magnitude of an activation's code."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Weights:
    """Weights [channels, blocks, block].

    Parameters
    ----------
    codes: from 0 on, 0 beyond the matrix.
    zeros: their zero points [channels, blocks].
    scales: float32 [channels, blocks].
    inside: whether a place is in the matrix [blocks, block].
    center: zero point of weights that have none of their own, and of the array's.
    """

    codes: Int64Array
    zeros: Int64Array
    scales: NDArray[np.float32]
    inside: NDArray[np.bool_]
    center: int

    @property
    def values(self) -> Int64Array:
        """The codes as the array has them, with a sign."""
        return np.where(self.inside, self.codes - self.center, 0)


def _sides(ctx: OnnxContext) -> tuple[int, int, int, int]:
    """Return inputs, outputs, block size and bits of a weight, checked."""
    ctx.arity(3, 6)
    depth, channels = ctx.attribute("K", 0), ctx.attribute("N", 0)
    block, bits = ctx.attribute("block_size", 0), ctx.attribute("bits", 4)
    if depth < 1 or channels < 1:
        ctx.fail(f"K and N must be positive, not {depth} and {channels}")
    if bits not in _BLOCKS:
        ctx.fail(f"bits must be 2, 4 or 8, not {bits}")
    if block < 16 or block & (block - 1):
        ctx.fail(f"block_size must be a power of two and at least 16, not {block}")
    if block not in _BLOCKS[bits]:
        ctx.unsupported(
            f"block_size must be one of {_BLOCKS[bits]} for int8 activations and weights of {bits} "
            f"bits, not {block}"
        )
    level = ctx.attribute("accuracy_level", 0)
    if level != _INTEGER:
        ctx.unsupported(
            f"accuracy_level must be 4, not {level}: with any other onnxruntime computes in float; "
            "set the attribute to 4"
        )
    return depth, channels, block, bits


def _optional(ctx: OnnxContext, position: int) -> bool:
    return position < len(ctx.node.input) and bool(ctx.node.input[position])


def _sized(
    ctx: OnnxContext, position: int, what: str, dtype: type, size: int
) -> NDArray[np.generic]:
    """Return a constant of so many elements, flat."""
    value = ctx.constant(position, what)
    if value.dtype != dtype:
        ctx.unsupported(f"{what} must be {np.dtype(dtype).name}, not {value.dtype}")
    if value.size != size:
        ctx.fail(f"{what} must have {size} elements, not {value.size} ({list(value.shape)})")
    return value.reshape(-1)


def _unpacked(packed: NDArray[np.generic], bits: int) -> Int64Array:
    """Return the codes of bytes along the last axis, the lowest bits first."""
    places = np.arange(0, 8, bits)
    codes = packed.astype(np.int64)[..., None] >> places & (1 << bits) - 1
    return codes.reshape(*packed.shape[:-1], -1)


def _check_scales(ctx: OnnxContext, scales: NDArray[np.float32]) -> None:
    """Require finite and normal scales; negative ones are onnxruntime's own."""
    bits = np.abs(scales).view(np.uint32)
    wrong = (bits < 1 << 23) | (bits >= 0xFF << 23)
    if np.any(wrong):
        channel, block = np.argwhere(wrong)[0]
        fault = scale_fault(int(bits[channel, block])) or ""
        reason = fault.replace("positive, ", "")
        ctx.fail(f"weights' {reason}, in block {block} of channel {channel}")


def _weights(ctx: OnnxContext, sides: tuple[int, int, int, int]) -> _Weights:
    depth, channels, block, bits = sides
    blocks, center = -(-depth // block), 1 << bits - 1
    size = channels * blocks
    packed = _sized(ctx, 1, "weights B", np.uint8, size * block * bits // 8)
    scales = _sized(ctx, 2, "scales", np.float32, size).reshape(channels, blocks)
    _check_scales(ctx, scales.astype(np.float32))
    zeros = np.full((channels, blocks), center, np.int64)
    if _optional(ctx, 3):
        row = -(-blocks * bits // 8)
        stored = _sized(ctx, 3, "packed zero points", np.uint8, channels * row)
        zeros = _unpacked(stored.reshape(channels, row), bits)[:, :blocks]
    inside = (np.arange(blocks * block) < depth).reshape(blocks, block)
    codes = _unpacked(packed.reshape(channels, blocks, -1), bits)
    return _Weights(
        codes=np.where(inside, codes, 0),
        zeros=zeros,
        scales=scales.astype(np.float32),
        inside=inside,
        center=center,
    )


def _bias(ctx: OnnxContext, channels: int) -> NDArray[np.float32]:
    if not _optional(ctx, 5):
        return np.zeros(1, np.float32)
    bias = _sized(ctx, 5, "bias", np.float32, channels).astype(np.float32)
    if not np.all(np.isfinite(bias)):
        ctx.fail("bias must be finite, not NaN or infinity")
    return bias


def _rows(ctx: OnnxContext, depth: int) -> Tensor:
    """Return the float input, a matrix of rows or several."""
    source = ctx.input(0)
    if source.name not in ctx.from_input or source.dtype != "float32":
        ctx.unsupported(
            f"its input {ctx.node.input[0]!r} must be an input of the network: onnxruntime computes"
            " it in float32; cut the network there"
        )
    shape = source.source_shape
    if len(shape) not in (2, 3) or shape[-1] != depth:
        ctx.unsupported(f"its input must be rows of {depth} values, not {list(shape)}")
    return ctx.plain(source)


def _host(ctx: OnnxContext, name: str, shape: tuple[int, int, int], dtype: str) -> Tensor:
    """Make a tensor that the runtime does not have."""
    tensor = Tensor(name=name, shape=shape, dtype=dtype, source_name=name, source_shape=shape)
    return ctx.add_tensor(tensor)


def _quantized(ctx: OnnxContext, source: Tensor, block: int, *, scales: bool) -> Tensor:
    """Return the codes or the scales of an input's blocks, made once."""
    what = "scales" if scales else "codes"
    name = f"{source.name}/{what}_{block}"
    if name not in ctx.tensors:
        depth = source.shape[2]
        blocks, rows = -(-depth // block), source.size // depth
        sides = (1, rows, blocks if scales else blocks * block)
        made = _host(ctx, name, sides, "float32" if scales else "int8")
        k = BlockQuantizeArithmetic(block=block, scales=scales)
        ctx.add_node(Op.QUANTIZE, (source.name,), (made.name,), k, suffix=f"/{what}")
    return ctx.tensors[name]


def _bytes_needed(values: Int64Array) -> int:
    """Return the bytes that hold all sums of codes times a block's weights."""
    ends = [
        np.where(values > 0, values * high, values * low).sum(axis=2)
        for low, high in ((-_CODE, _CODE - 1), (_CODE - 1, -_CODE))
    ]
    most, least = int(ends[0].max()), int(ends[1].min())
    return 2 if least >= -(1 << 15) and most < 1 << 15 else 3


def _add_sums(ctx: OnnxContext, codes: Tensor, weights: _Weights, name: str) -> list[str]:
    """Append the sums of all blocks, a byte at a time; return the bytes' names, lowest first."""
    layer, values = ctx.layer, weights.values
    channels, blocks, block = values.shape
    window = Window(kernel=(1, 1), strides=(1, 1))
    made = []
    for position in range(_bytes_needed(values)):
        shape = (1, codes.shape[1], blocks * channels)
        made.append(_host(ctx, f"{name}/sums_{position}", shape, "int8"))
        requant = Requant(
            formula=ctx.row("block_sums").formula,
            zero_point=0,
            low=-128,
            high=128,
            scale=np.ones(1),
            shift=np.array([8 * position], np.int64),
        )
        arithmetic = MacArithmetic(
            weights=values.transpose(1, 0, 2).reshape(-1, 1, 1, block).astype(np.int8),
            weight_zero_point=0,
            bias=np.zeros(blocks * channels, np.int32),
            input_zero_point=0,
            requant=requant,
        )
        ctx.layer = f"{layer}/sums_{position}"
        ctx.add_mac(Op.CONV2D, codes, made[-1], arithmetic, window.attributes(groups=blocks))
    ctx.layer = layer
    return [tensor.name for tensor in made]


def matmul_nbits(ctx: OnnxContext) -> None:
    """MatMulNBits of an input of the network: codes, sums of blocks in bytes, float32."""
    sides = _sides(ctx)
    depth, channels, block, _ = sides
    if _optional(ctx, 4):
        ctx.unsupported("its columns must be in order, without g_idx")
    weights, source = _weights(ctx, sides), _rows(ctx, depth)
    codes = _quantized(ctx, source, block, scales=False)
    scales = _quantized(ctx, source, block, scales=True)
    name = ctx.node.output[0]
    sums = _add_sums(ctx, codes, weights, name)
    target = ctx.output((*source.source_shape[:-1], channels), None)
    k = BlockSumsArithmetic(
        scales=np.ascontiguousarray(weights.scales.T),
        zeros=np.ascontiguousarray(weights.zeros.T),
        center=weights.center,
        greatest=np.ascontiguousarray(weights.codes.max(axis=2).T),
        bias=_bias(ctx, channels),
    )
    # Under which name the file has the result, however the node's output is called later.
    names = (scales.name, codes.name, *sums)
    ctx.blocks[name] = names, k
    ctx.add_node(Op.DEQUANTIZE, names, (target.name,), k, {"output": name})
