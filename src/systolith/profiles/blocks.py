"""Blocks with scales of their own: onnxruntime's MatMulNBits at accuracy_level 4.

Activations are quantized block by block, a block's products are added in integers, and float32
begins behind the sums of blocks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.errors import InputError
from systolith.float_steps import (
    BlockQuantizeArithmetic,
    BlockSumsArithmetic,
)
from systolith.profiles.steps import apply_steps

__all__ = ["block_outputs", "block_sums", "quantize_blocks"]

Int = NDArray[np.int64]
Float = NDArray[np.float32]

_F = np.float32
_ROUNDING = 2.0**-24
"""Relative error of a float32 operation."""
_MORE = 20
"""Roundings of a term besides those of additions over blocks: of its scales and of its product,
of the sum over at most 16 lanes, and of the zero points' sum."""


def quantize_blocks(value: NDArray[Any], k: BlockQuantizeArithmetic) -> NDArray[Any]:
    """Return codes [rows, blocks * block], int64, or scales [rows, blocks], float32.

    Codes of a block whose scale has no finite inverse are -128, as x86 converts infinity.

    Raises
    ------
    InputError: a value is not finite.
    """
    rows = np.asarray(value, np.float32).reshape(-1, value.shape[-1])
    if not np.all(np.isfinite(rows)):
        raise InputError("activations that are quantized by block must be finite, not NaN or inf")
    blocks = -(-rows.shape[1] // k.block)
    more = blocks * k.block - rows.shape[1]
    padded = np.pad(rows, ((0, 0), (0, more))).reshape(len(rows), blocks, k.block)
    scales: Float = np.abs(padded).max(axis=2) / _F(127)
    if k.scales:
        return scales
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        inverse = np.where(scales > 0, _F(1) / scales, _F(0))[..., None]
        real = np.rint(padded * inverse)
    codes = np.where(np.isfinite(inverse), real, _F(-128)).reshape(len(rows), -1).astype(np.int64)
    codes[:, rows.shape[1] :] = 0
    return codes


def block_sums(parts: Sequence[NDArray[Any]]) -> Int:
    """Return the sums whose signed bytes are given, the lowest first.

    Each byte adds to the signed number that the bits below it are: a byte of 128, which is stored
    as -128, makes up for it by leaving that number's range.
    """
    total: Int = np.zeros(parts[0].shape, np.int64)
    for position, part in enumerate(parts):
        half = np.int64(128) << (8 * position)
        total = total + (part.astype(np.int64) << (8 * position))
        total = ((total + half) & (2 * half - 1)) - half
    return total


def _noise(scales: NDArray[np.float64], codes: Int, k: BlockSumsArithmetic) -> NDArray[np.float64]:
    """Return how far sums in float32, in whatever order, may be from exact ones, [rows, channels].

    A block is two terms: products of its codes, and what its zero point takes off.
    """
    sizes = np.abs(k.scales.astype(np.float64))
    products = scales * np.abs(codes).sum(axis=2)
    offsets = scales * np.abs(codes.sum(axis=2))
    most = products @ (sizes * k.greatest) + offsets @ (sizes * k.zeros) + np.abs(k.bias)
    operations = 2 * len(k.scales) + _MORE
    answer: NDArray[np.float64] = operations * _ROUNDING * most
    return answer


def block_outputs(inputs: Sequence[NDArray[Any]], k: BlockSumsArithmetic, side: int = 0) -> Float:
    """Return the float32 outputs [rows, channels].

    Parameters
    ----------
    inputs: canonical: scales and codes of the activations' blocks, then the bytes of sums, lowest
        first.
    side: -1 and 1 give the least and the greatest value that an order of additions can give.
    """
    blocks, channels = k.scales.shape
    scales = np.asarray(inputs[0], np.float64).reshape(-1, blocks)
    codes = np.asarray(inputs[1], np.int64).reshape(len(scales), blocks, -1)
    sums = block_sums(inputs[2:]).reshape(-1, blocks, channels)
    dots = sums + (k.center - k.zeros) * codes.sum(axis=2)[:, :, None]
    with np.errstate(over="ignore", invalid="ignore"):
        terms = scales[:, :, None] * k.scales.astype(np.float64) * dots
        total = terms.sum(axis=1) + k.bias
        if side:
            total = total + side * _noise(scales, codes, k)
        rounded = total.astype(np.float32)
    return apply_steps(rounded, k.steps)
