"""Random SOFTMAX commands, and tables of exponentials that all forms can take."""

import numpy as np
from numpy.typing import NDArray

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.softmax import SoftmaxForm

__all__ = ["random_exponents", "random_softmax"]

Rng = np.random.Generator
Mask = NDArray[np.bool_]
_ATTEMPTS = 20


def random_exponents(rng: Rng, spec: AcceleratorSpec) -> NDArray[np.uint32]:
    """Draw tables of falling float32 exponentials, of which the first is at least 1.

    Their bits are Q31 numbers, too, the first of which makes a sum that is not 0.
    """
    tables = spec.post.softmax_tables
    steps = 10 ** rng.uniform(-3, 0.5, (tables, 1))
    raised = 2.0 ** rng.integers(0, 60, (tables, 1))
    values = np.exp(-np.arange(256) * steps) * raised
    return values.astype(np.float32).view(np.uint32)


def random_softmax(rng: Rng, spec: AcceleratorSpec) -> tuple[dict[str, int], Mask, Mask] | None:
    """Draw a SOFTMAX inside of the activation regions; rows of the target may overlap each other.

    Returns
    -------
    Fields, and which bytes of the address space are read and written; None if there was no place.
    """
    for _ in range(_ATTEMPTS):
        rows = int(min(rng.integers(1, 5, 2)))
        length = int(rng.choice([1, spec.line_bytes, *rng.integers(1, (20, 70)).tolist()]))
        form = SoftmaxForm(int(rng.integers(len(SoftmaxForm))))
        tables = spec.post.softmax_tables - (form is SoftmaxForm.QUOTIENT)
        if not tables:
            continue
        low = int(rng.choice([0, -128]))
        scale = np.float32(rng.choice([1 / 256, 1 / 255, 10 ** rng.uniform(-3, 0)]))
        fields = {
            "form": int(form), "table": int(rng.integers(tables)), "length": length,
            "row_count": rows, "signed": int(rng.integers(2)), "low": low,
            "high": int(rng.choice([low + 255, 100])), "zero": low + int(rng.integers(20)),
            "scale": int(scale.view(np.uint32)),
        }  # fmt: skip
        touched = []
        for stream in "sd":
            mask = _place(rng, spec, fields, stream)
            if mask is not None:
                touched.append(mask)
        if len(touched) == 2 and not (touched[0] & touched[1]).any():
            return fields, touched[0], touched[1]
    return None


def _place(rng: Rng, spec: AcceleratorSpec, fields: dict[str, int], stream: str) -> Mask | None:
    """Draw a stride and a base for which all rows lie in one region; the bytes of the rows."""
    rows, length = fields["row_count"], fields["length"]
    stride = int(rng.choice([-1, 1])) * (length + int(rng.integers(-2, 10)))
    offsets = np.arange(rows) * stride
    low, high = int(offsets.min()), int(offsets.max()) + length
    room = spec.memory.activation_bytes - (high - low)
    if room < 0:
        return None
    region = int(rng.integers(spec.memory.activation_regions))
    base = region * spec.region_stride - low + int(rng.integers(room + 1))
    fields |= {f"{stream}_base": base, f"{stream}_row_stride": stride}
    mask = np.zeros(spec.region_stride * spec.memory.activation_regions, bool)
    mask[(base + offsets[:, None] + np.arange(length)).reshape(-1)] = True
    return mask
