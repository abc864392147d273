"""The one way the compiler words an error."""

from systolith.errors import CompileError
from systolith.graph import Node

__all__ = ["layer_error"]


def layer_error(node: Node, reason: str, remedy: str) -> CompileError:
    """Return ``layer 'x' (OP): reason; remedy`` as an exception to raise."""
    operator = node.source_op or node.op.name
    return CompileError(f"layer {node.name!r} ({operator}): {reason}; {remedy}")
