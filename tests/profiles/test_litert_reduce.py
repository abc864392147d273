"""Reductions of TFLite over every set of axes, against the live kernels, with golden beside."""

from itertools import combinations
from types import ModuleType

import numpy as np
import pytest

from systolith.errors import CompileError

PROFILES = ("tflite-reference", "tflite-xnnpack", "tflm")
AXES = [
    (rank, axes)
    for rank in (2, 3, 4)
    for count in range(1, rank)
    for axes in combinations(range(1, rank), count)
]


def model(
    writer: ModuleType, rng: np.random.Generator, kind: str, rank: int, axes: tuple[int, ...]
) -> tuple[bytes, tuple[int, ...]]:
    """A reduction of a tensor of random sides."""
    shape = (1, *rng.integers(1, 7, rank - 2).tolist(), int(rng.integers(1, 41)))
    keep = bool(rng.integers(0, 2))
    scales = rng.uniform(0.05, 0.1, 2)
    zeros = [int(rng.choice([-128, 127, rng.integers(-128, 128)])) for _ in "xy"]
    if kind != "MEAN" or rng.random() < 0.3:
        scales[1], zeros[1] = scales[0], zeros[0]
    if keep:
        out = [1 if axis in axes else side for axis, side in enumerate(shape)]
    else:
        out = [side for axis, side in enumerate(shape) if axis not in axes]
    tensors = [
        writer.T(shape, scale=float(scales[0]), zero=zeros[0]),
        writer.T(out, scale=float(scales[1]), zero=zeros[1]),
        writer.T((len(axes),), "int32", data=np.array(axes, np.int32)),
    ]
    operator = writer.O(kind, (0, 2), (1,), "ReducerOptions", (("KeepDims", keep),))
    return writer.write_tflite(tensors, [operator], (0,), (1,)), shape


def check(
    writer: ModuleType, third_party: ModuleType, kind: str, profile: str, seeds: range
) -> int:
    """Compare all sets of axes; return the number of values."""
    total = 0
    for seed in seeds:
        for number, (rank, axes) in enumerate(AXES):
            rng = np.random.default_rng([seed, number, 7])
            data, shape = model(writer, rng, kind, rank, axes)
            codes = rng.integers(-128, 128, (2, *shape[1:])).astype(np.int8)
            try:
                spec = third_party.SPECS[(seed + number) % len(third_party.SPECS)]
                total += third_party.compare(data, profile, {"t0": codes}, spec=spec)
            except CompileError as error:
                # Scales that make ties of a float32 sum have no equal in the hardware's modes.
                assert "formula 'xnn_mean' is not proven" in str(error)
                total += third_party.compare(data, profile, {"t0": codes}, spec=None)
    return total


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", ["MEAN", "REDUCE_MAX", "REDUCE_MIN"])
def test_reductions(writer: ModuleType, third_party: ModuleType, profile: str, kind: str) -> None:
    if profile == "tflm" and kind == "REDUCE_MIN":
        pytest.skip("TensorFlow Lite Micro has no such operator")
    assert check(writer, third_party, kind, profile, range(1)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", ["MEAN", "REDUCE_MAX", "REDUCE_MIN"])
def test_many_reductions(
    writer: ModuleType, third_party: ModuleType, profile: str, kind: str
) -> None:
    if profile == "tflm" and kind == "REDUCE_MIN":
        pytest.skip("TensorFlow Lite Micro has no such operator")
    assert check(writer, third_party, kind, profile, range(100, 120)) > 0
