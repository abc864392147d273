"""The state of an ONNX import: the current node, its constants, and how tensors are laid out."""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.arithmetic import (
    Codes,
)
from systolith.errors import ModelError
from systolith.float_steps import (
    BlockSumsArithmetic,
)
from systolith.graph import Graph, Tensor
from systolith.importers.channels_first import (
    ChannelsFirst,
    codes_quantization,
    default_order,
    layout,
)
from systolith.profiles.table import Profile
from systolith.spec.quantize import scale_fault

__all__ = ["FloatMean", "FloatTable", "OnnxContext"]

_TEXT = onnx.AttributeProto.STRING
_ATTRIBUTES: dict[type, tuple[tuple[int, ...], str]] = {
    int: ((onnx.AttributeProto.INT,), "an integer"),
    float: ((onnx.AttributeProto.FLOAT, onnx.AttributeProto.INT), "a number"),
    str: ((_TEXT,), "a text"),
    tuple: ((onnx.AttributeProto.INTS,), "a list of integers"),
}
"""Types that an attribute may have in a file, and what they are called, by its Python type."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatTable:
    """A float tensor that is a function of the codes of another.

    Parameters
    ----------
    source: name of the tensor of codes.
    values: float32 of each stored byte, 256.
    alone: the same, of tensors with one element; the runtime's vector instructions may differ in
        the last bit from what it does with elements that are left over.
    layer: the last layer of the chain.
    """

    source: str
    values: NDArray[np.float32]
    alone: NDArray[np.float32]
    layer: str


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatMean:
    """A float tensor that is the mean over some axes of dequantized codes.

    Parameters
    ----------
    source: name of the tensor of codes.
    codes: its quantization.
    axes: of the runtime's shape.
    layer: that took the mean.
    """

    source: str
    codes: Codes
    axes: tuple[int, ...]
    layer: str


class OnnxContext(ChannelsFirst):
    """A graph builder that reads one node of an ONNX graph at a time.

    Parameters
    ----------
    constants: values by name.
    profile: gives the arithmetic.
    """

    def __init__(self, constants: dict[str, NDArray[Any]], profile: Profile) -> None:
        super().__init__(profile)
        self.constants = constants
        self.node = onnx.NodeProto()
        self.tables: dict[str, FloatTable] = {}
        self.dequantized: dict[str, Codes] = {}
        self.means: dict[str, FloatMean] = {}
        self.blocks: dict[str, tuple[tuple[str, ...], BlockSumsArithmetic]] = {}
        self.from_input: set[str] = set()
        self.opsets: list[onnx.OperatorSetIdProto] = []

    def enter(self, node: onnx.NodeProto, index: int) -> None:
        """Make `node` the current layer."""
        self.node = node
        self.layer = node.name or f"{node.op_type.lower()}_{index}"
        self.source_op = node.op_type
        if any(each.name == self.layer for each in self.nodes):
            self.layer = f"{self.layer}_{index}"

    def left_in_float(self) -> NoReturn:
        """Raise UnsupportedOperatorError: the current node computes in float32."""
        self.unsupported(
            f"it computes in float32 on {self.node.input[0]!r}: onnxruntime did not fuse it with "
            "its QuantizeLinear and DequantizeLinear; quantize its inputs and output, or remove it"
        )

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute of the current node in `default`'s type, or the default.

        Raises
        ------
        ModelError: it is of another type.
        """
        for each in self.node.attribute:
            if each.name != name:
                continue
            kinds, words = _ATTRIBUTES[type(default)]
            if each.type not in kinds:
                found = onnx.AttributeProto.AttributeType.Name(each.type).lower()
                self.fail(f"attribute {name!r} must be {words}, not of type {found}")
            value = onnx.helper.get_attribute_value(each)
            return value.decode("utf-8", "replace") if each.type == _TEXT else type(default)(value)
        return default

    def arity(self, least: int, most: int) -> None:
        """Check the number of inputs and that there is one output."""
        present = len(self.node.input)
        if not least <= present <= most or not all(self.node.input[:least]):
            self.fail(f"must have {least} to {most} inputs, not {present}")
        if not self.node.output or any(self.node.output[1:]):
            self.fail("must have 1 output")

    def constant(self, position: int, what: str) -> NDArray[Any]:
        """Return a constant input.

        Raises
        ------
        ModelError: it is absent or computed.
        """
        name = self.node.input[position] if position < len(self.node.input) else ""
        if name not in self.constants:
            self.fail(f"{what} must be a constant of the model, not {name!r}")
        return self.constants[name]

    def scales(self, position: int, what: str) -> NDArray[np.float32]:
        """Return constant scales: float32, one dimension."""
        value = self.constant(position, f"{what} scale").reshape(-1)
        if value.dtype != np.float32 or not value.size:
            self.fail(f"{what} scale must be float32, not {value.dtype}")
        bad = value[~(np.isfinite(value) & (value > 0))]
        if bad.size:
            self.fail(f"{what} scale must be finite and positive, not {bad[0]}")
        return value

    def codes(self, position: int, what: str) -> Codes:
        """Return the codes given by a scale at `position` and a zero point behind it."""
        scale = self.scales(position, what)
        given = position + 1 < len(self.node.input) and self.node.input[position + 1]
        zero = (
            self.constant(position + 1, f"{what} zero point").reshape(-1)
            if given
            else np.zeros(1, np.uint8)
        )
        if scale.size != 1 or zero.size != 1:
            self.fail(f"{what} must have one scale and zero point, not {scale.size}")
        if zero.dtype not in (np.int8, np.uint8):
            self.fail(f"{what} must be int8 or uint8, not {zero.dtype}")
        fault = scale_fault(int(scale.view("u4")[0]))
        if fault is not None:
            self.fail(f"{what} {fault}")
        return Codes(dtype=zero.dtype.name, scale=float(scale[0]), zero_point=int(zero[0]))

    def input(self, position: int, dtype: str | None = None) -> Tensor:
        """Return a computed input; `dtype` is what it must be if given."""
        name = self.node.input[position]
        if name not in self.tensors:
            self.fail(f"input {name!r} must be computed by the model before it is read")
        tensor = self.tensors[name]
        if dtype is not None and tensor.dtype != dtype:
            self.fail(f"input {name!r} must be {dtype}, not {tensor.dtype}")
        return tensor

    def image(self, position: int, dtype: str | None = None) -> Tensor:
        """Return an input that must be NCHW of rank 4 (two spatial sides)."""
        return self.plain_image(self.input(position, dtype))

    def axes(self) -> tuple[int, ...] | None:
        """Return the axes that an input gives, an attribute in older opsets; None if neither."""
        if len(self.node.input) > 1 and self.node.input[1]:
            return tuple(int(axis) for axis in self.constant(1, "axes").reshape(-1))
        return self.attribute("axes", ()) or None

    def is_made(self, name: str) -> bool:
        """Say whether a tensor has a value: it is an input, or a node writes it."""
        return name in self.from_input or any(name in node.outputs for node in self.nodes)

    def output(
        self,
        shape: tuple[int, ...],
        codes: Codes | None,
        *,
        like: Tensor | None = None,
        position: int = 0,
    ) -> Tensor:
        """Make the current node's output.

        Parameters
        ----------
        shape: the runtime's shape.
        codes: its quantization, None for float32.
        like: tensor whose canonical layout it shares; the default layout if None.
        position: which output.
        """
        name = self.node.output[position]
        if name in self.tensors:
            self.fail(f"output {name!r} must be written once")
        if codes is not None:
            self.known[name] = codes
        return self.add_tensor(
            Tensor(
                name=name,
                shape=like.shape if like else layout(shape, f"tensor {name!r}"),
                dtype=codes.dtype if codes else "float32",
                quantization=None if codes is None else codes_quantization(codes),
                source_name=name,
                source_shape=shape,
                order=like.order if like else default_order(shape),
                limits=None if codes is None else codes.limits,
            )
        )

    def finish(self, model: onnx.ModelProto, name: str, path: str) -> Graph:
        """Return the graph of a model whose nodes have all been read.

        Raises
        ------
        ModelError: an output is not computed.
        """
        outputs = [value.name for value in model.graph.output]
        for output in outputs:
            if output not in self.tensors:
                raise ModelError(f"output {output!r} must be computed by the model")
        self.drop_dead(outputs)
        return self.graph(
            name=name,
            inputs=[v.name for v in model.graph.input if v.name not in self.constants],
            outputs=outputs,
            source_path=path,
            model_bytes=model.SerializeToString(),
        )
