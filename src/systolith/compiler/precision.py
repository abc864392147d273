"""Precisions of a layer: which are exact, and how its weights become bytes of two nibbles."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import MacArithmetic
from systolith.compiler.errors import layer_error
from systolith.graph import Node
from systolith.spec.array import ArraySpec
from systolith.spec.precision import Precision

__all__ = [
    "NibbleCodes",
    "chain_precision",
    "codes_a_byte",
    "columns_at_once",
    "exact_precisions",
    "nibble_bytes",
    "nibble_codes",
    "weight_codes",
    "wanted_precision",
]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class NibbleCodes:
    """Codes of 4 bits: ``value = code - zero``, codes -8 to 7 if `signed`, else 0 to 15."""

    signed: bool
    zero: int


def nibble_codes(low: int, high: int) -> NibbleCodes | None:
    """How nibbles hold all integers from ``low`` to ``high``, and 0; None if they are too many."""
    low, high = min(low, 0), max(high, 0)
    if low >= -8 and high <= 7:
        return NibbleCodes(signed=True, zero=0)
    return NibbleCodes(signed=False, zero=-low) if high - low <= 15 else None


def weight_codes(arithmetic: MacArithmetic) -> NibbleCodes | None:
    """How nibbles hold a layer's weights; None if they do not."""
    w, zero = arithmetic.weights, arithmetic.weight_zero_point
    return nibble_codes(int(w.min()) - zero, int(w.max()) - zero) if w.size else None


def columns_at_once(array: ArraySpec, precision: Precision) -> int:
    """Output channels that the array computes at once."""
    return array.columns * (2 if precision is Precision.W4A8 else 1)


def codes_a_byte(precision: Precision) -> int:
    """Activation codes that a byte of the array's input holds."""
    return 2 if precision is Precision.W4A4 else 1


def wanted_precision(node: Node) -> Precision | None:
    """The precision that a layer's attribute asks for, None if the choice is free.

    Raises
    ------
    CompileError: there is no such precision.
    """
    name = node.attributes.get("precision")
    if name is None:
        return None
    try:
        return Precision[str(name).upper()]
    except KeyError:
        known = ", ".join(p.name.lower() for p in Precision)
        raise layer_error(
            node, f"precision must be one of {known}, not {name!r}", "choose one of them"
        ) from None


def exact_precisions(node: Node, array: ArraySpec, *, packed: bool = False) -> Iterator[Precision]:
    """Yield the precisions with which an array computes a layer exactly, and as it asks for.

    Parameters
    ----------
    node: a convolution or fully connected layer.
    packed: whether its input holds two codes a byte.

    Raises
    ------
    CompileError: the layer asks for one that the array lacks or that is not exact.
    """
    arithmetic, wanted = node.arithmetic, wanted_precision(node)
    assert isinstance(arithmetic, MacArithmetic)
    if wanted is not None and wanted not in array.precisions:
        name = wanted.name.lower()
        raise layer_error(
            node, f"array.precisions lacks {name}", f"add {name!r} to array.precisions"
        )
    if packed:
        yield Precision.W4A4
        return
    if wanted is Precision.W4A8 and weight_codes(arithmetic) is None:
        raise layer_error(
            node,
            "precision w4a8 needs weights within 16 neighbouring codes, 0.0 among them",
            "quantize the layer's weights to 4 bits, or leave its precision out",
        )
    if wanted is not Precision.W4A8:
        yield Precision.W8A8
    nibbles = Precision.W4A8 in array.precisions and weight_codes(arithmetic) is not None
    if nibbles and wanted in (None, Precision.W4A8):
        yield Precision.W4A8


def chain_precision(node: Node, array: ArraySpec, channels: int) -> Precision:
    """The precision of all parts of a layer's sums, for so many output channels at once."""
    options = list(exact_precisions(node, array))
    return options[0] if channels <= array.columns else options[-1]


def nibble_bytes(tiles: Int64Array, precision: Precision) -> Int64Array:
    """Bytes [n, pass, rows, columns] of tiles of codes as a precision multiplies them.

    Parameters
    ----------
    tiles: codes [n, pass, codes of a vector, channels at once].
    """
    if precision is Precision.W8A8:
        return tiles
    if precision is Precision.W4A8:
        low, high = np.split(tiles, 2, axis=3)
    else:
        low, high = tiles[:, :, 0::2], tiles[:, :, 1::2]
    packed: Int64Array = (low & 15) | (high & 15) << 4
    return packed
