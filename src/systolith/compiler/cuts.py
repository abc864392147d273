"""Cutting MATMULs along their sums, where the weights of a channel tile do not fit on chip."""

from collections.abc import Iterator

from systolith.compiler.ir import Pair, SymbolicCommand
from systolith.compiler.two_of_four import dense_rows, tile_words
from systolith.spec.commands import COMMANDS, Opcode

__all__ = ["cut_passes", "full_values", "loaded_words", "single_tiles", "weight_words"]


def full_values(opcode: Opcode, values: dict[str, int]) -> dict[str, int]:
    """All fields of a command that its encoder reads, with their defaults."""
    names = [f.name for f in COMMANDS[opcode].fields]
    ones = {n: 1 for n in names if n.endswith(("_count", "_step"))}
    return dict.fromkeys(names, 0) | ones | values


def weight_words(values: dict[str, int], rows: int) -> int:
    """Dense weight words of one channel tile; of the command if they are held."""
    return dense_rows(values, rows) * _passes(values)


def loaded_words(values: dict[str, int], rows: int) -> int:
    """Weight words that `weight_words` take at most, as they are stored."""
    return tile_words(values, rows) * _passes(values)


def _passes(values: dict[str, int]) -> int:
    """Weight tiles of a channel tile; of the command if they are held."""
    if values["w_hold"]:
        return 1
    return values["ky_count"] * values["kx_count"] * values["kc_count"]


def _moved(command: SymbolicCommand, t: int, n: int, **values: int) -> SymbolicCommand:
    """A command of one tile of another's: tile ``t``, channel tile ``n``."""
    v = command.values
    beyond = {
        name: t * v.get(f"{name[0]}_t_stride", 0) + n * v.get(f"{name[0]}_n_stride", 0)
        for name in command.bases
    }
    return command.moved(beyond, {"t_count": 1, "n_count": 1, **values})


def single_tiles(pair: Pair, rows: int) -> Iterator[Pair]:
    """The pairs that compute one tile and one channel tile each, in order.

    Parameters
    ----------
    pair: with weights that are not held.
    rows: of the array.
    """
    m = full_values(Opcode.MATMUL, pair.matmul.values)
    s = full_values(Opcode.STORE, pair.store.values)
    words, width = weight_words(m, rows), s["tile_channels"]
    for t in range(m["t_count"]):
        for n in range(m["n_count"]):
            yield Pair(
                matmul=_moved(pair.matmul, t, n, w_base=m["w_base"] + n * words),
                store=_moved(
                    pair.store,
                    t,
                    n,
                    p_base=s["p_base"] + n * s["p_stride"],
                    channels=min(width, s["channels"] - n * width),
                ),
                before=() if t or n else pair.before,
            )


def _parts(counts: tuple[int, int, int], most: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """First iterations and counts of the loops ky, kx, kc, of at most ``most`` passes each."""
    ky, kx, kc = counts
    if kx * kc <= most:
        step = most // (kx * kc)
        for y in range(0, ky, step):
            yield (y, 0, 0), (min(step, ky - y), kx, kc)
        return
    for y in range(ky):
        if kc <= most:
            step = most // kc
            for x in range(0, kx, step):
                yield (y, x, 0), (1, min(step, kx - x), kc)
            continue
        for x in range(kx):
            for c in range(0, kc, most):
                yield (y, x, c), (1, 1, min(most, kc - c))


def cut_passes(matmul: SymbolicCommand, most: int, rows: int) -> list[SymbolicCommand]:
    """Return MATMULs of at most ``most`` passes each that compute together what one does.

    All but the last leave their sums for the next.

    Parameters
    ----------
    matmul: of one tile; its weights are not held.
    rows: of the array.
    """
    v = full_values(Opcode.MATMUL, matmul.values)
    rows = dense_rows(v, rows)
    names = ("ky", "kx", "kc")
    counts = v["ky_count"], v["kx_count"], v["kc_count"]
    made = []
    for first, count in _parts(counts, most):
        passes = (first[0] * counts[1] + first[1]) * counts[2] + first[2]
        values = {f"{n}_count": c for n, c in zip(names, count, strict=True)}
        values |= {"w_base": v["w_base"] + passes * rows, "accumulate": 1, "partial": 1}
        moved = sum(f * v[f"x_{n}_stride"] for n, f in zip(names, first, strict=True))
        made.append(matmul.moved({"x_base": moved}, values))
    made[0].values["accumulate"] = v["accumulate"]
    made[-1].values["partial"] = v["partial"]
    return made
