"""Our formulas of QONNX quantizers against the functions of qonnx, and thresholds of chains."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from systolith.arithmetic import Codes
from systolith.float_steps import FloatStep, FloatSums, Quantizer
from systolith.importers.qonnx_context import QonnxContext
from systolith.importers.qonnx_pending import InputBase, Pending
from systolith.importers.qonnx_quantizers import constant_codes, read_quantizer
from systolith.profiles import get_profile
from systolith.profiles.steps import (
    apply_steps,
    fall_with,
    monotone_thresholds,
    quantizer_codes,
    sum_values,
)

MODES = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


def context(kind: str, constants: list[Any], **attributes: Any) -> QonnxContext:
    """Return a context at one node on `x`, other inputs constant."""
    names = [f"c{i}" for i in range(len(constants))]
    values = {n: np.asarray(c, np.float32) for n, c in zip(names, constants, strict=True)}
    ctx = QonnxContext(values, get_profile("qonnx"))
    ctx.enter(helper.make_node(kind, ["x", *names], ["y"], name="node", **attributes), 0)
    return ctx


def values_around(scale: float, zero: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return floats on and beside every tie and bound of codes up to 8 bits, and random ones."""
    exact = ((np.arange(-1100, 1101) / 4.0 - zero) * scale).astype(np.float32)
    beside = [np.nextafter(exact, np.float32(side)) for side in (-np.inf, np.inf)]
    wide = np.array([0.0, -0.0, 3e38, -3e38, np.inf, -np.inf, 1e-45], np.float32)
    drawn = (rng.normal(size=500) * 100 * scale).astype(np.float32)
    return np.concatenate([exact, *beside, wide, drawn])


def reals(codes: NDArray[np.int64], out: Codes) -> NDArray[np.float32]:
    """Return what codes are worth, as QONNX computes it."""
    return (codes - out.zero_point).astype(np.float32) * np.float32(out.scale)


@pytest.mark.parametrize("mode", MODES)
def test_quant_is_qonnx_own(mode: str) -> None:
    """1..8 bits x signed x narrow x scales and zero points, as activation and as constant."""
    module = pytest.importorskip("qonnx.custom_op.general.intquant")
    rng = np.random.default_rng(4)
    compared = 0
    for bits, signed, narrow, scale in product(range(1, 9), (0, 1), (0, 1), (0.25, 0.0371)):
        if bits == 1 and narrow and not signed:
            continue  # the range [0, 0]
        zero = 0 if bits == 1 else int(rng.integers(0, 2))
        x = values_around(scale, zero, rng)
        numbers = [np.float32(v) for v in (scale, zero, bits)]
        with np.errstate(all="ignore"):
            wanted = module.int_quant(x, *(np.asarray(n) for n in numbers), signed, narrow, mode)
        ctx = context("Quant", numbers, signed=signed, narrow=narrow, rounding_mode=mode)
        quantizer, out = read_quantizer(ctx)
        codes = quantizer_codes(x[:, None], quantizer)[:, 0]
        assert codes.min() >= out.low and codes.max() <= out.high
        np.testing.assert_array_equal(reals(codes, out), wanted, err_msg=f"{bits, signed, narrow}")
        finite = np.isfinite(x)
        ctx.constants["x"] = x[finite]
        constant_codes(ctx)
        np.testing.assert_array_equal(ctx.constants["y"], wanted[finite])
        compared += x.size + int(finite.sum())
    assert compared > 400_000


def test_bipolar_is_qonnx_own() -> None:
    module = pytest.importorskip("qonnx.custom_op.general.bipolar_quant")
    rng = np.random.default_rng(5)
    x = values_around(0.5, 0, rng)
    wanted = module.binary_quant(x, np.asarray(np.float32(0.3)))
    quantizer, out = read_quantizer(context("BipolarQuant", [0.3]))
    np.testing.assert_array_equal(reals(quantizer_codes(x[:, None], quantizer)[:, 0], out), wanted)


@pytest.mark.parametrize("mode", MODES)
def test_trunc_is_qonnx_own(mode: str) -> None:
    """Both versions: the first keeps the scale, the second changes it and clamps."""
    module = pytest.importorskip("qonnx.custom_op.general.trunc")
    rng = np.random.default_rng(6)
    for after, scale, zero in product((2, 4, 7), (0.125, 0.03), (0, 8)):
        sums = rng.integers(-200, 900, 500)
        x = ((sums - zero) * np.float32(scale)).astype(np.float32)
        first = [np.asarray(np.float32(v)) for v in (scale, zero, 10, after)]
        wanted = module.trunc_v1(x, *first, mode)
        quantizer, out = read_quantizer(context("Trunc", first, rounding_mode=mode))
        np.testing.assert_array_equal(
            reals(quantizer_codes(x[:, None], quantizer)[:, 0], out), wanted
        )
        out_scale = np.float32(scale) * np.float32(4)
        second = [np.asarray(np.float32(v)) for v in (scale, zero, 10, out_scale, after)]
        for signed, narrow in product((0, 1), (0, 1)):
            wanted = module.trunc_v2(x, *second[:3], narrow, signed, *second[3:], mode)
            options = {"rounding_mode": mode, "signed": signed, "narrow": narrow}
            quantizer, out = read_quantizer(context("Trunc", second, **options))
            codes = quantizer_codes(x[:, None], quantizer)[:, 0]
            np.testing.assert_array_equal(reals(codes, out), wanted)


@pytest.mark.parametrize("scale,bias", [(1.0, 0.0), (1.0, -4.0), (2.0, -1.0), (0.25, -0.5)])
def test_multithreshold_is_qonnx_own(scale: float, bias: float) -> None:
    module = pytest.importorskip("qonnx.custom_op.general.multithreshold")
    rng = np.random.default_rng(7)
    thresholds = np.sort(rng.normal(size=(5, 7)).astype(np.float32), axis=1)
    x = np.concatenate([rng.normal(size=(400, 5)), thresholds.T]).astype(np.float32)
    wanted = module.multithreshold(x, thresholds, np.float32(scale), np.float32(bias))
    ctx = context("MultiThreshold", [thresholds], out_scale=scale, out_bias=bias)
    ctx.pending["x"] = Pending(
        base=InputBase(source="x"), layer="", source_op="", shape=x.shape, current=(1, 5)
    )
    quantizer, out = read_quantizer(ctx)
    np.testing.assert_array_equal(reals(quantizer_codes(x, quantizer), out), wanted)


def test_thresholds_are_the_chain() -> None:
    """On every sum, a count of thresholds reached is what the float chain gives."""
    rng = np.random.default_rng(8)
    channels = 40
    steps = (
        FloatStep(op="mul", operand=rng.normal(size=channels).astype(np.float32)),
        FloatStep(op="add", operand=rng.normal(size=channels).astype(np.float32)),
        FloatStep(op="rsub", operand=np.asarray(0.5, np.float32)),
        FloatStep(op="least", operand=np.asarray(-1.0, np.float32)),
    )
    divide = FloatStep(op="div", operand=np.asarray(0.3, np.float32))
    quantizer = Quantizer(steps=(divide,), rounding="ROUND", low=-8, high=7)
    sums = FloatSums(unit=np.full(channels, 0.01), noise=np.zeros(channels))
    signs = np.where(fall_with(steps, channels), -1, 1)
    lo, hi = -rng.integers(1, 900, channels), rng.integers(1, 900, channels)

    def function(a: NDArray[np.int64]) -> NDArray[np.int64]:
        return quantizer_codes(apply_steps(sum_values(a * signs, sums), steps), quantizer)

    table = monotone_thresholds(function, lo, hi, (-8, 7))
    every = np.clip(np.arange(-900, 901)[:, None], lo, hi)
    counted = -8 + (every[:, None, :] >= table).sum(axis=1)
    np.testing.assert_array_equal(counted, function(every))
    assert (signs < 0).any() and (signs > 0).any()


def test_thresholds_refuse_what_falls() -> None:
    ends = np.array([-4]), np.array([4])
    with pytest.raises(ValueError, match="must not decrease"):
        monotone_thresholds(lambda a: -a, *ends, (-4, 4))
    with pytest.raises(ValueError, match="codes must be -2 to 2"):
        monotone_thresholds(lambda a: a, *ends, (-2, 2))
