"""Shapes of tiles: which there are, what each takes on chip, and about how many cycles it costs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil, prod

from systolith.arithmetic import ConcatArithmetic, MacArithmetic
from systolith.compiler.chains import cut_window, least_part
from systolith.compiler.copies import box_reach
from systolith.compiler.edges import FLOAT_BYTES
from systolith.compiler.layout import Layout
from systolith.compiler.pieces import (
    Box,
    channel_cuts,
    is_run,
    other_piece,
    piece_bytes,
    source_piece,
)
from systolith.compiler.precision import columns_at_once, exact_precisions
from systolith.compiler.shape_cuts import doubled, extents, nested, runs
from systolith.compiler.steps import BESIDE, Step
from systolith.compiler.tile_shape import Choice, TileShape, packs
from systolith.compiler.tiling import COMMAND_CYCLES
from systolith.graph import Graph, Op
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Shapes", "operands"]

_RUN_CYCLES = 2
"""Cycles of the bus that a run of bytes costs besides its beats."""
_TRANSFER_CYCLES = 20
"""Cycles of the bus that a LOAD or SAVE costs besides its runs."""
_TILE_WORDS = 80
"""Command words of a tile, which are fetched one a cycle."""
_ENDS = 0.25
"""Share of the first loads and the last saves that other layers do not hide."""
_HELD = 4
"""Cycles of a pass with held weights at least."""
_LEAST = 64
"""Bytes of a region at least, as of `MemorySpec`."""

External = Callable[[str], bool]


class Shapes:
    """Finds the shapes of a network's tiles.

    Parameters
    ----------
    graph, layout: the network.
    spec: array, memories and bus.
    """

    def __init__(self, graph: Graph, layout: Layout, spec: AcceleratorSpec) -> None:
        self.graph, self.layout, self.spec = graph, layout, spec
        self._known: dict[tuple[object, ...], list[Choice]] = {}

    def extent(self, step: Step) -> tuple[int, int, int]:
        """Shape of what is cut into tiles: the output, or of a move its largest input."""
        views = self.layout.views
        if step.is_move and step.node.op not in (Op.RESHAPE, Op.GATHER):
            shapes = [views[n].shape for n in step.node.inputs]
            return (
                max(s[0] for s in shapes), max(s[1] for s in shapes), max(s[2] for s in shapes)
            )  # fmt: skip
        if step.node.op is Op.DEQUANTIZE:
            return views[step.source].shape
        return views[step.target].shape

    def tile(self, step: Step) -> int:
        """Output channels of the array at once."""
        array = self.spec.array
        if isinstance(step.node.arithmetic, MacArithmetic):
            widest = list(exact_precisions(step.node, array))[-1]
            return columns_at_once(array, widest)
        return min(array.rows, array.columns)

    def least(self, step: Step) -> tuple[int, int]:
        """Smallest region with which a step fits if all its operands are external, and its need."""
        unit, regions = 2 * self.spec.line_bytes, self.spec.memory.activation_regions
        found = []
        for slabs in {c.slabs for c in self.choices(step, lambda _: True)}:
            region = max(slabs)
            while not packs(slabs, regions, region):
                region += 1
            found.append((-(-max(region, _LEAST) // unit) * unit, sum(slabs)))
        return min(found)

    def choices(self, step: Step, external: External) -> list[Choice]:
        """All shapes worth trying for operands of which some are external; cheapest first."""
        outside = tuple(external(n) for n in operands(step))
        key = (id(step), outside)
        if key not in self._known:
            shapes = list(self._shapes(step))
            found = [self.choice(step, shape, external) for shape in shapes]
            if self._chained(step, external):
                parts = [self.choice(step, s, external) for s in self._parts(step)]
                found += [c for c in parts if c.slabs]
            self._known[key] = found
        return self._known[key]

    def _shapes(self, step: Step) -> Iterator[TileShape]:
        height, width, channels = self.extent(step)
        if step.node.op is Op.RESHAPE:
            yield from runs(prod((height, width, channels)))
            return
        if step.node.op is Op.GATHER:
            yield from nested(height, width, channels)
            return
        if step.node.op in BESIDE:
            cuts = [channels]
        else:
            tile = self.tile(step)
            cuts = sorted({channels, *doubled(min(tile, channels), channels)}, reverse=True)
        for count in cuts:
            for columns in extents(width):
                for rows in extents(height):
                    shape = TileShape(rows=rows, columns=columns, channels=count)
                    yield shape
                    if count < channels and (rows, columns) != (height, width):
                        yield replace(shape, by_channel=True)

    def _chained(self, step: Step, external: External) -> bool:
        """Whether sums may come from parts of the source, one after the other."""
        windowed = step.node.op in (Op.AVG_POOL, Op.MAX_POOL, Op.CONV2D, Op.FULLY_CONNECTED)
        return windowed and external(step.source)

    def _parts(self, step: Step) -> Iterator[TileShape]:
        """Tiles whose sums come from parts of the source."""
        height, width, channels = self.extent(step)
        depth, tile = self.spec.memory.accumulator_depth, min(self.tile(step), channels)
        pools = not isinstance(step.node.arithmetic, MacArithmetic)
        counts = {tile}
        if pools:
            counts |= {tile * n for n in (2, 4, 8) if n <= depth and tile * n <= channels}
        for count in sorted(counts, reverse=True):
            for columns in {1, *(n for n in (4, 8, 16) if n <= min(width, depth) and not pools)}:
                shape = TileShape(rows=1, columns=columns, channels=count)
                source, target = (self.layout.views[n] for n in (step.source, step.target))
                box, rows = self._middle(step, shape), self.spec.array.rows
                size = piece_bytes(source, source_piece(step, box, source, target.shape))
                least = least_part(step, box, source.shape, target.shape[2], rows)
                while size > least:
                    size = max(least, ceil(size / 2))
                    yield replace(shape, part=size)
                yield replace(shape, part=least)

    def _middle(self, step: Step, shape: TileShape) -> Box:
        """A tile that is not at the edge."""
        height, width, channels = self.layout.views[step.target].shape
        _, count = next(channel_cuts(step, channels, shape.channels))
        rows, columns = min(shape.rows, height), min(shape.columns, width)
        y, x = (height - rows) // 2, (width - columns) // 2
        return Box(y=y, x=x, c=0, height=rows, width=columns, channels=count)

    def choice(self, step: Step, shape: TileShape, external: External) -> Choice:
        """What tiles of a shape take and cost."""
        if step.is_move or step.node.op in BESIDE:
            return self._moved(step, shape, external)
        views, slabs, loads, saves = self.layout.views, [], 0.0, 0.0
        target, source = views[step.target], views[step.source]
        box = self._middle(step, shape)
        if external(step.target):
            slabs.append(box.height * box.width * box.channels)
            whole = box.width == target.shape[1] and box.channels == target.shape[2]
            lines = 1 if whole else box.height
            runs = lines if box.channels == target.shape[2] else box.height * box.width
            saves = self._bus(slabs[-1], runs)
        piece = source_piece(step, box, source, target.shape)
        if external(step.source):
            size = piece_bytes(source, piece)
            lines, wide, deep = piece.shape
            runs = lines if deep == source.shape[2] else lines * wide
            loads = self._bus(size, 1 if is_run(source, piece) else runs)
            slabs.append(min(size, shape.part) if shape.part else size)
        if step.addition is not None and external(step.addition.other):
            other = views[step.addition.other]
            size = prod(other_piece(box, other).shape)
            if step.addition.other != step.source or shape.part:
                slabs.append(size)
                loads += self._bus(size, box.height)
        cycles = self._cycles(step, shape, box, loads, saves)
        return Choice(shape=shape, slabs=tuple(slabs), cycles=cycles)

    def _moved(self, step: Step, shape: TileShape, external: External) -> Choice:
        """A tile of a move, of softmax, or of a conversion, whose numbers have four bytes."""
        size = prod((shape.rows, shape.columns, shape.channels))
        tables = isinstance(step.node.arithmetic, ConcatArithmetic) and any(
            table is not None for table in step.node.arithmetic.tables
        )
        twice = step.node.op in BESIDE or tables
        inside = sum(not external(n) for n in (step.source, step.target)) if twice else 0
        slabs = (size,) * (2 - inside if twice else 1)
        if step.node.op in (Op.QUANTIZE, Op.DEQUANTIZE):
            depth = self.extent(step)[2]
            sides = [n for n in (step.source, step.target) if external(n)]
            slabs = tuple(size * (self.layout.views[n].shape[2] // depth) for n in sides)
            size *= FLOAT_BYTES
        if step.node.op is Op.GATHER:
            slabs = self._gathered(step, shape, external)
        tiles = prod(ceil(n / m) for n, m in zip(
            self.extent(step), (shape.rows, shape.columns, shape.channels), strict=True
        ))  # fmt: skip
        bus = self._bus(size, shape.rows * shape.columns)
        return Choice(shape=shape, slabs=slabs, cycles=(tiles * bus, 2 * tiles * bus))

    def _gathered(self, step: Step, shape: TileShape, external: External) -> tuple[int, ...]:
        """Bytes of what a tile of a gather writes, and of all that it reads from."""
        slabs, source = [], self.layout.views[step.source]
        if external(step.target):
            slabs.append(prod((shape.rows, shape.columns, shape.channels)))
        if external(step.source):
            box = (shape.rows, shape.columns, shape.channels)
            index = step.node.attributes["index"]
            slabs.append(box_reach(source, self.extent(step), index, box))
        return tuple(slabs)

    def _bus(self, size: int, runs: int) -> float:
        """Cycles of a transfer."""
        beats = size / self.spec.external.data_bytes
        return beats + _RUN_CYCLES * runs + _TRANSFER_CYCLES

    def _work(self, step: Step, box: Box) -> tuple[float, float]:
        """Cycles of a tile on the array, and bytes of its weights."""
        spec, node = self.spec, step.node
        rows, tile = spec.array.rows, self.tile(step)
        pixels, count = box.height * box.width, ceil(box.channels / tile)
        post = pixels * ceil(box.channels / spec.post.lanes)
        kernel = node.attributes.get("kernel", (1, 1))
        if not isinstance(node.arithmetic, MacArithmetic):
            return max(post, count * prod(kernel) * max(pixels, _HELD)) + COMMAND_CYCLES, 0
        depth = node.arithmetic.weights.shape[3]
        passes = kernel[0] * min(ceil(kernel[1] * depth / rows), kernel[1] * ceil(depth / rows))
        lines = spec.array.depthwise_lines
        if lines and depth == 1 and node.attributes.get("groups", 1) > 1:
            passes = ceil(kernel[0] / lines) * ceil(kernel[1] / max(1, spec.array.depthwise_taps))
            pixels = self._streamed(step, box)
        least = rows * ceil(pixels / spec.memory.accumulator_depth)
        array = count * passes * max(pixels, least)
        return max(array, post) + COMMAND_CYCLES, count * passes * rows * spec.array.columns

    def _streamed(self, step: Step, box: Box) -> int:
        """Vectors that a tile of a depthwise convolution reads: all pixels under its windows."""
        a = step.node.attributes
        rows, columns = (
            (n - 1) * s + (k - 1) * d + 1
            for n, s, k, d in zip(
                (box.height, box.width), a["strides"], a["kernel"], a["dilations"], strict=True
            )
        )
        whole = box.width == self.layout.views[step.target].shape[1]
        even = a["strides"][0] % 2 == 0 and a["dilations"][0] == 1
        pairs = self.spec.row_pairs and whole and even
        return ceil(rows / 2) * columns if pairs else rows * columns

    def _cycles(
        self, step: Step, shape: TileShape, box: Box, loads: float, saves: float
    ) -> tuple[float, float]:
        """Cycles of all tiles: with transfers beside the array, and one after the other."""
        target = self.layout.views[step.target].shape
        places = ceil(target[0] / box.height) * ceil(target[1] / box.width)
        cuts = sum(1 for _ in channel_cuts(step, target[2], shape.channels))
        work, weights = self._work(step, box)
        parts = self._chain(step, shape, box)
        inputs = places * cuts
        shared = not shape.by_channel and not shape.part and cuts > 1
        if shared and step.addition is None and isinstance(step.node.arithmetic, MacArithmetic):
            inputs = places if step.node.attributes.get("groups", 1) == 1 else inputs
        total = weights * cuts
        stays = 2 * (weights if shape.by_channel or cuts == 1 else total)
        again = 1 if stays <= self.spec.memory.weight_bytes else places
        constants = total * again / self.spec.external.data_bytes
        tiles = places * cuts
        busy = tiles * (work + (parts - 1) * COMMAND_CYCLES)
        reading = inputs * (loads + (parts - 1) * _TRANSFER_CYCLES) + constants
        writing, fetching = tiles * saves, tiles * parts * _TILE_WORDS
        ends = _ENDS * (loads / parts + saves)
        side = max(busy, reading, writing, fetching) + ends
        return side, max(busy + inputs * loads + writing, reading, fetching) + ends

    def _chain(self, step: Step, shape: TileShape, box: Box) -> int:
        """Parts of a tile's sums."""
        if not shape.part:
            return 1
        views = self.layout.views
        channels = views[step.target].shape[2]
        return len(cut_window(step, box, shape.part, views[step.source].shape, channels))


def operands(step: Step) -> Sequence[str]:
    """Tensors that a step reads and writes."""
    names = [step.target, step.source]
    if step.is_move:
        names += [n for n in step.node.inputs if n != step.source]
    if step.addition is not None:
        names.append(step.addition.other)
    return names
