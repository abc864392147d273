"""Single operators of random shape and scale, against the live LiteRT and TFLM kernels."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from systolith.arithmetic import BinaryArithmetic, Codes
from systolith.errors import ToolError
from systolith.importers.tflite import import_tflite
from systolith.profiles import get_profile
from systolith.profiles.binary import binary_table
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime

PROFILES = ("tflite-reference", "tflite-xnnpack", "tflm")
CODES = np.arange(-128, 128, dtype=np.int8)


def check(data: bytes, profile: str, inputs: dict[str, np.ndarray]) -> None:
    """Compare the runtime's outputs with the formulas' for one sample or many."""
    graph = import_tflite(data, get_profile(profile), name="test")
    try:
        expected = run_runtime(graph, inputs)
    except ToolError as error:
        if "not installed" in str(error):
            pytest.skip(str(error))
        raise
    number = len(next(iter(inputs.values())))
    for index in range(number):
        values = evaluate_graph(
            graph,
            {name: graph.tensors[name].canonical(inputs[name][index][None]) for name in inputs},
        )
        for name in graph.outputs:
            got = graph.tensors[name].source(values[name])
            np.testing.assert_array_equal(got[0], expected[name][index], err_msg=f"sample {index}")


def random_codes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-128, 128, shape).astype(np.int8)


def mac_model(
    writer: ModuleType, rng: np.random.Generator, kind: str, activation: int
) -> tuple[bytes, dict[str, np.ndarray]]:
    """Return a convolution, depthwise convolution or fully connected layer and inputs."""
    height, width, depth, channels = (int(v) for v in rng.integers(3, 9, 4))
    multiplier = int(rng.integers(1, 4))
    if kind == "DEPTHWISE_CONV_2D":
        channels = depth * multiplier
    kh, kw, sh, sw = (int(v) for v in rng.integers(1, 4, 4))
    same = bool(rng.integers(0, 2))
    dilation = 2 if same and sh == sw == 1 else 1
    scales = rng.uniform(0.001, 0.02, channels).astype(np.float32)
    in_scale, out_scale = rng.uniform(0.01, 0.1, 2).astype(np.float32)
    zi, zo = (int(v) for v in rng.choice([-128, -127, -3, 0, 5, 127], 2))
    out_h = -(-height // sh) if same else (height - kh) // sh + 1
    out_w = -(-width // sw) if same else (width - kw) // sw + 1
    shapes = {
        "CONV_2D": ((channels, kh, kw, depth), (1, out_h, out_w, channels), 0),
        "DEPTHWISE_CONV_2D": ((1, kh, kw, channels), (1, out_h, out_w, channels), 3),
        "FULLY_CONNECTED": ((channels, height * width * depth), (1, channels), 0),
    }
    weight_shape, out_shape, axis = shapes[kind]
    if kind == "FULLY_CONNECTED":
        scales = scales[:1]
    out_scale *= np.sqrt(np.prod(weight_shape) / channels)
    reach = int(rng.choice([3000, 3000, 1 << 31]))  # the last: accumulators wrap, scales underflow
    bias = rng.integers(-reach, reach, channels).astype(np.int32)
    strides = (("StrideH", sh), ("StrideW", sw), ("Padding", 0 if same else 1))
    fields: tuple[tuple[str, Any], ...] = (("FusedActivationFunction", activation),)
    options = {
        "CONV_2D": ("Conv2DOptions", strides),
        "DEPTHWISE_CONV_2D": (
            "DepthwiseConv2DOptions",
            (*strides, ("DepthMultiplier", multiplier)),
        ),
        "FULLY_CONNECTED": ("FullyConnectedOptions", ()),
    }[kind]
    if "CONV" in kind:
        fields += (("DilationHFactor", dilation), ("DilationWFactor", 1))
    T, O = writer.T, writer.O  # noqa: E741 - the writer's own names
    data = writer.write_tflite(
        [
            T((1, height, width, depth), scale=in_scale, zero=zi),
            T(weight_shape, scale=scales, axis=axis, data=random_codes(rng, *weight_shape)),
            T((channels,), "int32", scale=scales * in_scale, data=bias),
            T(out_shape, scale=out_scale, zero=zo),
        ],
        [O(kind, (0, 1, 2), (3,), options[0], (*options[1], *fields))],
        (0,),
        (3,),
    )
    return data, {"t0": random_codes(rng, 8, height, width, depth)}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
@pytest.mark.parametrize("activation", [0, 1, 3])
def test_weights(writer: ModuleType, profile: str, kind: str, activation: int) -> None:
    for seed in range(6):
        rng = np.random.default_rng([seed, activation])
        data, inputs = mac_model(writer, rng, kind, activation)
        if profile == "tflm" and seed > 2:
            break  # its interpreter is made anew for every model: a few do
        check(data, profile, inputs)


def unary_model(
    writer: ModuleType,
    kind: str,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    scales: tuple[float, float],
    zeros: tuple[int, int],
    options: str = "",
    fields: tuple[tuple[str, Any], ...] = (),
    extra: tuple[Any, ...] = (),
) -> bytes:
    """Return a model of one operator on one computed input, constants behind it."""
    tensors = [
        writer.T(shapes[0], scale=scales[0], zero=zeros[0]),
        writer.T(shapes[1], scale=scales[1], zero=zeros[1]),
        *extra,
    ]
    inputs = (0, *range(2, 2 + len(extra)))
    op = writer.O(kind, inputs, (1,), options, fields)
    return writer.write_tflite(tensors, [op], (0,), (1,))


TABLES = {
    "LOGISTIC": ("", (), (1 / 256, -128)),
    "TANH": ("", (), (1 / 128, 0)),
    "QUANTIZE": ("QuantizeOptions", (), None),
    "LEAKY_RELU": ("LeakyReluOptions", (("Alpha", 0.1),), None),
    "RELU": ("", (), None),
    "RELU6": ("", (), None),
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", TABLES)
def test_tables_all_codes(writer: ModuleType, profile: str, kind: str) -> None:
    row = {"QUANTIZE": "requantize"}.get(kind, kind.lower())
    if row not in get_profile(profile).rows:
        pytest.skip(f"profile {profile} has no arithmetic for {kind}")
    options, fields, fixed = TABLES[kind]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        source = (float(rng.uniform(0.005, 0.1)), int(rng.integers(-128, 128)))
        ratio = float(rng.uniform(0.6, 2.0))
        out = fixed or (source[0] * ratio, int(rng.integers(-128, 128)))
        pairs = zip(source, out, strict=True)
        scales, zeros = pairs
        shape = (1, 256)
        data = unary_model(writer, kind, (shape, shape), scales, zeros, options, fields)
        check(data, profile, {"t0": CODES[None]})


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
def test_binary_all_pairs(writer: ModuleType, profile: str, kind: str) -> None:
    x, y = (each.reshape(1, 256, 256, 1) for each in np.meshgrid(CODES, CODES))
    options = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[kind]
    for seed in range(8 if profile != "tflm" else 2):
        rng = np.random.default_rng(seed)
        scales = rng.uniform(0.01, 0.1, 3)
        scales[2] *= 8 if kind == "MUL" else 1
        zeros = rng.integers(-128, 128, 3)
        if seed % 2:  # scales that make ties
            scales = np.array([0.5, 0.25, 0.75 if kind == "MUL" else 0.5]) / 8
        tensors = [
            writer.T((1, 256, 256, 1), scale=float(s), zero=int(z))
            for s, z in zip(scales, zeros, strict=True)
        ]
        activation = (("FusedActivationFunction", int(rng.choice([0, 1]))),)
        op = writer.O(kind, (0, 1), (2,), options, activation)
        data = writer.write_tflite(tensors, [op], (0, 1), (2,))
        check(data, profile, {"t0": x, "t1": y})


@pytest.mark.parametrize("profile", ["tflite-reference", "tflm"])
def test_the_factor_of_a_product(writer: ModuleType, profile: str) -> None:
    """LiteRT's is a float32 number, TFLM's a float64 number, which shows next to ties."""
    x, y = (each.reshape(1, 256, 256, 1) for each in np.meshgrid(CODES, CODES))
    found = 0
    for seed in range(300):
        scales = np.random.default_rng(seed).uniform(0.01, 0.1, 3)
        scales[2] = scales[0] * scales[1] * 256
        a, b, out = (Codes(dtype="int8", scale=float(np.float32(s)), zero_point=3) for s in scales)
        tables = [
            binary_table(BinaryArithmetic(formula=f, a=a, b=b, out=out, low=-128, high=127))
            for f in ("tflite_mul", "tflm_mul")
        ]
        if np.array_equal(*tables):
            continue
        tensors = [writer.T((1, 256, 256, 1), scale=c.scale, zero=3) for c in (a, b, out)]
        op = writer.O("MUL", (0, 1), (2,), "MulOptions", (("FusedActivationFunction", 0),))
        check(writer.write_tflite(tensors, [op], (0, 1), (2,)), profile, {"t0": x, "t1": y})
        found += 1
        if found == 3:
            return
    raise AssertionError("no scales for which the two formulas differ")


SHAPES = [
    ((1, 5, 4, 7), (1, 1, 1, 7)),
    ((1, 7), (1, 5, 4, 7)),
    ((1, 5, 4, 1), (1, 5, 4, 7)),
    ((1, 5, 4, 7), (1, 1, 1, 1)),
    ((1, 5, 1, 7), (1, 1, 4, 7)),
    ((1, 6, 7), (1, 7)),
]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("constant", [False, True])
def test_broadcast_operands(writer: ModuleType, profile: str, kind: str, constant: bool) -> None:
    """Tensors and constants of fewer sides, or of sides of 1, on either side."""
    options = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[kind]
    for seed, shapes in enumerate(SHAPES[: 2 if profile == "tflm" else None]):
        rng = np.random.default_rng(seed)
        scales, zeros = rng.uniform(0.01, 0.1, 3), rng.integers(-128, 128, 3)
        scales[2] *= 8 if kind == "MUL" else 1
        small = int(np.prod(shapes[0]) > np.prod(shapes[1]))
        out = np.broadcast_shapes(*shapes)
        fixed = random_codes(rng, *shapes[small])
        tensors = [
            writer.T(
                shape, scale=float(s), zero=int(z), data=fixed if constant and i == small else None
            )
            for i, (shape, s, z) in enumerate(zip((*shapes, out), scales, zeros, strict=True))
        ]
        op = writer.O(kind, (0, 1), (2,), options, (("FusedActivationFunction", seed % 2),))
        given = [i for i in (0, 1) if not (constant and i == small)]
        data = writer.write_tflite(tensors, [op], given, (2,))
        inputs = {f"t{i}": random_codes(rng, 3, *shapes[i][1:]) for i in given}
        check(data, profile, inputs)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("same", [True, False])
def test_pools(writer: ModuleType, profile: str, kind: str, same: bool) -> None:
    rng = np.random.default_rng(5)
    out = (1, 4, 3, 5) if same else (1, 3, 3, 5)
    fields = (
        *(("Padding", 0 if same else 1), ("StrideH", 2), ("StrideW", 3)),
        *(("FilterHeight", 3), ("FilterWidth", 2), ("FusedActivationFunction", 1)),
    )
    data = unary_model(
        writer, kind, ((1, 7, 8, 5), out), (0.1, 0.1), (-7, -7), "Pool2DOptions", fields
    )
    check(data, profile, {"t0": random_codes(rng, 10, 7, 8, 5)})


@pytest.mark.parametrize("profile", PROFILES)
def test_mean(writer: ModuleType, profile: str) -> None:
    axes = writer.T((2,), "int32", data=np.array([1, 2], np.int32))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        height, width = (int(v) for v in rng.integers(1, 9, 2))
        scales = tuple(float(v) for v in rng.uniform(0.05, 0.1, 2))
        zeros = tuple(int(v) for v in rng.integers(-128, 128, 2))
        if seed % 3 == 0:
            scales, zeros = (scales[0],) * 2, (zeros[0],) * 2
        shapes = ((1, height, width, 6), (1, 1, 1, 6))
        fields = (("KeepDims", True),)
        data = unary_model(writer, "MEAN", shapes, scales, zeros, "ReducerOptions", fields, (axes,))
        check(data, profile, {"t0": random_codes(rng, 40, height, width, 6)})


@pytest.mark.parametrize("profile", PROFILES)
def test_softmax(writer: ModuleType, profile: str) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(2, 40))
        scale = float(rng.choice([0.01, 0.05, 0.2, 0.7]) * rng.uniform(0.5, 1.5))
        shape = (1, count)
        data = unary_model(
            writer,
            "SOFTMAX",
            (shape, shape),
            (scale, 1 / 256),
            (int(rng.integers(-128, 128)), -128),
            "SoftmaxOptions",
            (("Beta", 1.0),),
        )
        check(data, profile, {"t0": random_codes(rng, 200, count)})


@pytest.mark.parametrize("profile", PROFILES[:2])
def test_float_edges(writer: ModuleType, profile: str) -> None:
    rng = np.random.default_rng(3)
    edge = [0.0, -0.0, 0.5, 1.5, -0.5, 2.5, -2.5, 1e9, -1e9, 3e38, -3e38, 127.5, -128.5]
    edge += [np.nan, np.inf, -np.inf, 2.0**31 - 128, 2.0**31, 2.0**31 * 0.3, -(2.0**31)]
    x = np.concatenate([edge, rng.normal(0, 90, 2028)]).astype(np.float32)[None]
    for scale, zero in ((1.0, 0), (0.3, -5), (0.07, 127)):
        tensors = [
            writer.T((1, 2048), "float32"),
            writer.T((1, 2048), scale=scale, zero=zero),
            writer.T((1, 2048), "float32"),
        ]
        ops = [
            writer.O("QUANTIZE", (0,), (1,), "QuantizeOptions"),
            writer.O("DEQUANTIZE", (1,), (2,), "DequantizeOptions"),
        ]
        check(writer.write_tflite(tensors, ops, (0,), (1, 2)), profile, {"t0": x})


@pytest.mark.parametrize("profile", PROFILES)
def test_moves(writer: ModuleType, profile: str) -> None:
    rng = np.random.default_rng(1)
    quantized = {"scale": 0.1, "zero": 9}
    tensors = [
        writer.T((1, 3, 4, 2), **quantized),
        writer.T((1, 3, 4, 3), **quantized),
        writer.T((1, 3, 4, 5), **quantized),
        writer.T((4, 2), "int32", data=np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)),
        writer.T((1, 6, 5, 5), **quantized),
        writer.T((2,), "int32", data=np.array([1, 150], np.int32)),
        writer.T((1, 150), **quantized),
    ]
    ops = [
        writer.O("CONCATENATION", (0, 1), (2,), "ConcatenationOptions", (("Axis", 3),)),
        writer.O("PAD", (2, 3), (4,), "PadOptions"),
        writer.O("RESHAPE", (4, 5), (6,), "ReshapeOptions", (("NewShape", (1, 150)),)),
    ]
    data = writer.write_tflite(tensors, ops, (0, 1), (6,))
    inputs = {"t0": random_codes(rng, 2, 3, 4, 2), "t1": random_codes(rng, 2, 3, 4, 3)}
    check(data, profile, inputs)
