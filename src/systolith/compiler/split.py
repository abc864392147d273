"""Cutting a layer's commands, so that its weights fit and compute can follow them."""

from collections.abc import Iterable, Sequence

from systolith.compiler.cuts import (
    cut_passes,
    full_values,
    loaded_words,
    single_tiles,
    weight_words,
)
from systolith.compiler.ir import Pair, Storage, SymbolicCommand
from systolith.compiler.predict import cycles
from systolith.compiler.two_of_four import tile_words
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode
from systolith.spec.registers import Window, window_stride

__all__ = ["Splitter"]

_PIECE = 4096
"""Bytes of weights that a command waits for when compute is as fast as the bus."""
_SLACK = 256
"""Cycles that compute may wait for a layer's weights before the layer is cut."""


def _moved(
    command: SymbolicCommand, name: str, stride: str, first: int
) -> tuple[Storage, int] | None:
    """The base of a stream at channel tile ``first``."""
    if name not in command.bases:
        return None
    storage, offset = command.bases[name]
    return storage, offset + first * command.values.get(stride, 0)


def _part(pair: Pair, first: int, count: int, rows: int) -> Pair:
    """Channel tiles ``first`` to ``first + count`` of a command pair."""
    m, s = dict(pair.matmul.values), dict(pair.store.values)
    m["n_count"] = s["n_count"] = count
    if not m.get("w_hold"):
        m["w_base"] += first * weight_words(full_values(Opcode.MATMUL, m), rows)
    s["p_base"] += first * s["p_stride"]
    width = s["tile_channels"]
    s["channels"] = min(s["channels"] - first * width, count * width)
    bases = [
        {
            name: moved
            for name, stride in streams
            if (moved := _moved(command, name, stride, first)) is not None
        }
        for command, streams in (
            (pair.matmul, [("x_base", "x_n_stride")]),
            (pair.store, [("y_base", "y_n_stride"), ("r_base", "r_n_stride")]),
        )
    ]
    if count == 1:
        m["x_n_stride"] = s["y_n_stride"] = s["r_n_stride"] = 0
    return Pair(
        matmul=SymbolicCommand(
            opcode=Opcode.MATMUL, layer=pair.matmul.layer, values=m, bases=bases[0]
        ),
        store=SymbolicCommand(
            opcode=Opcode.STORE, layer=pair.store.layer, values=s, bases=bases[1]
        ),
        before=() if first else pair.before,
    )


class Splitter:
    """Cuts layers in execution order.

    Parameters
    ----------
    spec: sizes of the memories and the bus.
    pairs: all of the network's, whose constants may or may not fit.
    """

    def __init__(self, spec: AcceleratorSpec, pairs: Iterable[Pair]) -> None:
        self.spec = spec
        weights, parameters = dict[int, int](), dict[int, int]()
        for pair in pairs:
            m = full_values(Opcode.MATMUL, pair.matmul.values)
            s = full_values(Opcode.STORE, pair.store.values)
            words = loaded_words(m, spec.array.rows) * (1 if m["w_hold"] else m["n_count"])
            weights[m["w_base"]] = max(weights.get(m["w_base"], 0), words)
            beats = -(-min(s["tile_channels"], s["channels"]) // spec.post.lanes)
            beats += (s["n_count"] - 1) * s["p_stride"]
            parameters[s["p_base"]] = max(parameters.get(s["p_base"], 0), beats)
        self._weights_fit = sum(weights.values()) <= spec.weight_words
        self._parameters_fit = sum(parameters.values()) <= spec.lane_words
        self._loaded = self._computed = 0
        self._known: set[int] = set()

    def split(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Return the layer's pairs, cut where its constants are too large or come too late.

        Raises
        ------
        CompileError: one channel tile is larger than a memory.
        """
        result: list[Pair] = []
        position = 0
        while position < len(pairs):
            # Regions of one layer part read the same weights.
            key = _weights_of(pairs[position])
            end = position
            while end < len(pairs) and _weights_of(pairs[end]) == key:
                end += 1
            result += self._group(pairs[position:end])
            position = end
        return result

    def _group(self, pairs: Sequence[Pair]) -> list[Pair]:
        spec, rows = self.spec, self.spec.array.rows
        m = full_values(Opcode.MATMUL, pairs[0].matmul.values)
        s = full_values(Opcode.STORE, pairs[0].store.values)
        n = m["n_count"]
        words = loaded_words(m, rows)
        beats = -(-min(s["tile_channels"], s["channels"]) // spec.post.lanes)
        if words > spec.weight_words:
            return [self._chain(tile) for pair in pairs for tile in single_tiles(pair, rows)]
        late = self._late(pairs, m)
        most = n
        if not m["w_hold"] and not self._weights_fit:
            most = min(most, _fitting(words, n, spec.weight_words))
        if s["p_stride"] and not self._parameters_fit:
            most = min(most, _fitting(beats, n, spec.lane_words))
        ordered_by_tile = most < n and not any(pair.before for pair in pairs)
        if late and not m["w_hold"]:
            stride = window_stride(spec, Window.WEIGHTS)
            most = min(most, max(1, _PIECE // (words * stride)))
        if most >= n:
            return list(pairs)
        pieces = -(-n // most)
        cuts = [n * i // pieces for i in range(pieces + 1)]
        parts = [
            [_part(pair, a, b - a, rows) for a, b in zip(cuts, cuts[1:], strict=False)]
            for pair in pairs
        ]
        if ordered_by_tile:
            return [part[i] for i in range(pieces) for part in parts]
        return [piece for part in parts for piece in part]

    def _late(self, pairs: Sequence[Pair], m: dict[str, int]) -> bool:
        """Whether compute would wait for the weights; advances both clocks."""
        spec = self.spec
        size = loaded_words(m, spec.array.rows) * (1 if m["w_hold"] else m["n_count"])
        if m["w_base"] not in self._known:
            self._known.add(m["w_base"])
            bytes_ = size * window_stride(spec, Window.WEIGHTS)
            self._loaded += bytes_ // spec.external.data_bytes
        late = self._loaded > self._computed + _SLACK
        busy = 0
        for pair in pairs:
            busy += cycles(Opcode.MATMUL, full_values(Opcode.MATMUL, pair.matmul.values), spec)
        self._computed = max(self._computed + busy, self._loaded)
        return late

    def chained(self, sums: Sequence[SymbolicCommand]) -> list[SymbolicCommand]:
        """Return partial MATMULs, cut where their weights are too large."""
        result: list[SymbolicCommand] = []
        for matmul in sums:
            words = loaded_words(full_values(Opcode.MATMUL, matmul.values), self.spec.array.rows)
            result += [matmul] if words <= self.spec.weight_words else self._cut(matmul)
        return result

    def _chain(self, pair: Pair) -> Pair:
        """A pair of one tile, its MATMUL cut along the sums."""
        *sums, last = self._cut(pair.matmul)
        return Pair(matmul=last, store=pair.store, before=pair.before, sums=sums)

    def _cut(self, matmul: SymbolicCommand) -> list[SymbolicCommand]:
        """Let half of the memory hold the weights of a part, so that the next can be loaded."""
        spec, rows = self.spec, self.spec.array.rows
        words = 2 * tile_words(matmul.values, rows)
        return cut_passes(matmul, max(1, spec.weight_words // words), rows)


def _weights_of(pair: Pair) -> tuple[int, int, int]:
    m, s = pair.matmul.values, pair.store.values
    return m["w_base"], m.get("n_count", 1), s["p_base"]


def _fitting(size: int, count: int, capacity: int) -> int:
    """Channel tiles a command: all if they leave room for as many more, else a third."""
    if 2 * size * count <= capacity:
        return count
    return max(1, min(count, capacity // (3 * size)))
