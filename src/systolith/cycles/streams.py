"""What a MATMUL streams: its passes, their addresses, and the outputs of a depthwise pass."""

import numpy as np

from systolith.cycles.nests import Int64Array, counts, limited, offsets, reach, regions, touched
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import MATMUL_LOOPS, Command
from systolith.spec.precision import WeightFormat
from systolith.spec.program import ProgramError

__all__ = ["Rows", "Stream", "reads", "results"]


def _by_vector(command: Command) -> Command:
    """The command with rows counted as they are read: in pairs, it may be."""
    if not command["depthwise"] or not command["pairs"]:
        return command
    halves = {name: command[name] >> 1 for name in ("my_count", "y_first", "y_step")}
    stride = {"x_my_stride": 2 * command["x_my_stride"]}
    return Command(command.opcode, {**command.values, **halves, **stride})


def results(command: Command) -> int:
    """Result vectors of a MATMUL, none of a partial one."""
    if command["partial"]:
        return 0
    t, n, _, _, _, my, mx = counts(command, MATMUL_LOOPS)
    if command["depthwise"]:
        return t * n * command["oy_count"] * command["ox_count"]
    return t * n * my * mx


def reads(spec: AcceleratorSpec, command: Command) -> int:
    """Mask of the regions that a MATMUL reads."""
    low, high = reach(command, "x", MATMUL_LOOPS)
    return touched(spec, command["x_base"] + low, command["x_base"] + high)


class Stream:
    """Loops of a MATMUL.

    Parameters
    ----------
    tiles, passes: weight tiles' worth of outputs, and passes of each.
    early: passes of a tile whose sums stay; the one behind them, if any, appends to the ring.
    pixels: vectors of each pass.
    hold: one weight tile for all.
    uneven: weight tiles that take different times to load.
    rows: where the outputs of a depthwise pass are; None of a normal one.
    mask: regions it reads.

    Raises
    ------
    ProgramError: a count of 0, or a depthwise pass with outputs outside of its image.
    """

    def __init__(self, spec: AcceleratorSpec, command: Command) -> None:
        command = _by_vector(command)
        t, n, ky, kx, kc, my, mx = counts(command, MATMUL_LOOPS)
        self.tiles, self.passes = t * n, ky * kx * kc
        self.early = self.passes - (not command["partial"])
        self.hold = bool(command["w_hold"])
        self.uneven = not self.hold and command["w_format"] == WeightFormat.BITMAP
        self.rows = Rows(command) if command["depthwise"] else None
        self.pixels = self.rows.pixels if self.rows else my * mx
        if self.pixels > my * mx:
            raise ProgramError(
                f"outputs of a depthwise MATMUL must end within its {my * mx} pixels,"
                f" not with pixel {self.pixels}"
            )
        self.mask = reads(spec, command)
        limited("passes of a MATMUL", self.tiles * self.passes)
        limited("pixels of a MATMUL", my * mx)
        self._spec, self._command = spec, command
        self._pass_offsets: Int64Array | None = None

    def _load(self) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Offsets of tiles, passes and pixels, made when they are first needed."""
        if self._pass_offsets is None:
            self._tile_offsets = self._command["x_base"] + offsets(self._command, "x", ("t", "n"))
            self._pass_offsets = offsets(self._command, "x", ("ky", "kx", "kc"))
            self._pixel_offsets = offsets(self._command, "x", ("my", "mx"))[: self.pixels]
            self._span = int(self._pixel_offsets.min()), int(self._pixel_offsets.max())
        return self._tile_offsets, self._pass_offsets, self._pixel_offsets

    def pass_mask(self, tile: int, number: int) -> int:
        """Mask of the regions that a pass reads."""
        tiles, passes, _ = self._load()
        start = int(tiles[tile] + passes[number])
        return touched(self._spec, start + self._span[0], start + self._span[1])

    def regions(self, tile: int, number: int, passes: int = 1) -> Int64Array:
        """Region of every vector of a pass, or of several."""
        tiles, depths, pixels = self._load()
        starts = tiles[tile] + depths[number : number + passes]
        return regions(self._spec, (starts[:, None] + pixels).reshape(-1))


class Rows:
    """Where in its stream of pixels a depthwise pass completes outputs, and where it may wait.

    The stream waits only where nothing depends on its continuity: at its beginning and behind the
    last output of a row, if the next row of the image has outputs. It ends with the last output.

    Parameters
    ----------
    pixels: length of the stream.
    gates: per row of outputs, the pixel before which there must be room for all of them.
    outputs: per row of outputs, the pixels that complete them; [rows, outputs of a row].
    width: outputs of a row.

    Raises
    ------
    ProgramError: a count or step is 0.
    """

    def __init__(self, command: Command) -> None:
        row, step = command["mx_count"], command["x_step"]
        self.width = command["ox_count"]
        if 0 in (step, command["y_step"], command["oy_count"], self.width):
            raise ProgramError("y_step, x_step, oy_count and ox_count must be at least 1, not 0")
        limited("outputs of a depthwise pass", command["oy_count"] * self.width)
        lines = command["y_first"] + command["y_step"] * np.arange(command["oy_count"])
        first = lines * row + command["x_first"]
        self.outputs: Int64Array = first[:, None] + step * np.arange(self.width)
        self.pixels = int(self.outputs[-1, -1]) + 1
        # The row above ends its outputs, or would, one row of the image earlier.
        self.gates: Int64Array = np.where(lines, self.outputs[:, -1] - row + 1, 0)
