"""External memory under construction: constants first, then commands, then tensors."""

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.ir import Storage

__all__ = ["ALIGNMENT", "ExternalImage"]

ALIGNMENT = 64
"""Blocks and tensors begin at multiples: no two share a bus word or a cache line."""


class ExternalImage:
    """Hands out external addresses and collects what lies there before the run."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, NDArray[np.uint8]]] = []
        self._filled = 0
        self.size = 0

    def _take(self, count: int) -> int:
        address = self.size
        self.size += -(-count // ALIGNMENT) * ALIGNMENT
        return address

    def add(self, codes: NDArray[np.uint8]) -> int:
        """Append bytes and return their address."""
        address = self._take(len(codes))
        self.put(address, codes)
        return address

    def reserve(self, count: int) -> int:
        """Return the address of ``count`` bytes that `put` may fill."""
        return self._take(count)

    def put(self, address: int, codes: NDArray[np.uint8]) -> None:
        """Fill bytes that were reserved."""
        self._parts.append((address, codes))
        self._filled = max(self._filled, address + len(codes))

    def place(self, storage: Storage) -> None:
        """Give a tensor its address."""
        storage.address = self._take(storage.size)

    def image(self) -> NDArray[np.uint8]:
        """What external memory holds before the run, up to the last constant."""
        result = np.zeros(self._filled, np.uint8)
        for address, codes in self._parts:
            result[address : address + len(codes)] = codes
        return result
