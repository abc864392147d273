"""Whether the addresses that a command touches have memory behind them."""

from systolith.compiler.footprint import Access
from systolith.compiler.spaces import Int64Array, Space, by_space
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.program import Program

__all__ = ["outside_memory"]

_NAMES = {
    Space.ACTIVATIONS: "activation",
    Space.WEIGHTS: "weight",
    Space.PARAMETERS: "parameter",
    Space.TABLES: "table",
    Space.COMMANDS: "command",
    Space.EXPONENTS: "exponent",
    Space.EXTERNAL: "external",
}


def _sizes(program: Program) -> dict[Space, int]:
    spec = program.spec
    return {
        Space.WEIGHTS: spec.weight_words,
        Space.PARAMETERS: spec.lane_words,
        Space.TABLES: 256 * spec.memory.tables,
        Space.COMMANDS: spec.memory.command_words,
        Space.EXPONENTS: 256 * spec.post.softmax_tables,
        Space.EXTERNAL: program.external_bytes,
    }


def _in_regions(spec: AcceleratorSpec, starts: Int64Array, ends: Int64Array) -> bool:
    """Whether every interval lies in one activation region."""
    inside = (ends - 1) % spec.region_stride < spec.memory.activation_bytes
    same = (ends - 1) // spec.region_stride == starts // spec.region_stride
    last = ends[-1] <= spec.memory.activation_regions * spec.region_stride
    return bool(inside.all() and same.all() and last and starts[0] >= 0)


def outside_memory(program: Program, access: Access) -> str | None:
    """Return the name of a memory that an access leaves, if it leaves one."""
    sizes = _sizes(program)
    for spans in (access.reads, access.writes):
        for space, starts, ends in by_space(spans):
            if space is Space.ACTIVATIONS:
                good = _in_regions(program.spec, starts, ends)
            else:
                good = bool(ends[-1] <= sizes[space])
            if not good:
                return _NAMES[space]
    return None
