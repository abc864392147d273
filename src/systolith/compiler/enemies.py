"""Which storages are better placed in different regions: each region has one port a direction."""

from collections.abc import Iterator, Sequence

from systolith.compiler.ir import Pair, Storage, SymbolicCommand

__all__ = ["enemies", "rivals"]


def enemies(pairs: Sequence[Pair]) -> Iterator[tuple[Storage, Storage]]:
    """Yield pairs of storages for one of which the array would wait.

    Parameters
    ----------
    pairs: of a step or a tile of one.
    """
    for pair in pairs:
        x, y = pair.matmul.bases["x_base"][0], pair.store.bases["y_base"][0]
        if "r_base" in pair.store.bases:
            yield x, pair.store.bases["r_base"][0]
        for copy in pair.before:
            # COPY reads and writes beside the array, which reads what it has written.
            buffer = copy.bases["d_base"][0]
            yield copy.bases["s_base"][0], buffer
            yield y, buffer


def rivals(
    pairs: Sequence[Pair], loads: Sequence[SymbolicCommand], saves: Sequence[SymbolicCommand]
) -> Iterator[tuple[Storage, Storage]]:
    """Yield pairs of storages for one of which a transfer would wait.

    SAVE gives way to all other reads, LOAD to the writes of STORE. Copies keep both ports of a
    region busy, so that the others have to share.

    Parameters
    ----------
    pairs: of a step or a tile of one.
    loads, saves: what runs beside them.
    """
    copying = any(pair.before for pair in pairs)
    for pair in pairs:
        x, y = pair.matmul.bases["x_base"][0], pair.store.bases["y_base"][0]
        yield from ((x, save.bases["m_base"][0]) for save in saves)
        if not copying:
            yield from ((y, load.bases["m_base"][0]) for load in loads)
