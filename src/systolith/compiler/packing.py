"""Activations of 4 bits: which tensors lie in memory two codes a byte, for W4A4 to read.

A tensor is packed if all of its codes lie in a window of 16 that begins at a multiple of 8, and
all of its readers are layers that gain by it, or at least lose nothing. Its bytes then are a tensor
of half the channels for everything but the layers' weights: the steps' nodes are rewritten so.
A code's low 4 bits are its nibble, read as uint4 or int4 as the window begins.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from systolith.arithmetic import MacArithmetic
from systolith.compiler.errors import layer_error
from systolith.compiler.precision import (
    columns_at_once,
    exact_precisions,
    nibble_range,
    permitted_precisions,
    wanted_precision,
    weight_codes,
)
from systolith.compiler.reduction import Kernel, best_reduction
from systolith.compiler.steps import Step
from systolith.compiler.weight_choice import wanted_format
from systolith.graph import Graph, Op, Tensor
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import Precision, WeightFormat

__all__ = ["PackedTilesError", "Packing", "check_whole", "pack_tensors"]


class PackedTilesError(Exception):
    """Steps of packed tensors would be cut into tiles, which only steps of bytes can be.

    Parameters
    ----------
    tensors: which.
    """

    def __init__(self, tensors: AbstractSet[str]) -> None:
        super().__init__(", ".join(sorted(tensors)))
        self.tensors = tensors


def check_whole(step: Step) -> None:
    """Require of a step that is to be cut into tiles that its tensors are bytes.

    Raises
    ------
    PackedTilesError: one is not.
    """
    packed = {step.source} if step.packed_source is not None else set()
    packed |= {step.target} if step.packed else set()
    if packed:
        raise PackedTilesError(packed)


@dataclass(frozen=True, kw_only=True, eq=False)
class Packing:
    """The result of `pack_tensors`.

    Parameters
    ----------
    graph: packed tensors are bytes: half the channels, uint8.
    steps: zero points and `Step.packed` to match.
    windows: least code of every packed tensor's window.
    """

    graph: Graph
    steps: tuple[Step, ...]
    windows: Mapping[str, int]


def _codes(step: Step, tensor: Tensor) -> tuple[int, int] | None:
    """Least and largest code that a layer with weights can store; None for other steps."""
    arithmetic = step.node.arithmetic
    if not isinstance(arithmetic, MacArithmetic):
        return None
    low, high = arithmetic.requant.low, arithmetic.requant.high
    if step.addition is not None:
        low, high = step.addition.arithmetic.low, step.addition.arithmetic.high
    if step.table is not None:
        codes = step.table[np.arange(low, high + 1) & 255].view(tensor.dtype)
        low, high = int(codes.min()), int(codes.max())
    return low, high


def _window(low: int, high: int) -> int | None:
    """Where a window of 16 codes begins that holds a range, a multiple of 8; None if none does."""
    first = low // 8 * 8
    return first if high - first < 16 else None


class _Packer:
    def __init__(
        self,
        graph: Graph,
        steps: Sequence[Step],
        kept: AbstractSet[str],
        bytewise: AbstractSet[str],
        spec: AcceleratorSpec,
    ) -> None:
        self.graph, self.steps, self.spec = graph, steps, spec
        self.kept, self.bytewise = kept, bytewise
        self.windows: dict[str, int] = {}

    def fault(self, step: Step) -> str | None:
        """Return why a layer's input cannot be packed, None if it can."""
        name, array = step.source, self.spec.array
        tensor, readers = self.graph.tensor(name), self._readers(name)
        writers = [s for s in self.steps if s.target == name]
        codes = _codes(writers[0], tensor) if len(writers) == 1 else None
        window = None if codes is None else _window(*codes)
        faults = (
            (Precision.W4A4 not in array.precisions, "array.precisions lacks w4a4"),
            (array.columns % 2 or array.rows % 2, "the array must have even rows and columns"),
            (name in self.kept, f"{name!r} is an input or output of the network"),
            (name in self.bytewise, f"{name!r} does not fit on chip beside other tensors"),
            (tensor.shape[2] % 2, f"{name!r} must have an even number of channels"),
            (codes is None, f"{name!r} must be written by one layer with weights"),
            (codes is not None and not self._whole_bytes(writers[0]),
             f"a byte of {name!r} would lie in two groups of channels"),
            (window is None, f"{name!r} must have 16 codes at most, beside a multiple of 8"),
            (not all(self._reads(r, name, window) for r in readers),
             f"all readers of {name!r} must be layers with 4-bit weights, of one group"),
        )  # fmt: skip
        return next((text for wrong, text in faults if wrong), None)

    def _readers(self, name: str) -> list[Step]:
        return [
            s
            for s in self.steps
            if name in (s.source, *s.node.inputs) or (s.addition and s.addition.other == name)
        ]

    def _whole_bytes(self, writer: Step) -> bool:
        """Whether a layer can store an even number of channels in every tile."""
        arithmetic, groups = writer.node.arithmetic, writer.node.attributes.get("groups", 1)
        assert isinstance(arithmetic, MacArithmetic)
        made = len(arithmetic.weights) // groups
        return groups == 1 or made % 2 == 0 or 2 * made <= self.spec.array.columns

    def _reads(self, step: Step, name: str, window: int | None) -> bool:
        """Whether a step can multiply a tensor's codes when they are packed."""
        arithmetic = step.node.arithmetic
        other = step.addition.other if step.addition else None
        if not isinstance(arithmetic, MacArithmetic) or window is None:
            return False
        zero = window <= arithmetic.input_zero_point < window + 16
        pads = any(step.node.attributes.get("pads", ()))
        return (
            step.node.attributes.get("groups", 1) == 1
            and step.source == name != other
            and weight_codes(arithmetic) is not None
            and (zero or not pads)
            and wanted_precision(step.node) in (None, Precision.W4A4)
            and Precision.W4A4 in permitted_precisions(step.node)
            and wanted_format(step.node) in (None, WeightFormat.DENSE)
        )

    def gains(self, name: str) -> bool:
        """Whether the readers of a tensor take no more cycles than with bytes, all together."""
        packed = bytewise = 0
        for step in self._readers(name):
            options = exact_precisions(step.node, self.spec.array)
            packed += self._cycles(step, Precision.W4A4)
            bytewise += min(self._cycles(step, precision) for precision in options)
        return packed <= bytewise

    def _cycles(self, step: Step, precision: Precision) -> int:
        """About the cycles of a layer of one group, neighbouring outputs side by side if better."""
        array, node = self.spec.array, step.node
        height, width, channels = self.graph.tensor(node.outputs[0]).shape
        depth = self.graph.tensor(step.source).shape[2]
        (kh, kw), (_, stride), (_, dilation) = (
            node.attributes.get(name, (1, 1)) for name in ("kernel", "strides", "dilations")
        )
        columns, found = columns_at_once(array, precision), []
        for beside in range(1, max(1, columns // channels) + 1):
            taps = kw if beside == 1 else (kw - 1) * dilation + 1 + (beside - 1) * stride
            row = self.graph.tensor(step.source).shape[1] * depth
            kernel = Kernel(height=kh, width=taps, row=row, pixel=depth, channels=depth)
            passes = best_reduction(kernel, array.rows, precision).passes
            vectors = max(height * -(-width // beside), array.rows)
            found.append(passes * -(-channels * beside // columns) * vectors)
        return min(found)

    def choose(self) -> None:
        """Fill `windows`."""
        for step in self.steps:
            if step.node.op not in (Op.CONV2D, Op.FULLY_CONNECTED):
                continue
            wanted = wanted_precision(step.node) is Precision.W4A4
            fault = self.fault(step)
            if fault is not None and wanted:
                remedy = "leave the layer's precision out"
                raise layer_error(step.node, f"precision w4a4 is not possible: {fault}", remedy)
            if fault is not None or not (wanted or self.gains(step.source)):
                continue
            writer = next(s for s in self.steps if s.target == step.source)
            codes = _codes(writer, self.graph.tensor(step.source))
            assert codes is not None
            window = _window(*codes)
            assert window is not None
            self.windows[step.source] = window

    def rewritten(self, step: Step) -> Step:
        """A step that reads and writes bytes of packed tensors."""
        node = step.node
        if step.source in self.windows:
            assert isinstance(node.arithmetic, MacArithmetic)
            zero = node.arithmetic.input_zero_point - _nibble_zero(self.windows[step.source])
            node = replace(node, arithmetic=replace(node.arithmetic, input_zero_point=zero))
        return replace(
            step,
            node=node,
            packed_source=self.windows.get(step.source),
            packed=step.target in self.windows,
        )


def _nibble_zero(window: int) -> int:
    """What a code is more than the value of its nibble."""
    return window - nibble_range(window)[0]


def pack_tensors(
    graph: Graph,
    steps: Sequence[Step],
    kept: AbstractSet[str],
    bytewise: AbstractSet[str],
    spec: AcceleratorSpec,
) -> Packing:
    """Choose the tensors that are packed, and let steps and graph see their bytes.

    Parameters
    ----------
    graph, steps: the network.
    kept: tensors that the host reads or writes.
    bytewise: tensors that must not be packed.
    spec: the accelerator.

    Raises
    ------
    CompileError: a layer's attribute `precision` asks for W4A4 and it is not possible.
    """
    packer = _Packer(graph, steps, kept, bytewise, spec)
    packer.choose()
    tensors = dict(graph.tensors)
    for name in packer.windows:
        height, width, channels = tensors[name].shape
        tensors[name] = replace(tensors[name], shape=(height, width, channels // 2), dtype="uint8")
    return Packing(
        graph=replace(graph, tensors=tensors),
        steps=tuple(packer.rewritten(step) for step in steps),
        windows=packer.windows,
    )
