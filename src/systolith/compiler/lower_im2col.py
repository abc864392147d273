"""Convolutions with short runs of bytes: COPY gathers windows, the array multiplies rows of them.

For each column of outputs, COPY puts what its windows cover of one image row after the other into
a strip. A window is then one run of bytes in a strip, and those of the next outputs overlap with
it. This goes block by block: while the array works on one block, COPY gathers the next.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from systolith.compiler.emit import Job, Stream, emit_pairs
from systolith.compiler.ir import Pair, Storage, SymbolicCommand, View
from systolith.compiler.lowering import Lowering
from systolith.compiler.mac import MacLayer
from systolith.compiler.tiling import Region
from systolith.spec.commands import Opcode

__all__ = ["Gather", "lower_gathered", "plan_gather"]

_SLOTS = 3
"""Blocks that are gathered but not yet used, at most."""
_BLOCK_CYCLES = 12
"""Rough cost of one more block: its commands pass tokens."""
_BLOCKS = 64
"""Most blocks of a layer: commands take memory."""
_ROWS = 8
"""Rows of a block that are tried although they need several tiles."""
_GAIN = 0.95
"""Share of the cycles of an ordinary convolution that gathering must stay below: what copies cost
beside the array is only an estimate."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gather:
    """How a layer's windows are gathered.

    Parameters
    ----------
    layer: the convolution, of one group.
    view: its input.
    blocks: rectangles of outputs, in order.
    cycles: estimate for the whole layer.
    """

    layer: MacLayer
    view: View
    blocks: Sequence[Region]
    cycles: int

    @property
    def row(self) -> int:
        """Bytes of a window's row."""
        return self.layer.codes[0, 0].size

    @property
    def resident(self) -> bool:
        """Whether all blocks stay in the buffer."""
        return len(self.blocks) <= _SLOTS

    def run(self) -> tuple[int, int]:
        """Runs that make a row of a window, and their bytes."""
        _, _, taps, channels = self.layer.codes.shape
        close = self.layer.window.dilations[1] * self.view.pixel == channels
        return (1, taps * channels) if close or taps == 1 else (taps, channels)

    def rows(self, block: Region) -> int:
        """Image rows that the windows of a block cover."""
        window = self.layer.window
        return (block.height - 1) * window.strides[0] + window.kernel[0]


def _blocks(height: int, width: int, depth: int) -> Iterator[list[Region]]:
    """Ways to cut an image into blocks of rows, the first one smaller: the array waits for it."""
    for rows in range(1, min(height, max(depth // width, _ROWS)) + 1):
        for first in {rows, -(-rows // 2), -(-rows // 4)}:
            cuts = [0, *range(first, height, rows), height]
            yield [
                Region(y=a, x=0, height=b - a, width=width)
                for a, b in zip(cuts, cuts[1:], strict=False)
            ]


def _cycles(low: Lowering, gather: Gather, job: Job) -> int:
    """Let copies and array run side by side; a buffer is free once the array has read it."""
    runs, length = gather.run()
    lines = runs * -(-length // low.spec.line_bytes)
    alone = low.spec.memory.activation_regions == 1  # nothing reads beside the array
    copied = done = 0
    finished: list[int] = []
    for number, block in enumerate(gather.blocks):
        copies = block.width * gather.rows(block) * lines
        free = finished[number - _SLOTS] if number >= _SLOTS else 0
        copied = max(copied, done if alone else free) + copies
        done = max(copied, done) + job.load.cycles(block.height * block.width) + _BLOCK_CYCLES
        finished.append(done)
    return done


def plan_gather(low: Lowering, layer: MacLayer, job: Job, direct: int) -> Gather | None:
    """Return how to gather the windows if that takes fewer cycles than ``direct``.

    Parameters
    ----------
    layer: a convolution of one group, without dilation of its rows.
    job: it, reading gathered windows.
    direct: cycles of reading the input itself.
    """
    if not low.scratch or not low.spec.moves:
        return None
    whole = low.region(layer.step, layer.packed)
    plans = []
    for blocks in _blocks(whole.height, whole.width, low.spec.memory.accumulator_depth):
        if len(blocks) <= _BLOCKS:
            plan = Gather(layer=layer, view=low.view(layer.step.source), blocks=blocks, cycles=0)
            plans.append(replace(plan, cycles=_cycles(low, plan, job)))
    best = min(plans, key=lambda p: (p.cycles, len(p.blocks)), default=None)
    return best if best and best.cycles < _GAIN * direct else None


def _copy(gather: Gather, block: Region, place: tuple[Storage, int]) -> SymbolicCommand:
    """The COPY that gathers the windows of a block."""
    window, view, rows = gather.layer.window, gather.view, gather.rows(block)
    runs, length = gather.run()
    loops = (
        (block.width, window.strides[1] * view.pixel, rows * gather.row),
        (rows, view.row, gather.row),
        (runs, window.dilations[1] * view.pixel, length),
    )
    values = {"length": length}
    for name, (count, source, target) in zip(("d2", "d1", "d0"), loops, strict=True):
        values[f"{name}_count"] = count
        values[f"s_{name}_stride"] = source if count > 1 else 0
        values[f"d_{name}_stride"] = target if count > 1 else 0
    first = view.at(
        block.y * window.strides[0] - window.pads[0], block.x * window.strides[1] - window.pads[2]
    )
    return SymbolicCommand(
        opcode=Opcode.COPY,
        layer=gather.layer.step.node.name,
        values=values,
        bases={"s_base": (view.storage, first), "d_base": place},
    )


def lower_gathered(gather: Gather, job: Job) -> list[Pair]:
    """Return the command pairs of a planned layer; ``job`` has everything but its input."""
    room = max(b.width * gather.rows(b) for b in gather.blocks) * gather.row
    slots = min(_SLOTS, len(gather.blocks))
    name = gather.layer.step.node.name
    buffer = Storage(name=f"{name} windows", size=slots * room, layer=name)
    row = gather.layer.window.strides[0] * gather.row
    copies, made = [], []
    for number, block in enumerate(gather.blocks):
        place, strip = number % slots * room, gather.rows(block) * gather.row
        stream = Stream(
            storage=buffer,
            offset=place - block.y * row - block.x * strip,
            row=row,
            pixel=strip,
        )
        copies.append(_copy(gather, block, (buffer, place)))
        made.append(emit_pairs(job.on(stream), [block]))
    # The copy of a block goes in front of the block before, to run while that is computed.
    made[0][0].before = copies[:2]
    for pairs, copy in zip(made[1:], copies[2:], strict=False):
        pairs[0].before = [copy]
    return [pair for pairs in made for pair in pairs]
