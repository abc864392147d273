"""Which STORE consumes what a MATMUL computes."""

from collections.abc import Iterator, Mapping, Sequence

from systolith.spec.commands import Opcode

__all__ = ["consumers"]


def consumers(
    commands: Sequence[tuple[Opcode, Mapping[str, int]]],
) -> Iterator[Mapping[str, int]]:
    """For every MATMUL the fields of the STORE that consumes its sums.

    STORE number k consumes what the MATMUL number k completes of those that are not partial.
    """
    stores = iter([values for opcode, values in commands if opcode is Opcode.STORE])
    store: Mapping[str, int] | None = None
    for opcode, values in commands:
        if opcode is Opcode.MATMUL:
            store = next(stores) if store is None else store
            yield store
            store = store if values["partial"] else None
