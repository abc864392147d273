"""Keeping runtimes quiet."""

import contextlib
import os
from collections.abc import Iterator

__all__ = ["without_chatter"]


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Drop what runtimes print from C++ (LiteRT announces its delegates); errors are exceptions."""
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed: there is nothing to keep clean
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
