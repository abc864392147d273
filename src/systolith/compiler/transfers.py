"""LOAD and SAVE of tensors and rows of tensors."""

from systolith.compiler.ir import Storage, SymbolicCommand, View
from systolith.spec.commands import TRANSFER_LOOPS, Opcode, Target

__all__ = ["dense_view", "reach", "rows_of", "storage_loads", "transfer"]

_FIRST = 512
"""Bytes of the first piece of a storage that is loaded in pieces: a burst or two."""


def dense_view(name: str, shape: tuple[int, int, int], *, external: bool) -> View:
    """A tensor in a storage of its own, without gaps."""
    height, width, channels = shape
    storage = Storage(name=name, size=height * width * channels, layer=name, external=external)
    return View(storage=storage, offset=0, shape=shape, row=width * channels, pixel=channels)


def rows_of(view: View, first: int, count: int) -> View:
    """Rows of a tensor, of the same storage."""
    return View(
        storage=view.storage,
        offset=view.at(first, 0),
        shape=(count, *view.shape[1:]),
        row=view.row,
        pixel=view.pixel,
    )


def transfer(opcode: Opcode, layer: str, near: View, far: View) -> SymbolicCommand:
    """Return the command that moves all elements of a tensor.

    Parameters
    ----------
    opcode: LOAD or SAVE.
    layer: for error messages.
    near: on chip.
    far: in external memory, of the same shape.
    """
    height, width, channels = near.shape
    rows = all(v.pixel == channels or width == 1 for v in (near, far))
    if near.dense and far.dense:
        length, loops = height * width * channels, []
    elif rows:
        length, loops = width * channels, [(height, near.row, far.row)]
    else:
        length = channels
        loops = [(width, near.pixel, far.pixel), (height, near.row, far.row)]
    values = {"length": length}
    if opcode is Opcode.LOAD:
        values["target"] = int(Target.ACTIVATIONS)
    for index, (count, m_stride, e_stride) in enumerate(loops):
        if count > 1:
            values[f"d{index}_count"] = count
            values[f"m_d{index}_stride"] = m_stride
            values[f"e_d{index}_stride"] = e_stride
    bases = {"m_base": (near.storage, near.offset), "e_base": (far.storage, far.offset)}
    return SymbolicCommand(opcode=opcode, layer=layer, values=values, bases=bases)


def storage_loads(layer: str, near: Storage, far: Storage) -> list[SymbolicCommand]:
    """Return LOADs of a whole storage; the pieces grow, so that its reader can start early.

    Parameters
    ----------
    layer: for error messages.
    near, far: on chip and in external memory, of the same size.
    """
    pieces, start, size = [], 0, _FIRST
    while start < near.size:
        # A small rest is not worth a command of its own.
        length = size if start + 2 * size <= near.size else near.size - start
        values = {"length": length, "target": int(Target.ACTIVATIONS)}
        bases = {"m_base": (near, start), "e_base": (far, start)}
        pieces.append(SymbolicCommand(opcode=Opcode.LOAD, layer=layer, values=values, bases=bases))
        start, size = start + length, 2 * size
    return pieces


def reach(command: SymbolicCommand) -> tuple[int, int, int]:
    """External storage, and first and last byte + 1, of a transfer."""
    storage, offset = command.bases["e_base"]
    v = command.values
    end = offset + v["length"]
    for name in TRANSFER_LOOPS:
        end += (v.get(f"{name}_count", 1) - 1) * v.get(f"e_{name}_stride", 0)
    return id(storage), offset, end
