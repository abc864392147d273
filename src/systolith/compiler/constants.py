"""The constant memories under construction: weights, requantizer parameters, tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.errors import CompileError
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.requant import PARAMETER_FIELDS

__all__ = ["ChannelParameters", "Constants"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelParameters:
    """Requantizer parameters of N channels, int64[N] each."""

    bias: NDArray[np.int64]
    multiplier: NDArray[np.int64]
    offset: NDArray[np.int64]
    shift: NDArray[np.int64]

    def __post_init__(self) -> None:
        for item in PARAMETER_FIELDS:
            value: NDArray[np.int64] = getattr(self, item.name)
            half = 1 << (item.bits - 1)
            assert value.dtype == np.int64, item.name
            assert item.bits == 64 or bool(np.all((value >= -half) & (value < half))), item.name

    @property
    def count(self) -> int:
        """Number of channels."""
        return len(self.bias)

    def words(self) -> NDArray[np.uint32]:
        """The memory's words, uint32 [N, 8]."""
        result = np.zeros((self.count, 8), np.uint32)
        for item in PARAMETER_FIELDS:
            value: NDArray[np.int64] = getattr(self, item.name)
            for part in range(-(-item.bits // 32)):
                field = value >> np.int64(32 * part)
                mask = (1 << min(32, item.bits - 32 * part)) - 1
                result[:, item.word + part] = (field & mask).astype(np.uint32)
        return result


class Constants:
    """Collects constants, equal ones once, and hands out their addresses.

    Parameters
    ----------
    spec: whose memories they must fit; checked by `check`.
    """

    def __init__(self, spec: AcceleratorSpec) -> None:
        self.spec = spec
        self._weights: list[NDArray[np.uint8]] = []
        self._parameters: list[NDArray[np.uint32]] = []
        self._tables: list[NDArray[np.uint8]] = []
        self._known: dict[tuple[str, bytes], int] = {}
        self._weight_words = self._lane_words = 0

    @property
    def weight_words(self) -> int:
        """Weight words so far."""
        return self._weight_words

    @property
    def lane_words(self) -> int:
        """Words of the parameter memory so far."""
        return self._lane_words

    def weights(self, tiles: ArrayLike) -> int:
        """Store weight tiles [n, k, rows, columns] (codes) and return their word address."""
        words = np.asarray(tiles).astype(np.int64) & 255
        flat = words.astype(np.uint8).reshape(-1, self.spec.array.columns)
        key = ("weights", flat.tobytes())
        if key not in self._known:
            self._known[key] = self._weight_words
            self._weights.append(flat)
            self._weight_words += len(flat)
        return self._known[key]

    def replace_weights(self, image: NDArray[np.uint8]) -> None:
        """Let the weight memory hold other words; addresses handed out for it end to be valid."""
        self._weights, self._weight_words = [image], len(image)

    def parameters(self, channels: ChannelParameters, tile_channels: int) -> tuple[int, int]:
        """Store parameters by channel tile; return the lane word address and words a tile."""
        lanes = self.spec.post.lanes
        beats = -(-tile_channels // lanes)
        source = channels.words()
        tiles = -(-channels.count // tile_channels)
        block = np.zeros((tiles, beats * lanes, 8), np.uint32)
        for tile in range(tiles):
            part = source[tile * tile_channels : (tile + 1) * tile_channels]
            block[tile, : len(part)] = part
            # Lanes that store nothing do not make a word differ: see `ParameterForm.UNIFORM`.
            block[tile, len(part) :] = part[-1]
        if tiles > 1 and bool(np.all(source == source[0])):
            block = block[:1]
        key = ("parameters", block.tobytes())
        if key not in self._known:
            self._known[key] = self._lane_words
            self._parameters.append(block.reshape(-1, lanes, 8))
            self._lane_words += block.shape[0] * beats
        return self._known[key], 0 if block.shape[0] < tiles else beats

    def table(self, values: NDArray[np.uint8]) -> int:
        """Store a table of 256 bytes and return its index."""
        key = ("table", values.tobytes())
        if key not in self._known:
            self._known[key] = len(self._tables)
            self._tables.append(values.astype(np.uint8))
        return self._known[key]

    def check(self) -> None:
        """Require that everything fits.

        Raises
        ------
        CompileError: naming the memory, the need and what there is.
        """
        spec = self.spec
        needs = (
            ("weight_bytes", self._weight_words * spec.array.columns, spec.memory.weight_bytes),
            (
                "parameter_channels",
                self._lane_words * spec.post.lanes,
                spec.memory.parameter_channels,
            ),
            ("tables", len(self._tables), spec.memory.tables),
        )
        for name, need, have in needs:
            if need > have:
                raise CompileError(
                    f"memory.{name} must be at least {need} for this network, not {have}: "
                    f"raise memory.{name}"
                )

    def images(self) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint8]]:
        """The contents: weights [words, columns], parameters [words, lanes, 8], tables [n, 256]."""
        spec = self.spec
        # Blocks that have been joined stay joined.
        self._weights = [_stack(self._weights, (spec.array.columns,), np.uint8)]
        self._parameters = [_stack(self._parameters, (spec.post.lanes, 8), np.uint32)]
        tables = _stack([t[None] for t in self._tables], (256,), np.uint8)
        return self._weights[0], self._parameters[0], tables


def _stack(parts: Sequence[NDArray[Any]], shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """Concatenate blocks, or make an empty image of the same rank."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros((0, *shape), dtype)
