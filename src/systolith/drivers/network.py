"""A compiled network as drivers load it: images of the windows and places of its tensors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from systolith.drivers.restore import Restore, restore_of
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.program import Buffer, Layer, Program
from systolith.spec.registers import Window, window_stride

__all__ = [
    "ALIGNMENT",
    "HostStep",
    "Network",
    "Place",
    "Segment",
    "network_of",
    "window_base",
]

ALIGNMENT = 4096
"""Of the bus address of external memory's byte 0."""
_WINDOW_BITS = 24


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Segment:
    """What a window holds from its first memory word on.

    Parameters
    ----------
    name: the window's, in lower case.
    address: of its first byte in the slave's address space.
    words: uint32 [memory words, 32-bit words of each], the last one filled up with zeros.
    stride: bytes of address space from one memory word to the next.
    restore: whether a run overwrites it, so that it must be written again before the next one.
    """

    name: str
    address: int
    words: NDArray[np.uint32]
    stride: int
    restore: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A tensor that the host writes or reads.

    Parameters
    ----------
    name: the tensor's.
    buffer: where it lies.
    scale, zero_point: ``real = scale * (code - zero_point)``, or None.
    limits: least and greatest code, or None for those of the dtype.
    formula: how the runtime quantizes floats to its codes, if the host does just that before the
        run: a key of `systolith.profiles.edges.QUANTIZE_FORMULAS`, or empty.
    """

    name: str
    buffer: Buffer
    scale: float | None = None
    zero_point: int | None = None
    limits: tuple[int, int] | None = None
    formula: str = ""

    @property
    def range(self) -> tuple[int, int]:
        """Least and greatest code; zeros for floats."""
        if self.limits is not None:
            return self.limits
        return {"int8": (-128, 127), "uint8": (0, 255)}.get(self.buffer.dtype, (0, 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class HostStep:
    """A node of the network that the host computes.

    Parameters
    ----------
    name, op: the node's.
    when: "before" or "after" the run.
    tensor: the output of the node, or its input if after.
    native: whether the drivers can compute it.
    """

    name: str
    op: str
    when: str
    tensor: str
    native: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A program with what the host must know of the network around it.

    Parameters
    ----------
    name: an identifier of C.
    spec: the accelerator.
    segments: what the windows hold before a run.
    external: what external memory holds before it.
    external_bytes: external memory the program uses.
    inputs, outputs: in the program's order.
    layers: in order of their stamps.
    restore: what a run overwrites.
    steps: what the host computes.
    """

    name: str
    spec: AcceleratorSpec
    segments: tuple[Segment, ...]
    external: NDArray[np.uint8]
    external_bytes: int
    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    layers: tuple[Layer, ...]
    restore: Restore = Restore()
    steps: tuple[HostStep, ...] = field(default=())


def window_base(window: Window) -> int:
    """Return the address of a window's byte 0."""
    return int(window) << _WINDOW_BITS


def _words(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Fill every row of bytes up to whole 32-bit words."""
    padded = np.zeros((len(rows), -(-rows.shape[1] // 4) * 4), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.view("<u4").astype(np.uint32)


def _segments(program: Program, restore: Restore) -> Iterable[Segment]:
    lanes = program.spec.post.lanes
    parts = {
        Window.WEIGHTS: np.asarray(program.weights, np.uint8),
        Window.PARAMETERS: program.parameters.astype("<u4").view(np.uint8).reshape(-1, 32 * lanes),
        Window.TABLES: np.asarray(program.tables, np.uint8).reshape(-1, 256),
        Window.EXPONENTS: program.exponents.astype("<u4").view(np.uint8).reshape(-1, 4),
        Window.COMMANDS: program.commands.astype("<u4").view(np.uint8).reshape(-1, 4),
    }
    for window, rows in parts.items():
        if len(rows):
            yield Segment(
                name=window.name.lower(),
                address=window_base(window),
                words=_words(np.ascontiguousarray(rows)),
                stride=window_stride(program.spec, window),
                restore=window in restore.windows,
            )


def network_of(
    program: Program,
    name: str = "network",
    *,
    places: Mapping[str, Place] | None = None,
    steps: Iterable[HostStep] = (),
) -> Network:
    """Return the program as drivers load it.

    Parameters
    ----------
    places: of inputs and outputs whose quantization is known, by the tensor's name.
    """
    known, restore = places or {}, restore_of(program)

    def place(tensor: str) -> Place:
        return known.get(tensor) or Place(name=tensor, buffer=program.buffers[tensor])

    return Network(
        name=name,
        spec=program.spec,
        segments=tuple(_segments(program, restore)),
        external=program.external,
        external_bytes=max(program.external_bytes, len(program.external)),
        inputs=tuple(place(tensor) for tensor in program.inputs),
        outputs=tuple(place(tensor) for tensor in program.outputs),
        layers=program.layers,
        restore=restore,
        steps=tuple(steps),
    )
