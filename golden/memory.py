"""The accelerator's memories as numpy arrays: activations, weights, parameters, result vectors."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from systolith.golden.rounding import Int64Array, wrap
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.program import Buffer, Program, ProgramError
from systolith.spec.requant import PARAMETER_FIELDS

__all__ = ["Activations", "Parameters", "Results", "weight_tiles"]


class Activations:
    """The activation address space, uint8; bytes without memory behind them read and stay 0.

    Parameters
    ----------
    spec: number and size of the regions.
    """

    def __init__(self, spec: AcceleratorSpec) -> None:
        self._stride = np.int64(spec.region_stride)
        self._size = spec.memory.activation_bytes
        self._space = np.int64(1) << np.int64(spec.activation_address_bits)
        self._regions = spec.memory.activation_regions
        self.bytes: NDArray[np.uint8] = np.zeros(int(self._space), np.uint8)

    def _places(self, addresses: Int64Array, count: int, port: int) -> Int64Array:
        """Return the address of every byte of vectors: one more axis, of length ``count``.

        A port moves ``port`` bytes at a time. Such a piece stays in its region; the next piece
        starts at the next address, in whatever region that is.
        """
        byte = np.arange(count)
        piece = (addresses[..., None] + byte // port * port) & (self._space - 1)
        return (piece & -self._stride) | ((piece + byte % port) & (self._stride - 1))

    def read(
        self, addresses: Int64Array, count: int, *, port: int, signed: bool
    ) -> NDArray[np.generic]:
        """Return ``count`` bytes from each address; int8 or uint8, one more axis."""
        codes = self.bytes[self._places(addresses, count, port)]
        return codes.view(np.int8) if signed else codes

    def write(self, addresses: Int64Array, codes: NDArray[np.uint8], *, port: int) -> None:
        """Write vectors, the last axis of ``codes``, from each address on.

        Raises
        ------
        ProgramError: if an address has no memory.
        """
        places = self._places(addresses, codes.shape[-1], port)
        inside = places & (self._stride - 1)
        holes = (inside >= self._size) | (places >= self._regions * self._stride)
        if holes.any():
            raise ProgramError(f"written address must have memory, not {int(places[holes][0]):#x}")
        self.bytes[places] = codes

    def load(self, buffer: Buffer) -> NDArray[np.generic]:
        """Return a copy of the tensor in a buffer, of the buffer's shape and dtype."""
        return self.bytes[buffer.addresses()].view(buffer.dtype)

    def store(self, buffer: Buffer, tensor: NDArray[np.generic]) -> None:
        """Write a tensor of the buffer's shape and dtype."""
        self.bytes[buffer.addresses()] = np.ascontiguousarray(tensor).view(np.uint8)


class Parameters:
    """The requantizer parameters of all channels, decoded.

    Parameters
    ----------
    program: its ``parameters`` are uint32 [lane words, lanes, 8].
    """

    def __init__(self, program: Program) -> None:
        words = np.asarray(program.parameters, np.int64)
        self._lanes = program.spec.post.lanes
        self._fields: dict[str, Int64Array] = {}
        for field in PARAMETER_FIELDS:
            value = words[..., field.word] & 0xFFFFFFFF
            if field.bits > 32:
                value = value | words[..., field.word + 1] << np.int64(32)
            spare = np.int64(64 - field.bits)
            signed = (value << spare) >> spare
            self._fields[field.name] = signed if field.signed else value & ((1 << field.bits) - 1)

    def channels(self, base: int, count: int) -> dict[str, Int64Array]:
        """Return every field of ``count`` channels from lane word ``base`` on.

        Raises
        ------
        ProgramError: if the program has no such words.
        """
        words = -(-count // self._lanes)
        held = len(next(iter(self._fields.values())))
        if base + words > held:
            raise ProgramError(f"lane word must be below {held}, not {base + words - 1}")
        part = slice(base, base + words)
        return {name: value[part].reshape(-1)[:count] for name, value in self._fields.items()}


class Results:
    """The queue of result vectors between the array and the store unit."""

    def __init__(self) -> None:
        self._parts: deque[Int64Array] = deque()
        self._held = 0

    def __len__(self) -> int:
        """Return the number of vectors which wait."""
        return self._held

    def append(self, vectors: Int64Array) -> None:
        """Append vectors [count, columns]."""
        self._parts.append(vectors)
        self._held += len(vectors)

    def take(self, count: int) -> Int64Array:
        """Remove the oldest ``count`` vectors and return them [count, columns].

        Raises
        ------
        ProgramError: if fewer wait; the hardware would wait for ever.
        """
        if count > self._held:
            raise ProgramError(f"STORE must take at most {self._held} result vectors, not {count}")
        taken, missing = [], count
        while missing:
            part = self._parts.popleft()
            if len(part) > missing:
                self._parts.appendleft(part[missing:])
                part = part[:missing]
            taken.append(part)
            missing -= len(part)
        self._held -= count
        return taken[0] if len(taken) == 1 else np.concatenate(taken)


def weight_tiles(
    program: Program, base: int, count: int, *, signed: bool, zero: int
) -> NDArray[np.float64]:
    """Return ``count`` tiles [count, rows, columns] from weight word ``base`` on.

    The codes less the zero point, wrapped to the array's 9 bits: float64 holds them exactly.

    Raises
    ------
    ProgramError: if the program has no such words.
    """
    rows, columns = program.spec.array.rows, program.spec.array.columns
    words = program.weights[base : base + count * rows]
    if len(words) < count * rows:
        raise ProgramError(
            f"weight word must be below {len(program.weights)}, not {base + count * rows - 1}"
        )
    codes = np.ascontiguousarray(words, np.uint8).reshape(count, rows, columns)
    values = (codes.view(np.int8) if signed else codes).astype(np.int64) - zero
    return wrap(values, 9).astype(np.float64)
