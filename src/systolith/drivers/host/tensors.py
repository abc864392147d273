"""Tensors to bytes and back, and floats to codes and back, as the network's runtime does it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .container import Array, DeviceError, Place

__all__ = ["byte_offsets", "dequantize", "quantize", "unpack"]


def byte_offsets(place: Place) -> Array:
    """Byte offset of every byte of a tensor, int64 [H, W, C * bytes of a number]."""
    height, width, channels = place["shape"]
    packed = place["packed_from"] is not None
    channel = np.arange(channels, dtype=np.int64) >> int(packed)
    rows, columns, steps = place["strides"]
    total = (
        place["offset"]
        + (np.arange(height, dtype=np.int64) * rows)[:, None, None]
        + (np.arange(width, dtype=np.int64) * columns)[None, :, None]
        + (channel * steps)[None, None, :]
    )
    size = np.dtype(place["dtype"]).itemsize
    return (total[..., None] + np.arange(size)).reshape(height, width, channels * size)


def unpack(place: Place, stored: Array) -> Array:
    """The codes whose low four bits are in the bytes gathered: even channels have the low half."""
    low = place["packed_from"]
    if low is None:
        return stored
    odd = np.arange(place["shape"][2]) % 2 == 1
    nibbles = np.where(odd, stored >> 4, stored & 15).astype(np.int64)
    return (low + ((nibbles - low) & 15)).astype(np.uint8)


def _fused(value: Array, inverse: Any, zero_point: int) -> Array:
    """``float32(value * inverse + zero_point)`` with a single rounding.

    The product of two float32 is exact in float64; its sum is rounded to odd there, which makes the
    rounding to float32 that follows the only one.
    """
    product = value.astype(np.float64) * np.float64(inverse)
    total = product + zero_point
    back = total - product
    lost = (product - (total - back)) + (zero_point - back)
    bits = total.view(np.int64)
    step = np.where((lost > 0) == (total > 0), 1, -1)
    odd = np.where((lost != 0) & (bits % 2 == 0), bits + step, bits)
    return odd.view(np.float64).astype(np.float32)


def _x86(value: Array) -> Array:
    """What a cast of floats to int32 gives on x86: beyond its range, and for NaN, the least."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(value) < 2.0**31, value, -(2.0**31))


def _onnxruntime(value: Array, scale: Any, zero: int, low: int, high: int) -> Array:
    return _clamped(value / scale, zero, low, high, low)


def _xnnpack(value: Array, scale: Any, zero: int, low: int, high: int) -> Array:
    return _clamped(value * (np.float32(1) / scale), zero, low, high, high)


def _clamped(scaled: Array, zero: int, low: int, high: int, nan: int) -> Array:
    known = np.where(np.isnan(scaled), np.float32(nan - zero), scaled)
    return np.rint(np.clip(known, low - zero, high - zero)) + zero


def _tflite_reference(value: Array, scale: Any, zero: int, low: int, high: int) -> Array:
    scaled = (value / scale).astype(np.float64)
    whole = _x86(np.trunc(scaled + np.copysign(0.5, scaled))).astype(np.int64)
    wrapped = ((whole + zero + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    return np.clip(wrapped, low, high)


def _torch(value: Array, scale: Any, zero: int, low: int, high: int) -> Array:
    known = np.clip(np.where(np.isnan(value), np.float32(0), value), -1e30, 1e30)
    rounded = np.rint(_fused(known.astype(np.float32), np.float32(1) / scale, zero))
    return np.clip(_x86(np.where(np.isnan(value), np.inf, rounded)), low, high)


_FORMULAS = {
    "onnxruntime": _onnxruntime,
    "tflite_reference": _tflite_reference,
    "xnnpack": _xnnpack,
    "torch": _torch,
}


def quantize(place: Place, value: Array) -> Array:
    """Return the codes that the network's runtime gives for floats.

    Raises
    ------
    DeviceError: the host does not quantize this input.
    """
    formula = _FORMULAS.get(place["quantize"])
    if formula is None:
        raise DeviceError(f"input {place['name']!r} is not quantized by the host: give its codes")
    scale, value = np.float32(place["scale"]), np.asarray(value, np.float32)
    with np.errstate(all="ignore"):
        codes = formula(value, scale, place["zero_point"], *place["limits"])
    return codes.astype(np.int64).astype(place["dtype"])


def dequantize(place: Place, codes: Array) -> Array:
    """Return ``float32(float32(code - zero_point) * scale)``."""
    offset = codes.astype(np.int64) - place["zero_point"]
    return offset.astype(np.float32) * np.float32(place["scale"])
