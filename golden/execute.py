"""Execute a program: every command on numpy images of the memories, in program order.

Commands run one after the other, and each reads all of its operands before it writes: what the
hardware overlaps must be safe to reorder, which the tokens of a correct program ensure.

Sums of products go through float64 matrix products, numpy's fast exact integer product: products of
9-bit integers and their sums stay far below 2**53, so nothing is ever rounded.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from systolith.errors import InputError
from systolith.golden.memory import Activations, Parameters, Results, weight_tiles
from systolith.golden.requant import requantize
from systolith.golden.residual import residual_add
from systolith.golden.rounding import Int64Array, wrap
from systolith.spec.commands import (
    COMMANDS,
    FILL_LOOPS,
    MATMUL_LOOPS,
    STORE_LOOPS,
    Command,
    Opcode,
    Unit,
    decode,
)
from systolith.spec.program import Program, ProgramError
from systolith.spec.requant import RequantMode, ResidualRounding

__all__ = ["Tensor", "execute"]

Tensor = NDArray[np.generic]

_CHUNK = 1 << 21
"""Activations gathered at a time, so that large layers do not need large memory."""


def execute(
    program: Program,
    inputs: Mapping[str, Tensor],
    *,
    capture: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Run a program once and return its outputs and the captured tensors, [H, W, C] each.

    Parameters
    ----------
    program: what to run.
    inputs: one array [H, W, C] per input of the program, of its buffer's dtype.
    capture: further tensors: inputs, or tensors that a layer completes.
    progress: called after each layer with (layers finished, layers in all).

    Raises
    ------
    InputError: an input is missing, unknown or of another shape or dtype; a captured tensor is
        never complete.
    ProgramError: a command that the hardware cannot run: missing memory, tokens or results.
    """
    machine = _Machine(program)
    _write_inputs(program, inputs, machine.activations)
    known = {layer.tensor for layer in program.layers} | set(program.inputs)
    for name in capture:
        if name not in known | set(program.outputs):
            raise InputError(f"captured tensor must be a layer's result, not {name!r}")
    captured = {
        name: machine.activations.load(program.buffers[name])
        for name in program.inputs
        if name in capture
    }
    finished = 0
    for number, command in enumerate(decode(program.commands.tolist())):
        try:
            machine.run(command)
        except ValueError as error:
            raise ProgramError(f"command {number} ({command.opcode.name}): {error}") from error
        while finished < len(program.layers) and program.layers[finished].stamp < machine.stamps:
            layer = program.layers[finished]
            if layer.tensor in capture:
                captured[layer.tensor] = machine.activations.load(program.buffers[layer.tensor])
            finished += 1
            if progress is not None:
                progress(finished, len(program.layers))
    if len(machine.results):
        raise ProgramError(f"program must store all results, but {len(machine.results)} are left")
    outputs = {n: machine.activations.load(program.buffers[n]) for n in program.outputs}
    return captured | outputs


def _write_inputs(program: Program, inputs: Mapping[str, Tensor], activations: Activations) -> None:
    """Check the inputs and write them to their buffers."""
    for name in inputs:
        if name not in program.inputs:
            raise InputError(f"input must be one of {list(program.inputs)}, not {name!r}")
    for name in program.inputs:
        buffer = program.buffers[name]
        if name not in inputs:
            raise InputError(f"input {name!r} must be given")
        array = np.asarray(inputs[name])
        if array.shape != tuple(buffer.shape):
            raise InputError(f"input {name!r} must have shape {buffer.shape}, not {array.shape}")
        if array.dtype != np.dtype(buffer.dtype):
            raise InputError(f"input {name!r} must be {buffer.dtype}, not {array.dtype}")
        activations.store(buffer, array)


def _counts(command: Command, loops: tuple[str, ...]) -> tuple[int, ...]:
    """Return the iterations of a nest.

    Raises
    ------
    ProgramError: if one is zero.
    """
    counts = tuple(command[f"{name}_count"] for name in loops)
    if 0 in counts:
        raise ProgramError(f"{loops[counts.index(0)]}_count must be at least 1, not 0")
    return counts


def _offsets(command: Command, stream: str, loops: tuple[str, ...]) -> Int64Array:
    """Return the byte offsets of a stream over a nest, one axis a loop."""
    total = np.zeros((1,) * len(loops), np.int64)
    for axis, name in enumerate(loops):
        steps = np.arange(command[f"{name}_count"]) * command[f"{stream}_{name}_stride"]
        total = total + steps.reshape([-1 if d == axis else 1 for d in range(len(loops))])
    return total


class _Machine:
    """The state of the accelerator between commands."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.activations = Activations(program.spec)
        self.parameters = Parameters(program)
        self.results = Results()
        self.stamps = 0
        self._tokens: Counter[tuple[Unit, Unit]] = Counter()

    def run(self, command: Command) -> None:
        """Run one command, tokens included."""
        unit = COMMANDS[command.opcode].unit
        if unit is None:
            return
        for other in Unit:
            if command["wait"] >> other & 1:
                if not self._tokens[other, unit]:
                    raise ProgramError(f"token of unit {other.name} must be given before")
                self._tokens[other, unit] -= 1
        _RUN[command.opcode](self, command)
        for other in Unit:
            self._tokens[unit, other] += command["signal"] >> other & 1
        self.stamps += command["stamp"]

    def fill(self, command: Command) -> None:
        """Write a byte to runs."""
        _counts(command, FILL_LOOPS)
        starts = command["d_base"] + _offsets(command, "d", FILL_LOOPS)
        codes = np.full((*starts.shape, command["length"]), command["value"], np.uint8)
        self.activations.write(starts, codes, port=self.program.spec.line_bytes)

    def matmul(self, command: Command) -> None:
        """Stream activation vectors through weight tiles; append t * n * my * mx result vectors."""
        t, n, ky, kx, kc, my, mx = _counts(command, MATMUL_LOOPS)
        depth = self.program.spec.memory.accumulator_depth
        if my * mx > depth:
            raise ProgramError(f"tile must have at most {depth} vectors, not {my * mx}")
        tiles = weight_tiles(
            self.program,
            command["w_base"],
            1 if command["w_hold"] else n * ky * kx * kc,
            signed=bool(command["w_signed"]),
            zero=command["w_zero"],
        )
        rows, columns = tiles.shape[1:]
        tiles = np.broadcast_to(
            tiles.reshape(1, 1, rows, columns)
            if command["w_hold"]
            else tiles.reshape(n, -1, rows, columns),
            (n, ky * kx * kc, rows, columns),
        )
        vectors = command["x_base"] + _offsets(command, "x", ("t", "my", "mx")).reshape(-1)
        depths = _offsets(command, "x", ("ky", "kx", "kc")).reshape(-1)
        sums = np.empty((t * my * mx, n, columns), np.int64)
        # Channel tiles which read the same activations are one wider product.
        together = command["x_n_stride"] == 0 or n == 1
        for first in range(0, n, n if together else 1):
            part = slice(first, n if together else first + 1)
            start = vectors + first * command["x_n_stride"]
            sums[:, part] = self._products(command, start, depths, tiles[part])
        ordered = wrap(sums, 32).reshape(t, my * mx, n, columns).swapaxes(1, 2)
        self.results.append(ordered.reshape(-1, columns))

    def _products(
        self, command: Command, vectors: Int64Array, depths: Int64Array, tiles: NDArray[np.float64]
    ) -> Int64Array:
        """Combine the passes of some channel tiles; int64 [vectors, tiles, columns]."""
        n, passes, rows, columns = tiles.shape
        wide = np.ascontiguousarray(tiles.transpose(1, 2, 0, 3)).reshape(passes, rows, n * columns)
        result = np.empty((len(vectors), n * columns), np.int64)
        step = max(1, _CHUNK // (passes * rows))
        for start in range(0, len(vectors), step):
            part = slice(start, start + step)
            addresses = vectors[part, None] + depths
            codes = self.activations.read(
                addresses, rows, port=rows, signed=bool(command["x_signed"])
            )
            x = codes.astype(np.float64)
            if command["maximum"]:
                sums = x[:, 0] @ wide[0]
                for k in range(1, passes):
                    np.maximum(sums, x[:, k] @ wide[k], out=sums)
            else:
                sums = x.reshape(len(x), -1) @ wide.reshape(passes * rows, -1)
            result[part] = sums.astype(np.int64)
        return result.reshape(-1, n, columns)

    def store(self, command: Command) -> None:
        """Requantize result vectors, channel tile by channel tile, and write them."""
        t, n, my, mx = _counts(command, STORE_LOOPS)
        columns = self.program.spec.array.columns
        width = command["tile_channels"]
        if not 1 <= width <= columns:
            raise ProgramError(f"tile_channels must be between 1 and {columns}, not {width}")
        if not (n - 1) * width < command["channels"]:
            raise ProgramError(
                f"channels must be more than {(n - 1) * width}, not {command['channels']}"
            )
        vectors = self.results.take(t * n * my * mx).reshape(t, n, my * mx, columns)
        places = _offsets(command, "y", STORE_LOOPS).reshape(t, n, -1) + command["y_base"]
        others = _offsets(command, "r", STORE_LOOPS).reshape(t, n, -1) + command["r_base"]
        written = []
        for tile in range(n):
            count = min(command["channels"] - tile * width, width)
            acc = vectors[:, tile, :, :count]
            code = self._requantized(command, acc, command["p_base"] + tile * command["p_stride"])
            if command["residual"]:
                code = self._added(command, code, others[:, tile])
            written.append(self._looked_up(command, code))
        for tile, codes in enumerate(written):
            self.activations.write(places[:, tile], codes, port=self.program.spec.post.lanes)

    def _requantized(self, command: Command, acc: Int64Array, base: int) -> Int64Array:
        """Requantize vectors with the parameters from lane word ``base`` on."""
        mode = RequantMode(command["mode"])
        if mode not in self.program.spec.post.modes:
            raise ProgramError(f"mode must be one that the accelerator has, not {mode.name}")
        return requantize(
            acc,
            mode=mode,
            **self.parameters.channels(base, acc.shape[-1]),
            zero_point=command["zero"],
            low=command["low"],
            high=command["high"],
        )

    def _added(self, command: Command, code: Int64Array, others: Int64Array) -> Int64Array:
        """Add the residual operand."""
        if not self.program.spec.post.residual:
            raise ProgramError("residual must be 0 on an accelerator without residual add, not 1")
        operand = self.activations.read(
            others,
            code.shape[-1],
            port=self.program.spec.post.lanes,
            signed=bool(command["r_signed"]),
        )
        return residual_add(
            code,
            operand,
            multiplier_y=command["r_multiplier_y"],
            multiplier_r=command["r_multiplier_r"],
            offset=command["r_offset"],
            shift=command["r_shift"],
            rounding=ResidualRounding(command["r_rounding"]),
            zero=command["r_zero"],
            low=command["r_low"],
            high=command["r_high"],
        )

    def _looked_up(self, command: Command, code: Int64Array) -> NDArray[np.uint8]:
        """Return the byte of each code, through a table if the command says so."""
        byte = (code & 255).astype(np.uint8)
        if not command["table"]:
            return byte
        held = min(self.program.spec.memory.tables, len(self.program.tables))
        if command["table_index"] >= held:
            raise ProgramError(f"table_index must be below {held}, not {command['table_index']}")
        return np.asarray(self.program.tables, np.uint8)[command["table_index"]][byte]


_RUN: Mapping[Opcode, Callable[[_Machine, Command], None]] = {
    Opcode.MATMUL: _Machine.matmul,
    Opcode.STORE: _Machine.store,
    Opcode.FILL: _Machine.fill,
}
"""What each command of a unit does."""
