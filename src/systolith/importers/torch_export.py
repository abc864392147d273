"""Programs exported after PT2E quantization (torchao) to graphs: the table of operators."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import (
    Codes,
    DequantizeArithmetic,
    LutArithmetic,
    QuantizeArithmetic,
)
from systolith.errors import ModelError
from systolith.graph import Graph, Op, Tensor
from systolith.importers import torch_export_layers as layers
from systolith.importers.damage import damage_as_model_error
from systolith.importers.torch_export_reader import read_export
from systolith.importers.torch_program import Call, Ref, import_torch
from systolith.importers.torch_symbols import ExportContext, Pending, Real, Weights
from systolith.profiles.binary import code_values
from systolith.profiles.edges import quantize_codes
from systolith.profiles.table import Profile

__all__ = ["EXPORT_OPERATORS", "import_export"]

_F = np.float32
Floats = NDArray[np.float32]


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
        "aten::conv2d": layers.conv,
        "aten::linear": layers.linear,
        "aten::add.Tensor": layers.binary(Op.ADD),
        "aten::add_.Tensor": layers.binary(Op.ADD),
        "aten::mul.Tensor": layers.binary(Op.MUL),
        "aten::relu": layers.clamp(0.0, np.inf),
        "aten::relu_": layers.clamp(0.0, np.inf),
        "aten::relu6": layers.clamp(0.0, 6.0),
        "aten::hardtanh": layers.clamp(-1.0, 1.0),
        "aten::hardtanh_": layers.clamp(-1.0, 1.0),
        "aten::clamp": layers.clamp(-np.inf, np.inf),
        "aten::max_pool2d": layers.max_pool,
        "aten::avg_pool2d": layers.average("avg_pool2d"),
        "aten::adaptive_avg_pool2d": layers.average("adaptive_avg_pool2d"),
        "aten::mean.dim": layers.average("mean"),
        "aten::cat": layers.concat,
        **dict.fromkeys(_RENAMES, layers.rename),
        **dict.fromkeys(_UNARY, layers.elementwise),
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
        ctx.read(EXPORT_OPERATORS)
        for output in program.outputs:
            _output(ctx, output)
        return ctx.finish(data, name, path)


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
