"""Steps cut into tiles of output rows, each an ordinary step on smaller tensors.

A tile is lowered once for every geometry, on formal storages; its copies for the other rows differ
only in where the operands lie.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from systolith.compiler.ir import Pair, Storage, SymbolicCommand, View
from systolith.compiler.layout import Layout
from systolith.compiler.lower_elementwise import lower_elementwise
from systolith.compiler.lowering import Lowering
from systolith.compiler.overlap import WholeRows
from systolith.compiler.steps import Step
from systolith.compiler.transfers import dense_view, reach, rows_of, transfer
from systolith.graph import Op
from systolith.spec.commands import Opcode

__all__ = ["Piece", "Slab", "TileWork", "Tiler", "last_writers", "slab_of", "source_rows"]

Lower = Callable[[Lowering, Step], list[Pair]]

_WINDOWED = frozenset({Op.CONV2D, Op.AVG_POOL, Op.MAX_POOL})


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Rows of an operand.

    Parameters
    ----------
    first, count: rows of the tensor.
    above, below: rows of padding that are read beside them.
    """

    first: int
    count: int
    above: int = 0
    below: int = 0


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Slab:
    """Bytes of an external storage, one after the other, that hold rows with their halo.

    Parameters
    ----------
    start, size: bytes of the storage.
    lead: bytes in front of them on chip that are read but do not matter: a row's other of a pair.
    """

    start: int
    size: int
    lead: int = 0

    @property
    def room(self) -> int:
        """Bytes on chip."""
        return self.lead + self.size


@dataclass(kw_only=True, eq=False)
class TileWork:
    """The commands of a tile.

    Parameters
    ----------
    loads: LOADs of its operands.
    pairs: what is computed on the array.
    softmax: what is computed beside it.
    saves: SAVEs of its results.
    outputs: storages on chip that the SAVEs read and nothing else does.
    """

    loads: list[SymbolicCommand] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    softmax: list[SymbolicCommand] = field(default_factory=list)
    saves: list[SymbolicCommand] = field(default_factory=list)
    outputs: list[Storage] = field(default_factory=list)


def last_writers(works: Sequence[TileWork]) -> list[int]:
    """For every tile, the last one before it that saves what it loads, -1 for none."""
    saved: dict[int, list[tuple[int, int, int]]] = {}
    result = []
    for index, work in enumerate(works):
        last = -1
        for load in work.loads:
            key, start, end = reach(load)
            for at, low, high in saved.get(key, ()):
                if low < end and start < high:
                    last = max(last, at)
        result.append(last)
        for save in work.saves:
            key, start, end = reach(save)
            saved.setdefault(key, []).append((index, start, end))
    return result


def source_rows(step: Step, height: int, first: int, count: int) -> Piece:
    """Rows of the source, ``height`` rows high, that output rows need."""
    if step.node.op not in _WINDOWED:
        return Piece(first=first, count=count)
    a = step.node.attributes
    kernel, stride, dilation, top = (
        a["kernel"][0],
        a["strides"][0],
        a.get("dilations", (1, 1))[0],
        a["pads"][0],
    )
    start = first * stride - top
    end = (first + count - 1) * stride - top + (kernel - 1) * dilation + 1
    low, high = min(max(start, 0), height - 1), max(min(end, height), 1)
    return Piece(first=low, count=high - low, above=low - start, below=end - high)


def slab_of(view: View, piece: Piece) -> Slab:
    """The bytes of rows and their halo, padding left and right included."""
    width, channels = view.shape[1:]
    gap = max(0, view.row - (width - 1) * view.pixel - channels)
    start = max(0, view.at(piece.first - piece.above, 0) - gap)
    last = piece.first + piece.count - 1 + piece.below
    end = min(view.storage.size, view.at(last, width - 1) + channels + gap)
    return Slab(start=start, size=end - start, lead=view.row if view.storage.aligned else 0)


def _formal(name: str, view: View, rows: int) -> View:
    """A view like another, of so many rows, in a storage that stands for any."""
    storage = Storage(name=name, size=0, layer=name)
    shape = (rows, *view.shape[1:])
    return View(storage=storage, offset=0, shape=shape, row=view.row, pixel=view.pixel)


def _bound(command: SymbolicCommand, places: Mapping[int, tuple[Storage, int]]) -> SymbolicCommand:
    bases = {}
    for name, (storage, offset) in command.bases.items():
        actual, moved = places.get(id(storage), (storage, 0))
        bases[name] = (actual, offset + moved)
    return SymbolicCommand(
        opcode=command.opcode, layer=command.layer, values=dict(command.values), bases=bases
    )


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Template:
    pairs: Sequence[Pair]
    x: Storage
    y: Storage
    r: Storage | None


class Tiler:
    """Makes tiles of steps, lowering each geometry once.

    Parameters
    ----------
    low: graph, layout and constants of the whole network.
    lowerings: how steps are lowered.
    """

    def __init__(self, low: Lowering, lowerings: Mapping[Op, Lower]) -> None:
        self.low, self._lowerings = low, lowerings
        self._templates: dict[tuple[object, ...], _Template] = {}

    def _other(self, step: Step, first: int, count: int) -> Piece | None:
        """Rows of the residual operand."""
        if step.addition is None:
            return None
        if self.low.view(step.addition.other).shape[0] == 1:
            return Piece(first=0, count=1)
        return Piece(first=first, count=count)

    def pieces(self, step: Step, first: int, count: int) -> tuple[Piece, Piece | None]:
        """Rows of the source and of the residual operand that output rows need."""
        height = self.low.view(step.source).shape[0]
        return source_rows(step, height, first, count), self._other(step, first, count)

    def tile(self, step: Step, first: int, count: int) -> TileWork:
        """Return the commands for some output rows; external operands pass through slabs."""
        work, layer = TileWork(), step.node.name
        source, other = self.pieces(step, first, count)
        view, target = self.low.view(step.source), self.low.view(step.target)
        x = self._operand(layer, view, source, work)
        r = None
        if step.addition is not None and other is not None:
            residual = self.low.view(step.addition.other)
            shared = step.addition.other == step.source and residual.storage.external
            r = (x[0], x[1]) if shared else self._operand(layer, residual, other, work)
            if shared:
                r = x[0], x[1] + residual.at(other.first, 0) - view.at(source.first, 0)
        rows = rows_of(target, first, count)
        y = rows
        if target.storage.external:
            y = dense_view(f"{step.target} rows", rows.shape, external=False)
            work.saves.append(transfer(Opcode.SAVE, layer, y, rows))
            work.outputs.append(y.storage)
        template = self._template(step, source, other, y)
        places = {id(template.x): x, id(template.y): (y.storage, y.offset)}
        if template.r is not None and r is not None:
            places[id(template.r)] = r
        work.pairs = [
            Pair(
                matmul=_bound(pair.matmul, places),
                store=_bound(pair.store, places),
                before=[_bound(copy, places) for copy in pair.before],
            )
            for pair in template.pairs
        ]
        return work

    def copy(self, step: Step, near: View, far: View) -> TileWork:
        """Return the commands that pass elements from one view to another through the array.

        Parameters
        ----------
        step: a move whose source is the tensor that ``near`` shows; with a table to apply.
        near, far: of one shape, on chip or in external memory.
        """
        work, layer = TileWork(), step.node.name
        x, y = near, far
        if near.storage.external:
            x = dense_view(f"{step.source} rows", near.shape, external=False)
            work.loads.append(transfer(Opcode.LOAD, layer, x, near))
        if far.storage.external:
            y = dense_view(f"{step.target} rows", far.shape, external=False)
            work.saves.append(transfer(Opcode.SAVE, layer, y, far))
            work.outputs.append(y.storage)
        local = self._local({step.source: x, step.target: y}, {})
        work.pairs = lower_elementwise(local, step)
        return work

    def _local(self, views: dict[str, View], more: Mapping[str, str]) -> Lowering:
        """The network with some tensors of other shapes.

        Parameters
        ----------
        views: by tensor.
        more: names of tensors that are like others.
        """
        graph = self.low.graph
        tensors = dict(graph.tensors)
        for name, view in views.items():
            model = graph.tensor(more.get(name, name))
            tensors[name] = replace(model, name=name, shape=view.shape)
        return replace(
            self.low,
            graph=replace(graph, tensors=tensors),
            layout=Layout(views=views, paired=self.low.layout.paired & views.keys()),
            splitter=WholeRows(),
        )

    def _operand(self, layer: str, view: View, piece: Piece, work: TileWork) -> tuple[Storage, int]:
        """Where row 0 of a piece lies on chip, loaded if need be."""
        place = view.at(piece.first, 0)
        if not view.storage.external:
            return view.storage, place
        slab = slab_of(view, piece)
        name, aligned = f"{view.storage.name} rows", view.storage.aligned
        storage = Storage(name=name, size=slab.room, layer=layer, aligned=aligned)
        far = View(
            storage=view.storage,
            offset=slab.start,
            shape=(1, 1, slab.size),
            row=slab.size,
            pixel=slab.size,
        )
        near = replace(far, storage=storage, offset=slab.lead)
        work.loads.append(transfer(Opcode.LOAD, layer, near, far))
        return storage, slab.lead + place - slab.start

    def _template(self, step: Step, source: Piece, other: Piece | None, target: View) -> _Template:
        """Lower the tile's geometry, once."""
        key = (id(step), source.count, source.above, source.below, target.shape, target.row)
        if key not in self._templates:
            self._templates[key] = self._lower(step, source, other, target)
        return self._templates[key]

    def _lower(self, step: Step, source: Piece, other: Piece | None, target: View) -> _Template:
        low = self.low
        x = _formal("x", low.view(step.source), source.count)
        y = _formal("y", target, target.shape[0])
        node, addition, r = step.node, step.addition, None
        if node.op in _WINDOWED:
            pads = (source.above, source.below, *node.attributes["pads"][2:])
            node = replace(node, attributes={**node.attributes, "pads": pads})
        views = {step.source: x, step.target: y, node.outputs[0]: y}
        more = {}
        if addition is not None and other is not None:
            name = f"{addition.other} residual"
            views[name] = r = _formal("r", low.view(addition.other), other.count)
            more[name] = addition.other
            addition = replace(addition, other=name)
        local = self._local(views, more)
        pairs = self._lowerings[node.op](local, replace(step, node=node, addition=addition))
        return _Template(
            pairs=pairs, x=x.storage, y=y.storage, r=r.storage if r is not None else None
        )
