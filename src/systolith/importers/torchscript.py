"""Quantized PyTorch modules, saved as TorchScript, to graphs: the table of operators."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from systolith.graph import Graph, Op
from systolith.importers import torch_layers as layers
from systolith.importers.damage import damage_as_model_error
from systolith.importers.torch_context import TorchContext
from systolith.importers.torchscript_reader import read_torchscript
from systolith.profiles.table import Profile

__all__ = ["TORCHSCRIPT_OPERATORS", "import_torchscript"]

Handler = Callable[[TorchContext], None]


_UNARY = (
    "aten::relu", "aten::relu_", "aten::hardtanh", "aten::hardtanh_", "aten::relu6", "aten::clamp",
    "aten::sigmoid", "aten::tanh", "aten::hardsigmoid", "aten::leaky_relu", "aten::elu",
    "aten::gelu", "aten::threshold", "quantized::relu6", "quantized::sigmoid",
    "quantized::hardswish", "quantized::leaky_relu", "quantized::elu", "quantized::celu",
)  # fmt: skip
_RENAMES = (
    "aten::flatten", "aten::reshape", "aten::view", "aten::squeeze", "aten::unsqueeze",
    "aten::contiguous", "aten::dropout", "aten::dropout_", "aten::alias", "aten::detach",
)  # fmt: skip

TORCHSCRIPT_OPERATORS: Mapping[str, Handler] = MappingProxyType(
    {
        "aten::quantize_per_tensor": layers.quantize,
        "aten::dequantize": layers.dequantize,
        "quantized::conv2d": layers.conv(relu=False),
        "quantized::conv2d_relu": layers.conv(relu=True),
        "quantized::linear": layers.linear(relu=False),
        "quantized::linear_relu": layers.linear(relu=True),
        "quantized::add": layers.binary(Op.ADD, relu=False),
        "quantized::add_relu": layers.binary(Op.ADD, relu=True),
        "quantized::mul": layers.binary(Op.MUL, relu=False),
        "quantized::mul_relu": layers.binary(Op.MUL, relu=True),
        "quantized::cat": layers.concat,
        "aten::cat": layers.concat,
        "aten::max_pool2d": layers.max_pool,
        "aten::avg_pool2d": layers.average_pool,
        "aten::adaptive_avg_pool2d": layers.adaptive_pool,
        **dict.fromkeys(_UNARY, layers.unary),
        **dict.fromkeys(_RENAMES, layers.rename),
    }
)
"""Handler of every supported operator."""


def import_torchscript(data: bytes, profile: Profile, *, name: str, path: str = "") -> Graph:
    """Return the graph of a converted (eager or FX) quantized module.

    Parameters
    ----------
    data: the file's bytes.
    profile: torch-x86 or torch-qnnpack.
    name, path: of the model.

    Raises
    ------
    ModelError: the file is damaged or has what cannot be imported; the layer is named.
    ToolError: PyTorch is not installed.
    """
    with damage_as_model_error("TorchScript"):
        ctx = TorchContext(read_torchscript(data, profile.name, path), profile)
        ctx.read(TORCHSCRIPT_OPERATORS)
        return ctx.finish(data, name, path)
