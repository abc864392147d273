"""QONNX's quantizers as data: Quant, BipolarQuant, Trunc, MultiThreshold; and ONNX's Sign."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Codes
from systolith.float_steps import ROUNDINGS, FloatStep, Quantizer
from systolith.importers.qonnx_constants import QuantizedConstant
from systolith.importers.qonnx_context import QonnxContext
from systolith.profiles.steps import round_to_integer

__all__ = ["QUANTIZERS", "constant_codes", "read_quantizer"]

_MODES = ROUNDINGS - {"BIPOLAR", "SIGN", "THRESHOLDS"}
_MOST_BITS = 8


@dataclass(frozen=True, kw_only=True)
class _Range:
    """The integers of a Quant: bounds, and whether it is bipolar."""

    low: int
    high: int
    signed: bool
    bipolar: bool = False

    @property
    def fits(self) -> bool:
        return self.low >= -128 and self.high <= (127 if self.low < 0 else 255)


def _flag(ctx: QonnxContext, name: str, default: int) -> bool:
    value = ctx.attribute(name, default)
    if value not in (0, 1):
        ctx.fail(f"{name} must be 0 or 1, not {value}")
    return bool(value)


def _rounding(ctx: QonnxContext, default: str) -> str:
    mode: str = ctx.attribute("rounding_mode", default)
    if mode.upper() not in _MODES:
        ctx.fail(f"rounding_mode must be one of {', '.join(sorted(_MODES))}, not {mode!r}")
    return mode.upper()


def _bits(ctx: QonnxContext, position: int, most: int) -> int:
    bits = ctx.whole(position, "bit width")
    if bits.size != 1 or not 1 <= bits.flat[0] <= most:
        ctx.fail(f"bit width must be 1 to {most}, not {bits.reshape(-1)[:4].tolist()}")
    return int(bits.flat[0])


def _range(bits: int, signed: bool, narrow: bool) -> _Range:
    if bits == 1 and signed:
        return _Range(low=-1, high=1, signed=True, bipolar=True)
    if signed:
        half = 1 << (bits - 1)
        return _Range(low=-half + narrow, high=half - 1, signed=True)
    return _Range(low=0, high=(1 << bits) - 1 - narrow, signed=False)


def _one_scale(ctx: QonnxContext, position: int, what: str) -> float:
    scale = ctx.positive(position, what)
    if scale.size != 1:
        ctx.unsupported(f"{what} of an activation must be one value, not {scale.size}")
    return float(scale.flat[0])


def _one_zero(ctx: QonnxContext, position: int, low: int, high: int) -> int:
    zero = ctx.whole(position, "zero point")
    if zero.size != 1:
        ctx.unsupported(f"zero point of an activation must be one value, not {zero.size}")
    value = int(zero.flat[0])
    if not low <= value <= high:
        ctx.fail(f"zero point must be {low} to {high}, not {value}")
    return value


def _codes(low: int, high: int, scale: float, zero: int) -> Codes:
    dtype = "int8" if low < 0 else "uint8"
    return Codes(dtype=dtype, scale=scale, zero_point=zero, limits=(low, high))


def _step(op: str, value: float) -> FloatStep:
    return FloatStep(op=op, operand=np.asarray(value, np.float32))


def _quant(ctx: QonnxContext) -> tuple[Quantizer, Codes]:
    """Quant: x, scale, zero point, bit width."""
    ctx.arity(4, 4)
    codes = _range(_bits(ctx, 3, _MOST_BITS), _flag(ctx, "signed", 1), _flag(ctx, "narrow", 1))
    scale = _one_scale(ctx, 1, "scale")
    zero = _one_zero(ctx, 2, codes.low, codes.high)
    mode = _rounding(ctx, "ROUND")
    quantizer = Quantizer(
        steps=(_step("div", scale), _step("add", zero)),
        rounding="BIPOLAR" if codes.bipolar else mode,
        low=codes.low,
        high=codes.high,
    )
    return quantizer, _codes(codes.low, codes.high, scale, zero)


def _bipolar(ctx: QonnxContext) -> tuple[Quantizer, Codes]:
    """BipolarQuant: x, scale."""
    ctx.arity(2, 2)
    scale = _one_scale(ctx, 1, "scale")
    return Quantizer(steps=(), rounding="BIPOLAR", low=-1, high=1), _codes(-1, 1, scale, 0)


def _sign(ctx: QonnxContext) -> tuple[Quantizer, Codes]:
    """ONNX's Sign: -1, 0 or 1."""
    ctx.arity(1, 1)
    return Quantizer(steps=(), rounding="SIGN", low=-1, high=1), _codes(-1, 1, 1.0, 0)


def _trunc(ctx: QonnxContext) -> tuple[Quantizer, Codes]:
    """Trunc: x, scale, zero point, bits; and bits after (v1), or scale and bits after (v2)."""
    ctx.arity(5, 6)
    scale, mode = _one_scale(ctx, 1, "scale"), _rounding(ctx, "FLOOR")
    before = _bits(ctx, 3, 32)
    after = _bits(ctx, len(ctx.node.input) - 1, _MOST_BITS)
    reach = 1 << 24
    zero = _one_zero(ctx, 2, -reach, reach)
    head = (_step("div", scale), _step("add", zero), _step("rint", 0))
    if len(ctx.node.input) == 5:
        # Values keep the scale, and no clamp is applied: the sums themselves must fit 8 bits.
        if after > before:
            ctx.fail(f"bit width after truncation must be at most {before}, not {after}")
        steps = (*head, _step("div", float(2 ** (before - after))))
        quantizer = Quantizer(steps=steps, rounding=mode, low=-reach, high=reach)
        return quantizer, Codes(dtype="", scale=scale, zero_point=zero)
    out = _one_scale(ctx, 4, "output scale")
    ratio = float(2 ** np.rint(np.log2(np.float32(out) / np.float32(scale))))
    codes = _range(after, _flag(ctx, "signed", 1), _flag(ctx, "narrow", 0))
    if zero % ratio:
        ctx.unsupported(f"zero point {zero} must be a multiple of the truncation {ratio:g}")
    steps = (*head, _step("div", ratio))
    low, high = (-1, 0) if codes.bipolar else (codes.low, codes.high)
    quantizer = Quantizer(steps=steps, rounding=mode, low=low, high=high)
    return quantizer, _codes(low, high, out, int(zero / ratio))


def _multithreshold(ctx: QonnxContext) -> tuple[Quantizer, Codes]:
    """MultiThreshold: x, thresholds [channels or 1, K]."""
    ctx.arity(2, 2)
    thresholds = ctx.constant(1, "thresholds")
    if thresholds.ndim != 2 or thresholds.dtype != np.float32 or not thresholds.size:
        ctx.fail(f"thresholds must be float32 [channels, K], not {list(thresholds.shape)}")
    if np.any(np.isnan(thresholds)):
        ctx.fail("thresholds must be numbers, not NaN")
    scale, bias = ctx.attribute("out_scale", 1.0), ctx.attribute("out_bias", 0.0)
    if not (np.isfinite(scale) and scale > 0 and np.isfinite(bias)):
        ctx.fail(f"out_scale must be positive and out_bias finite, not {scale!r}, {bias!r}")
    layout: str = ctx.attribute("data_layout", "")
    rank = len(ctx.value(0).current)
    if layout not in ("", {2: "NC", 3: "NWC", 4: "NCHW"}.get(rank, "")):
        ctx.unsupported(f"data_layout must be that of a tensor of {rank} sides, not {layout!r}")
    unit = 1 if float(bias / scale).is_integer() else 2
    first = bias * unit / scale
    if not float(first).is_integer():
        ctx.unsupported(f"out_bias must be a multiple of half of out_scale, not {bias!r}")
    count = thresholds.shape[1]
    low, high = int(first), int(first) + unit * count
    if low < -128 or high > (127 if low < 0 else 255):
        ctx.unsupported(f"its values must be codes of 8 bits, not {low} to {high}")
    quantizer = Quantizer(
        steps=(),
        rounding="THRESHOLDS",
        low=low,
        high=high,
        thresholds=np.sort(thresholds, axis=1),
        unit=unit,
        first=low,
    )
    return quantizer, _codes(low, high, float(np.float32(scale / unit)), 0)


QUANTIZERS = {
    "Quant": _quant,
    "IntQuant": _quant,
    "BipolarQuant": _bipolar,
    "Trunc": _trunc,
    "MultiThreshold": _multithreshold,
    "Sign": _sign,
}
"""By operator: what quantizer the current node is, and the codes that it makes."""


def read_quantizer(ctx: QonnxContext) -> tuple[Quantizer, Codes]:
    """Return the current node's quantizer of an activation."""
    return QUANTIZERS[ctx.node.op_type](ctx)


def constant_codes(ctx: QonnxContext) -> None:
    """Quantize a constant: weights to codes, what has more than 8 bits (biases) to floats."""
    value = ctx.constant(0, "input")
    if value.dtype != np.float32 or not np.all(np.isfinite(value)):
        ctx.fail("its constant input must be finite float32 numbers")
    scale = np.broadcast_to(ctx.positive(1, "scale"), value.shape)
    name = ctx.node.output[0]
    if ctx.node.op_type == "BipolarQuant":
        ctx.arity(2, 2)
        codes = np.where(value >= 0, 1, -1).astype(np.int64)
    elif ctx.node.op_type in ("Quant", "IntQuant"):
        ctx.arity(4, 4)
        codes = _constant_quant(ctx, value, scale)
    else:
        ctx.unsupported("its input must not be a constant")
    ctx.constants[name] = codes.astype(np.float32) * scale
    if codes.size and np.abs(codes).max() <= 255:
        ctx.quantized_constants[name] = QuantizedConstant(codes=codes, scale=scale)


def _constant_quant(
    ctx: QonnxContext, value: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return codes without zero point."""
    bounds = _range(_bits(ctx, 3, 32), _flag(ctx, "signed", 1), _flag(ctx, "narrow", 1))
    mode = _rounding(ctx, "ROUND")
    zero = ctx.whole(2, "zero point")
    if zero.min() < bounds.low or zero.max() > bounds.high:
        ctx.fail(f"zero point must be {bounds.low} to {bounds.high}, not {int(zero.flat[0])}")
    zero = np.broadcast_to(zero, value.shape)
    with np.errstate(over="ignore"):
        real = value / scale + zero.astype(np.float32)
    if bounds.bipolar:
        return np.where(real >= 0, 1, -1).astype(np.int64) - zero
    real = np.clip(real, np.float32(bounds.low), np.float32(bounds.high))
    return round_to_integer(real, mode).astype(np.int64) - zero
