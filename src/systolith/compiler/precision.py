"""Precisions of a layer: which are exact, and how its weights become bytes of two nibbles."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import MacArithmetic
from systolith.compiler.errors import layer_error
from systolith.compiler.weight_choice import wanted_format
from systolith.errors import CompileError
from systolith.graph import Graph, Node
from systolith.spec.array import ArraySpec
from systolith.spec.precision import Precision, WeightFormat

__all__ = [
    "NibbleCodes",
    "chain_precision",
    "codes_a_byte",
    "columns_at_once",
    "exact_precisions",
    "nibble_bytes",
    "nibble_codes",
    "nibble_range",
    "permitted_precisions",
    "weight_codes",
    "wanted_precision",
    "with_precisions",
]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class NibbleCodes:
    """Codes of 4 bits: ``value = code - zero``, codes -8 to 7 if `signed`, else 0 to 15."""

    signed: bool
    zero: int


def nibble_codes(low: int, high: int) -> NibbleCodes | None:
    """How nibbles hold all integers from ``low`` (0 at most) to ``high``; None if too many."""
    if low >= -8 and high <= 7:
        return NibbleCodes(signed=True, zero=0)
    return NibbleCodes(signed=False, zero=-low) if high - low <= 15 else None


def weight_codes(arithmetic: MacArithmetic) -> NibbleCodes | None:
    """How nibbles hold a layer's weights; None if they do not."""
    return nibble_codes(*arithmetic.weight_range)


def nibble_range(window: int) -> tuple[int, int]:
    """Least and largest value of the nibbles of packed activations: uint4 or int4.

    Parameters
    ----------
    window: where the codes' window of 16 begins, a multiple of 8.
    """
    return (-8, 7) if window % 16 else (0, 15)


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


def permitted_precisions(node: Node) -> frozenset[Precision]:
    """The precisions that a layer may have if it asks for none, of its attribute `precisions`."""
    names = node.attributes.get("precisions")
    return frozenset(Precision if names is None else (Precision[n.upper()] for n in names))


def with_precisions(graph: Graph, precisions: Mapping[str, Precision]) -> Graph:
    """The graph with an attribute `precision` at some layers, by name.

    Raises
    ------
    CompileError: there is no such layer, or it has no weights.
    """
    layers = {n.name for n in graph if isinstance(n.arithmetic, MacArithmetic)}
    for name in precisions:
        if name not in layers:
            raise CompileError(f"precision must be of a layer with weights, not of {name!r}")
    nodes = tuple(
        replace(n, attributes={**n.attributes, "precision": precisions[n.name].name.lower()})
        if n.name in precisions
        else n
        for n in graph
    )
    return replace(graph, nodes=nodes) if precisions else graph


def exact_precisions(node: Node, array: ArraySpec) -> Iterator[Precision]:
    """Yield the precisions with which an array computes a layer of bytes, and as it asks for.

    Parameters
    ----------
    node: a convolution or fully connected layer whose input is not packed.

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
    form = wanted_format(node)
    coded = form not in (None, WeightFormat.DENSE)
    if form is not None and coded and wanted in (Precision.W4A8, Precision.W4A4):
        raise layer_error(
            node,
            f"weight_format {form.name.lower()} needs precision w8a8, not {wanted.name.lower()}",
            "leave one of them out",
        )
    if wanted is Precision.W4A8 and weight_codes(arithmetic) is None:
        raise layer_error(
            node,
            "precision w4a8 needs weights within 16 neighbouring codes, 0.0 among them",
            "quantize the layer's weights to 4 bits, or leave its precision out",
        )
    if wanted is not Precision.W4A8:  # W4A4 is chosen before: see `pack_tensors`
        yield Precision.W8A8
    nibbles = Precision.W4A8 in array.precisions and weight_codes(arithmetic) is not None
    free = wanted is None and not coded and Precision.W4A8 in permitted_precisions(node)
    if nibbles and (free or wanted is Precision.W4A8):
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
