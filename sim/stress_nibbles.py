"""Random MATMULs and STOREs of nibbles, among those of bytes."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from systolith.sim.stress_specs import pick
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import MultiplierForm, Precision, nibble_zeros

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
    """The accelerator with one precision of nibbles, or with both, and twice the parameters.

    Its multipliers are of any form.
    """
    others = pick(rng, {Precision.W4A8}, {Precision.W4A4}, {Precision.W4A8, Precision.W4A4})
    precisions = frozenset({Precision.W8A8, *others})
    channels = 2 * spec.memory.parameter_channels
    return replace(
        spec,
        array=replace(spec.array, precisions=precisions, multiplier=pick(rng, *MultiplierForm)),
        memory=replace(spec.memory, parameter_channels=channels),
    )


def draw_precision(rng: Rng, spec: AcceleratorSpec, signed: int) -> dict[str, int]:
    """Draw the precision of a MATMUL, and with it the zero point of weights of 4 bits.

    Parameters
    ----------
    signed: whether weights are.
    """
    if not spec.array.nibbles:
        return {}
    return _fields(rng, pick(rng, *sorted(spec.array.precisions)), signed)


def _fields(rng: Rng, precision: Precision, signed: int) -> dict[str, int]:
    """A precision, and a zero point of nibbles, of whose codes the ends come more often."""
    if precision is Precision.W8A8:
        return {"precision": int(precision)}
    zeros = nibble_zeros(signed)
    zero = pick(rng, zeros[0], zeros[-1], pick(rng, *zeros))
    return {"precision": int(precision), "w_zero": int(zero)}


def mix_precisions(rng: Rng, spec: AcceleratorSpec, parts: list[dict[str, int]]) -> None:
    """Let parts of a MATMUL that is cut differ in precision, where their vectors are alike."""
    alike = sorted(spec.array.precisions - {Precision.W4A8})
    if not spec.array.nibbles or parts[0].get("depthwise") or parts[0].get("w_format"):
        return
    for fields in parts[1:]:
        if fields.get("precision", 0) in alike and rng.integers(2):
            fields |= _fields(rng, pick(rng, *alike), fields["w_signed"])


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
