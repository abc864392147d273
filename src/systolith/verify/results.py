"""What a verification found: plain data for tables, JSON and JUnit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from systolith.compiler.problem import Proof

__all__ = ["Bounded", "LayerReport", "Mismatch", "Proven", "VerifyReport"]


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The first value of a layer that differs.

    Parameters
    ----------
    layer, op, tensor: where.
    sample: number of the input, from 0.
    index: coordinates [y, x, channel].
    source_index: coordinates in the runtime's own array, its batch first.
    got, expected: hardware's and the other side's value.
    against: who computed `expected`.
    program: ``fused`` or ``unfused``, the program that gave `got`.
    details: what the value was made of (accumulator, bias, multiplier ...), from the graph and
        the hardware's own inputs of the layer.
    """

    layer: str
    op: str
    tensor: str
    sample: int
    index: tuple[int, ...]
    source_index: tuple[int, ...]
    got: float
    expected: float
    against: str
    program: str
    details: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """Floats that were compared with bounds.

    Parameters
    ----------
    values: how many.
    gap: greatest difference from the runtime's value.
    bound: greatest that may be.
    peak: greatest magnitude of a value.
    """

    values: int
    gap: float
    bound: float
    peak: float

    def joined(self, other: "Bounded | None") -> "Bounded":
        """Return the same of two sets of values."""
        if other is None:
            return self
        return Bounded(
            values=self.values + other.values,
            gap=max(self.gap, other.gap),
            bound=max(self.bound, other.bound),
            peak=max(self.peak, other.peak),
        )


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One node of the graph.

    Parameters
    ----------
    name, op, source_op: node, the graph's operator, the model file's.
    tensor, shape: its output, canonical (H, W, C).
    macs: multiply-accumulates of one inference.
    cycles: from the completion of the layer before to its own; None without a clock or commands.
    utilisation: ``macs / (cycles * rows * columns)``, None where there is nothing to divide.
    where: ``array``, ``fused``, ``alias`` or ``host``.
    mode: requantizer mode, or empty.
    note: how it is known that the arithmetic is the runtime's.
    proofs: the same as data: formulas, modes, widths, channels and accumulators.
    bounded: what is known of values that were compared with bounds; None where all were compared
        for equality.
    against: what the values were compared with, parts joined by `` + ``.
    compared, mismatches: values, over all samples and references.
    hidden: whether its output was read from a second program without fusion, or could not be read
        at all, because of a backend that shows outputs alone.
    """

    name: str
    op: str
    source_op: str
    tensor: str
    shape: tuple[int, int, int]
    macs: int
    cycles: int | None
    utilisation: float | None
    where: str
    mode: str
    note: str
    against: str
    compared: int
    mismatches: int
    hidden: bool
    proofs: tuple[Proof, ...] = ()
    bounded: Bounded | None = None


@dataclass(frozen=True, kw_only=True)
class Proven:
    """Totals of all proofs.

    Parameters
    ----------
    layers, channels, accumulators: proven equal by their steps.
    direct: layers whose mode is the runtime's formula itself.
    bits: the widest multiplier in use, 0 if there is none.
    """

    layers: int
    channels: int
    accumulators: int
    direct: int
    bits: int


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """A whole verification.

    Parameters
    ----------
    model, profile: file name and arithmetic.
    runtime: name and version of the software that ran live.
    backend: golden, pysim or verilator.
    accelerator: the specification's nested values.
    rows, columns: of the array.
    samples: inferences run.
    inputs_from: where the inputs came from.
    reference_from: file of stored tensors, or empty.
    layers: every node in execution order.
    first: the first mismatch, or None.
    cycles: of one inference, None without a clock.
    counters: hardware counters of the last inference.
    seconds: wall time by stage.
    remarks: sentences that qualify the result.
    labels, predictions: of each sample where labels are known, else empty.
    bound: share of values that may differ by one code, because the runtime is not exactly
        reproducible itself; every layer is then compared on its own inputs. 0 where it is.
    worst: greatest difference found.
    """

    model: str
    profile: str
    runtime: str
    backend: str
    accelerator: Mapping[str, object]
    rows: int
    columns: int
    samples: int
    inputs_from: str
    reference_from: str
    layers: tuple[LayerReport, ...]
    first: Mismatch | None
    cycles: int | None
    counters: Mapping[str, int]
    seconds: Mapping[str, float]
    remarks: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    predictions: tuple[int, ...] = ()
    bound: float = 0.0
    worst: float = 0.0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def proven(self) -> Proven:
        """What the compiler proved of the requantizers."""
        layers = [layer.proofs for layer in self.layers if layer.proofs]
        proofs = [proof for each in layers for proof in each]
        return Proven(
            layers=sum(not all(p.direct for p in each) for each in layers),
            channels=sum(p.channels for p in proofs if not p.direct),
            accumulators=sum(p.accumulators for p in proofs),
            direct=sum(all(p.direct for p in each) for each in layers),
            bits=max((p.bits for p in proofs), default=0),
        )

    @property
    def compared(self) -> int:
        """Values compared."""
        return sum(layer.compared for layer in self.layers)

    @property
    def bounded(self) -> int:
        """Values among them that were compared with bounds, as float additions have no order."""
        return sum(layer.bounded.values for layer in self.layers if layer.bounded is not None)

    @property
    def mismatches(self) -> int:
        """Values that differ."""
        return sum(layer.mismatches for layer in self.layers)

    @property
    def ok(self) -> bool:
        """Whether every layer was compared, but for what fusion hides, and no more differs than
        the profile's bound allows."""
        within = self.mismatches <= self.allowed and (not self.mismatches or self.worst <= 1)
        return within and self.compared > 0 and not self.uncompared

    @property
    def allowed(self) -> int:
        """Values that may differ."""
        return math.ceil(self.bound * self.compared)

    @property
    def uncompared(self) -> tuple[str, ...]:
        """Layers that should have been compared and were not."""
        return tuple(each.name for each in self.layers if not (each.compared or each.hidden))

    @property
    def utilisation(self) -> float | None:
        """Of the whole network: ``macs / (cycles * rows * columns)``."""
        if not self.cycles:
            return None
        return self.macs / (self.cycles * self.rows * self.columns)

    @property
    def accuracy(self) -> float | None:
        """Share of samples whose prediction is the label."""
        if not self.labels:
            return None
        pairs = zip(self.labels, self.predictions, strict=True)
        return sum(a == b for a, b in pairs) / len(self.labels)
