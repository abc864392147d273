"""What the readers of damaged files raise, as one error for users."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from systolith.errors import ModelError

__all__ = ["damage_as_model_error", "damage_of_layer"]

_DAMAGE = (
    struct.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
"""Neither the flatbuffers nor the protobuf reader verifies a file: bad offsets surface as these."""


@contextmanager
def damage_as_model_error(kind: str) -> Iterator[None]:
    """Turn what a damaged file of `kind` makes its reader raise into ModelError."""
    try:
        yield
    except ModelError:
        raise
    except _DAMAGE as error:
        raise ModelError(f"damaged or truncated {kind} file ({_reason(error)})") from error


@contextmanager
def damage_of_layer(layer: str, op: str) -> Iterator[None]:
    """The same, where it is known which layer is at fault."""
    try:
        yield
    except ModelError:
        raise
    except _DAMAGE as error:
        text = f"{op} has damaged inputs, outputs or attributes ({_reason(error)})"
        raise ModelError(text, layer=layer, op=op) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
