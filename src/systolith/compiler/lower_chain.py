"""Tiles whose sums come from parts of the source: partial MATMULs, each behind LOADs of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from systolith.arithmetic import MacArithmetic
from systolith.compiler import lower_pool
from systolith.compiler.chains import Part, cut_window, part_span, window_taps
from systolith.compiler.emit import Job, emit_tiles
from systolith.compiler.ir import Pair, Storage
from systolith.compiler.lower_matmul import add_constants, add_weights, part_job, sparse_jobs
from systolith.compiler.lowering import Lowering
from systolith.compiler.mac import MacLayer, in_precision, mac_layer, mac_requantizer
from systolith.compiler.mac_parts import MacPart, dense_part, diagonal_part
from systolith.compiler.mac_sparse import is_wanted, may_be_sparse, sparse_error
from systolith.compiler.pieces import Box, Piece, Span, other_piece
from systolith.compiler.precision import chain_precision
from systolith.compiler.reduction import Kernel
from systolith.compiler.steps import Step
from systolith.compiler.tiler import Place, Tiler, bound
from systolith.compiler.tiling import Region, Tiles
from systolith.compiler.works import TileWork

__all__ = ["ChainTiler"]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Link:
    """One MATMUL of a chain on formal storages, with the STORE if it is the last."""

    pair: Pair
    x: Storage
    y: Storage
    r: Storage | None


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Places:
    """Where the operands of a link lie; y and r only of the last."""

    piece: Piece
    x: Place
    y: Place | None = None
    r: Place | None = None
    other: tuple[int, int, int] = (1, 1, 1)


def _whole(job: Job, region: Region) -> Pair:
    """The commands of a job whose outputs are one tile."""
    tiles = Tiles(
        y=region.y, x=region.x, count=1, step_y=0, step_x=0,
        height=region.height, width=region.width,
    )  # fmt: skip
    return emit_tiles(job, tiles)


class ChainTiler:
    """Makes tiles of convolutions, fully connected layers and pools from parts of their windows.

    Parameters
    ----------
    tiler: loads operands, and knows the network.
    """

    def __init__(self, tiler: Tiler) -> None:
        self.tiler, self.low = tiler, tiler.low
        self._links: dict[tuple[object, ...], _Link] = {}

    def works(self, step: Step, box: Box, most: int) -> list[TileWork]:
        """Return the commands of one tile of outputs, with at most ``most`` bytes of the source."""
        mac = isinstance(step.node.arithmetic, MacArithmetic)
        tile = min(self.low.spec.array.rows, self.low.spec.array.columns)
        rest = box.channels % tile
        if not mac and rest and box.channels > tile:
            # Channel tiles of a pool are pixels of one, if all are full.
            full = replace(box, channels=box.channels - rest)
            last = replace(box, c=box.c + full.channels, channels=rest)
            return self.works(step, full, most) + self.works(step, last, most)
        source, target = self.low.view(step.source), self.low.view(step.target)
        parts = cut_window(step, box, most, source.shape, target.shape[2])
        return [self._work(step, box, parts, number) for number in range(len(parts))]

    def _work(self, step: Step, box: Box, parts: list[Part], number: int) -> TileWork:
        """Load a part of the source and add up what it gives."""
        part, last = parts[number], number == len(parts) - 1
        work, layer = TileWork(), step.node.name
        piece = Piece(
            rows=part_span(step, 0, box.y, box.height, part.rows),
            columns=part_span(step, 1, box.x, box.width, part.columns),
            channels=Span(first=part.channels[0], count=part.channels[1]),
        )
        x = self.tiler.operand(layer, self.low.view(step.source), piece, work, bare=True)
        places = _Places(piece=piece, x=x)
        if last:
            places = self._results(step, box, places, work)
        link = self._link(step, box, part, places, last)
        bases = {id(link.x): x}
        if places.y is not None:
            bases[id(link.y)] = places.y
        if link.r is not None and places.r is not None:
            bases[id(link.r)] = places.r
        matmul = bound(link.pair.matmul, bases)
        matmul.values |= {"accumulate": int(number > 0), "partial": int(not last)}
        if last:
            work.pairs = [Pair(matmul=matmul, store=bound(link.pair.store, bases))]
        else:
            work.sums = [matmul]
        return work

    def _results(self, step: Step, box: Box, places: _Places, work: TileWork) -> _Places:
        """Add where the outputs and the residual operand are."""
        y = self.tiler.result(step, box, work)
        near = Place(storage=y.storage, offset=y.offset, row=y.row, pixel=y.pixel)
        if step.addition is None:
            return replace(places, y=near)
        residual = self.low.view(step.addition.other)
        piece = other_piece(box, residual)
        r = self.tiler.operand(step.node.name, residual, piece, work, bare=True)
        return replace(places, y=near, r=r, other=piece.shape)

    def _link(self, step: Step, box: Box, part: Part, places: _Places, last: bool) -> _Link:
        """Lower a part of a tile's geometry, once."""
        if isinstance(step.node.arithmetic, MacArithmetic):
            taps: tuple[object, ...] = part.rows, part.columns, part.channels
        else:
            ys, xs = window_taps(step, box, self.low.view(step.source).shape)
            taps = part.rows[1], part.columns[1], len(ys) * len(xs)
        extents = box.c, box.channels, box.height, box.width
        strides = [(p.row, p.pixel) for p in (places.x, places.y, places.r) if p is not None]
        astray = self.tiler.is_astray(places.x)
        key = (id(step), extents, taps, last, tuple(strides), astray)
        if key not in self._links:
            self._links[key] = self._lowered(step, box, part, places, last)
        return self._links[key]

    def _lowered(self, step: Step, box: Box, part: Part, places: _Places, last: bool) -> _Link:
        own = self.tiler.part(step, box)
        shape = box.height, box.width, box.channels
        dense = Place(
            storage=places.x.storage, offset=0, row=box.width * box.channels, pixel=box.channels
        )
        x = places.x.formal("x", places.piece.shape)
        y = (places.y or dense).formal("y", shape)
        views, more, r = {own.source: x, own.target: y, own.node.outputs[0]: y}, {}, None
        addition = own.addition if last else None
        if addition is not None and places.r is not None:
            name = f"{addition.other} residual"
            views[name] = r = places.r.formal("r", places.other)
            more[name] = addition.other
            addition = replace(addition, other=name)
        astray = {own.source} if self.tiler.is_astray(places.x) else set()
        local = self.tiler.local(views, more, astray=astray)
        own = replace(own, addition=addition, table=own.table if last else None)
        if isinstance(own.node.arithmetic, MacArithmetic):
            pair = self._mac(local, own, step, box, part, last)
        else:
            pair = self._pool(local, own, box, part, last)
        return _Link(pair=pair, x=x.storage, y=y.storage, r=r.storage if r is not None else None)

    def _mac(self, low: Lowering, own: Step, step: Step, box: Box, part: Part, last: bool) -> Pair:
        """A convolution with some taps and input channels of ``own``."""
        arithmetic, array = own.node.arithmetic, low.spec.array
        assert isinstance(arithmetic, MacArithmetic)
        (y, ny), (x, nx), (_, channels) = part.rows, part.columns, part.channels
        depth = arithmetic.weights.shape[3]
        groups = own.node.attributes.get("groups", 1)
        first = part.channels[0] % depth if groups == 1 else 0
        count = channels if groups == 1 else depth
        w = arithmetic.weights[:, y : y + ny, x : x + nx, first : first + count]
        some = replace(
            own,
            node=replace(
                own.node,
                arithmetic=replace(arithmetic, weights=w),
                attributes=_cropped(own.node.attributes, (ny, nx)),
            ),
        )
        precision = chain_precision(own.node, array, box.channels)
        layer, view = in_precision(mac_layer(low, some), precision), low.view(own.source)
        kernel = Kernel(
            height=ny,
            width=nx,
            row=view.row * layer.window.dilations[0],
            pixel=view.pixel * layer.window.dilations[1],
            channels=count,
        )
        region = Region(y=0, x=0, height=box.height, width=box.width)
        layer, made, job = _made(low, layer, kernel, groups, region)
        if last:
            add_constants(low, layer, made, job, mac_requantizer(low, own))
        else:
            add_weights(low, layer, made, job)
        return _whole(job, region)

    def _pool(self, low: Lowering, own: Step, box: Box, part: Part, last: bool) -> Pair:
        """A pool of some taps of one output's window."""
        source = self.low.view(own.source).shape
        ys, xs = window_taps(own, box, source)
        cropped = _cropped(own.node.attributes, (part.rows[1], part.columns[1]))
        step = replace(own, node=replace(own.node, attributes=cropped))
        y, x = (
            lower_pool.Taps(first=0, count=1, skipped=0, taps=n)
            for n in (part.rows[1], part.columns[1])
        )
        job = lower_pool.pool_job(low, step, y, x)
        job, region = lower_pool.turned_job(job, Region(y=0, x=0, height=1, width=1))
        if last:
            count = len(ys) * len(xs)
            requantizer = lower_pool.pool_requantizer(low, own, count, box.channels)
            lower_pool.add_constants(low, step, requantizer, job)
        else:
            lower_pool.add_weights(low, step, job)
        return _whole(job, region)


def _made(
    low: Lowering, layer: MacLayer, kernel: Kernel, groups: int, region: Region
) -> tuple[MacLayer, MacPart, Job]:
    """The part and job of a layer's outputs, with two of four weights if that is quicker."""
    array, pixels = low.spec.array, region.height * region.width
    if groups > 1:
        made = diagonal_part(layer, groups, kernel, array, together=True)
    else:
        made = dense_part(layer.codes, layer, kernel, (0, 0), array)
    job, sparse = part_job(low, layer, made), replace(layer, sparse=True)
    possible = groups == 1 and may_be_sparse(low, layer)
    found = sparse_jobs(low, sparse, kernel, region) if possible else None
    if found:
        (part,), (other,) = found
        if is_wanted(layer) or other.load.cycles(pixels) < job.load.cycles(pixels):
            return sparse, part, other
    if is_wanted(layer):
        raise sparse_error(low, layer)
    return layer, made, job


def _cropped(attributes: Mapping[str, object], kernel: tuple[int, int]) -> Mapping[str, object]:
    """Attributes of a window with fewer taps, and its halo counted as elements."""
    if "kernel" not in attributes:
        return attributes
    return {**attributes, "kernel": kernel, "pads": (0, 0, 0, 0)}
