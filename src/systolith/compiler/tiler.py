"""Steps cut into boxes of outputs, each an ordinary step on smaller tensors.

A tile is lowered once for every geometry, on formal storages; its copies for the other places
differ only in where the operands lie.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from systolith.compiler.ir import Pair, Storage, SymbolicCommand, View
from systolith.compiler.layout import Layout
from systolith.compiler.lower_elementwise import lower_elementwise
from systolith.compiler.lowering import Lowering
from systolith.compiler.overlap import WholeRows
from systolith.compiler.pieces import (
    WINDOWED,
    Box,
    Piece,
    box_view,
    is_run,
    other_piece,
    piece_view,
    slab_of,
    sliced,
    source_piece,
)
from systolith.compiler.steps import Step
from systolith.compiler.transfers import dense_view, transfer
from systolith.compiler.works import TileWork
from systolith.graph import Op
from systolith.spec.commands import Opcode

__all__ = ["Place", "Tiler", "bound"]

Lower = Callable[[Lowering, Step], list[Pair]]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Place:
    """Where the first element of a piece lies on chip, and the bytes between rows and pixels."""

    storage: Storage
    offset: int
    row: int
    pixel: int

    def formal(self, name: str, shape: tuple[int, int, int]) -> View:
        """A view like this, in a storage that stands for any."""
        storage = Storage(name=name, size=0, layer=name)
        return View(storage=storage, offset=0, shape=shape, row=self.row, pixel=self.pixel)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Operand:
    """A piece of a tensor and its place."""

    piece: Piece
    place: Place

    def inside(self, piece: Piece) -> Place | None:
        """The place of a part of this piece, None if it is not wholly in it."""
        offset = self.place.offset
        steps = (self.place.row, self.place.pixel, 1)
        for name, step in zip(("rows", "columns", "channels"), steps, strict=True):
            mine, wanted = getattr(self.piece, name), getattr(piece, name)
            if wanted.first < mine.first or wanted.first + wanted.count > mine.first + mine.count:
                return None
            offset += (wanted.first - mine.first) * step
        return replace(self.place, offset=offset)


def bound(command: SymbolicCommand, places: Mapping[int, Place]) -> SymbolicCommand:
    """A copy of a command, formal storages (by identity) replaced by places."""
    bases = {}
    for name, (storage, offset) in command.bases.items():
        place = places.get(id(storage))
        bases[name] = (place.storage, place.offset + offset) if place else (storage, offset)
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
        self._steps: dict[tuple[int, int, int], tuple[Step, Step]] = {}
        self._source: tuple[Storage, _Operand] | None = None

    def fresh(self) -> None:
        """Forget what the tile before has loaded."""
        self._source = None

    def tile(self, step: Step, box: Box) -> TileWork:
        """Return the commands for a box of outputs; external operands pass through slabs.

        The source is not loaded again if the tile before read the same piece.
        """
        work, layer = TileWork(), step.node.name
        view, target = self.low.view(step.source), self.low.view(step.target)
        piece = source_piece(step, box, view, target.shape)
        if (
            self._source is None
            or self._source[0] is not view.storage
            or (self._source[1].piece != piece)
        ):
            place = self.operand(layer, view, piece, work)
            self._source = view.storage, _Operand(piece=piece, place=place)
        x = self._source[1]
        r, other = None, None
        if step.addition is not None:
            residual = self.low.view(step.addition.other)
            other = other_piece(box, residual)
            r = x.inside(other) if step.addition.other == step.source else None
            r = r or self.operand(layer, residual, other, work, bare=True)
        y = self.result(step, box, work)
        near = Place(storage=y.storage, offset=y.offset, row=y.row, pixel=y.pixel)
        template = self._template(step, box, x, (other, r), near)
        places = {id(template.x): x.place, id(template.y): near}
        if template.r is not None and r is not None:
            places[id(template.r)] = r
        work.pairs = [
            Pair(
                matmul=bound(pair.matmul, places),
                store=bound(pair.store, places),
                before=[bound(copy, places) for copy in pair.before],
            )
            for pair in template.pairs
        ]
        return work

    def result(self, step: Step, box: Box, work: TileWork) -> View:
        """Where a box of outputs is stored on chip; saved if need be."""
        far = box_view(self.low.view(step.target), box)
        if not far.storage.external:
            return far
        near = dense_view(f"{step.target} tile", far.shape, external=False)
        work.saves.append(transfer(Opcode.SAVE, step.node.name, near, far))
        work.outputs.append(near.storage)
        return near

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
            x = dense_view(f"{step.source} tile", near.shape, external=False)
            work.loads.append(transfer(Opcode.LOAD, layer, x, near))
        if far.storage.external:
            y = dense_view(f"{step.target} tile", far.shape, external=False)
            work.saves.append(transfer(Opcode.SAVE, layer, y, far))
            work.outputs.append(y.storage)
        local = self.local({step.source: x, step.target: y}, {})
        work.pairs = lower_elementwise(local, step)
        return work

    def local(
        self,
        views: dict[str, View],
        more: Mapping[str, str],
        paired: AbstractSet[str] = frozenset(),
        astray: AbstractSet[str] = frozenset(),
    ) -> Lowering:
        """The network with some tensors of other shapes.

        Parameters
        ----------
        views: by tensor.
        more: names of tensors that are like others.
        paired: tensors whose rows can be read in pairs as they lie here.
        astray: see `Layout`.
        """
        graph = self.low.graph
        tensors = dict(graph.tensors)
        for name, view in views.items():
            model = graph.tensor(more.get(name, name))
            tensors[name] = replace(model, name=name, shape=view.shape)
        return replace(
            self.low,
            graph=replace(graph, tensors=tensors),
            layout=Layout(views=views, paired=self.low.layout.paired & paired, astray=set(astray)),
            splitter=WholeRows(),
        )

    def operand(
        self, layer: str, view: View, piece: Piece, work: TileWork, *, bare: bool = False
    ) -> Place:
        """Where a piece of a tensor lies on chip, loaded if need be.

        Parameters
        ----------
        bare: load nothing but the piece's elements; it has no padding.
        """
        far = piece_view(view, piece)
        if not view.storage.external:
            return Place(storage=view.storage, offset=far.offset, row=view.row, pixel=view.pixel)
        if bare or not is_run(view, piece):
            near = dense_view(f"{view.storage.name} tile", far.shape, external=False)
            work.loads.append(transfer(Opcode.LOAD, layer, near, far))
            return Place(storage=near.storage, offset=0, row=near.row, pixel=near.pixel)
        slab = slab_of(view, piece.rows)
        name, aligned = f"{view.storage.name} tile", view.storage.aligned
        storage = Storage(name=name, size=slab.room, layer=layer, aligned=aligned)
        shape = (1, 1, slab.size)
        run = View(
            storage=view.storage, offset=slab.start, shape=shape, row=slab.size, pixel=slab.size
        )
        near = replace(run, storage=storage, offset=slab.lead)
        work.loads.append(transfer(Opcode.LOAD, layer, near, run))
        offset = slab.lead + far.offset - slab.start
        return Place(storage=storage, offset=offset, row=view.row, pixel=view.pixel)

    def is_astray(self, place: Place) -> bool:
        """Whether a place is not at a line of its storage."""
        return place.offset % self.low.spec.line_bytes != 0

    def part(self, step: Step, box: Box) -> Step:
        """The step that computes the box's channels."""
        key = id(step), box.c, box.channels
        if key not in self._steps:
            total = self.low.view(step.target).shape[2]
            # Kept alive with its key: the identity must not be given away again.
            self._steps[key] = step, sliced(step, box.c, box.channels, total)
        return self._steps[key][1]

    def _template(
        self,
        step: Step,
        box: Box,
        x: _Operand,
        other: tuple[Piece | None, Place | None],
        y: Place,
    ) -> _Template:
        """Lower the tile's geometry, once."""
        piece, r = x.piece, other[1]
        sides = [(s.count, s.before, s.after) for s in (piece.rows, piece.columns)]
        strides = [(p.row, p.pixel) for p in (x.place, y, r) if p is not None]
        extents = box.c, box.channels, box.height, box.width
        key = (id(step), extents, tuple(sides), tuple(strides), self.is_astray(x.place))
        if key not in self._templates:
            self._templates[key] = self._lower(self.part(step, box), box, x, other, y)
        return self._templates[key]

    def _lower(
        self,
        step: Step,
        box: Box,
        source: _Operand,
        other: tuple[Piece | None, Place | None],
        target: Place,
    ) -> _Template:
        x = source.place.formal("x", source.piece.shape)
        y = target.formal("y", (box.height, box.width, box.channels))
        node, addition, r = step.node, step.addition, None
        if node.op in WINDOWED:
            rows, columns = source.piece.rows, source.piece.columns
            pads = (rows.before, rows.after, columns.before, columns.after)
            node = replace(node, attributes={**node.attributes, "pads": pads})
        views = {step.source: x, step.target: y, node.outputs[0]: y}
        more = {}
        piece, place = other
        if addition is not None and piece is not None and place is not None:
            name = f"{addition.other} residual"
            views[name] = r = place.formal("r", piece.shape)
            more[name] = addition.other
            addition = replace(addition, other=name)
        whole = source.piece.columns.first == 0 and source.piece.channels.first == 0
        pairing = {step.source} if whole and source.place.storage.aligned else set()
        astray = {step.source} if self.is_astray(source.place) else set()
        local = self.local(views, more, pairing, astray)
        pairs = self._lowerings[node.op](local, replace(step, node=node, addition=addition))
        return _Template(
            pairs=pairs, x=x.storage, y=y.storage, r=r.storage if r is not None else None
        )
