"""The state of a PyTorch import: the current call, and the layers that both kinds of file have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Codes, MacArithmetic, PoolArithmetic, Requant
from systolith.graph import Graph, Op, Tensor
from systolith.importers.channels_first import (
    ChannelsFirst,
    append_move,
    codes_quantization,
    default_order,
    layout,
    moved,
)
from systolith.importers.geometry import Window
from systolith.importers.places import all_places
from systolith.importers.torch_program import Call, Ref, TorchProgram
from systolith.profiles.multipliers import SCALE_RULES
from systolith.profiles.table import Profile

__all__ = ["Filters", "TorchContext", "pair"]

_F = np.float32


def pair(value: Any) -> tuple[int, int]:
    """Return a window's two sides, given as one or two numbers."""
    sides = [value] if isinstance(value, int) else [int(side) for side in value]
    return (sides[0], sides[-1])


class Filters:
    """Weights and bias of a layer as PyTorch has them.

    Parameters
    ----------
    codes: int8 ``[Cout, ...]``.
    scales: float32, one or one per channel.
    bias: float32 ``[Cout]``.
    """

    def __init__(
        self, codes: NDArray[Any], scales: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> None:
        self.codes, self.scales, self.bias = codes, scales, bias


class TorchContext(ChannelsFirst):
    """A graph builder that reads one call of a program at a time.

    Parameters
    ----------
    program: the file, already run on zeros.
    profile: gives the arithmetic.
    """

    def __init__(self, program: TorchProgram, profile: Profile) -> None:
        super().__init__(profile)
        self.program = program
        self.call = Call(op="", output="", arguments=(), layer="", function=None)

    def enter(self, call: Call) -> None:
        """Make `call` the current layer."""
        self.call, self.layer, self.source_op = call, call.layer, call.op
        if any(each.name == self.layer for each in self.nodes):
            self.layer = f"{call.layer}_{call.output}"

    def read(self, operators: Mapping[str, Callable[[Self], None]]) -> None:
        """Read the inputs and all calls that lead to an output.

        Parameters
        ----------
        operators: handler of every supported operator.
        """
        for source, shape in self.program.inputs.items():
            self.make_input(source, shape)
        for call in self.program.live_calls():
            self.enter(call)
            handler = operators.get(call.op)
            if handler is None:
                self.unsupported()
            if call.output not in self.program.values:
                self.unsupported("its result must be one tensor")
            handler(self)

    def finish(self, data: bytes, name: str, path: str) -> Graph:
        """Return the graph of a program that has been read from a file's `data`."""
        return self.graph(
            name=name,
            inputs=list(self.program.inputs),
            outputs=list(self.program.outputs),
            source_path=path,
            model_bytes=data,
        )

    def argument(self, position: int, default: Any = None) -> Any:
        """Return a constant argument."""
        if position >= len(self.call.arguments):
            return default
        value = self.call.arguments[position]
        if isinstance(value, Ref):
            self.unsupported(f"its argument {position} must be a constant")
        return default if value is None else value

    def name(self, position: int) -> str:
        """Return the name of a computed argument."""
        value = self.call.arguments[position]
        if not isinstance(value, Ref):
            self.unsupported(f"its argument {position} must be computed by the network")
        return value.name

    def make_input(self, name: str, shape: tuple[int, ...]) -> None:
        """Add a float32 input of the network."""
        self.add_tensor(
            Tensor(
                name=name,
                shape=layout(shape, f"input {name!r}"),
                dtype="float32",
                source_name=name,
                source_shape=shape,
                order=default_order(shape),
            )
        )

    def make(
        self, name: str, shape: tuple[int, ...], codes: Codes | None, like: Tensor | None = None
    ) -> Tensor:
        """Make a tensor of codes (float32 if None) in the default layout, or in that of another."""
        if codes is not None:
            self.known[name] = codes
        return self.add_tensor(
            Tensor(
                name=name,
                shape=like.shape if like else layout(shape, f"tensor {name!r}"),
                dtype=codes.dtype if codes else "float32",
                quantization=codes_quantization(codes) if codes else None,
                source_name=name,
                source_shape=shape,
                order=like.order if like else default_order(shape),
            )
        )

    def checked(self, scale: float, zero_point: int, dtype: str) -> Codes:
        """Return codes of a scale that must be a float32 and a zero point in range."""
        codes = Codes(dtype=dtype, scale=float(_F(scale)), zero_point=int(zero_point))
        if not (np.isfinite(_F(scale)) and _F(scale) > 0):
            self.fail(f"scale must be finite and positive, not {scale!r}")
        if not codes.low <= codes.zero_point <= codes.high:
            self.fail(f"zero point must be in [{codes.low}, {codes.high}], not {zero_point}")
        return codes

    def move(self, source: Tensor, name: str, shape: Sequence[int]) -> Tensor:
        """Append a renaming of all elements in the runtime's order."""
        places = all_places(source.source_shape).reshape(tuple(shape))
        target, index = moved(self, source, places, name)
        append_move(self, source, target, index, "")
        return target

    def requant(self, operator: str, codes: Codes, filters: Filters, out: Codes) -> Requant:
        """Return what a layer's accumulators become."""
        row = self.row(operator)
        channels = len(filters.codes)
        product = np.broadcast_to(_F(codes.scale) * filters.scales.astype(_F), (channels,)).astype(
            _F
        )
        whole = np.rint(filters.bias.astype(np.float64) / product.astype(np.float64))
        if np.any(np.abs(whole) >= 2.0**31):
            self.fail("bias must be less than 2**31 products of the input's and weights' scales")
        between = row.formula == "torch_float"
        rule = SCALE_RULES.get(row.scale)
        requant = Requant(
            formula=row.formula,
            zero_point=out.zero_point,
            low=out.low,
            high=out.high,
            scale=product if rule is None else rule(codes.scale, filters.scales, out.scale),
            output_scale=out.scale,
        )
        if row.formula == "float32":
            return requant
        return replace(
            requant,
            scale=np.ascontiguousarray(np.broadcast_to(requant.scale, (channels,))),
            addend=filters.bias if between else _units(filters, product),
            whole=whole.astype(np.int64),
        )

    def bias(self, codes: Codes, filters: Filters) -> NDArray[np.int32]:
        """Return the bias in units of the accumulator: QNNPACK's own, the whole part of others."""
        product = np.asarray(_F(codes.scale) * filters.scales.astype(_F), _F)
        if self.row("conv2d").formula == "float32":
            return np.rint(filters.bias * (_F(1) / product)).astype(np.int32)
        return np.rint(filters.bias.astype(np.float64) / product).astype(np.int32)

    def convolution(
        self,
        source: Tensor,
        filters: Filters,
        window: Window,
        groups: int,
        out: Codes,
        limits: tuple[int, int],
        name: str,
    ) -> None:
        """Append a convolution of an image."""
        source = self.plain_image(source)
        weights, codes = filters.codes, self.known[source.name]
        if weights.ndim != 4 or weights.shape[1] * groups != source.shape[2]:
            self.fail(f"weights {list(weights.shape)} must fit {source.shape[2]} input channels")
        rows, columns = window.positions(*source.shape[:2])
        target = self.make(name, (1, len(weights), rows, columns), out)
        arithmetic = MacArithmetic(
            weights=np.ascontiguousarray(weights.transpose(0, 2, 3, 1)),
            weight_zero_point=0,
            bias=self.bias(codes, filters),
            input_zero_point=codes.zero_point,
            requant=limited(self.requant("conv2d", codes, filters, out), limits),
        )
        self.add_mac(Op.CONV2D, source, target, arithmetic, window.attributes(groups=groups))

    def linear(
        self, source: Tensor, filters: Filters, out: Codes, limits: tuple[int, int], name: str
    ) -> None:
        """Append a fully connected layer."""
        weights, shape, codes = filters.codes, source.source_shape, self.known[source.name]
        if weights.ndim != 2 or shape[-1] != weights.shape[1] or len(shape) not in (2, 3):
            self.unsupported(f"weights {list(weights.shape)} must be a matrix that fits {shape}")
        channels, depth = weights.shape
        rows = source.size // depth
        if source.order is not None:
            # The bytes lie in canonical order, not in the file's: move the weights instead.
            if rows != 1:
                self.unsupported("a reshape or transpose before it moves the data")
            weights = weights[:, source.order]
        flat = self.reshaped(source, (1, rows, depth), f"/rows_{self.layer}")
        target = self.make(name, (*shape[:-1], channels), out)
        arithmetic = MacArithmetic(
            weights=np.ascontiguousarray(weights).reshape(channels, 1, 1, depth),
            weight_zero_point=0,
            bias=self.bias(codes, filters),
            input_zero_point=codes.zero_point,
            requant=limited(self.requant("fully_connected", codes, filters, out), limits),
        )
        self.add_mac(Op.FULLY_CONNECTED, flat, target, arithmetic)

    def pool(
        self,
        source: Tensor,
        window: Window,
        requants: Mapping[int, Requant],
        zero: int,
        out: Codes,
        name: str,
    ) -> None:
        """Append an average of an image's windows."""
        rows, columns = window.positions(*source.shape[:2])
        target = self.make(name, (1, source.shape[2], rows, columns), out)
        arithmetic = PoolArithmetic(
            input_zero_point=zero, requants=requants, source=(self.known[source.name], out)
        )
        self.add_node(Op.AVG_POOL, (source.name,), (target.name,), arithmetic, window.attributes())


def _units(filters: Filters, product: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a bias in units of the accumulator, as FBGEMM rounds it.

    It divides where channels have scales of their own, and multiplies where they share one.
    """
    if filters.scales.size > 1:
        return np.asarray(filters.bias / product, _F)
    return np.asarray(filters.bias * (_F(1) / product), _F)


def limited(requant: Requant, limits: tuple[int, int]) -> Requant:
    """Return a requantizer with a fused activation's clamp."""
    return replace(requant, low=max(requant.low, limits[0]), high=min(requant.high, limits[1]))
