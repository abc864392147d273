"""Where the cycles of each layer went, and what keeps it from its floor."""

from collections.abc import Mapping
from dataclasses import dataclass

from systolith.cycles.predict import Prediction
from systolith.spec.commands import Opcode
from systolith.spec.program import Program

__all__ = ["STALLS", "LayerCycles", "explain"]

STALLS = (
    "stall_commands",
    "stall_tokens",
    "stall_weights",
    "stall_accumulators",
    "stall_activations",
)
"""The counters of cycles in which no vector enters the array; no two hold at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCycles:
    """The stretch of a run from the time stamp of the layer before to the layer's own.

    ``cycles == busy + starts + sum(stalls.values())``. A layer's last results are stored while the
    array may already work for the next, so that its first vectors may count for the layer before.

    Parameters
    ----------
    name: the layer's; empty for what follows the last stamp.
    cycles: length of the stretch.
    busy: cycles in which a vector entered the array.
    starts: commands that the compute unit started, a cycle each.
    stalls: cycles of each of `STALLS`.
    floor: cycles below which no array of this size computes it; 0 if none was given.
    """

    name: str
    cycles: int
    busy: int
    starts: int
    stalls: Mapping[str, int]
    floor: float = 0.0

    @property
    def excess(self) -> float:
        """Cycles above the floor."""
        return self.cycles - self.floor

    @property
    def reason(self) -> str:
        """What explains most of the excess: a stall, or ``array_busy`` if the work itself does."""
        shares: dict[str, float] = {**self.stalls, "array_busy": self.busy - self.floor}
        return max(shares, key=lambda name: shares[name])


def explain(
    program: Program, prediction: Prediction, floors: Mapping[str, float] | None = None
) -> tuple[LayerCycles, ...]:
    """Divide a run among the program's layers; what comes after the last is one more, nameless.

    Parameters
    ----------
    floors: fewest cycles by name of layer (`systolith.bounds.layer_floors`); a layer's own and
        those of the nodes fused with it are added.
    """
    floors = floors or {}
    result = []
    begin = 0
    for layer in program.layers:
        end = prediction.stamps[layer.stamp]
        floor = sum(floors.get(name, 0.0) for name in (layer.name, *layer.fused))
        result.append(_stretch(layer.name, prediction, begin, end, floor))
        begin = end
    if begin < prediction.cycles:
        result.append(_stretch("", prediction, begin, prediction.cycles, 0.0))
    return tuple(result)


def _stretch(name: str, prediction: Prediction, begin: int, end: int, floor: float) -> LayerCycles:
    stalls = {
        stall: prediction.spans[stall].total(begin, end) if stall in prediction.spans else 0
        for stall in STALLS
    }
    starts = sum(c.opcode is Opcode.MATMUL and begin <= c.start < end for c in prediction.commands)
    return LayerCycles(
        name=name,
        cycles=end - begin,
        busy=end - begin - starts - sum(stalls.values()),
        starts=starts,
        stalls=stalls,
        floor=floor,
    )
