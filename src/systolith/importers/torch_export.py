"""Programs exported after PT2E quantization (torchao) to graphs.

Between dequantize and quantize everything is float32. A float32 value of the file is one of: a
function of the codes of one tensor (`Real`), or what a layer makes of codes until it is quantized
(`Pending`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import (
    BinaryArithmetic,
    Codes,
    ConcatArithmetic,
    DequantizeArithmetic,
    LutArithmetic,
    MaxPoolArithmetic,
    QuantizeArithmetic,
    Requant,
)
from systolith.errors import ModelError
from systolith.graph import Graph, Op, Tensor
from systolith.importers.damage import damage_as_model_error
from systolith.importers.geometry import Window
from systolith.importers.torch_context import Filters, TorchContext, pair
from systolith.importers.torch_export_reader import read_export
from systolith.importers.torch_program import Call, Ref, import_torch
from systolith.profiles.binary import code_values
from systolith.profiles.edges import quantize_codes
from systolith.profiles.table import Profile

__all__ = ["EXPORT_OPERATORS", "import_export"]

_F = np.float32
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Real:
    """A float32 value that is a function of the codes of a tensor.

    Parameters
    ----------
    source: the tensor of codes.
    values: of each stored byte.
    exact: whether the function is dequantization alone.
    """

    source: Tensor
    values: Floats
    exact: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Pending:
    """What a layer computes, until it is quantized.

    Parameters
    ----------
    finish: appends the layer for the output's codes and clamp, under a name.
    low, high: bounds in float32 of a fused activation.
    layer: what error messages call it.
    source_op: its operator.
    shape: of the value.
    """

    finish: Callable[[Codes, tuple[int, int], str], None]
    layer: str
    source_op: str
    shape: tuple[int, ...]
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Dequantized weights: codes and scales."""

    codes: NDArray[Any]
    scales: Floats


Symbol: TypeAlias = Real | Pending | Weights | Tensor


class ExportContext(TorchContext):
    """A `TorchContext` with what every value of the program stands for."""

    symbols: dict[str, Symbol]

    def symbol(self, position: int) -> Symbol:
        """Return what an argument stands for."""
        name = self.name(position)
        if name not in self.symbols:
            self.unsupported(f"its input {name!r} is float32 that does not come from codes")
        return self.symbols[name]

    def real(self, position: int, *, exact: bool = True) -> Real:
        """Return an argument that must be a function of codes."""
        value = self.symbol(position)
        if not isinstance(value, Real) or (exact and not value.exact):
            self.unsupported("its input must be quantized and dequantized before it")
        return value

    def pend(self, finish: Callable[[Codes, tuple[int, int], str], None]) -> None:
        """Keep the current layer until its output is quantized."""
        shape = self.program.values[self.call.output].shape
        self.symbols[self.call.output] = Pending(
            finish=finish, layer=self.layer, source_op=self.source_op, shape=shape
        )


def _given_codes(ctx: ExportContext, first: int) -> Codes:
    """Return codes from scale, zero point, least and greatest code and type."""
    torch = import_torch()
    get = ctx.argument
    names = {torch.uint8: "uint8", torch.int8: "int8"}
    dtype = names.get(get(first + 4))
    if dtype is None:
        ctx.unsupported(f"activations must be uint8 or int8, not {get(first + 4)}")
    codes = ctx.checked(float(get(first)), int(get(first + 1)), dtype)
    if (get(first + 2), get(first + 3)) != (codes.low, codes.high):
        ctx.unsupported(f"codes must be in [{codes.low}, {codes.high}]; without reduce_range")
    return codes


def _quantize(ctx: ExportContext) -> None:
    out = _given_codes(ctx, 1)
    name, given = ctx.call.output, ctx.name(0)
    arithmetic = QuantizeArithmetic(formula=ctx.row("quantize").formula, out=out)
    if given in ctx.program.inputs:
        source = ctx.tensors[given]
        target = ctx.make(name, source.source_shape, out, like=source)
        ctx.add_node(Op.QUANTIZE, (given,), (name,), arithmetic)
        ctx.symbols[name] = target
        return
    value = ctx.symbol(0)
    if isinstance(value, Pending):
        limits = [
            quantize_codes(np.array([edge], _F), arithmetic)[0] for edge in (value.low, value.high)
        ]
        low = out.low if value.low == -np.inf else int(limits[0])
        high = out.high if value.high == np.inf else int(limits[1])
        ctx.layer, ctx.source_op = value.layer, value.source_op
        value.finish(out, (low, high), name)
    elif isinstance(value, Real):
        _table(ctx, value, out, arithmetic)
    else:
        ctx.unsupported("its input must be float32")
    ctx.symbols[name] = ctx.tensors[name]


def _table(ctx: ExportContext, value: Real, out: Codes, arithmetic: QuantizeArithmetic) -> None:
    """Append a function of codes."""
    source, name = value.source, ctx.call.output
    table = (quantize_codes(value.values, arithmetic) & 255).astype(np.uint8)
    target = ctx.make(name, source.source_shape, out, like=source)
    if source.dtype == out.dtype and np.array_equal(table, np.arange(256)):
        ctx.add_node(Op.RESHAPE, (source.name,), (target.name,))
        return
    lookup = LutArithmetic(table=table, formula=ctx.call.op)
    ctx.add_node(Op.LUT, (source.name,), (target.name,), lookup)


def _dequantize(ctx: ExportContext) -> None:
    codes = _given_codes(ctx, 1)
    source = ctx.tensors[ctx.name(0)]
    if ctx.known.get(source.name) != codes:
        ctx.unsupported("its scale and zero point must be those of its input's quantize")
    offset = (code_values(codes) - codes.zero_point).astype(_F)
    values = offset * _F(codes.scale)
    ctx.symbols[ctx.call.output] = Real(source=source, values=values, exact=True)


def _dequantize_weights(ctx: ExportContext) -> None:
    """dequantize_per_channel(codes, scales, zero points, axis, ...), per_tensor likewise."""
    codes, scales, zeros = (np.asarray(ctx.argument(i).numpy()) for i in range(3))
    if codes.dtype != np.int8 or np.any(zeros != 0) or ctx.argument(3) != 0:
        ctx.unsupported("weights must be int8, symmetric and quantized along their output channels")
    if not np.all(np.isfinite(scales) & (scales > 0)):
        ctx.fail("weights' scales must be finite and positive")
    ctx.symbols[ctx.call.output] = Weights(codes=codes, scales=scales.astype(_F))


def _dequantize_any(ctx: ExportContext) -> None:
    if isinstance(ctx.call.arguments[0], Ref):
        _dequantize(ctx)
        return
    codes, scale, zero = np.asarray(ctx.argument(0).numpy()), ctx.argument(1), ctx.argument(2)
    if codes.dtype != np.int8 or zero != 0:
        ctx.unsupported("weights must be int8 and symmetric")
    scales = np.array([ctx.checked(float(scale), 0, "int8").scale], _F)
    ctx.symbols[ctx.call.output] = Weights(codes=codes, scales=scales)


def _filters(ctx: ExportContext) -> Filters:
    weights = ctx.symbol(1)
    if not isinstance(weights, Weights):
        ctx.unsupported("weights must be quantized")
    bias = ctx.argument(2)
    floats = np.zeros(len(weights.codes), _F) if bias is None else bias.detach().numpy().astype(_F)
    return Filters(weights.codes, weights.scales, floats)


def _conv(ctx: ExportContext) -> None:
    """aten::conv2d(x, weight, bias, stride, padding, dilation, groups)."""
    filters, source = _filters(ctx), ctx.real(0).source
    get = ctx.argument
    if isinstance(get(4), str):
        ctx.unsupported("its padding must be numbers")
    (top, left), groups = pair(get(4, 0)), int(get(6, 1))
    window = Window(
        kernel=pair(filters.codes.shape[2:]),
        strides=pair(get(3, 1)),
        dilations=pair(get(5, 1)),
        pads=(top, top, left, left),
    )
    ctx.pend(
        lambda out, limits, name: ctx.convolution(
            source, filters, window, groups, out, limits, name
        )
    )


def _linear(ctx: ExportContext) -> None:
    filters, source = _filters(ctx), ctx.real(0).source
    ctx.pend(lambda out, limits, name: ctx.linear(source, filters, out, limits, name))


def _binary(op: Op) -> Callable[[ExportContext], None]:
    def handler(ctx: ExportContext) -> None:
        parts = [ctx.real(position) for position in (0, 1)]
        if parts[0].source.source_shape != parts[1].source.source_shape:
            ctx.unsupported("operands must have the same shape")
        a, b = (ctx.plain(part.source) for part in parts)
        formula = ctx.row(op.value).formula
        shape = a.source_shape

        def finish(out: Codes, limits: tuple[int, int], name: str) -> None:
            arithmetic = BinaryArithmetic(
                formula=formula,
                a=ctx.known[a.name],
                b=ctx.known[b.name],
                out=out,
                low=limits[0],
                high=limits[1],
            )
            target = ctx.make(name, shape, out)
            ctx.add_node(op, (a.name, b.name), (target.name,), arithmetic)

        ctx.pend(finish)

    return handler


def _clamp(low: float, high: float) -> Callable[[ExportContext], None]:
    """Return the handler of an activation that clamps, with bounds unless the call has its own."""

    def handler(ctx: ExportContext) -> None:
        value = ctx.symbol(0)
        least = float(ctx.argument(1, low))
        most = float(ctx.argument(2, high))
        if isinstance(value, Pending):
            ctx.symbols[ctx.call.output] = replace(
                value, low=max(value.low, least), high=min(value.high, most)
            )
        else:
            _elementwise(ctx)

    return handler


def _elementwise(ctx: ExportContext) -> None:
    """A function of one float32 value: PyTorch computes it for every code."""
    torch = import_torch()
    value, rest = ctx.real(0, exact=False), ctx.call.arguments[1:]
    with ctx.program.running():
        part = torch.from_numpy(value.values.copy())
        together = ctx.call.function(part, *rest, **ctx.call.keywords).numpy()
        ones = [ctx.call.function(part[i : i + 1], *rest, **ctx.call.keywords) for i in range(256)]
    alone = torch.cat(ones).numpy()
    # Vectors and what is left over may differ in the last bit: that matters for ties only.
    if np.any(np.abs(together - alone) > np.spacing(np.abs(together))):
        ctx.unsupported("what PyTorch makes of a code depends on its place")
    ctx.symbols[ctx.call.output] = Real(
        source=value.source, values=together.astype(_F), exact=False
    )


def _rename(ctx: ExportContext) -> None:
    """Operators that keep all elements in their order."""
    value, shape = ctx.symbol(0), ctx.program.values[ctx.call.output].shape
    name = ctx.call.output
    if isinstance(value, Real):
        moved = ctx.move(value.source, f"{name}/codes", shape)
        ctx.symbols[name] = replace(value, source=moved)
    elif isinstance(value, Pending) and shape == value.shape:
        ctx.symbols[name] = value
    elif isinstance(value, Pending):
        inner = value

        def finish(out: Codes, limits: tuple[int, int], final: str) -> None:
            inner.finish(out, limits, f"{final}/before")
            ctx.layer = f"{inner.layer}/{name}"
            ctx.move(ctx.tensors[f"{final}/before"], final, shape)

        ctx.symbols[name] = replace(value, finish=finish, shape=shape)
    else:
        ctx.unsupported("its input must be float32")


def _max_pool(ctx: ExportContext) -> None:
    value = ctx.real(0, exact=False)
    order = np.argsort(code_values(ctx.known[value.source.name]))
    if np.any(np.diff(value.values[order]) < 0):
        ctx.unsupported("the values of its codes must grow with them")
    source, get = ctx.plain_image(value.source), ctx.argument
    (top, left), codes = pair(get(3, 0)), ctx.known[value.source.name]
    window = Window(
        kernel=pair(get(1)),
        strides=pair(get(2) or get(1)),
        dilations=pair(get(4, 1)),
        pads=(top, top, left, left),
    )
    if get(5, False):
        ctx.unsupported("ceil_mode must be False")
    shape = ctx.program.values[ctx.call.output].shape
    target = ctx.make(f"{ctx.call.output}/codes", shape, codes)
    arithmetic = MaxPoolArithmetic(low=codes.low, high=codes.high)
    ctx.add_node(Op.MAX_POOL, (source.name,), (target.name,), arithmetic, window.attributes())
    ctx.symbols[ctx.call.output] = replace(value, source=target)


def _average(kind: str) -> Callable[[ExportContext], None]:
    """Return the handler of avg_pool2d, adaptive_avg_pool2d or mean."""

    def handler(ctx: ExportContext) -> None:
        value, get = ctx.real(0), ctx.argument
        source = ctx.plain_image(value.source)
        height, width, channels = source.shape
        if kind == "avg_pool2d":
            kernel, strides = pair(get(1)), pair(get(2) or get(1))
            if get(3, 0) not in (0, [0, 0]) or get(4, False) or get(6) is not None:
                ctx.unsupported("it must have no padding, no ceil_mode and no divisor of its own")
        else:
            size = pair(get(1)) if kind == "adaptive_avg_pool2d" else (1, 1)
            if kind == "mean" and sorted(axis % 4 for axis in get(1)) != [2, 3]:
                ctx.unsupported("it must be over height and width")
            if height % size[0] or width % size[1]:
                ctx.unsupported(f"its {size} outputs must divide {(height, width)} inputs")
            strides = kernel = (height // size[0], width // size[1])
        window = Window(kernel=kernel, strides=strides)
        codes, count = ctx.known[source.name], kernel[0] * kernel[1]
        shape = ctx.program.values[ctx.call.output].shape

        def finish(out: Codes, limits: tuple[int, int], name: str) -> None:
            requant = Requant(
                formula=ctx.row("avg_pool").formula,
                zero_point=out.zero_point,
                low=limits[0],
                high=limits[1],
                scale=np.array([_F(codes.scale) / _F(count)], _F),
                output_scale=out.scale,
                addend=np.zeros(1, _F),
                whole=np.zeros(1, np.int64),
            )
            image = len(shape) == 4
            made = name if image else f"{name}/image"
            ctx.pool(source, window, {count: requant}, codes.zero_point, out, made)
            if not image:
                ctx.layer = f"{ctx.layer}/rows"
                ctx.move(ctx.tensors[made], name, shape)

        ctx.pend(finish)

    return handler


def _concat(ctx: ExportContext) -> None:
    parts = ctx.call.arguments[0]
    values = [ctx.symbols.get(part.name) for part in parts if isinstance(part, Ref)]
    reals = [value for value in values if isinstance(value, Real)]
    if len(reals) != len(parts) or any(
        not np.array_equal(real.values, reals[0].values) for real in reals
    ):
        ctx.unsupported("its inputs must be quantized with one scale and zero point")
    shape = ctx.program.values[ctx.call.output].shape
    rank, axis = len(shape), int(ctx.argument(1, 0)) % len(shape)
    if axis == 0 or rank > 4:
        ctx.unsupported("it must not join batches")
    sources = [ctx.plain(real.source) for real in reals]
    target = ctx.make(f"{ctx.call.output}/codes", shape, ctx.known[sources[0].name])
    arithmetic = ConcatArithmetic(tables=(None,) * len(sources))
    canonical = {1: 2, 2: 0, 3: 1}[axis] if rank == 4 else axis + 3 - rank
    names = [source.name for source in sources]
    ctx.add_node(Op.CONCAT, names, (target.name,), arithmetic, {"axis": canonical})
    ctx.symbols[ctx.call.output] = replace(reals[0], source=target)


_RENAMES = (
    "aten::flatten.using_ints", "aten::reshape", "aten::view", "aten::squeeze.dim",
    "aten::squeeze.dims", "aten::unsqueeze", "aten::contiguous", "aten::dropout", "aten::alias",
    "aten::clone", "aten::_unsafe_view",
)  # fmt: skip
_UNARY = (
    "aten::sigmoid", "aten::tanh", "aten::hardsigmoid", "aten::hardswish", "aten::hardswish_",
    "aten::silu", "aten::gelu", "aten::leaky_relu", "aten::elu", "aten::exp", "aten::abs",
    "aten::neg",
)  # fmt: skip

EXPORT_OPERATORS: Mapping[str, Callable[[ExportContext], None]] = MappingProxyType(
    {
        "quantized_decomposed::quantize_per_tensor": _quantize,
        "quantized_decomposed::dequantize_per_tensor": _dequantize_any,
        "quantized_decomposed::dequantize_per_channel": _dequantize_weights,
        "aten::conv2d": _conv,
        "aten::linear": _linear,
        "aten::add.Tensor": _binary(Op.ADD),
        "aten::add_.Tensor": _binary(Op.ADD),
        "aten::mul.Tensor": _binary(Op.MUL),
        "aten::relu": _clamp(0.0, np.inf),
        "aten::relu_": _clamp(0.0, np.inf),
        "aten::relu6": _clamp(0.0, 6.0),
        "aten::hardtanh": _clamp(-1.0, 1.0),
        "aten::hardtanh_": _clamp(-1.0, 1.0),
        "aten::clamp": _clamp(-np.inf, np.inf),
        "aten::max_pool2d": _max_pool,
        "aten::avg_pool2d": _average("avg_pool2d"),
        "aten::adaptive_avg_pool2d": _average("adaptive_avg_pool2d"),
        "aten::mean.dim": _average("mean"),
        "aten::cat": _concat,
        **dict.fromkeys(_RENAMES, _rename),
        **dict.fromkeys(_UNARY, _elementwise),
    }
)
"""Handler of every supported operator."""


def import_export(data: bytes, profile: Profile, *, name: str, path: str = "") -> Graph:
    """Return the graph of an exported, PT2E-quantized program.

    Raises
    ------
    ModelError: the file is damaged or has what cannot be imported; the layer is named.
    ToolError: PyTorch is not installed.
    """
    with damage_as_model_error("PyTorch export"):
        program = read_export(data)
        if not any(call.op.startswith("quantized_decomposed::") for call in program.calls):
            raise ModelError("model must be quantized, for example with torchao's PT2E")
        ctx = ExportContext(program, profile)
        ctx.symbols = {}
        for source, shape in program.inputs.items():
            ctx.make_input(source, shape)
        for call in program.live_calls():
            ctx.enter(call)
            handler = EXPORT_OPERATORS.get(call.op)
            if handler is None:
                ctx.unsupported()
            handler(ctx)
        for output in program.outputs:
            _output(ctx, output)
        return ctx.graph(
            name=name,
            inputs=list(program.inputs),
            outputs=list(program.outputs),
            source_path=path,
            model_bytes=data,
        )


def _output(ctx: ExportContext, name: str) -> None:
    """Make the float32 output of dequantized codes."""
    value = ctx.symbols.get(name)
    if isinstance(value, Tensor):
        return
    call: Call = next(each for each in ctx.program.calls if each.output == name)
    ctx.enter(call)
    if not isinstance(value, Real) or not value.exact:
        ctx.unsupported("the network's output must be quantized and dequantized")
    source = value.source
    target = ctx.make(name, source.source_shape, None, like=source)
    formula = ctx.row("dequantize").formula
    arithmetic = DequantizeArithmetic(formula=formula, codes=ctx.known[source.name])
    ctx.add_node(Op.DEQUANTIZE, (source.name,), (target.name,), arithmetic)
