"""Forms of quantization: what is refused, and what a format is."""

import re

import numpy as np
import pytest

from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, PostSpec
from systolith.spec.configuration import spec_from_toml, spec_to_toml
from systolith.spec.quantize import CodeFormat, QuantizeForm, scale_fault, zero_fault


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (np.nan, "NaN"),
        (-np.nan, "NaN"),
        (np.inf, "infinity"),
        (1e-40, "a subnormal number"),
        (-0.5, "a negative number"),
    ],
)
def test_scales_that_no_runtime_takes(value: float, what: str) -> None:
    bits = int(np.float32(value).view(np.uint32))
    text = f"scale must be a positive, finite and normal float32 number, not {what}"
    assert scale_fault(bits) == text


def test_other_scales_are_good() -> None:
    for bits in (0x00800000, 0x3F800000, 0x7F7FFFFF):
        assert scale_fault(bits) is None


def test_zero_points() -> None:
    assert zero_fault(128, -128, 127) == "zero point must be between -128 and 127, not 128"
    assert zero_fault(-128, -128, 127) is None


def test_formats() -> None:
    ranges = [(f.value, f.low, f.high, f.bits, f.signed) for f in CodeFormat]
    assert ranges == [
        ("int8", -128, 127, 8, True),
        ("uint8", 0, 255, 8, False),
        ("int4", -8, 7, 4, True),
        ("uint4", 0, 15, 4, False),
    ]


def test_lanes_must_fit_a_line() -> None:
    text = "post.quantize_lanes must be at most 1, the float32 numbers of an activation line, not 2"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        AcceleratorSpec(
            array=ArraySpec(rows=4, columns=4), post=PostSpec(lanes=4, quantize_lanes=2)
        )
    with pytest.raises(ValueError, match=r"^post.quantize_lanes must be a power of two, not 3$"):
        PostSpec(quantize_lanes=3)


def test_forms_in_toml() -> None:
    post = PostSpec(quantize_lanes=2, quantize_forms=frozenset({QuantizeForm.DIVIDE_AWAY}))
    spec = AcceleratorSpec(post=post)
    assert spec_from_toml(spec_to_toml(spec)) == spec
    with pytest.raises(ValueError, match=r"^post.quantize_forms must name at least one"):
        PostSpec(quantize_forms=frozenset())
    with pytest.raises(ValueError, match=r"^post.quantize_forms must be among divide_even"):
        spec_from_toml('[post]\nquantize_forms = ["floor"]\n')
