"""Quantization in golden against exact rationals, and against the runtimes themselves."""

import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest

from systolith.golden.quantize import dequantize_codes, inverse_scale, quantize_codes
from systolith.sim.float_samples import numbers, scales
from systolith.spec.quantize import CodeFormat, QuantizeForm

SCRIPT = Path(__file__).parents[2] / "scripts" / "quantize_sweep.py"


def half_even(value: Fraction) -> int:
    return round(value)


def half_away(value: Fraction) -> int:
    whole = floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


def exact(bits: int) -> Fraction:
    """A finite float32 number."""
    return Fraction(float(np.uint32(bits).view(np.float32)))


def rounded(value: Fraction) -> Fraction:
    """Round to float32 without bound, ties to even."""
    if not value:
        return value
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    if abs(value) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - 23, -149)
    return round(value / unit) * unit


FORMULAS: dict[QuantizeForm, Callable[[Fraction, Fraction, Fraction, int], int]] = {
    QuantizeForm.DIVIDE_EVEN: lambda x, s, r, z: half_even(rounded(x / s)) + z,
    QuantizeForm.DIVIDE_AWAY: lambda x, s, r, z: half_away(rounded(x / s)) + z,
    QuantizeForm.MULTIPLY_EVEN: lambda x, s, r, z: half_even(rounded(x * r)) + z,
    QuantizeForm.FUSED_EVEN: lambda x, s, r, z: half_even(rounded(x * r + z)),
}


def test_every_form_has_its_formula() -> None:
    assert FORMULAS.keys() == set(QuantizeForm)


@pytest.mark.parametrize("form", QuantizeForm)
def test_finite_numbers(form: QuantizeForm) -> None:
    rng = np.random.default_rng(70 + form)
    scale = scales(rng, 4000)
    x = numbers(rng, scale)
    inverse = inverse_scale(scale)
    for kind in CodeFormat:
        zero = rng.integers(kind.low, kind.high + 1, x.size)
        codes = quantize_codes(x, form, scale, zero, low=kind.low, high=kind.high)
        for k in np.flatnonzero(x & 0x7FFFFFFF < 0x7F800000):
            values = [exact(int(v[k])) for v in (x, scale, inverse)]
            whole = FORMULAS[form](*values, int(zero[k]))
            if form is QuantizeForm.DIVIDE_AWAY:
                integer = whole - int(zero[k])
                whole = (integer if abs(integer) < 1 << 31 else -(1 << 31)) + int(zero[k])
                whole = (whole + (1 << 31)) % (1 << 32) - (1 << 31)
            wanted = min(max(whole, kind.low), kind.high)
            assert codes[k] == wanted, (hex(x[k]), hex(scale[k]), zero[k])


def test_per_channel() -> None:
    """The last axis takes its own scale and zero point."""
    rng = np.random.default_rng(71)
    scale, zero = scales(rng, 6), rng.integers(-128, 128, 6)
    x = numbers(rng, np.broadcast_to(scale, (50, 6)).reshape(-1)).reshape(50, 6)
    together = quantize_codes(x, QuantizeForm.DIVIDE_EVEN, scale, zero, low=-128, high=127)
    for c in range(6):
        alone = quantize_codes(
            x[:, c], QuantizeForm.DIVIDE_EVEN, scale[c], zero[c], low=-128, high=127
        )
        np.testing.assert_array_equal(together[:, c], alone)
    back = dequantize_codes(together, scale, zero).astype(np.uint32).view(np.float32)
    real = scale.astype(np.uint32).view(np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(back, (together - zero).astype(np.float32) * real)


def test_inverses() -> None:
    bits = scales(np.random.default_rng(72), 20_000)
    with np.errstate(under="ignore"):
        wanted = (np.float32(1) / bits.astype(np.uint32).view(np.float32)).view(np.uint32)
    np.testing.assert_array_equal(inverse_scale(bits), wanted)


@pytest.mark.parametrize(
    ("scale", "zero", "text"),
    [
        (0, 0, "scale must be a positive, finite and normal float32 number, not 0"),
        (0x7FC00000, 0, "scale must be a positive, finite and normal float32 number, not NaN"),
        (0x3F800000, 8, "zero point must be between -8 and 7, not 8"),
    ],
)
def test_parameters_that_no_runtime_takes(scale: int, zero: int, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        quantize_codes([0], QuantizeForm.DIVIDE_EVEN, scale, zero, low=-8, high=7)


@pytest.mark.parametrize("every", [1 << 20, pytest.param(64, marks=pytest.mark.slow)])
def test_runtimes_agree(every: int) -> None:
    """Every so many of all 2**32 numbers; `scripts/quantize_sweep.py --every 1` takes them all."""
    for package in ("onnxruntime", "ai_edge_litert"):
        pytest.importorskip(package)
    command = [sys.executable, str(SCRIPT), "--every", str(every), "--offset", "12345"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    rows = [row for row in rows if row[1] != "dequantize"]
    assert len(rows) == 10
    assert all(int(row[4]) == -(-((1 << 32) - 12345) // every) for row in rows)
    assert all(int(row[5]) == 0 for row in rows)
