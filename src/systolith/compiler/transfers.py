"""LOAD and SAVE of tensors: rows between external memory, dense, and a view on chip."""

from systolith.compiler.ir import Storage, SymbolicCommand, View
from systolith.spec.commands import Opcode, Target

__all__ = ["external_storage", "transfer"]


def external_storage(name: str, shape: tuple[int, int, int]) -> Storage:
    """A dense tensor in external memory."""
    height, width, channels = shape
    return Storage(name=name, size=height * width * channels, layer=name, external=True)


def transfer(
    opcode: Opcode, layer: str, view: View, storage: Storage, offset: int = 0
) -> SymbolicCommand:
    """Return the command that moves all of a view.

    Parameters
    ----------
    opcode: LOAD or SAVE.
    layer: for error messages.
    view: on chip.
    storage, offset: the same elements, dense, in external memory.
    """
    height, width, channels = view.shape
    if view.dense:
        length, loops = height * width * channels, []
    elif view.pixel == channels or width == 1:
        length, loops = width * channels, [(height, view.row, width * channels)]
    else:
        length = channels
        loops = [(width, view.pixel, channels), (height, view.row, width * channels)]
    values = {"length": length}
    if opcode is Opcode.LOAD:
        values["target"] = int(Target.ACTIVATIONS)
    for index, (count, near, far) in enumerate(loops):
        if count > 1:
            values[f"d{index}_count"] = count
            values[f"m_d{index}_stride"] = near
            values[f"e_d{index}_stride"] = far
    bases = {"m_base": (view.storage, view.offset), "e_base": (storage, offset)}
    return SymbolicCommand(opcode=opcode, layer=layer, values=values, bases=bases)
