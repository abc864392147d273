"""LOAD, SAVE and COPY: runs of bytes between external memory and the memories on chip."""

import numpy as np
from numpy.typing import NDArray

from systolith.golden.memory import Chip
from systolith.golden.nests import counts, offsets
from systolith.spec.commands import COPY_LOOPS, TRANSFER_LOOPS, Command, ParameterForm, Target
from systolith.spec.program import ProgramError
from systolith.spec.registers import Window, parameter_part_bytes, window_stride

__all__ = ["External", "copy", "load", "require_apart", "require_disjoint", "save"]


class External:
    """External memory, uint8, from its byte 0 on.

    Parameters
    ----------
    image: its contents before the run.
    size: bytes that may be touched.
    """

    def __init__(self, image: NDArray[np.uint8], size: int) -> None:
        self.bytes = np.zeros(max(size, len(image)), np.uint8)
        self.bytes[: len(image)] = image

    def runs(self, command: Command) -> NDArray[np.int64]:
        """Byte addresses of a transfer, one row a run.

        Raises
        ------
        ProgramError: an address outside of the memory.
        """
        counts(command, TRANSFER_LOOPS)
        if not command["length"]:
            raise ProgramError("length must be at least 1, not 0")
        starts = command["e_base"] + offsets(command, "e", TRANSFER_LOOPS).reshape(-1)
        if starts.min() < 0 or starts.max() + command["length"] > len(self.bytes):
            raise ProgramError(
                f"external address must be below {len(self.bytes)}, "
                f"not {int(starts.max()) + command['length'] - 1}"
            )
        return starts[:, None] + np.arange(command["length"])


def load(chip: Chip, external: External, command: Command) -> None:
    """Read runs of external memory into the memory that ``target`` names."""
    runs = external.runs(command)
    places = command["m_base"] + offsets(command, "m", TRANSFER_LOOPS).reshape(-1)
    try:
        target = Target(command["target"])
    except ValueError:
        raise ProgramError(f"target must be a `Target`, not {command['target']}") from None
    for place, run in zip(places.tolist(), runs, strict=True):
        codes = external.bytes[run]
        if target is not Target.ACTIVATIONS:
            form = ParameterForm(command["form"])
            _check_alignment(chip, target, int(run[0]), form)
            chip.write(target, place, codes, form=form)
            continue
        for done, count in _pieces(chip, place, run):
            piece = codes[done : done + count]
            chip.activations.write(np.array([place + done]), piece[None], port=count)


def _check_alignment(chip: Chip, target: Target, address: int, form: ParameterForm) -> None:
    """Require that no beat of the bus holds two parts of words."""
    part = {
        Target.WEIGHTS: min(
            window_stride(chip.spec, Window.WEIGHTS), chip.spec.external.data_bytes
        ),
        Target.PARAMETERS: parameter_part_bytes(chip.spec, form),
        Target.COMMANDS: 4,
    }.get(target, 1)
    if address % part:
        raise ProgramError(
            f"external address of {target.name.lower()} must be a multiple of {part}, not {address}"
        )


def save(chip: Chip, external: External, command: Command) -> None:
    """Write runs of the activation memory to external memory; all is read before any is written."""
    runs = external.runs(command)
    places = command["m_base"] + offsets(command, "m", TRANSFER_LOOPS).reshape(-1)
    codes = np.empty(runs.shape, np.uint8)
    for row, (place, run) in enumerate(zip(places.tolist(), runs, strict=True)):
        for done, count in _pieces(chip, place, run):
            read = chip.activations.read(np.array([place + done]), count, port=count, signed=False)
            codes[row, done : done + count] = read[0]
    for run, row in zip(runs, codes, strict=True):
        external.bytes[run] = row


def _pieces(chip: Chip, place: int, run: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut a run into what one access moves: (bytes before it, its bytes).

    An access wraps at its region's end, the next goes on behind it. A run inside of one region is
    the same whether it is cut or not.
    """
    if chip.activations.contains(place, len(run)):
        return [(0, len(run))]
    bus = chip.spec.external.data_bytes
    pieces, done = [], 0
    while done < len(run):
        count = min(bus - int(run[done]) % bus, len(run) - done)
        pieces.append((done, count))
        done += count
    return pieces


def require_apart(
    chip: Chip, sources: NDArray[np.int64], targets: NDArray[np.int64], length: int
) -> None:
    """Require that no byte of runs which the move unit reads is one of those it writes.

    Raises
    ------
    ProgramError: there is such a byte; the text names it.
    """
    line = chip.spec.line_bytes
    read, written = (chip.activations.places(a, length, line) for a in (sources, targets))
    require_disjoint(chip, read, written)


def require_disjoint(chip: Chip, read: NDArray[np.int64], written: NDArray[np.int64]) -> None:
    """Require that no address is in both arrays.

    Raises
    ------
    ProgramError: there is such an address; the text names it.
    """
    known = np.zeros(len(chip.activations.bytes), bool)
    known[read] = True
    if known[written].any():
        both = int(written[known[written]][0])
        raise ProgramError(f"source and target must not overlap, but both have byte {both:#x}")


def copy(chip: Chip, command: Command) -> None:
    """Copy runs inside the activation memory.

    Raises
    ------
    ProgramError: a byte is read and written: what the hardware, which writes the first runs before
        it reads the last, would copy then depends on its timing.
    """
    counts(command, COPY_LOOPS)
    length, line = command["length"], chip.spec.line_bytes
    if not length:
        raise ProgramError("length must be at least 1, not 0")
    sources = command["s_base"] + offsets(command, "s", COPY_LOOPS).reshape(-1)
    targets = command["d_base"] + offsets(command, "d", COPY_LOOPS).reshape(-1)
    require_apart(chip, sources, targets, length)
    codes = chip.activations.read(sources, length, port=line, signed=False)
    chip.activations.write(targets, np.asarray(codes, np.uint8), port=line)
