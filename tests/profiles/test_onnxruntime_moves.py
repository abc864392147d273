"""ONNX operators that move elements, in three forms, against the live onnxruntime and golden.

Forms: the operator on codes; between DequantizeLinear and QuantizeLinear of the same quantization;
and of another one, where a table goes with the move. What onnxruntime makes of a QDQ form is its
own choice; whatever it is, all must agree.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Build = Callable[[Any, np.random.Generator, str, tuple[int, ...]], list[str]]


def ints(model: Any, *values: int) -> str:
    return model.constant(list(values), "int64")


def a_transpose(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    axes = [0, *rng.permutation(np.arange(1, len(shape))).tolist()]
    model.add("Transpose", [x], "m", perm=axes)
    return ["m"]


def a_slice(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    axes = sorted(rng.choice(np.arange(1, len(shape)), 2, replace=False).tolist())
    starts, ends, steps = [], [], []
    for axis in axes:
        size = shape[axis]
        start = int(rng.integers(0, size))
        end, step = int(rng.integers(start + 1, size + 3)), int(rng.integers(1, 3))
        if rng.random() < 0.2:
            start, end, step = size + 5, -size - 7, -1
        elif rng.random() < 0.3:
            start -= size
        starts.append(start)
        ends.append(end)
        steps.append(step)
    constants = [ints(model, *each) for each in (starts, ends, axes, steps)]
    model.add("Slice", [x, *constants], "m")
    return ["m"]


def a_split(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    axis = int(rng.integers(1, len(shape)))
    first = int(rng.integers(1, shape[axis])) if shape[axis] > 1 else 0
    sizes = [n for n in (first, shape[axis] - first) if n]
    names = [f"m{i}" for i in range(len(sizes))]
    model.add("Split", [x, ints(model, *sizes)], names, axis=axis)
    return names


def a_gather(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    axis = int(rng.integers(1, len(shape)))
    first = int(rng.integers(0, shape[axis]))
    chosen: Any = list(range(first, shape[axis]))
    if rng.random() < 0.3:
        chosen = first  # a scalar drops the axis
    elif rng.random() < 0.5:
        chosen = rng.integers(-shape[axis], shape[axis], 4).tolist()
    model.add("Gather", [x, model.constant(chosen, "int64")], "m", axis=axis)
    return ["m"]


def a_shuffle(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    """The channel shuffle of ShuffleNet: five sides between two reshapes."""
    n, c, h, w = shape
    groups = int(rng.choice([g for g in range(1, c + 1) if c % g == 0]))
    model.add("Reshape", [x, ints(model, n, groups, c // groups, h, w)], "m5")
    model.add("Transpose", ["m5"], "mt", perm=[0, 2, 1, 3, 4])
    model.add("Reshape", ["mt", ints(model, n, c, h, w)], "m")
    return ["m"]


def a_flatten(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    model.add("Flatten", [x], "m", axis=1)
    return ["m"]


def an_unsqueeze(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    model.add("Unsqueeze", [x, ints(model, 2)], "m5")
    model.add("Squeeze", ["m5", ints(model, 2)], "m")
    return ["m"]


def an_expand(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    sides = [n * (3 if n == 1 and i else 1) for i, n in enumerate(shape)]
    model.add("Expand", [x, ints(model, *sides)], "m")
    return ["m"]


def depth_to_space(
    model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]
) -> list[str]:
    mode = str(rng.choice(["DCR", "CRD"]))
    model.add("DepthToSpace", [x], "m", blocksize=2, mode=mode)
    return ["m"]


def space_to_depth(
    model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]
) -> list[str]:
    model.add("SpaceToDepth", [x], "m", blocksize=2)
    return ["m"]


def a_pad(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    pads = [0, *rng.integers(0, 3, 3).tolist(), 0, *rng.integers(0, 3, 3).tolist()]
    model.add("Pad", [x, ints(model, *pads)], "m")
    return ["m"]


def a_mirror(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    pads = [0, 0, *rng.integers(0, 2, 2).tolist(), 0, 0, *rng.integers(0, 2, 2).tolist()]
    mode = "reflect" if min(shape[2:]) > 1 and rng.random() < 0.5 else "edge"
    model.add("Pad", [x, ints(model, *pads)], "m", mode=mode)
    return ["m"]


def max_pool(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    pads = rng.integers(0, 2, 4).tolist()
    model.add("MaxPool", [x], "m", kernel_shape=[2, 2], strides=[1, 2], pads=pads)
    return ["m"]


def a_maximum(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    count = int(rng.integers(1, 4))
    axes = sorted(rng.choice([1, 2, 3], count, replace=False).tolist())
    kind = str(rng.choice(["ReduceMax", "ReduceMin"]))
    model.add(kind, [x, ints(model, *axes)], "m", keepdims=int(rng.integers(0, 2)))
    return ["m"]


def global_max(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    model.add("GlobalMaxPool", [x], "m")
    return ["m"]


def a_resize(model: Any, rng: np.random.Generator, x: str, shape: tuple[int, ...]) -> list[str]:
    """Sizes of any kind, or the usual doubling, with every rule of coordinates and rounding."""
    rules = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    how = {
        "coordinate_transformation_mode": str(rng.choice(rules)),
        "nearest_mode": str(rng.choice(["floor", "ceil", "round_prefer_floor"])),
    }
    if rng.random() < 0.5:
        scales = model.constant([1, 1, 2, 2], "float32")
        model.add("Resize", [x, "", scales], "m", mode="nearest", **how)
    else:
        sizes = ints(model, *shape[:2], *rng.integers(1, 12, 2).tolist())
        model.add("Resize", [x, "", "", sizes], "m", mode="nearest", **how)
    return ["m"]


KINDS: dict[str, Build] = {
    function.__name__: function
    for function in (
        *(a_transpose, a_slice, a_split, a_gather, a_shuffle, a_flatten, an_unsqueeze, an_expand),
        *(depth_to_space, space_to_depth, a_pad, a_mirror, max_pool, a_maximum, global_max),
        a_resize,
    )
}
FLOAT_ONLY = ("global_max", "an_expand", "depth_to_space", "space_to_depth")
"""Operators that onnxruntime has no 8-bit kernel for, or not for both types."""


def shape_for(rng: np.random.Generator, kind: str) -> tuple[int, ...]:
    h, w = (int(v) for v in rng.integers(2, 6, 2))
    c = int(rng.integers(1, 41))
    if kind == "depth_to_space":
        return 1, 4 * int(rng.integers(1, 6)), h, w
    if kind == "space_to_depth":
        return 1, int(rng.integers(1, 8)), 2 * h, 2 * w
    if kind == "an_expand":
        return 1, c, 1, w
    return 1, c, h, w


def draw(
    onnx_writer: ModuleType, kind: str, form: str, dtype: str, seed: int
) -> tuple[bytes, np.ndarray]:
    """A model of one operator, and two samples of codes."""
    rng = np.random.default_rng([seed, 8])
    shape = shape_for(rng, kind)
    model, limits = onnx_writer.Model(), np.iinfo(dtype)
    zero = int(rng.choice([limits.min, limits.max, rng.integers(limits.min, limits.max)]))
    first = model.codes(float(rng.uniform(0.02, 0.2)), zero, dtype)
    last = first if form != "table" else model.codes(float(rng.uniform(0.02, 0.2)), 3, dtype)
    if form == "codes":  # behind an operator that makes the model a quantized one
        model.add("QLinearLeakyRelu", ["x", *first, *first], "d", onnx_writer.MICROSOFT, alpha=0.5)
    else:
        model.add("DequantizeLinear", ["x", *first], "d")
    outputs = KINDS[kind](model, rng, "d", shape)
    if form != "codes":
        for name in outputs:
            model.add("QuantizeLinear", [name, *last], f"{name}q")
        outputs = [f"{name}q" for name in outputs]
    data = model.bytes({"x": (dtype, shape)}, dict.fromkeys(outputs, dtype))
    codes = rng.integers(limits.min, limits.max + 1, (2, *shape[1:])).astype(dtype)
    return data, codes


def check(
    onnx_writer: ModuleType, third_party: ModuleType, kind: str, form: str, seeds: range
) -> int:
    """Compare random operators of both types; return the number of values."""
    total = 0
    for seed in seeds:
        spec = third_party.SPECS[seed % len(third_party.SPECS)]
        dtype = ("int8", "uint8")[seed % 2]
        data, codes = draw(onnx_writer, kind, form, dtype, seed)
        total += third_party.compare(data, "onnxruntime", {"x": codes}, spec=spec)
    return total


@pytest.mark.parametrize("form", ["codes", "same", "table"])
@pytest.mark.parametrize("kind", KINDS)
def test_moves(onnx_writer: ModuleType, third_party: ModuleType, kind: str, form: str) -> None:
    if form == "codes" and kind in FLOAT_ONLY:
        pytest.skip("onnxruntime has no such kernel of 8 bits")
    assert check(onnx_writer, third_party, kind, form, range(4)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("form", ["codes", "same", "table"])
@pytest.mark.parametrize("kind", KINDS)
def test_many_moves(onnx_writer: ModuleType, third_party: ModuleType, kind: str, form: str) -> None:
    if form == "codes" and kind in FLOAT_ONLY:
        pytest.skip("onnxruntime has no such kernel of 8 bits")
    assert check(onnx_writer, third_party, kind, form, range(100, 160)) > 0
