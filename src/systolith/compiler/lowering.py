"""What all lowerings share: the target, the constants, and the fields of the STORE command."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np

from systolith.compiler.constants import Constants
from systolith.compiler.emit import Job, Stream, is_linear, store_stream
from systolith.compiler.errors import layer_error
from systolith.compiler.fit_residual import ResidualParameters, fit_product, fit_residual
from systolith.compiler.ir import View
from systolith.compiler.layout import Layout
from systolith.compiler.overlap import RowSplitter, WholeRows
from systolith.compiler.precision import nibble_range
from systolith.compiler.problem import Proof, Requantizer
from systolith.compiler.steps import Addition, Step
from systolith.compiler.tiling import Load, Region
from systolith.compiler.two_of_four import stored_rows
from systolith.graph import Graph, Node, Op
from systolith.profiles.binary import binary_table
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Lowering"]


_T = TypeVar("_T")

_HELD = 4
"""Cycles of a pass with held weights at least: sums wait for those of the pass before."""


@dataclass(kw_only=True, eq=False)
class Lowering:
    """The state of a compilation while steps become commands.

    Parameters
    ----------
    graph, spec, layout: what is compiled, for what, and where tensors lie.
    constants: collects weights, parameters and tables.
    splitter: decides at which rows steps are cut.
    notes: one line a layer, by node name.
    proofs: what was proven of a layer's requantizers, by node name.
    copied: names of moves that are COPY commands.
    early: tensors whose first channels are stored well before the rest, and how many.
    scratch: whether a layer may have buffers besides its operands.
    known: what has been fitted already, see `once`.
    """

    graph: Graph
    spec: AcceleratorSpec
    layout: Layout
    constants: Constants
    splitter: RowSplitter | WholeRows
    notes: dict[str, str] = field(default_factory=dict)
    proofs: dict[str, tuple[Proof, ...]] = field(default_factory=dict)
    copied: set[str] = field(default_factory=set)
    early: dict[str, int] = field(default_factory=dict)
    scratch: bool = True
    known: dict[tuple[object, ...], object] = field(default_factory=dict)

    def once(self, owner: object, make: Callable[[], _T], *key: object) -> _T:
        """What ``make`` returns, computed once for an object, compared by identity, and a key."""
        full = (id(owner), *key)
        if full not in self.known:
            # The object stays alive with its result: its identity is not given away again.
            self.known[full] = owner, make()
        return cast(tuple[object, _T], self.known[full])[1]

    def signed(self, tensor: str) -> bool:
        """Whether the tensor's codes are int8."""
        return self.graph.tensor(tensor).dtype == "int8"

    def signed_codes(self, step: Step) -> bool:
        """Whether the codes that a step reads are signed: int8, or packed int4."""
        packed = step.packed_source
        return self.signed(step.source) if packed is None else nibble_range(packed)[0] < 0

    def bytes_of(self, step: Step, channels: int) -> int:
        """Bytes that channels of a step's output take."""
        return channels // 2 if step.packed else channels

    def view(self, tensor: str) -> View:
        """Where the tensor lies."""
        return self.layout.views[tensor]

    def region(self, step: Step, packed: int = 1) -> Region:
        """The whole output of a step, in vectors of ``packed`` pixels."""
        height, width, _ = self.graph.tensor(step.target).shape
        return Region(y=0, x=0, height=height, width=width // packed)

    def regions(self, step: Step, job: Job, packed: int = 1, *, ahead: bool = True) -> list[Region]:
        """The output of a step that has one job, cut in two where that saves waiting.

        Parameters
        ----------
        packed: output pixels of a vector.
        ahead: whether the next step may start on the first rows.
        """
        whole = self.region(step, packed)
        linear = is_linear(job, whole)
        return self.splitter.regions(step, whole, job.load, linear=linear, ahead=ahead)

    def load(
        self,
        passes: int,
        channels: int,
        tile_channels: int,
        *,
        hold: bool = False,
        sparse: bool = False,
    ) -> Load:
        """What tiles of a layer cost, whose weights are held or two of four."""
        rows = self.spec.array.rows
        return Load(
            depth=self.spec.memory.accumulator_depth,
            least=_HELD if hold else stored_rows(rows) if sparse else rows,
            passes=passes,
            beats=-(-min(channels, tile_channels) // self.spec.post.lanes),
            channel_tiles=-(-channels // tile_channels),
        )

    def residual_stream(self, step: Step, channel: int = 0) -> Stream | None:
        """The stream of the residual operand, repeated where it is broadcast."""
        if step.addition is None:
            return None
        shape = self.graph.tensor(step.target).shape
        return store_stream(self.view(step.addition.other).broadcast(shape), channel)

    def store_fields(
        self, step: Step, requantizer: Requantizer, parameters: tuple[int, int]
    ) -> dict[str, int]:
        """The fields of STORE that say what is computed."""
        values = {
            "mode": int(requantizer.mode),
            "p_base": parameters[0],
            "p_stride": parameters[1],
            "zero": requantizer.zero,
            "low": requantizer.low,
            "high": requantizer.high,
            "packed": int(step.packed),
        }
        copied = step.node.op in (Op.LUT, Op.ADD, Op.SUB, Op.MUL)
        notes = [] if copied else [requantizer.note]
        known = self.proofs.get(step.node.name, ())
        if requantizer.proof is not None and not any(p is requantizer.proof for p in known):
            self.proofs[step.node.name] = (*known, requantizer.proof)
        addition = step.addition
        if addition is not None:
            values |= self._residual_fields(addition, requantizer)
            node, own = addition.node, addition.own
            if node.op is Op.MUL:
                # The requantizer's result comes without its zero point.
                values |= {n: values[n] - own.zero_point for n in ("zero", "low", "high")}
                values |= {"r_product": 1, "r_zero_r": addition.second.zero_point}
            what = "product" if node.op is Op.MUL else "add"
            notes.append(f"{what} {node.name!r} proven on every pair of codes")
        if step.table is not None:
            values |= {"table": 1, "table_index": self.constants.table(step.table)}
            notes.append("table")
        self.notes[step.node.name] = "; ".join(notes)
        return values

    def _residual_fields(self, addition: Addition, requantizer: Requantizer) -> dict[str, int]:
        fit = self.once(
            addition.node,
            lambda: self._fit_addition(addition, requantizer),
            (requantizer.low, requantizer.high, addition.swapped),
        )
        return {
            "residual": 1,
            "r_signed": int(self.signed(addition.other)),
            "r_shift": fit.shift,
            "r_rounding": int(fit.rounding),
            "r_zero": fit.zero,
            "r_low": fit.low,
            "r_high": fit.high,
            "r_multiplier_y": fit.multiplier_y,
            "r_multiplier_r": fit.multiplier_r,
            "r_offset": fit.offset,
        }

    def _fit_addition(self, addition: Addition, requantizer: Requantizer) -> ResidualParameters:
        """Fit the residual add or product on every pair of codes that can meet."""
        k, node, own, other = addition.arithmetic, addition.node, addition.own, addition.second
        table = binary_table(k)
        if addition.swapped:
            table = table.T
        y = np.arange(max(requantizer.low, own.low), min(requantizer.high, own.high) + 1)
        r = np.arange(other.low, other.high + 1)
        wanted = table[np.ix_(y & 255, r & 255)]
        if node.op is Op.MUL:
            fit = fit_product(
                wanted,
                y - own.zero_point,
                r,
                zero_r=other.zero_point,
                slope=k.a.scale * k.b.scale / k.out.scale,
                zero_point=k.out.zero_point,
                low=k.low,
                high=k.high,
            )
        else:
            signs = (1.0, -1.0 if node.op is Op.SUB else 1.0)
            y_sign, r_sign = reversed(signs) if addition.swapped else signs
            fit = fit_residual(
                wanted,
                y,
                r,
                slopes=(y_sign * own.scale / k.out.scale, r_sign * other.scale / k.out.scale),
                zero_point=k.out.zero_point,
                low=k.low,
                high=k.high,
            )
        if fit is None:
            what = "product" if node.op is Op.MUL else "add"
            raise layer_error(
                node,
                f"no residual {what} equals formula {k.formula!r} on every pair of codes",
                "use another profile, or give the layer other scales",
            )
        return fit

    def error(self, node: Node, reason: str, remedy: str) -> Exception:
        """The error of a layer that cannot be lowered."""
        return layer_error(node, reason, remedy)
