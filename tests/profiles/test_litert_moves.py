"""TFLite operators that move elements, against the live kernels, with golden beside them."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

PROFILES = ("tflite-reference", "tflite-xnnpack", "tflm")

Case = tuple[np.ndarray, list[Any], list[tuple[int, ...]], str, tuple[tuple[str, Any], ...]]
"""Array of places after the operator (or several), its constants, options."""


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def a_transpose(rng: np.random.Generator, x: np.ndarray) -> Any:
    axes = [0, *rng.permutation(np.arange(1, x.ndim)).tolist()]
    return [x.transpose(axes)], [integers(*axes)], "TransposeOptions", ()


def a_slice(rng: np.random.Generator, x: np.ndarray) -> Any:
    begins = [int(rng.integers(0, n)) for n in x.shape]
    sizes = [int(rng.integers(1, n - b + 1)) for n, b in zip(x.shape, begins, strict=True)]
    cut = tuple(slice(b, b + n) for b, n in zip(begins, sizes, strict=True))
    if rng.random() < 0.3:
        sizes[-1], cut = -1, (*cut[:-1], slice(begins[-1], None))
    return [x[cut]], [integers(*begins), integers(*sizes)], "SliceOptions", ()


def a_strided_slice(rng: np.random.Generator, x: np.ndarray) -> Any:
    begins, ends, steps, cut = [], [], [], []
    masks = {"BeginMask": 0, "EndMask": 0, "ShrinkAxisMask": 0}
    for axis, size in enumerate(x.shape):
        begin = int(rng.integers(0, size))
        end = int(rng.integers(begin + 1, size + 1))
        step = int(rng.integers(1, 4))
        if axis and rng.random() < 0.2:  # backwards
            begin, end, step = end - 1, begin - 1 - size if begin == 0 else begin - 1, -step
        elif axis and rng.random() < 0.3:
            begin, end = begin - size, end - size if end < size else size
        kind = rng.random() if axis else 1.0
        taken: slice | int = slice(begin, end, step)
        if kind < 0.2:
            masks["BeginMask"] |= 1 << axis
            taken = slice(None, end, step)
        elif kind < 0.4:
            masks["EndMask"] |= 1 << axis
            taken = slice(begin, None, step)
        elif kind < 0.5:
            masks["ShrinkAxisMask"] |= 1 << axis
            begin, step = abs(begin), 1
            end, taken = begin + 1, begin
        begins.append(begin)
        ends.append(end)
        steps.append(step)
        cut.append(taken)
    constants = [integers(*begins), integers(*ends), integers(*steps)]
    return [x[tuple(cut)]], constants, "StridedSliceOptions", tuple(masks.items())


def a_split(rng: np.random.Generator, x: np.ndarray) -> Any:
    axis = int(rng.integers(1, x.ndim))
    size = x.shape[axis]
    parts = int(rng.choice([n for n in range(1, size + 1) if size % n == 0]))
    return np.split(x, parts, axis), [integers(axis)], "SplitOptions", (("NumSplits", parts),)


def a_split_v(rng: np.random.Generator, x: np.ndarray) -> Any:
    axis = int(rng.integers(1, x.ndim))
    size = x.shape[axis]
    cuts = sorted(set(rng.integers(1, size, 2).tolist())) if size > 1 else []
    sizes = np.diff([0, *cuts, size]).tolist()
    parts = np.split(x, cuts, axis)
    if rng.random() < 0.5:
        sizes[-1] = -1
    return parts, [integers(*sizes), integers(axis)], "SplitVOptions", (("NumSplits", len(parts)),)


def a_gather(rng: np.random.Generator, x: np.ndarray) -> Any:
    axis = int(rng.integers(1, x.ndim))
    size = x.shape[axis]
    if rng.random() < 0.5:
        start = int(rng.integers(0, size))
        chosen = np.arange(start, int(rng.integers(start + 1, size + 1)))
    else:
        chosen = rng.integers(0, size, int(rng.integers(1, 5)))
    indices = integers(*chosen.tolist())
    return [np.take(x, chosen, axis)], [indices], "GatherOptions", (("Axis", axis),)


def an_unpack(rng: np.random.Generator, x: np.ndarray) -> Any:
    axis = int(rng.integers(1, x.ndim))
    fields = (("Num", x.shape[axis]), ("Axis", axis))
    return list(np.moveaxis(x, axis, 0)), [], "UnpackOptions", fields


def a_depth_to_space(rng: np.random.Generator, x: np.ndarray) -> Any:
    n, h, w, c = x.shape
    parts = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    result = parts.reshape(n, 2 * h, 2 * w, c // 4)
    return [result], [], "DepthToSpaceOptions", (("BlockSize", 2),)


def a_space_to_depth(rng: np.random.Generator, x: np.ndarray) -> Any:
    n, h, w, c = x.shape
    parts = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    result = parts.reshape(n, h // 2, w // 2, 4 * c)
    return [result], [], "SpaceToDepthOptions", (("BlockSize", 2),)


def a_mirror_pad(rng: np.random.Generator, x: np.ndarray) -> Any:
    widths = np.array([[0, 0], *rng.integers(0, 2, (x.ndim - 1, 2)).tolist()], np.int32)
    mode = int(rng.integers(0, 2)) if min(x.shape[1:]) > 1 else 1
    padded = np.pad(x, widths, mode=("reflect", "symmetric")[mode])
    return [padded], [widths], "MirrorPadOptions", (("Mode", mode),)


def a_tile(rng: np.random.Generator, x: np.ndarray) -> Any:
    times = [1, *rng.integers(1, 4, x.ndim - 1).tolist()]
    return [np.tile(x, times)], [integers(*times)], "", ()


def a_reverse(rng: np.random.Generator, x: np.ndarray) -> Any:
    axis = int(rng.integers(1, x.ndim))
    return [np.flip(x, axis)], [integers(axis)], "", ()


def a_resize(rng: np.random.Generator, x: np.ndarray) -> Any:
    """Twice the size, as most networks have it, or a size of its own with float rounding."""
    corners, centers = (bool(v) for v in rng.integers(0, 2, 2))
    sizes = [2 * n for n in x.shape[1:3]]
    centers = centers and not corners
    if corners:  # ends meet ends: the size stays
        sizes = list(x.shape[1:3])
    places = x if corners else x.repeat(2, axis=1).repeat(2, axis=2)
    fields = (("AlignCorners", corners), ("HalfPixelCenters", centers))
    return [places], [integers(*sizes)], "ResizeNearestNeighborOptions", fields


KINDS: dict[str, Callable[[np.random.Generator, np.ndarray], Any]] = {
    "TRANSPOSE": a_transpose,
    "SLICE": a_slice,
    "STRIDED_SLICE": a_strided_slice,
    "SPLIT": a_split,
    "SPLIT_V": a_split_v,
    "GATHER": a_gather,
    "UNPACK": an_unpack,
    "DEPTH_TO_SPACE": a_depth_to_space,
    "SPACE_TO_DEPTH": a_space_to_depth,
    "MIRROR_PAD": a_mirror_pad,
    "TILE": a_tile,
    "REVERSE_V2": a_reverse,
    "RESIZE_NEAREST_NEIGHBOR": a_resize,
}
ABSENT = {
    "tflm": ("TILE", "REVERSE_V2"),
}
"""Kinds for which a runtime has no int8 kernel."""


def shape_for(rng: np.random.Generator, kind: str) -> tuple[int, ...]:
    """Sides of 1 to 70 channels, and of any rank the operator takes."""
    rank = int(rng.choice([2, 3, 4, 4, 4]))
    sides = [int(rng.integers(1, 8)) for _ in range(rank - 2)] + [int(rng.integers(1, 71))]
    if kind in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"):
        h, w, c = (int(v) for v in rng.integers(1, 5, 3))
        sides = [h, w, 4 * c] if kind == "DEPTH_TO_SPACE" else [2 * h, 2 * w, c]
    if kind == "RESIZE_NEAREST_NEIGHBOR":
        sides = rng.integers(1, 7, 3).tolist()
    return (1, *sides)


def model(writer: ModuleType, rng: np.random.Generator, kind: str) -> tuple[bytes, tuple[int, ...]]:
    """A model of one operator behind a max pool of one pixel (if of rank 4), and its shape."""
    shape = shape_for(rng, kind)
    places = np.arange(int(np.prod(shape))).reshape(shape)
    results, constants, options, fields = KINDS[kind](rng, places)
    codes = {"scale": 0.1, "zero": int(rng.integers(-128, 128))}
    tensors = [writer.T(shape, **codes), *(writer.T(r.shape, **codes) for r in results)]
    first = len(tensors)
    tensors += [writer.T(c.shape, "int32", data=c) for c in constants]
    behind = list(range(first, len(tensors)))
    outputs = tuple(range(1, first))
    inputs = [behind[0], 0] if kind == "SPLIT" else [0, *behind]
    operator = writer.O(kind, inputs, outputs, options, fields)
    return writer.write_tflite(tensors, [operator], (0,), outputs), shape


def check(
    writer: ModuleType, third_party: ModuleType, kind: str, profile: str, seeds: range
) -> int:
    """Compare random operators; return the number of values."""
    total = 0
    for seed in seeds:
        spec = third_party.SPECS[seed % len(third_party.SPECS)]
        rng = np.random.default_rng([seed, 6])
        data, shape = model(writer, rng, kind)
        codes = rng.integers(-128, 128, (2, *shape[1:])).astype(np.int8)
        total += third_party.compare(data, profile, {"t0": codes}, spec=spec)
    return total


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", KINDS)
def test_moves(writer: ModuleType, third_party: ModuleType, profile: str, kind: str) -> None:
    if kind in ABSENT.get(profile, ()):
        pytest.skip(f"{profile} has no {kind} of int8")
    assert check(writer, third_party, kind, profile, range(4 if profile != "tflm" else 2)) > 0


@pytest.mark.parametrize("profile", PROFILES)
def test_resizes_of_any_size(writer: ModuleType, third_party: ModuleType, profile: str) -> None:
    """The runtime's float32 steps decide which pixel is nearest."""
    codes = {"scale": 0.1, "zero": -5}
    for seed in range(12 if profile != "tflm" else 4):
        rng = np.random.default_rng([seed, 16])
        sides, sizes = rng.integers(1, 10, 2).tolist(), rng.integers(1, 24, 2).tolist()
        corners = seed % 3 == 1
        tensors = [
            writer.T((1, *sides, 3), **codes),
            writer.T((1, *sizes, 3), **codes),
            writer.T((2,), "int32", data=integers(*sizes)),
        ]
        fields = (("AlignCorners", corners), ("HalfPixelCenters", seed % 3 == 2))
        kind = "RESIZE_NEAREST_NEIGHBOR"
        op = writer.O(kind, (0, 2), (1,), "ResizeNearestNeighborOptions", fields)
        data = writer.write_tflite(tensors, [op], (0,), (1,))
        values = rng.integers(-128, 128, (1, *sides, 3)).astype(np.int8)
        assert third_party.compare(data, profile, {"t0": values}) > 0


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", KINDS)
def test_many_moves(writer: ModuleType, third_party: ModuleType, profile: str, kind: str) -> None:
    if kind in ABSENT.get(profile, ()):
        pytest.skip(f"{profile} has no {kind} of int8")
    assert check(writer, third_party, kind, profile, range(100, 150)) > 0


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_pack(writer: ModuleType, third_party: ModuleType, profile: str, axis: int) -> None:
    rng = np.random.default_rng(axis + 20)
    values = [rng.integers(-128, 128, (1, 5, 7)).astype(np.int8) for _ in range(3)]
    codes = {"scale": 0.1, "zero": -5}
    tensors = [writer.T((1, 5, 7), **codes) for _ in values]
    tensors.append(writer.T(np.stack(values, axis).shape, **codes))
    fields = (("Axis", axis), ("ValuesCount", 3))
    operator = writer.O("PACK", (0, 1, 2), (3,), "PackOptions", fields)
    data = writer.write_tflite(tensors, [operator], (0, 1, 2), (3,))
    inputs = {f"t{i}": value for i, value in enumerate(values)}
    assert third_party.compare(data, profile, inputs) == 105
