"""What the readers of damaged files raise, as one error for users."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from systolith.errors import ModelError

__all__ = ["damage_as_model_error"]

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
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ModelError(f"damaged or truncated {kind} file ({reason})") from error
