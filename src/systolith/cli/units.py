"""Units that are generated alone: quantize, dequantize and dynamic quantize."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from systolith.errors import SpecError
from systolith.spec.quantize import CodeFormat, QuantizeForm

__all__ = ["UNITS", "UnitOptions", "make_unit"]

UNITS = ("quantize", "dequantize", "dynamic_quantize")


@dataclass(frozen=True, kw_only=True)
class UnitOptions:
    """Options of ``systolith generate --unit``.

    Parameters
    ----------
    unit: one of `UNITS`.
    format: a `CodeFormat`.
    form: name of a `QuantizeForm`.
    lanes: numbers a cycle.
    channels: that have a scale and a zero point each.
    depth: numbers of a packet of dynamic_quantize.
    """

    unit: str
    format: str = "int8"
    form: str = "divide_even"
    lanes: int = 1
    channels: int = 1
    depth: int = 1024


def _member(name: str, value: str, known: Mapping[str, Any]) -> Any:
    if value not in known:
        raise SpecError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    return known[value]


def make_unit(options: UnitOptions) -> Any:
    """Return the unit's component.

    Raises
    ------
    SpecError: a unit, format or form that does not exist, or options out of range.
    """
    from systolith.hw.convert_stream import DequantizeStream, QuantizeStream
    from systolith.hw.dynamic_quantize import DynamicQuantizeStream

    kind = _member("--format", options.format, {str(f): f for f in CodeFormat})
    form = _member("--form", options.form, {f.name.lower(): f for f in QuantizeForm})
    sizes = {"lanes": options.lanes, "channels": options.channels}
    makers: dict[str, Callable[[], Any]] = {
        "quantize": lambda: QuantizeStream(kind, form, **sizes),
        "dequantize": lambda: DequantizeStream(kind, **sizes),
        "dynamic_quantize": lambda: DynamicQuantizeStream(options.depth),
    }
    maker = _member("--unit", options.unit, makers)
    try:
        return maker()
    except ValueError as error:
        raise SpecError(f"--unit {options.unit}: {error}") from error
