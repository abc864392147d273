"""Random COPY commands: any alignment, shape and overlap of runs that a program may have."""

import numpy as np
from numpy.typing import NDArray

from systolith.sim.float_samples import scales
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COPY_LOOPS, Opcode

__all__ = ["random_conversion", "random_copy"]

Rng = np.random.Generator
Mask = NDArray[np.bool_]
_ATTEMPTS = 20


def random_conversion(
    rng: Rng, spec: AcceleratorSpec
) -> tuple[Opcode, tuple[dict[str, int], Mask, Mask] | None]:
    """Draw a QUANTIZE or a DEQUANTIZE, placed as a COPY is; the float32 numbers are any bytes."""
    opcode = Opcode(int(rng.choice([Opcode.QUANTIZE, Opcode.DEQUANTIZE])))
    drawn = random_copy(rng, spec, (4, 1) if opcode is Opcode.QUANTIZE else (1, 4))
    if drawn is None:
        return opcode, None
    scale, signed = int(scales(rng, 1)[0]), bool(rng.integers(2))
    low = -128 if signed else 0
    fields = {"scale": scale, "zero": low + int(rng.integers(256))}
    if opcode is Opcode.DEQUANTIZE:
        return opcode, (drawn[0] | fields | {"signed": int(signed)}, *drawn[1:])
    with np.errstate(under="ignore"):
        inverse = np.float32(1) / np.uint32(scale).view(np.float32)
    fields |= {
        "form": int(rng.choice(sorted(spec.post.quantize_forms))),
        "inverse": int(inverse.view(np.uint32)),
        "low": low,
        "high": low + 255,
    }
    return opcode, (drawn[0] | fields, *drawn[1:])


def random_copy(
    rng: Rng, spec: AcceleratorSpec, widths: tuple[int, int] = (1, 1)
) -> tuple[dict[str, int], Mask, Mask] | None:
    """Draw a COPY inside of the activation regions.

    Runs of the source may overlap each other, as the windows of an image do, and so may runs of the
    target, of which the last then holds. No byte is both read and written.

    Parameters
    ----------
    widths: bytes of an element of the source, of the target.

    Returns
    -------
    Fields, and which bytes of the address space are read and written; None if there was no place.
    """
    for _ in range(_ATTEMPTS):
        counts = [int(min(rng.integers(1, 5, 2))) for _ in COPY_LOOPS]
        line = spec.line_bytes
        lengths = [1, 3, line, line + 1, int(rng.integers(1, line)), int(rng.integers(1, 40))]
        length = int(rng.choice(lengths))
        fields = {f"{name}_count": count for name, count in zip(COPY_LOOPS, counts, strict=True)}
        fields["length"] = length
        touched = []
        for stream, width in zip("sd", widths, strict=True):
            strides = _strides(rng, counts, length * width)
            placed = _place(rng, spec, counts, strides, length * width)
            if placed is None:
                break
            fields[f"{stream}_base"] = placed[0]
            fields |= {f"{stream}_{n}_stride": v for n, v in zip(COPY_LOOPS, strides, strict=True)}
            touched.append(placed[1])
        if len(touched) == 2 and not (touched[0] & touched[1]).any():
            return fields, touched[0], touched[1]
    return None


def _strides(rng: Rng, counts: list[int], length: int) -> list[int]:
    """Strides of runs that lie one after the other, or anywhere."""
    if rng.integers(2):
        return [int(v) for v in rng.integers(-30, 31, len(counts))]
    sizes = np.cumprod([length, *counts[:0:-1]])[::-1]
    return [int(v) * int(rng.choice([1, -1])) for v in sizes]


def _place(
    rng: Rng, spec: AcceleratorSpec, counts: list[int], strides: list[int], length: int
) -> tuple[int, Mask] | None:
    """Draw a base for which all runs lie in one region: the base, and the bytes of the runs."""
    offsets = np.zeros(1, np.int64)
    for count, stride in zip(counts, strides, strict=True):
        offsets = (offsets[:, None] + np.arange(count) * stride).reshape(-1)
    low, high = int(offsets.min()), int(offsets.max()) + length
    room = spec.memory.activation_bytes - (high - low)
    if room < 0:
        return None
    region = int(rng.integers(spec.memory.activation_regions))
    base = region * spec.region_stride - low + int(rng.integers(room + 1))
    mask = np.zeros(spec.region_stride * spec.memory.activation_regions, bool)
    mask[(base + offsets[:, None] + np.arange(length)).reshape(-1)] = True
    return base, mask
