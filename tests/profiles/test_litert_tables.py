"""Unary operators of TFLite on all 256 codes, against the live LiteRT and TFLM kernels."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from systolith.errors import UnsupportedOperatorError
from systolith.profiles import get_profile

PROFILES = ("tflite-reference", "tflite-xnnpack", "tflm")
CODES = np.arange(-128, 128, dtype=np.int8)[None]
KINDS: dict[str, tuple[str, tuple[tuple[str, Any], ...]]] = {
    "RELU": ("", ()),
    "RELU6": ("", ()),
    "RELU_N1_TO_1": ("", ()),
    "RELU_0_TO_1": ("", ()),
    "LEAKY_RELU": ("LeakyReluOptions", ()),
    "PRELU": ("", ()),
    "HARD_SWISH": ("HardSwishOptions", ()),
    "GELU": ("GeluOptions", (("Approximate", False),)),
    "GELU_TANH": ("GeluOptions", (("Approximate", True),)),
    "EXP": ("ExpOptions", ()),
    "ELU": ("", ()),
    "LOG": ("", ()),
    "SQRT": ("", ()),
    "RSQRT": ("", ()),
    "ABS": ("AbsOptions", ()),
    "NEG": ("NegOptions", ()),
    "LOGISTIC": ("", ()),
    "TANH": ("", ()),
    "QUANTIZE": ("QuantizeOptions", ()),
}
FIXED = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
LEAST = {"SQRT": 0, "RSQRT": 1}
"""Smallest value (without zero point) that the runtime takes."""


def draw(rng: np.random.Generator, kind: str) -> tuple[tuple[float, int], tuple[float, int]]:
    """Scale and zero point of input and output; zero points are often at the rails."""
    scale = float(np.float32(rng.choice([0.003, 0.02, 0.1, 0.3]) * rng.uniform(0.5, 1.5)))
    ratio = float(rng.choice([1.0, rng.uniform(0.3, 3), rng.uniform(0.02, 40)]))
    if kind in ("HARD_SWISH", "QUANTIZE"):
        ratio = min(max(ratio, 0.3), 3.0)  # beyond, a runtime refuses the model
    if rng.random() < 0.2:
        scale, ratio = 2.0**-5, 2.0 ** int(rng.integers(-1, 2))
    zeros = [int(rng.choice([-128, 127, 0, rng.integers(-128, 128)])) for _ in "xy"]
    out = FIXED.get(kind, (scale * ratio, zeros[1]))
    return (scale, zeros[0]), out


def model(writer: ModuleType, rng: np.random.Generator, kind: str) -> tuple[bytes, np.ndarray]:
    """A model of one operator, and the codes it takes."""
    source, out = draw(rng, kind)
    options, fields = KINDS[kind]
    tensors = [
        writer.T((1, 256), scale=source[0], zero=source[1]),
        writer.T((1, 256), scale=out[0], zero=out[1]),
    ]
    if kind == "LEAKY_RELU":
        fields = (("Alpha", float(rng.choice([0.1, 0.01, 0.3, 1.5, -0.2, 0.001]))),)
    if kind == "PRELU":
        slope = rng.integers(-128, 128, 1).astype(np.int8)
        tensors.append(writer.T((1,), scale=0.01, zero=int(rng.integers(-9, 9)), data=slope))
    codes = np.clip(CODES, max(-128, min(127, source[1] + LEAST.get(kind, -256))), 127)
    name = {"GELU_TANH": "GELU"}.get(kind, kind)
    operator = writer.O(name, (0, *range(2, len(tensors))), (1,), options, fields)
    return writer.write_tflite(tensors, [operator], (0,), (1,)), codes


def check(
    writer: ModuleType, third_party: ModuleType, kind: str, profile: str, seeds: range
) -> int:
    """Compare all codes for many scales; return how many values."""
    row = {"QUANTIZE": "requantize"}.get(kind, kind.lower())
    total = 0
    for seed in seeds:
        data, codes = model(writer, np.random.default_rng([seed, 5]), kind)
        if row not in get_profile(profile).rows:
            with pytest.raises(UnsupportedOperatorError, match="has no exact arithmetic"):
                third_party.imported(data, profile)
            return 1
        if kind == "RSQRT" and codes.min() == 127:
            continue  # no positive value
        spec = third_party.SPEC if seed % 8 == 0 else None
        total += third_party.compare(data, profile, {"t0": codes}, spec=spec)
    return total


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", KINDS)
def test_all_codes(writer: ModuleType, third_party: ModuleType, profile: str, kind: str) -> None:
    assert check(writer, third_party, kind, profile, range(8 if profile != "tflm" else 3)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", KINDS)
def test_many_scales(writer: ModuleType, third_party: ModuleType, profile: str, kind: str) -> None:
    assert check(writer, third_party, kind, profile, range(100, 400 if profile != "tflm" else 140))


@pytest.mark.parametrize("profile", PROFILES)
def test_prelu_by_channel(writer: ModuleType, third_party: ModuleType, profile: str) -> None:
    """Every code in every channel; slopes from none to steep."""
    for seed in range(3):
        rng = np.random.default_rng([seed, 9])
        channels = int(rng.integers(2, 20))
        (scale, zero), (out_scale, out_zero) = draw(rng, "PRELU")
        slope_zero = int(rng.choice([-128, 0, -7]))
        slopes = rng.integers(slope_zero, 128, (1, 1, channels)).astype(np.int8)
        shape = (1, 16, 16, channels)
        tensors = [
            writer.T(shape, scale=scale, zero=zero),
            writer.T(shape, scale=out_scale, zero=out_zero),
            writer.T((1, 1, channels), scale=0.01, zero=slope_zero, data=slopes),
        ]
        data = writer.write_tflite(tensors, [writer.O("PRELU", (0, 2), (1,))], (0,), (1,))
        codes = np.repeat(CODES.reshape(1, 16, 16, 1), channels, axis=3)
        assert third_party.compare(data, profile, {"t0": codes}) == codes.size


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("types", [("uint8", "int8"), ("int8", "uint8")])
def test_requantize_between_types(
    writer: ModuleType, third_party: ModuleType, profile: str, types: tuple[str, str]
) -> None:
    """What converters put at the ends of networks with uint8 inputs and outputs."""
    for seed in range(8 if profile != "tflm" else 3):
        rng = np.random.default_rng([seed, 17])
        scale = float(np.float32(rng.uniform(0.01, 0.1)))
        ratio = 1.0 if seed % 2 else float(rng.uniform(0.4, 2.5))
        zeros = [int(rng.integers(0, 256)) - 128 * (kind == "int8") for kind in types]
        if seed % 4 == 1:
            zeros[1] = zeros[0] - 128 if types[0] == "uint8" else zeros[0] + 128
        tensors = [
            writer.T((1, 256), kind, scale=each, zero=zero)
            for kind, each, zero in zip(types, (scale, scale * ratio), zeros, strict=True)
        ]
        operator = writer.O("QUANTIZE", (0,), (1,), "QuantizeOptions")
        data = writer.write_tflite(tensors, [operator], (0,), (1,))
        codes = np.arange(256, dtype=np.uint8).view(types[0])[None]
        try:
            assert third_party.compare(data, profile, {"t0": codes}) == 256
        except UnsupportedOperatorError as error:
            assert "left-over elements round ties differently" in str(error)
            assert profile == "tflite-xnnpack" and ratio != 1.0
