"""What a user asks of layers' precisions and weight formats: by layer, or of all others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import IntEnum
from typing import TypeVar

from systolith.arithmetic import MacArithmetic
from systolith.errors import InputError
from systolith.graph import Graph, Node
from systolith.spec.array import ArraySpec
from systolith.spec.precision import Precision, WeightFormat

__all__ = ["Choices", "parse_choices"]

_Kind = TypeVar("_Kind", bound=IntEnum)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """Precisions and formats that are asked for.

    Parameters
    ----------
    precision, weight_formats: of layers by name, which then have these or are refused.
    other_precision, other_format: what all other layers with weights may have besides W8A8 and
        DENSE, where it is exact and pays; None for whatever the accelerator has.
    """

    precision: Mapping[str, Precision] = field(default_factory=dict)
    weight_formats: Mapping[str, WeightFormat] = field(default_factory=dict)
    other_precision: Precision | None = None
    other_format: WeightFormat | None = None

    def applied(self, graph: Graph, array: ArraySpec) -> Graph:
        """The graph with attributes that say so.

        Raises
        ------
        InputError: there is no such layer, or it has no weights, or the array has no such value.
        """
        for option, member, built in (
            ("precision", self.other_precision, array.precisions),
            ("weights", self.other_format, array.weight_formats),
        ):
            if member is not None and member not in built:
                known = ", ".join(m.name.lower() for m in sorted(built))
                raise InputError(
                    f"--{option} must be one that this array has ({known}), "
                    f"not {member.name.lower()!r}"
                )
        layers = [n.name for n in graph if isinstance(n.arithmetic, MacArithmetic)]
        for option, named in (("precision", self.precision), ("weights", self.weight_formats)):
            for name in named:
                _check_layer(option, name, layers)
        nodes = tuple(self._asking(n) if n.name in layers else n for n in graph)
        return replace(graph, nodes=nodes)

    def _asking(self, node: Node) -> Node:
        attributes = dict(node.attributes)
        if node.name in self.precision:
            attributes["precision"] = self.precision[node.name].name.lower()
        elif self.other_precision is not None:
            attributes["precisions"] = _names({Precision.W8A8, self.other_precision})
        if node.name in self.weight_formats:
            attributes["weight_format"] = self.weight_formats[node.name].name.lower()
        elif self.other_format is not None:
            attributes["weight_formats"] = _names({WeightFormat.DENSE, self.other_format})
        return replace(node, attributes=attributes)


def _names(members: set[_Kind]) -> tuple[str, ...]:
    return tuple(member.name.lower() for member in sorted(members))


def _check_layer(option: str, name: str, layers: Sequence[str]) -> None:
    if name in layers:
        return
    near = get_close_matches(name, layers, 3, 0.3) or list(layers[:3])
    hint = ", ".join(repr(n) for n in near)
    raise InputError(f"--{option} must name a layer with weights, such as {hint}, not {name!r}")


def parse_choices(precision: Sequence[str], weights: Sequence[str]) -> Choices:
    """Read options: ``LAYER=VALUE``, or ``VALUE`` for all layers that are not named.

    Raises
    ------
    InputError: there is no such value, or one is given twice for the same layers.
    """
    by_layer, other = _parse("precision", precision, Precision)
    formats, other_format = _parse("weights", weights, WeightFormat)
    return Choices(
        precision=by_layer,
        weight_formats=formats,
        other_precision=other,
        other_format=other_format,
    )


def _parse(
    option: str, texts: Sequence[str], kind: type[_Kind]
) -> tuple[dict[str, _Kind], _Kind | None]:
    found: dict[str, _Kind] = {}
    for text in texts:
        layer, equals, name = text.rpartition("=")
        value = kind.__members__.get(name.upper())
        if value is None or (equals and not layer):
            known = ", ".join(member.name.lower() for member in kind)
            raise InputError(
                f"--{option} must be VALUE or LAYER=VALUE, VALUE one of {known}, not {text!r}"
            )
        if layer in found:
            where = f"layer {layer!r}" if layer else "all layers"
            raise InputError(f"--{option} must be given once for {where}, not again as {text!r}")
        found[layer] = value
    other = found.pop("", None)
    return found, other
