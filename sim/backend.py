"""One interface for every way to run a program: golden, pysim, Verilator, later a board."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from systolith.errors import InputError, SystolithError
from systolith.spec.program import Buffer, Program

__all__ = [
    "Backend",
    "Progress",
    "Result",
    "RunError",
    "Traffic",
    "external_image",
    "read_buffer",
    "write_inputs",
]

Progress = Callable[[int, int], None]
"""Called now and then with (layers finished, layers in all)."""


class RunError(SystolithError):
    """The accelerator stopped with an error, or did not stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Bytes that went over a serial line, as sent.

    Parameters
    ----------
    sent, received: to the accelerator, and from it.
    """

    sent: int
    received: int

    def __sub__(self, earlier: "Traffic") -> "Traffic":
        return Traffic(sent=self.sent - earlier.sent, received=self.received - earlier.received)

    def seconds(self, baud: int) -> float:
        """The time that they take at a rate, 10 bits a byte, one direction at a time."""
        return 10 * (self.sent + self.received) / baud


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What a run left behind.

    Parameters
    ----------
    tensors: the program's outputs and every captured tensor, canonical [H, W, C], int8 or uint8.
    counters: hardware counters by name (`systolith.spec.registers.COUNTERS`); empty for golden.
    stamps: cycle at which each of the program's layers was complete; empty for golden.
    seconds: wall time of the run itself, without building or loading.
    loading, traffic: over a serial line, if there is one: to load the network, None if it was there
        already; and for the inference, its input and its output.
    """

    tensors: Mapping[str, NDArray[np.generic]]
    counters: Mapping[str, int] = field(default_factory=dict)
    stamps: tuple[int, ...] = ()
    seconds: float = 0.0
    loading: Traffic | None = None
    traffic: Traffic | None = None

    @property
    def cycles(self) -> int:
        """Cycles from start to done; 0 where the backend has no clock."""
        return self.counters.get("cycles", 0)


class Backend(Protocol):
    """A way to run programs."""

    @property
    def name(self) -> str:
        """Short name: golden, pysim, verilator."""
        ...

    def run(
        self,
        program: Program,
        inputs: Mapping[str, NDArray[np.generic]],
        *,
        capture: Collection[str] = (),
        progress: Progress | None = None,
    ) -> Result:
        """Run ``program`` once.

        Parameters
        ----------
        inputs: canonical [H, W, C] arrays of the inputs' dtypes, by tensor name.
        capture: further tensors to return, read when they are complete and not yet overwritten.

        Raises
        ------
        InputError: an input is missing or has another shape or dtype.
        RunError: the hardware stopped with an error or did not stop in time.
        """
        ...


def read_buffer(image: NDArray[np.uint8], buffer: Buffer) -> NDArray[np.generic]:
    """Gather a tensor from an image of the activation address space or of external memory."""
    return buffer.codes(image)


def write_inputs(
    program: Program,
    inputs: Mapping[str, NDArray[np.generic]],
    image: NDArray[np.uint8],
    external: NDArray[np.uint8] | None = None,
) -> None:
    """Scatter the program's inputs into images of the activation address space and external memory.

    Raises
    ------
    InputError: an input is missing, unknown, or has another shape or dtype.
    """
    unknown = sorted(set(inputs) - set(program.inputs))
    if unknown:
        raise InputError(f"input {unknown[0]!r} is not an input of the program")
    for name in program.inputs:
        buffer = program.buffers[name]
        if name not in inputs:
            raise InputError(f"input {name!r} is missing")
        array = np.asarray(inputs[name])
        if array.shape != buffer.shape:
            raise InputError(f"input {name!r} must have shape {buffer.shape}, not {array.shape!r}")
        if array.dtype != np.dtype(buffer.dtype):
            raise InputError(f"input {name!r} must be {buffer.dtype}, not {array.dtype}")
        memory = image if external is None or not buffer.external else external
        memory[buffer.addresses()] = np.ascontiguousarray(array).view(np.uint8)


def external_image(program: Program) -> NDArray[np.uint8]:
    """Return what external memory holds before a run, a whole number of its beats long."""
    beat = max(1, program.spec.external.data_bytes)
    size = max(program.external_bytes, len(program.external))
    image = np.zeros(-(-size // beat) * beat, np.uint8)
    image[: len(program.external)] = program.external
    return image
