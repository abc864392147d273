"""Random MATMULs and STOREs of nibbles, among those of bytes."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from systolith.sim.stress_specs import pick
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import Precision

__all__ = [
    "draw_nibbles",
    "draw_packed",
    "draw_precision",
    "mix_precisions",
    "result_channels",
    "with_nibbles",
]

Rng = np.random.Generator


def with_nibbles(rng: Rng, spec: AcceleratorSpec) -> AcceleratorSpec:
    """The accelerator with one precision of nibbles, or with both, and twice the parameters."""
    others = pick(rng, {Precision.W4A8}, {Precision.W4A4}, {Precision.W4A8, Precision.W4A4})
    precisions = frozenset({Precision.W8A8, *others})
    channels = 2 * spec.memory.parameter_channels
    return replace(
        spec,
        array=replace(spec.array, precisions=precisions),
        memory=replace(spec.memory, parameter_channels=channels),
    )


def draw_precision(rng: Rng, spec: AcceleratorSpec, signed: int) -> dict[str, int]:
    """Draw the precision of a MATMUL, and the zero point of weights of 4 bits.

    Mostly one of their codes, the first and the last above all; else any, and weights wrap.

    Parameters
    ----------
    signed: whether weights are.
    """
    if not spec.array.nibbles:
        return {}
    precision = pick(rng, *sorted(spec.array.precisions))
    fields = {"precision": int(precision)}
    if precision is not Precision.W8A8:
        low = -8 if signed else 0
        zeros = low, low + 15, int(rng.integers(low, low + 16)), int(rng.integers(-256, 256))
        fields["w_zero"] = int(pick(rng, *zeros))
    return fields


def mix_precisions(rng: Rng, spec: AcceleratorSpec, parts: list[dict[str, int]]) -> None:
    """Let parts of a MATMUL that is cut differ in precision, where their vectors are alike."""
    alike = sorted(spec.array.precisions - {Precision.W4A8})
    if not spec.array.nibbles or parts[0].get("depthwise"):
        return
    for fields in parts[1:]:
        if fields.get("precision", 0) in alike and rng.integers(2):
            fields["precision"] = int(pick(rng, *alike))


def result_channels(spec: AcceleratorSpec, fields: Mapping[str, int]) -> int:
    """Channels of the result vectors of a MATMUL."""
    return spec.array.columns * (2 if fields.get("precision") == Precision.W4A8 else 1)


def draw_packed(rng: Rng, spec: AcceleratorSpec) -> int:
    """Draw whether a STORE packs."""
    return int(rng.integers(2)) if spec.array.packs else 0


def draw_nibbles(rng: Rng) -> dict[str, int]:
    """Draw the clamps of a STORE that packs: mostly those of codes of 4 bits."""
    low = int(pick(rng, -8, 0, -128))
    high = int(pick(rng, low + 15, 127))
    return {"packed": 1, "low": low, "high": high, "zero": (low + high) // 2}
