"""Write a 4-bit version of a quantized network, in the runtime's own form.

``.tflite``: weights become LiteRT's type INT4, two codes a byte, with a scale for every channel.
With ``--activations`` the outputs of fused ReLUs get 16 codes, too: their scale becomes 0.4, so
that ReLU6 clamps the int8 tensor to the codes -128 to -113; the layers around are scaled to match.

``.onnx`` in QDQ form: weights become initializers of type INT4 (or UINT4 with ``--unsigned``) in
front of their DequantizeLinear.

Weights are rounded to the nearest of 15 codes from the 8-bit ones; nothing is trained.

    python scripts/make_int4.py MODEL OUTPUT [--activations] [--unsigned]
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from systolith.errors import ModelError, SystolithError
from systolith.importers import load_model
from systolith.importers.onnx_reader import is_qdq

__all__ = ["four_bit_onnx", "four_bit_tflite", "make_int4"]

_CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""Operators with weights, and the axis of the weights' output channels."""
_PASSES = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE")
"""Operators whose output has the codes of their input."""
_RELU, _RELU6 = 1, 3
_STEP = np.float32(0.4)
"""Scale with which ReLU6 clamps to 16 codes."""
_OPSET, _IR = 21, 10
"""First ONNX versions with INT4."""


def nibbles(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes of codes of 4 bits, the low one of a byte first."""
    flat = np.asarray(codes).reshape(-1).astype(np.int64) & 15
    flat = np.append(flat, np.zeros(flat.size % 2, np.int64))
    return (flat[0::2] | flat[1::2] << 4).astype(np.uint8)


def quantized(real: NDArray[np.float64], axis: int | None) -> tuple[NDArray[np.int64], Any]:
    """Codes -7 to 7 of real weights, and their float32 scales along an axis (None: one)."""
    rest = tuple(i for i in range(real.ndim) if i != axis)
    peak = np.abs(real).max(axis=rest, keepdims=True)
    scales = np.where(peak > 0, peak / 7, 1.0).astype(np.float32)
    return np.rint(real / scales.astype(np.float64)).astype(np.int64), scales.reshape(-1)


@dataclass(frozen=True)
class _Layer:
    """An operator with weights."""

    kind: str
    operator: Any

    @property
    def options(self) -> Any:
        """Where its fused activation is."""
        return self.operator.builtinOptions


class _Tflite:
    """A TFLite file under change."""

    def __init__(self, data: bytes) -> None:
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
        self.graph = self.model.subgraphs[0]
        self._names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        self.gain: dict[int, float] = {}

    def kind(self, operator: Any) -> str:
        """An operator's name."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return self._names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def layers(self) -> Iterator[_Layer]:
        """Operators with constant weights."""
        for operator in self.graph.operators:
            if self.kind(operator) in _CHANNELS:
                yield _Layer(self.kind(operator), operator)

    def values(self, index: int, dtype: type) -> NDArray[Any]:
        """A constant tensor's values."""
        tensor = self.graph.tensors[index]
        data = bytes(self.model.buffers[tensor.buffer].data)
        return np.frombuffer(data, dtype).reshape(tensor.shape)

    def put(self, index: int, data: NDArray[Any]) -> None:
        """Replace a constant tensor's bytes."""
        buffer = self.graph.tensors[index].buffer
        self.model.buffers[buffer].data = np.frombuffer(data.tobytes(), np.uint8)

    def scale(self, index: int) -> np.float32:
        """The scale of an activation."""
        return np.float32(self.graph.tensors[index].quantization.scale[0])

    def narrow(self) -> None:
        """Give 16 codes to every output of a fused ReLU that only layers with weights read."""
        for layer in self.layers():
            target = layer.operator.outputs[0]
            if layer.options.fusedActivationFunction not in (_RELU, _RELU6):
                continue
            chain = self._readers(target)
            if chain is None:
                continue
            # Before, codes 0 to 255 times the scale; now 6.0 is the largest value.
            gain = 6.0 / (255 * float(self.scale(target)))
            layer.options.fusedActivationFunction = _RELU6
            for index in (target, *chain):
                quantization = self.graph.tensors[index].quantization
                quantization.scale, quantization.zeroPoint = [float(_STEP)], [-128]
                self.gain[index] = gain

    def _readers(self, target: int) -> list[int] | None:
        """Tensors with the same codes; None if others than layers with weights read them."""
        found = []
        if target in list(self.graph.outputs):
            return None
        for operator in self.graph.operators:
            if operator.inputs[0] != target and target not in list(operator.inputs):
                continue
            if self.kind(operator) in _PASSES:
                more = self._readers(operator.outputs[0])
                if more is None:
                    return None
                found += [operator.outputs[0], *more]
            elif self.kind(operator) not in _CHANNELS:
                return None
        return found

    def quantize(self, layer: _Layer, before: dict[int, np.float32]) -> None:
        """Give a layer int4 weights, and a bias to match.

        Parameters
        ----------
        before: scales of the activations as they were.
        """
        source, weights, *rest = layer.operator.inputs
        target, axis = layer.operator.outputs[0], _CHANNELS[layer.kind]
        tensor = self.graph.tensors[weights]
        codes = self.values(weights, np.int8).astype(np.float64)
        shape = [-1 if i == axis else 1 for i in range(codes.ndim)]
        old = np.broadcast_to(np.asarray(tensor.quantization.scale, np.float64), codes.shape[axis])
        gain = self.gain.get(target, 1.0) / self.gain.get(source, 1.0)
        made, scales = quantized(codes * old.reshape(shape) * gain, axis)
        self.put(weights, nibbles(made))
        tensor.type = schema.TensorType.INT4
        _describe(tensor, scales, axis)
        if rest and rest[0] >= 0:
            real = self.values(rest[0], np.int32) * (np.float64(before[source]) * old)
            unit = (self.scale(source) * scales).astype(np.float32)
            bias = np.rint(real * self.gain.get(target, 1.0) / unit)
            self.put(rest[0], np.clip(bias, -(2**31), 2**31 - 1).astype("<i4"))
            _describe(self.graph.tensors[rest[0]], unit, 0)

    def bytes(self) -> bytes:
        """The file."""
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _describe(tensor: Any, scales: NDArray[np.float32], axis: int) -> None:
    tensor.quantization.scale = scales
    tensor.quantization.zeroPoint = np.zeros(scales.size, np.int64)
    tensor.quantization.quantizedDimension = axis


def four_bit_tflite(data: bytes, *, activations: bool = False) -> bytes:
    """Return a TFLite file with int4 weights.

    Parameters
    ----------
    data: the int8 model.
    activations: whether outputs of ReLUs get 16 codes, too.
    """
    file = _Tflite(data)
    before = {
        layer.operator.inputs[0]: file.scale(layer.operator.inputs[0]) for layer in file.layers()
    }
    if activations:
        file.narrow()
    for layer in file.layers():
        file.quantize(layer, before)
    return file.bytes()


def _initializer(name: str, codes: NDArray[np.int64], kind: int) -> onnx.TensorProto:
    """A tensor of 4-bit codes."""
    packed = nibbles(codes).tobytes()
    return TensorProto(name=name, data_type=kind, dims=codes.shape, raw_data=packed)


def four_bit_onnx(model: onnx.ModelProto, *, unsigned: bool = False) -> onnx.ModelProto:
    """Return a QDQ model with int4 weights; biases keep their values in new codes.

    Parameters
    ----------
    model: with int8 weights.
    unsigned: uint4 with zero point 8 in place of int4.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    stored = {each.name: each for each in model.graph.initializer}
    kind, zero = (TensorProto.UINT4, 8) if unsigned else (TensorProto.INT4, 0)
    scales: dict[str, NDArray[np.float32]] = {}
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in stored:
            continue
        codes, scale = (numpy_helper.to_array(stored[name]) for name in node.input[:2])
        if codes.dtype != np.int8 or codes.ndim < 2:
            continue
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1) if scale.ndim else None
        shape = [-1 if i == axis else 1 for i in range(codes.ndim)]
        made, new = quantized(codes * scale.astype(np.float64).reshape(shape), axis)
        scales[node.output[0]] = new
        stored[node.input[0]].CopyFrom(_initializer(node.input[0], made + zero, kind))
        new = new.reshape(scale.shape)
        stored[node.input[1]].CopyFrom(numpy_helper.from_array(new, node.input[1]))
        if len(node.input) > 2:
            zeros = np.full(scale.shape, zero, np.int64)
            stored[node.input[2]].CopyFrom(_initializer(node.input[2], zeros, kind))
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm") and node.input[1] in scales and len(node.input) > 2:
            maker = makers[node.input[2]]
            source = numpy_helper.to_array(stored[makers[node.input[0]].input[1]])
            _rescale(stored, maker, source * scales[node.input[1]])
    del model.opset_import[:]
    model.opset_import.extend(
        [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    )
    model.ir_version = _IR
    return model


def _rescale(stored: dict[str, Any], maker: onnx.NodeProto, unit: NDArray[np.float32]) -> None:
    """Write an int32 bias, which a DequantizeLinear reads, in other units."""
    codes, old = (numpy_helper.to_array(stored[name]) for name in maker.input[:2])
    unit = unit.reshape(old.shape).astype(np.float32)
    bias = np.rint(codes * (old.astype(np.float64) / unit)).astype(np.int32)
    stored[maker.input[0]].CopyFrom(numpy_helper.from_array(bias, maker.input[0]))
    stored[maker.input[1]].CopyFrom(numpy_helper.from_array(unit, maker.input[1]))


def make_int4(
    source: Path, target: Path, *, activations: bool = False, unsigned: bool = False
) -> None:
    """Write the 4-bit version of a model file.

    Parameters
    ----------
    source, target: files, .tflite or .onnx both.
    activations: of .tflite: 16 codes for outputs of ReLUs, too.
    unsigned: of .onnx: uint4 weights.

    Raises
    ------
    ModelError: an ONNX model that is not of QDQ form.
    """
    if source.suffix == ".onnx":
        model = onnx.load(source)
        if not is_qdq(model):
            raise ModelError("model must have its weights behind DequantizeLinear (QDQ)")
        target.write_bytes(four_bit_onnx(model, unsigned=unsigned).SerializeToString())
    else:
        target.write_bytes(four_bit_tflite(source.read_bytes(), activations=activations))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--activations", action="store_true")
    parser.add_argument("--unsigned", action="store_true")
    options = parser.parse_args()
    try:
        load_model(options.model)  # says what is wrong with a file
        make_int4(
            options.model,
            options.output,
            activations=options.activations,
            unsigned=options.unsigned,
        )
    except (SystolithError, OSError) as error:
        parser.error(str(error))
