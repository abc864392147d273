"""What lowering produces before addresses are known: storages, views and symbolic commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from systolith.spec.commands import Opcode
from systolith.strides import Int64Array, positions

__all__ = ["Codes", "Pair", "Storage", "SymbolicCommand", "View"]


@dataclass(eq=False, kw_only=True, slots=True)
class Storage:
    """A run of bytes inside one activation region or external memory, compared by identity.

    Parameters
    ----------
    name: the tensor it was made for.
    size: bytes.
    layer: the layer that writes it first, for error messages.
    address: byte address, once allocated.
    external: whether it lies in external memory.
    aligned: whether it must begin with a line, as its rows do, which are read in pairs; whoever
        reads some of them needs one more above.
    """

    name: str
    size: int
    layer: str
    address: int = -1
    external: bool = False
    aligned: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Where an ``(H, W, C)`` tensor lies in a storage; channels are neighbours.

    Parameters
    ----------
    storage: the bytes.
    offset: byte of element [0, 0, 0] in the storage.
    shape: (H, W, C).
    row, pixel: bytes between rows and between pixels; 0 repeats (a broadcast operand).
    """

    storage: Storage
    offset: int
    shape: tuple[int, int, int]
    row: int
    pixel: int

    @property
    def dense(self) -> bool:
        """Whether the elements follow each other without a gap."""
        height, width, channels = self.shape
        columns = width == 1 or self.pixel == channels
        return columns and (height == 1 or self.row == width * channels)

    def at(self, y: int, x: int, c: int = 0) -> int:
        """Byte of element [y, x, c] in the storage; outside of the shape it is in the halo."""
        return self.offset + y * self.row + x * self.pixel + c

    def places(self) -> Int64Array:
        """Byte of every element in the storage, in canonical order."""
        return positions(self.offset, self.shape, (self.row, self.pixel, 1))

    def reshaped(self, shape: tuple[int, int, int]) -> "View":
        """The same dense bytes under another shape."""
        return View(
            storage=self.storage,
            offset=self.offset,
            shape=shape,
            row=shape[1] * shape[2],
            pixel=shape[2],
        )

    def broadcast(self, shape: tuple[int, int, int]) -> "View":
        """Repeat rows or pixels of extent 1 over a larger shape."""
        return View(
            storage=self.storage,
            offset=self.offset,
            shape=shape,
            row=0 if self.shape[0] == 1 else self.row,
            pixel=0 if self.shape[1] == 1 else self.pixel,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Codes:
    """An 8-bit operand in memory: its view and whether its bytes are int8."""

    view: View
    signed: bool


@dataclass(eq=False, kw_only=True, slots=True)
class SymbolicCommand:
    """A command whose base addresses are still storages and offsets.

    Parameters
    ----------
    opcode: what it does.
    layer: the layer it belongs to.
    values: fields that are known.
    bases: base field -> (storage, byte offset).
    holds: storages that must keep their bytes meanwhile, for a command that runs beside it.
    """

    opcode: Opcode
    layer: str
    values: dict[str, int] = field(default_factory=dict)
    bases: Mapping[str, tuple[Storage, int]] = field(default_factory=dict)
    holds: tuple[Storage, ...] = ()

    def moved(self, bases: Mapping[str, int], values: dict[str, int]) -> "SymbolicCommand":
        """The same command with other fields, and bytes added to its bases."""
        return SymbolicCommand(
            opcode=self.opcode,
            layer=self.layer,
            values=self.values | values,
            bases={k: (s, offset + bases.get(k, 0)) for k, (s, offset) in self.bases.items()},
        )

    def resolved(self) -> dict[str, int]:
        """All fields, once the storages have addresses."""
        return self.values | {k: s.address + offset for k, (s, offset) in self.bases.items()}


@dataclass(eq=False, kw_only=True, slots=True)
class Pair:
    """A MATMUL and the STORE that consumes its tiles.

    Parameters
    ----------
    matmul, store: the two commands.
    before: COPY commands that go in front of them, for this pair or for a later one.
    sums: partial MATMULs right in front, to whose sums ``matmul`` adds.
    """

    matmul: SymbolicCommand
    store: SymbolicCommand
    before: Sequence[SymbolicCommand] = ()
    sums: Sequence[SymbolicCommand] = ()
