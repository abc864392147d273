"""Execute a program: every command on numpy images of the memories, in program order.

Commands run one after the other, and each reads all of its operands before it writes: what the
hardware overlaps must be safe to reorder, which the tokens of a correct program ensure.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from systolith.errors import InputError
from systolith.golden.convert import dequantize, quantize
from systolith.golden.matmul import matmul
from systolith.golden.memory import Chip, Results
from systolith.golden.nests import counts, offsets
from systolith.golden.post import post_process, write_codes
from systolith.golden.softmax import softmax
from systolith.golden.transfer import External, copy, load, save
from systolith.spec.commands import (
    COMMANDS,
    FILL_LOOPS,
    STORE_LOOPS,
    Command,
    Opcode,
    Unit,
    decode_one,
)
from systolith.spec.program import Buffer, Program, ProgramError

__all__ = ["Tensor", "execute"]

Tensor = NDArray[np.generic]


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
    _write_inputs(program, inputs, machine)
    known = {layer.tensor for layer in program.layers} | set(program.inputs)
    for name in capture:
        if name not in known | set(program.outputs):
            raise InputError(f"captured tensor must be a layer's result, not {name!r}")
    captured = {
        name: machine.read(program.buffers[name]) for name in program.inputs if name in capture
    }
    finished = 0
    while machine.running:
        machine.step()
        while finished < len(program.layers) and program.layers[finished].stamp < machine.stamps:
            layer = program.layers[finished]
            if layer.tensor in capture and not program.buffers[layer.tensor].external:
                captured[layer.tensor] = machine.read(program.buffers[layer.tensor])
            finished += 1
            if progress is not None:
                progress(finished, len(program.layers))
    if len(machine.results):
        raise ProgramError(f"program must store all results, but {len(machine.results)} are left")
    # What was saved is complete at the end; tensors in external memory share no bytes.
    late = {n for n in capture if program.buffers[n].external} - captured.keys()
    outputs = {n: machine.read(program.buffers[n]) for n in (*late, *program.outputs)}
    return captured | outputs


def _write_inputs(program: Program, inputs: Mapping[str, Tensor], machine: "_Machine") -> None:
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
        machine.write(buffer, array)


class _Machine:
    """The state of the accelerator between commands."""

    def __init__(self, program: Program) -> None:
        self.program, self.spec = program, program.spec
        self.chip = Chip(program)
        self.external = External(program.external, program.external_bytes)
        self.results = Results()
        self.stamps = self.number = 0
        self.running = True
        self._position = 0
        self._tokens: Counter[tuple[Unit, Unit]] = Counter()

    def read(self, buffer: Buffer) -> Tensor:
        """Return the tensor in a buffer."""
        memory = self.external.bytes if buffer.external else self.chip.activations.bytes
        return buffer.codes(memory)

    def write(self, buffer: Buffer, tensor: Tensor) -> None:
        """Write a tensor of the buffer's shape and dtype."""
        memory = self.external.bytes if buffer.external else self.chip.activations.bytes
        memory[buffer.addresses()] = np.ascontiguousarray(tensor).view(np.uint8)

    def step(self) -> None:
        """Run the next command.

        Raises
        ------
        ProgramError: it cannot run; the text says which it is.
        """
        command = decode_one(cast(Sequence[int], self.chip.commands), self._position)
        try:
            self._run(command)
        except ValueError as error:
            raise ProgramError(f"command {self.number} ({command.opcode.name}): {error}") from error
        self.number += 1
        self.running = command.opcode is not Opcode.END
        if command.opcode is Opcode.JUMP:
            self._position = command["address"]
        else:
            self._position += COMMANDS[command.opcode].words

    def _run(self, command: Command) -> None:
        """Run one command, tokens included."""
        unit = COMMANDS[command.opcode].unit
        if unit is None:
            return
        if unit in (Unit.LOAD, Unit.SAVE) and not self.spec.external.data_bytes:
            raise ProgramError("external.data_bytes must not be 0 for it")
        for other in Unit:
            if command["wait"] >> other & 1:
                if not self._tokens[other, unit]:
                    raise ProgramError(f"token of unit {other.name} must be given before")
                self._tokens[other, unit] -= 1
        _RUN[command.opcode](self, command)
        if unit is Unit.FETCH and command["signal"]:
            raise ProgramError("the fetcher gives no tokens")
        for other in Unit:
            self._tokens[unit, other] += command["signal"] >> other & 1
        self.stamps += command.values.get("stamp", 0)

    def fill(self, command: Command) -> None:
        """Write a byte to runs."""
        counts(command, FILL_LOOPS)
        starts = command["d_base"] + offsets(command, "d", FILL_LOOPS)
        codes = np.full((*starts.shape, command["length"]), command["value"], np.uint8)
        self.chip.activations.write(starts, codes, port=self.spec.line_bytes)

    def store(self, command: Command) -> None:
        """Requantize result vectors, channel tile by channel tile, and write them."""
        t, n, my, mx = counts(command, STORE_LOOPS)
        width, most = (
            command["tile_channels"],
            self.spec.array.columns * self.spec.array.column_sums,
        )
        if not 1 <= width <= most:
            raise ProgramError(f"tile_channels must be between 1 and {most}, not {width}")
        if command["packed"] and not self.spec.array.packs:
            raise ProgramError("packed must be 0 on an accelerator without w4a4, not 1")
        if not (n - 1) * width < command["channels"]:
            raise ProgramError(
                f"channels must be more than {(n - 1) * width}, not {command['channels']}"
            )
        vectors = self.results.take(t * n * my * mx, width).reshape(t, n, my * mx, width)
        places = offsets(command, "y", STORE_LOOPS).reshape(t, n, -1) + command["y_base"]
        others = offsets(command, "r", STORE_LOOPS).reshape(t, n, -1) + command["r_base"]
        written = []
        for tile in range(n):
            count = min(command["channels"] - tile * width, width)
            acc = vectors[:, tile, :, :count]
            base = command["p_base"] + tile * command["p_stride"]
            written.append(post_process(self.chip, command, acc, base, others[:, tile]))
        for tile, codes in enumerate(written):
            write_codes(self.chip, places[:, tile], codes, packed=bool(command["packed"]))


_RUN: Mapping[Opcode, Callable[[_Machine, Command], None]] = {
    Opcode.MATMUL: lambda machine, command: matmul(machine.chip, machine.results, command),
    Opcode.STORE: _Machine.store,
    Opcode.FILL: _Machine.fill,
    Opcode.COPY: lambda machine, command: copy(machine.chip, command),
    Opcode.LOAD: lambda machine, command: load(machine.chip, machine.external, command),
    Opcode.SAVE: lambda machine, command: save(machine.chip, machine.external, command),
    Opcode.JUMP: lambda machine, command: None,
    Opcode.SOFTMAX: lambda machine, command: softmax(machine.chip, command),
    Opcode.QUANTIZE: lambda machine, command: quantize(machine.chip, command),
    Opcode.DEQUANTIZE: lambda machine, command: dequantize(machine.chip, command),
}
"""What each command of a unit does."""
