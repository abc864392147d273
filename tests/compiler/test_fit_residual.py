"""compiler.fit_residual against sums and products of three runtimes, over all 65 536 pairs."""

import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from systolith.compiler.fit_residual import ResidualParameters, fit_product, fit_residual
from systolith.golden.residual import residual_add, residual_product
from systolith.spec.requant import ResidualRounding

INT8 = np.arange(-128, 128)
UINT8 = np.arange(256)
MODELS = Path(
    os.environ.get("SYSTOLITH_MODELS", Path(__file__).parents[2].parent / "shared/models")
)


def q31(real):
    """TFLite's QuantizeMultiplier."""
    mantissa, exponent = np.frexp(real)
    return int(np.floor(mantissa * (1 << 31) + 0.5)), int(exponent)


def multiply(x, multiplier, shift):
    """TFLite's MultiplyByQuantizedMultiplier with two roundings."""
    high = ((x << max(shift, 0)) * multiplier + (1 << 30)) >> 31
    right = max(-shift, 0)
    mask = (1 << right) - 1
    return (high >> right) + ((high & mask) > ((mask >> 1) + (high < 0)))


def tflite_add(x1, x2, scales, zeros):
    s1, s2, so = (float(s) for s in scales)
    twice = 2 * max(s1, s2)
    a = multiply((x1 - zeros[0]) << 20, *q31(s1 / twice))
    b = multiply((x2 - zeros[1]) << 20, *q31(s2 / twice))
    return multiply(a[:, None] + b[None], *q31(twice / ((1 << 20) * so))) + zeros[2]


def xnnpack_add(x1, x2, scales, zeros):
    ra, rb = (float(np.float32(s) / np.float32(scales[2])) for s in scales[:2])
    shift = 20 - int(np.floor(np.log2(max(ra, rb))))
    ma, mb = (int(np.rint(ratio * 2.0**shift)) for ratio in (ra, rb))
    total = ((x1 - zeros[0]) * ma)[:, None] + ((x2 - zeros[1]) * mb)[None]
    return ((total + (1 << (shift - 1))) >> shift) + zeros[2]


def onnxruntime_add(x1, x2, scales, zeros):
    """QLinearAdd on x86: float32 fused multiply-adds, rounded after the zero point."""

    def fma(a, b, c):
        exact = np.asarray(a, np.longdouble) * np.longdouble(b) + np.asarray(c, np.longdouble)
        return exact.astype(np.float32)

    ra, rb = (np.float32(s) / np.float32(scales[2]) for s in scales[:2])
    constant = np.float32(zeros[2]) - fma(zeros[0], ra, rb * np.float32(zeros[1]))
    return np.rint(fma(x1[:, None], ra, fma(x2[None], rb, constant))).astype(np.int64)


ADDITIONS = {"tflite": tflite_add, "xnnpack": xnnpack_add, "onnxruntime": onnxruntime_add}


def fit(addition, values, scales, zeros, low=None):
    """Fit one addition; return the wanted table with the parameters."""
    low, high = int(values[0]) if low is None else low, int(values[-1])
    table = np.clip(addition(values, values, scales, zeros), low, high)
    found = fit_residual(
        table,
        values,
        values,
        slopes=(float(scales[0]) / float(scales[2]), float(scales[1]) / float(scales[2])),
        zero_point=zeros[2],
        low=low,
        high=high,
    )
    return table, found


def golden(found: ResidualParameters, values):
    return residual_add(values[:, None], values[None], **asdict(found))


def draw(rng, kind, values):
    """Scales as float32 of networks (`real`), or rich in ties, and zero points."""
    if kind == "power of two":
        scales = 2.0 ** rng.integers(-6, -2, 3)
    elif kind == "equal":
        scales = np.exp(rng.uniform(-6, 0)) * np.array([1, 1, 2])
    else:
        scales = np.exp(rng.uniform(-5, 0)) * np.exp(rng.uniform(-1, 1, 3))
        scales[2] = scales[:2].max() * np.exp(rng.uniform(-0.3, 0.9))
    zeros = rng.integers(values[0], values[-1] + 1, 3)
    if rng.random() < 0.4:
        zeros[2] = values[0]
    return scales.astype(np.float32), [int(z) for z in zeros]


@pytest.mark.parametrize("values", [INT8, UINT8], ids=["int8", "uint8"])
@pytest.mark.parametrize("kind", ["real", "power of two", "equal"])
@pytest.mark.parametrize("name", ADDITIONS)
def test_exact_on_all_pairs(name, kind, values):
    rng = np.random.default_rng(17)
    failures = 0
    for _ in range(25):
        table, found = fit(ADDITIONS[name], values, *draw(rng, kind, values))
        failures += found is None
        if found is not None:
            assert np.array_equal(golden(found, values), table)
    assert not failures


def test_ties_choose_the_rounding():
    """At half the scale every second sum is a tie, and the runtimes differ on all of them."""
    scales, zeros = [np.float32(0.25), np.float32(0.25), np.float32(0.5)], [3, -7, 5]
    roundings = {name: fit(f, INT8, scales, zeros)[1].rounding for name, f in ADDITIONS.items()}
    assert roundings == {
        "tflite": ResidualRounding.HALF_AWAY,
        "xnnpack": ResidualRounding.FLOOR,
        "onnxruntime": ResidualRounding.HALF_EVEN,
    }


def test_the_linear_program_repairs_wrong_slopes():
    """With slopes off by 1e-6 the first try fails; the search must still reach the plane."""
    table = np.clip((INT8[:, None] * 5 + INT8[None] * 3 + 4) >> 3, -128, 127)
    found = fit_residual(
        table, INT8, INT8, slopes=(0.625 + 1e-6, 0.375 - 1e-6), zero_point=0, low=-128, high=127
    )
    assert found is not None
    assert np.array_equal(golden(found, INT8), table)


def test_no_plane():
    """A product is no sum, nor is a plane with one cell raised."""
    clamp = {"slopes": (0.5, 0.5), "zero_point": 0, "low": -128, "high": 127}
    product = (INT8[:, None] * INT8[None]) >> 8
    assert fit_residual(product, INT8, INT8, **clamp) is None
    plane = (INT8[:, None] + INT8[None] + 1) >> 1
    assert fit_residual(plane, INT8, INT8, **clamp) is not None
    plane[100, 90] += 1
    assert fit_residual(plane, INT8, INT8, **clamp) is None


def q31_product(p, factor):
    return multiply(p, *q31(float(factor)))


def float_product(p, factor):
    return np.rint(p.astype(np.float32) * factor).astype(np.int64)


PRODUCTS = {
    "tflite": lambda p, factor, zero: q31_product(p, factor) + zero,
    "xnnpack": lambda p, factor, zero: float_product(p, factor) + zero,
    "onnxruntime": lambda p, factor, zero: np.rint(
        p.astype(np.float32) * factor + np.float32(zero)
    ).astype(np.int64),
}


def draw_product(rng, kind, values):
    """The factor as float32 and zero points, of which every fourth is at a rail."""
    if kind == "power of two":
        factor = np.float32(2.0 ** rng.integers(-10, 2))
    elif kind == "eighths":
        factor = np.float32(rng.integers(1, 65) / 64 * 2.0 ** rng.integers(-9, 1))
    else:
        factor = np.float32(np.exp(rng.uniform(-7, 0)))
    zeros = rng.integers(values[0], values[-1] + 1, 3)
    rails = rng.choice([values[0], values[-1]], 3)
    return factor, [int(z) for z in np.where(rng.random(3) < 0.25, rails, zeros)]


def product_fit(name, values, factor, zeros, low, high):
    """Fit one product; return the wanted table with the parameters."""
    y, r = values - zeros[0], values - zeros[1]
    table = np.clip(PRODUCTS[name](y[:, None] * r[None], factor, zeros[2]), low, high)
    found = fit_product(
        table,
        y,
        values,
        zero_r=zeros[1],
        slope=float(factor),
        zero_point=zeros[2],
        low=low,
        high=high,
    )
    return table, found


@pytest.mark.parametrize("values", [INT8, UINT8], ids=["int8", "uint8"])
@pytest.mark.parametrize("kind", ["real", "power of two", "eighths"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_on_all_pairs(name, kind, values):
    rng = np.random.default_rng(23)
    for _ in range(12):
        factor, zeros = draw_product(rng, kind, values)
        low = zeros[2] if rng.random() < 0.3 else int(values[0])
        table, found = product_fit(name, values, factor, zeros, low, int(values[-1]))
        assert found is not None, (factor, zeros)
        got = residual_product(
            values[:, None] - zeros[0], values[None], zero_r=zeros[1], **asdict(found)
        )
        assert np.array_equal(got, table)


def test_a_third_needs_near_ties():
    """At a third of an eighth every multiple of 24 / 2 is a tie, but only as a float32 number."""
    factor = np.float32(1) / np.float32(24)
    for name, rounding in (
        ("tflite", ResidualRounding.FLOOR),
        ("xnnpack", ResidualRounding.NEAR_EVEN),
        ("onnxruntime", ResidualRounding.NEAR_EVEN),
    ):
        _, found = product_fit(name, INT8, factor, [3, -5, 7], -128, 127)
        assert found is not None
        assert found.rounding is rounding


def test_no_product():
    """A sum is no product, nor is a product with one cell raised."""
    clamp = {"zero_r": 0, "slope": 0.01, "zero_point": 0, "low": -128, "high": 127}
    plane = (INT8[:, None] + INT8[None]) >> 1
    assert fit_product(plane, INT8, INT8, **clamp) is None
    table = np.clip(INT8[:, None] * INT8[None] // 100, -128, 127)
    assert fit_product(table, INT8, INT8, **clamp) is not None
    table[100, 90] += 1
    assert fit_product(table, INT8, INT8, **clamp) is None


def test_bad_tables():
    clamp = {"slopes": (0.5, 0.5), "zero_point": 0, "low": -8, "high": 7}
    with pytest.raises(ValueError, match=re.escape("table must be (256, 256) large, not (4, 4)")):
        fit_residual(np.zeros((4, 4), int), INT8, INT8, **clamp)
    with pytest.raises(ValueError, match=re.escape("table must be in [-8, 7], not 0 to 8")):
        fit_residual([[0, 8]], [0], [0, 1], **clamp)


@pytest.mark.parametrize("name", ["tflite", "xnnpack"])
def test_additions_of_resnet8_tflite(name):
    if not (path := MODELS / "tflite" / "resnet8.npz").exists():
        pytest.skip("the reference networks are not beside the checkout")
    with np.load(path) as data:
        tensors = json.loads(str(data["tensors_json"]))
        operators = json.loads(str(data["ops_json"]))
    additions = [o for o in operators if o["op"] == "ADD"]
    assert len(additions) == 3
    for operator in additions:
        own = [tensors[str(i)] for i in operator["inputs"] + operator["outputs"]]
        scales = [np.float32(t["scale"][0]) for t in own]
        zeros = [t["zp"][0] for t in own]
        table, found = fit(ADDITIONS[name], INT8, scales, zeros, low=zeros[2])
        assert found is not None
        assert np.array_equal(golden(found, INT8), table)


@pytest.mark.parametrize("model", ["ic_resnet8_qop_s8s8_pt", "ic_resnet8_qop_u8s8_pc"])
def test_additions_of_resnet8_onnx(model):
    onnx = pytest.importorskip("onnx")
    if not (path := MODELS / "onnx" / f"{model}.onnx").exists():
        pytest.skip("the reference networks are not beside the checkout")
    graph = onnx.load(path).graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    additions = [n for n in graph.node if n.op_type == "QLinearAdd"]
    assert len(additions) == 3
    for node in additions:
        values = UINT8 if constants[node.input[2]].dtype == np.uint8 else INT8
        scales = [np.float32(constants[node.input[i]]) for i in (1, 4, 6)]
        zeros = [int(constants[node.input[i]]) for i in (2, 5, 7)]
        table, found = fit(onnxruntime_add, values, scales, zeros)
        assert found is not None
        assert np.array_equal(golden(found, values), table)
