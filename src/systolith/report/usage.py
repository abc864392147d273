"""How a program uses the accelerator's memories, and where its tensors lie."""

from dataclasses import dataclass

from systolith.compiler.compile import CompiledModel
from systolith.spec.commands import Target

__all__ = ["MemoryUse", "TensorPlace", "memory_use", "tensor_places"]


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """One memory: what is used of it, and what there is, in ``unit``.

    Parameters
    ----------
    bound: what is in use at one time at most: no placement of the same buffers uses less. None
        where nothing is placed.
    """

    name: str
    used: int
    available: int
    unit: str
    bound: int | None = None


@dataclass(frozen=True, kw_only=True)
class TensorPlace:
    """Where a tensor lies in the activation memory.

    Parameters
    ----------
    name: the tensor.
    region: number of the activation memory, -1 for external memory.
    address: byte address of its first element.
    shape: (H, W, C).
    strides: bytes between neighbours along each axis.
    """

    name: str
    region: int
    address: int
    shape: tuple[int, int, int]
    strides: tuple[int, int, int]


def memory_use(compiled: CompiledModel) -> tuple[MemoryUse, ...]:
    """Return the use of every memory."""
    program = compiled.program
    spec, loaded = program.spec, compiled.memory.constants
    weights, parameters, tables = (
        program.weights.shape[0],
        program.parameters.shape[0],
        program.tables.shape[0],
    )
    if loaded:
        weights = loaded[Target.WEIGHTS] // spec.array.columns
        parameters = loaded[Target.PARAMETERS] // spec.post.lanes
        tables = loaded[Target.TABLES]
    rows = (
        ("activations", compiled.memory.peak, spec.activation_total, "bytes"),
        ("weights", weights, spec.weight_words, "words"),
        ("parameters", parameters, spec.lane_words, "lane words"),
        ("tables", tables, spec.memory.tables, "tables"),
        ("softmax tables", program.exponents.shape[0], spec.post.softmax_tables, "tables"),
        ("commands", len(program.commands), spec.memory.command_words, "words"),
        ("stamps", len(program.layers), spec.memory.stamps, "stamps"),
    )
    bounds = {"activations": compiled.memory.bound}
    return tuple(
        MemoryUse(name=n, used=u, available=a, unit=k, bound=bounds.get(n)) for n, u, a, k in rows
    )


def tensor_places(compiled: CompiledModel) -> tuple[TensorPlace, ...]:
    """Return every tensor's place, in the order of the program's buffers."""
    stride = compiled.program.spec.region_stride
    return tuple(
        TensorPlace(
            name=name,
            region=-1 if buffer.external else buffer.base // stride,
            address=buffer.base,
            shape=buffer.shape,
            strides=buffer.strides,
        )
        for name, buffer in compiled.program.buffers.items()
    )
