"""The named accelerators."""

from collections.abc import Mapping
from typing import Any

from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.precision import Precision, WeightFormat

__all__ = ["PRESETS"]

KIB = 1024


def _preset(
    rows: int,
    columns: int,
    lanes: int,
    *,
    lines: int = 3,
    data_bytes: int = 0,
    queue_depth: int = 2,
    softmax_tables: int = 2,
    product: bool = True,
    pipelined: bool = False,
    precisions: frozenset[Precision] = frozenset({Precision.W8A8}),
    formats: frozenset[WeightFormat] = frozenset({WeightFormat.DENSE}),
    **memory: Any,
) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(
            rows=rows,
            columns=columns,
            depthwise_lines=lines,
            pipelined=pipelined,
            precisions=precisions,
            weight_formats=formats,
        ),
        memory=MemorySpec(**memory),
        post=PostSpec(lanes=lanes, product=product, softmax_tables=softmax_tables),
        external=ExternalSpec(data_bytes=data_bytes),
        queue_depth=queue_depth,
    )


PRESETS: Mapping[str, AcceleratorSpec] = {
    "tiny": _preset(
        4,
        4,
        1,
        softmax_tables=0,
        product=False,
        activation_bytes=64 * KIB,
        weight_bytes=128 * KIB,
        accumulator_depth=64,
        parameter_channels=1024,
    ),
    "nano": _preset(
        4,
        4,
        1,
        lines=2,
        softmax_tables=0,
        product=False,
        pipelined=True,
        activation_bytes=12 * KIB,
        weight_bytes=24 * KIB,
        accumulator_depth=64,
        parameter_channels=640,
        command_words=2048,
        tables=1,
        stamps=64,
    ),
    "ecp5_85f": AcceleratorSpec(
        array=ArraySpec(
            rows=12,
            columns=12,
            pipelined=True,
            multiplier_stages=2,
            depthwise_lines=3,
            depthwise_width=64,
        ),
        memory=MemorySpec(
            activation_bytes=48 * KIB,
            weight_bytes=240 * KIB,
            accumulator_depth=32,
            parameter_channels=3072,
            command_words=4096,
            tables=1,
            stamps=64,
            small_distributed=True,
        ),
        post=PostSpec(lanes=3, residual_multipliers=False),
    ),
    "small": _preset(8, 8, 4, activation_bytes=64 * KIB, weight_bytes=128 * KIB),
    "base": _preset(16, 16, 8),
    "stream": _preset(16, 16, 16, data_bytes=16, queue_depth=8, weight_bytes=256 * KIB),
    "sparse": _preset(
        16,
        16,
        16,
        data_bytes=16,
        queue_depth=8,
        weight_bytes=256 * KIB,
        formats=frozenset({WeightFormat.DENSE, WeightFormat.TWO_OF_FOUR}),
    ),
    "mixed": _preset(
        16,
        16,
        16,
        data_bytes=16,
        queue_depth=8,
        weight_bytes=256 * KIB,
        precisions=frozenset(Precision),
        formats=frozenset(WeightFormat) - {WeightFormat.TWO_OF_FOUR},
    ),
    "large": _preset(32, 32, 16, lines=5),
}
"""Named accelerators: arrays from 4x4 to 32x32, all requantizer modes, depthwise mode.

`nano` is `tiny` with memories that fit an ECP5-25F, and hold DS-CNN. `ecp5_85f` is as large as an
LFE5U-85F allows: all its multipliers are in the array (12x12) and in three lanes, and it holds each
of MLPerf Tiny's networks but the autoencoder. All but these three have the softmax unit and
products of tensors. All hold a whole network on chip but `stream`, which has an AXI4 master to
external memory, `sparse`: `stream` with two of four weights, and `mixed`: `stream` with every
precision and every other format of weights.
"""
