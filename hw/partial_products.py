"""Products that are wider than the multipliers of FPGAs, in parts."""

from amaranth.hdl import Const, Mux, Value

__all__ = ["cut_operands", "partial_product"]

_PART, _LONG_PART, _FEW = 16, 17, 3
"""Bits of the lower part of an operand cut in two, of one with few bits more, and how many few is.
"""


def cut_operands(a: Value, b: Value) -> tuple[list[Value], list[Value]]:
    """Cut the operands where no multiplier of 18x18 or 25x18 bits takes them."""

    def cut(value: Value, part: int = _PART) -> list[Value]:
        return [value[:part], value[part:].as_signed()]

    parts_b = [b] if len(b) <= 25 else cut(b)
    width = len(b) if len(parts_b) == 1 else len(b) - _PART + 1
    if len(a) <= 18 or (len(a) <= 25 and width <= 18):
        return [a], parts_b
    few = len(a) <= _LONG_PART + _FEW and len(parts_b) == 1
    return cut(a, _LONG_PART if few else _PART), parts_b


def partial_product(a: Value, b: Value) -> Value:
    """Multiply; a signed ``a`` of a few bits by additions, so that it takes no multiplier."""
    if len(a) > _FEW:
        return a * b
    terms = [Mux(bit, b, 0) << place for place, bit in enumerate(a)]
    total = sum(terms[:-1], Const(0, 1)) - terms[-1]
    return total[: len(a) + len(b)].as_signed()
