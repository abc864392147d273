"""What a depthwise MATMUL must keep to besides what every MATMUL does."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.footprint import Access, Spans, shared_padding
from systolith.compiler.pairing import consumers
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode

__all__ = ["depthwise_fault", "uneven_padding"]


def depthwise_fault(spec: AcceleratorSpec, v: Mapping[str, int]) -> str | None:
    """Return what is wrong with the fields of a depthwise MATMUL, if anything."""
    width, passes = v["mx_count"], v["ky_count"] * v["kx_count"] * v["kc_count"]
    across = (v["ox_count"] - 1) * v["x_step"]
    last = v["x_first"] + across
    end = (v["y_first"] + (v["oy_count"] - 1) * v["y_step"]) * width + last
    streams = passes == 1 and not (v["accumulate"] or v["partial"])
    held = v["ox_count"] * (1 if streams else v["oy_count"])
    rules = (
        (not spec.array.depthwise_lines, "needs a depthwise mode"),
        (min(v["y_step"], v["x_step"], v["oy_count"], v["ox_count"]) < 1, "makes no outputs"),
        (not 2 <= width <= spec.array.depthwise_width, "has rows that the lines do not hold"),
        (held > spec.memory.accumulator_depth, "needs more accumulators than there are"),
        (v["x_first"] >= width or across >= width, "has outputs that span more than a row"),
        (
            last >= width and v["x_my_stride"] != width * v["x_mx_stride"],
            "ends outputs in another row, but rows have gaps",
        ),
        (end >= v["my_count"] * width, "reads too few pixels for its outputs"),
        (v["pairs"] and spec.pair_fault(v) is not None, "reads rows in pairs that are none"),
    )
    return next((text for wrong, text in rules if wrong), None)


def _inside(addresses: NDArray[np.int64], spans: Spans) -> NDArray[np.bool_]:
    """Which addresses are in a set of bytes."""
    if not len(spans.starts):
        return np.zeros(len(addresses), bool)
    index = np.searchsorted(spans.starts, addresses, side="right") - 1
    return (index >= 0) & (addresses < spans.ends[index])


def _even(addresses: NDArray[np.int64], before: Sequence[tuple[Opcode, int, Spans]]) -> bool:
    """Whether FILLs with one value wrote all the bytes last, and nothing else.

    Bytes from external memory are taken on trust.
    """
    values = set()
    for opcode, value, writes in reversed(before):
        found = _inside(addresses, writes)
        if found.any():
            if opcode is Opcode.FILL:
                values.add(value)
            elif opcode is not Opcode.LOAD:
                return False
            addresses = addresses[~found]
    return not len(addresses) and len(values) <= 1


def uneven_padding(
    commands: Sequence[tuple[Opcode, Mapping[str, int], Access]],
    weights: NDArray[np.uint8],
    spec: AcceleratorSpec,
) -> int | None:
    """Return the first depthwise MATMUL whose rows share padding that is not alike.

    Parameters
    ----------
    commands: with all their fields and footprints, in program order.
    weights: the weight memory.
    spec: the accelerator.
    """
    stores = consumers([(opcode, values) for opcode, values, _ in commands])
    before: list[tuple[Opcode, int, Spans]] = []
    for number, (opcode, values, access) in enumerate(commands):
        if opcode is Opcode.MATMUL:
            store = next(stores)
            if values["depthwise"]:
                spans = shared_padding(values, store, weights, spec)
                parts = [np.arange(a, b) for a, b in zip(spans.starts, spans.ends, strict=True)]
                if parts and not _even(np.concatenate(parts), before):
                    return number
        elif len(access.writes.starts):
            before.append((opcode, values.get("value", 0), access.writes))
    return None
