"""Bulk access to one memory of a running model."""

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.errors import InputError
from systolith.sim.binding import Variable

__all__ = ["Memory"]


class Memory:
    """A memory array of a model, read and written in place; the next evaluation sees the change.

    `memory[7]` is a Python integer of any width; `memory[2:9]` an array of the storage's type
    (words over 64 bits: rows of uint32, least significant first); `memory.bytes` shape
    (depth, bytes of a word), uint8, least significant first.

    Parameters
    ----------
    variable: the memory, whose depth is not 0.
    """

    def __init__(self, variable: Variable) -> None:
        self._variable = variable

    def __repr__(self) -> str:
        return f"<Memory {self.name}: {len(self)} x {self.width} bits>"

    def __len__(self) -> int:
        return self._variable.depth

    @property
    def name(self) -> str:
        """Hierarchical name with dots."""
        return self._variable.name

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self._variable.width

    @property
    def array(self) -> NDArray[np.unsignedinteger]:
        """The storage itself, not a copy; bits above `width` must stay 0."""
        return self._variable.storage

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """The storage itself as bytes, uint8, shape (depth, ceil(width / 8)); not a copy."""
        rows = self._variable.storage.view(np.uint8).reshape(len(self), -1)
        return rows[:, : (self.width + 7) // 8]

    def _row(self, index: int) -> int:
        row = operator.index(index)
        if not -len(self) <= row < len(self):
            raise IndexError(f"index of {self.name} must be below {len(self)}, not {row}")
        return row % len(self)

    def __getitem__(self, index: int | slice) -> int | NDArray[np.unsignedinteger]:
        if isinstance(index, slice):
            return self._variable.storage[index]
        return int.from_bytes(self._variable.storage[self._row(index)].tobytes(), "little")

    def __setitem__(self, index: int | slice, value: ArrayLike) -> None:
        if isinstance(index, slice):
            self._variable.storage[index] = self._checked(value)
            return
        row, word = self._row(index), operator.index(value)  # type: ignore[arg-type] # checks
        if not -(1 << (self.width - 1)) <= word < 1 << self.width:
            raise InputError(f"word of {self.name} must fit in {self.width} bits, not {word}")
        size = self._variable.word_bytes
        raw = (word & ((1 << self.width) - 1)).to_bytes(size, "little")
        self._variable.storage.view(np.uint8).reshape(len(self), size)[row] = np.frombuffer(
            raw, np.uint8
        )

    def _checked(self, value: ArrayLike) -> NDArray[np.unsignedinteger]:
        words = np.asarray(value)
        if words.dtype.kind not in "iu":
            raise InputError(f"words of {self.name} must be integers, not {words.dtype}")
        if self.width > 64:
            return words.astype(np.uint32)
        low, high = -(1 << (self.width - 1)), (1 << self.width) - 1
        if words.size and (int(words.min()) < low or int(words.max()) > high):
            raise InputError(f"words of {self.name} must fit in {self.width} bits")
        return words.astype(np.uint64) & np.uint64(high)

    def write_bytes(self, start: int, data: ArrayLike) -> None:
        """Write bytes at a byte address, as a processor with little-endian words would.

        Parameters
        ----------
        data: uint8 or int8, any shape; the memory's width must be a multiple of 8.
        """
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self._flat(start, raw.size)[...] = raw

    def read_bytes(self, start: int, count: int) -> NDArray[np.uint8]:
        """Return a copy of `count` bytes from a byte address."""
        return self._flat(start, count).copy()

    def _flat(self, start: int, count: int) -> NDArray[np.uint8]:
        rows = self.bytes
        whole = self._variable.word_bytes
        if self.width % 8 or rows.shape[1] != whole:
            raise InputError(
                f"width of {self.name} must be 8, 16, or a multiple of 32 bits for byte addresses, "
                f"not {self.width}: use `.bytes`"
            )
        if start < 0 or start + count > rows.size:
            raise InputError(
                f"bytes of {self.name} must lie in 0..{rows.size}, not {start}..{start + count}"
            )
        return self._variable.storage.view(np.uint8).reshape(-1)[start : start + count]
