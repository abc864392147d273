"""The format of every layer's weights: the smallest that holds them exactly, or the one asked for.

All of the compiler before this works with dense weights: tiles at even distances can be cut and
joined as the layers need it. What a command of the finished list reads is encoded here. Whether a
layer's commands take two of four weights is decided before, as they read other vectors: see
`two_of_four`.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.constants import Constants
from systolith.compiler.two_of_four import dense_rows, is_sparse
from systolith.compiler.weight_formats import ENCODERS, EncodedWeights
from systolith.errors import CompileError
from systolith.graph import Graph, Node
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode
from systolith.spec.precision import Precision, WeightFormat

__all__ = [
    "FormatRequest",
    "Permitted",
    "StoredWeights",
    "encode_weights",
    "permitted_formats",
    "requested_formats",
    "wanted_format",
    "with_formats",
]

Values = dict[str, int]
Codes = NDArray[np.uint8]
FormatRequest = Mapping[str, WeightFormat]
"""Formats asked for, by layer; the others are chosen."""
Permitted = Mapping[str, frozenset[WeightFormat]]
"""Formats among which is chosen, by layer; all for the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredWeights:
    """What a layer's weights take.

    Parameters
    ----------
    form: their format.
    bytes, dense_bytes: of weight words, as stored and as they would be dense.
    """

    form: WeightFormat
    bytes: int
    dense_bytes: int

    def __str__(self) -> str:
        """The note of a layer, empty if it is dense."""
        if self.form is WeightFormat.DENSE:
            return ""
        return f"weights {self.form.name.lower()}, {self.bytes} of {self.dense_bytes} bytes"


def with_formats(graph: Graph, formats: FormatRequest) -> Graph:
    """The graph with an attribute ``weight_format`` at some layers, by name.

    Raises
    ------
    CompileError: there is no such layer.
    """
    known = {node.name for node in graph}
    for layer in formats:
        if layer not in known:
            raise CompileError(f"weight format must be of a layer, not {layer!r}")
    nodes = tuple(
        replace(n, attributes={**n.attributes, "weight_format": formats[n.name].name.lower()})
        if n.name in formats
        else n
        for n in graph
    )
    return replace(graph, nodes=nodes) if formats else graph


def wanted_format(node: Node) -> WeightFormat | None:
    """The format that a layer's attribute asks for, None if the choice is free.

    Raises
    ------
    CompileError: there is no such format.
    """
    name = node.attributes.get("weight_format")
    if name is None:
        return None
    try:
        return WeightFormat[str(name).upper()]
    except KeyError:
        names = ", ".join(f.name.lower() for f in WeightFormat)
        raise CompileError(
            f"layer {node.name!r}: weight_format must be one of {names}, not {name!r}"
        ) from None


def permitted_formats(node: Node) -> frozenset[WeightFormat]:
    """The formats that a layer may have: the one it asks for, or of ``weight_formats``, or all."""
    wanted, names = wanted_format(node), node.attributes.get("weight_formats")
    if wanted is not None:
        return frozenset({wanted})
    return frozenset(WeightFormat if names is None else (WeightFormat[n.upper()] for n in names))


def requested_formats(graph: Graph, spec: AcceleratorSpec) -> Permitted:
    """Return the formats of layers that may not have any: the one asked for, or dense and others.

    Raises
    ------
    CompileError: there is no such format, or the accelerator has no decoder of it.
    """
    for node in graph:
        layer, form = node.name, wanted_format(node)
        if form is not None and form not in spec.array.weight_formats:
            raise CompileError(
                f"layer {layer!r}: array.weight_formats must have {form.name.lower()} for its "
                f"weights: add {form.name.lower()} to array.weight_formats"
            )
    permitted = {node.name: permitted_formats(node) for node in graph}
    return {layer: forms for layer, forms in permitted.items() if len(forms) < len(WeightFormat)}


@dataclass(kw_only=True, eq=False)
class _Layer:
    """Commands of a layer whose weights may be encoded, and what each would read."""

    commands: list[int] = field(default_factory=list)
    tiles: dict[bytes, tuple[Codes, Values]] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)


def encode_weights(
    layers: Sequence[str],
    commands: Sequence[tuple[Opcode, Values]],
    constants: Constants,
    asked: Permitted,
) -> tuple[Constants, dict[str, StoredWeights]]:
    """Encode the weights of all MATMULs; return the constants with what they read, and notes.

    The commands get their weight fields, and `w_words`: the words that they read. Weights that are
    held, as those of poolings, are dense unless they are asked for otherwise.

    Parameters
    ----------
    layers: of every command.
    commands: opcode and all fields, weights dense in ``constants``; the fields are changed.
    asked: see `requested_formats`; layers that it does not have may get any.

    Raises
    ------
    CompileError: a format that was asked for does not hold the weights.
    """
    spec = constants.spec
    found: dict[tuple[str, bool], _Layer] = {}
    dense = constants.images()[0]
    for index, (layer, (opcode, values)) in enumerate(zip(layers, commands, strict=True)):
        if opcode is not Opcode.MATMUL:
            continue
        values["w_words"] = _dense_words(values, spec)
        if values["precision"] == Precision.W8A8 and (not values["w_hold"] or layer in asked):
            _note(found.setdefault((layer, is_sparse(values)), _Layer()), index, values, dense)
    image, stored = _Image(dense, spec), dict[str, StoredWeights]()
    for (layer, sparse), uses in found.items():
        forms = asked.get(layer, frozenset(WeightFormat)) - {WeightFormat.TWO_OF_FOUR}
        form, made = _chosen(
            layer, uses, spec, frozenset({WeightFormat.TWO_OF_FOUR}) if sparse else forms
        )
        if form is WeightFormat.DENSE:
            continue
        for index, key in zip(uses.commands, uses.keys, strict=True):
            values = commands[index][1]
            values |= made[key].fields
            values |= {"w_base": image.add(made[key].words), "w_words": len(made[key].words)}
        known = stored.get(layer)  # some of the layer's parts are two of four, some are not
        stored[layer] = StoredWeights(
            form=known.form if known else form,
            bytes=sum(m.words.size for m in made.values()) + (known.bytes if known else 0),
            dense_bytes=sum(tiles.size for tiles, _ in uses.tiles.values())
            + (known.dense_bytes if known else 0),
        )
    if not stored:
        return constants, {}
    for opcode, values in commands:
        if opcode is Opcode.MATMUL and values["w_format"] == WeightFormat.DENSE:
            values["w_base"] = image.keep(values["w_base"], values["w_words"])
    return image.constants(constants), stored


def _dense_words(values: Values, spec: AcceleratorSpec) -> int:
    names = () if values["w_hold"] else ("n", "ky", "kx", "kc")
    tiles = int(np.prod([values[f"{n}_count"] for n in names], dtype=np.int64))
    return tiles * dense_rows(values, spec.array.rows)


def _note(uses: _Layer, index: int, values: Values, dense: Codes) -> None:
    """Note what a command reads: tiles [n, pass, rows, columns]."""
    words = dense[values["w_base"] : values["w_base"] + values["w_words"]]
    groups = 1 if values["w_hold"] else values["n_count"]
    rows = values["w_words"] // groups
    if not values["w_hold"]:
        rows //= values["ky_count"] * values["kx_count"] * values["kc_count"]
    tiles = words.reshape(groups, -1, rows, words.shape[1])
    key = b"%d %d %d " % (groups, values["w_signed"], values["w_zero"]) + tiles.tobytes()
    uses.tiles.setdefault(key, (tiles, values))
    uses.commands.append(index)
    uses.keys.append(key)


def _chosen(
    layer: str, uses: _Layer, spec: AcceleratorSpec, forms: frozenset[WeightFormat]
) -> tuple[WeightFormat, dict[bytes, EncodedWeights]]:
    """The format, among ``forms``, and what it makes of all tiles of a layer."""
    options: list[tuple[int, WeightFormat, dict[bytes, EncodedWeights]]] = []
    for form in sorted(spec.array.weight_formats & forms):
        made: dict[bytes, EncodedWeights] = {}
        for key, (tiles, values) in uses.tiles.items():
            encoded = ENCODERS[form](tiles, values)
            if encoded is None:
                break
            made[key] = encoded
        else:
            options.append((sum(len(m.words) for m in made.values()), form, made))
    if not options:
        asked = next(iter(forms), WeightFormat.TWO_OF_FOUR)
        raise CompileError(
            f"layer {layer!r}: weight_format must be one that holds its weights exactly, not "
            f"{asked.name.lower()}: choose another, or let the compiler choose"
        )
    _, form, made = min(options, key=lambda option: option[:2])
    return form, made


class _Image:
    """The weight memory with encoded blocks.

    Parameters
    ----------
    dense: weight words that the commands referred to.
    """

    def __init__(self, dense: Codes, spec: AcceleratorSpec) -> None:
        self._dense, self._spec = dense, spec
        self._blocks: list[Codes] = []
        self._known: dict[bytes, int] = {}
        self._words = 0

    def add(self, words: Codes) -> int:
        """Store words, equal ones once, and return their address."""
        key = words.tobytes()
        if key not in self._known:
            self._known[key] = self._words
            self._blocks.append(words)
            self._words += len(words)
        return self._known[key]

    def keep(self, base: int, count: int) -> int:
        """Store dense words that a command still reads."""
        return self.add(self._dense[base : base + count])

    def constants(self, constants: Constants) -> Constants:
        """The constants with these weights."""
        result = copy.copy(constants)
        result.replace_weights(np.concatenate(self._blocks))
        return result
