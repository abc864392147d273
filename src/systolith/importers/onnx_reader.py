"""ONNX files: parsing, fixing the batch to 1, and letting onnxruntime fuse QDQ models."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from systolith.errors import ModelError, SystolithError
from systolith.importers.ort import open_session

__all__ = ["MAX_IR_VERSION", "constants", "fixed_shape", "fuse_qdq", "is_qdq", "parse_onnx"]

MAX_IR_VERSION = 13
"""Newest ONNX IR that the pinned onnxruntime reads."""

_NO_INPUTS = frozenset({"Constant", "RandomNormal", "RandomUniform"})
"""Operators that may have none."""


def parse_onnx(data: bytes) -> onnx.ModelProto:
    """Return the model, its batch fixed to 1 and its IR version one that onnxruntime reads.

    Raises
    ------
    ModelError: the file is damaged, has no graph, or has dynamic sides besides the batch.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RuntimeError) as error:
        raise ModelError("damaged or truncated ONNX file: it is no ModelProto") from error
    if not model.graph.node or not model.graph.output:
        raise ModelError("damaged or truncated ONNX file: it has no graph of operators")
    _check_nodes(model.graph)
    model.ir_version = min(model.ir_version, MAX_IR_VERSION)
    stored = {each.name for each in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if not inputs:
        raise ModelError("model must have an input")
    for value in (*inputs, *model.graph.output):
        _fix_batch(value)
    # Intermediate shapes may still hold the dynamic batch; every importer's row computes its own.
    del model.graph.value_info[:]
    return model


def _check_nodes(graph: onnx.GraphProto) -> None:
    """Require of every node what all of ours have: an input and an output."""
    for index, node in enumerate(graph.node):
        layer = node.name or f"{node.op_type.lower()}_{index}"
        for what, names in (("an input", node.input), ("an output", node.output)):
            if not any(names) and not (what == "an input" and node.op_type in _NO_INPUTS):
                text = f"{node.op_type} must have {what}, but has none"
                raise ModelError(text, layer=layer, op=node.op_type)


def _fix_batch(value: onnx.ValueInfoProto) -> None:
    shape = value.type.tensor_type.shape
    if shape.dim and not shape.dim[0].dim_value:
        shape.dim[0].ClearField("dim_param")
        shape.dim[0].dim_value = 1


def fixed_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Return a graph input's shape.

    Raises
    ------
    ModelError: a side besides the batch is dynamic, or the shape is absent.
    """
    if not value.type.tensor_type.HasField("shape"):
        raise ModelError(f"input {value.name!r}: shape must be given")
    sides = [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]
    if any(not isinstance(side, int) or side < 1 for side in sides):
        raise ModelError(f"input {value.name!r}: shape must be fixed, not {sides}; fix all sides")
    return tuple(int(side) for side in sides)


def _array(name: str, tensor: onnx.TensorProto) -> NDArray[Any]:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ModelError(f"initializer {name!r} must be inside the file, not in an external one")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:
        raise ModelError(f"initializer {name!r} is damaged ({error})") from error


def constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Return initializers and the values of Constant nodes by name."""
    values = {each.name: _array(each.name, each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if value is not None and node.output:
                values[node.output[0]] = _array(node.output[0], value)
    return values


def is_qdq(model: onnx.ModelProto) -> bool:
    """Say whether operators compute on DequantizeLinear's results, that is: in float."""
    made = {
        name
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for name in node.output
    }
    return any(name in made for node in model.graph.node for name in node.input)


def fuse_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return what onnxruntime makes of a QDQ model: its own integer operators (QOperator form).

    Level EXTENDED fuses without rewriting layouts; int8 activations stay int8.

    Raises
    ------
    ModelError: onnxruntime rejects the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fused.onnx"
        try:
            open_session(model.SerializeToString(), fuse_to=path)
            return parse_onnx(path.read_bytes())
        except SystolithError:
            raise
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"onnxruntime rejects the model: {reason}") from error
