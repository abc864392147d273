"""Random accelerators: any shape of array, memories of odd sizes, any parts left out."""

from typing import Any

import numpy as np

from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.precision import WeightFormat
from systolith.spec.requant import FULL_WIDTHS, RequantMode

__all__ = ["LANE_WORDS", "WEIGHT_TILES", "pick", "random_spec"]

Rng = np.random.Generator
LANE_WORDS = 24
"""Lane words of parameters that fit, at least."""
WEIGHT_TILES = 24
"""Weight tiles that fit, at least."""


def pick(rng: Rng, *choices: Any) -> Any:
    """One of the choices."""
    return choices[int(rng.integers(len(choices)))]


def random_spec(
    rng: Rng, *, largest: int = 6, depthwise: bool = False, formats: bool = False
) -> AcceleratorSpec:
    """A small accelerator with any shape of array, memories of odd sizes and any parts left out.

    Parameters
    ----------
    largest: most rows and columns.
    depthwise: with a depthwise mode.
    formats: with decoders of weights.
    """
    rows, columns = (int(v) for v in rng.integers(1, largest + 1, 2))
    lanes = int(pick(rng, *(n for n in range(1, columns + 1) if columns % n == 0)))
    modes = [RequantMode(int(m)) for m in rng.permutation(4)[: int(rng.integers(1, 5))]]
    registers = int(rng.integers(4))  # of a multiplier
    line = 1 << (max(rows, lanes, 4) - 1).bit_length()
    lines: dict[str, Any] = {
        "depthwise_lines": int(rng.integers(1, min(rows, 8) + 1)),
        "depthwise_width": int(rng.integers(4, 25)),
    } if depthwise else {}  # fmt: skip
    return AcceleratorSpec(
        array=ArraySpec(
            rows=rows,
            columns=columns,
            pipelined=registers > 0,
            multiplier_stages=max(0, registers - 1),
            weight_formats=_formats(rng, rows) if formats else frozenset({WeightFormat.DENSE}),
            **lines,
        ),
        memory=MemorySpec(
            activation_regions=int(rng.integers(1, 5)),
            activation_bytes=2 * line * int(rng.integers(-(-256 // line), 512 // line)),
            weight_bytes=columns * max(rows * WEIGHT_TILES, -(-16 // columns)),
            accumulator_depth=int(pick(rng, 4, 5, 7, 8, 16, 21)),
            parameter_channels=lanes * max(LANE_WORDS, 4),
            command_words=int(rng.integers(300, 700)),
            tables=int(rng.integers(3)),
            stamps=int(rng.integers(2, 9)),
        ),
        post=PostSpec(lanes=lanes, modes=frozenset(modes), **_widths(rng, modes), **_operands(rng)),
        queue_depth=int(pick(rng, 1, 2, 3, 16)),
    )


def _formats(rng: Rng, rows: int) -> frozenset[WeightFormat]:
    """One format to decode, some, or all."""
    unfit = {WeightFormat.TWO_OF_FOUR} if rows % 2 else set()
    others = sorted(set(WeightFormat) - {WeightFormat.DENSE} - unfit)
    count = int(rng.integers(1, len(others) + 1))
    chosen = rng.choice(len(others), count, replace=False).tolist()
    return frozenset({WeightFormat.DENSE, *(others[i] for i in chosen)})


def _widths(rng: Rng, modes: list[RequantMode]) -> dict[str, Any]:
    """Any widths that the modes can be built with."""
    least = [FULL_WIDTHS.least(mode) for mode in modes]
    names = "multiplier_bits", "accumulator_bits"
    return {
        name: int(rng.integers(max(pair), 33))
        for name, pair in zip(names, zip(*least, strict=True), strict=True)
    }


def _operands(rng: Rng) -> dict[str, Any]:
    """No residual operand, one to add, or one to add or multiply by."""
    residual, product = rng.integers(2, size=2)
    return {"residual": bool(residual), "product": bool(residual and product)}
