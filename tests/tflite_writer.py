"""Writing small TFLite files for tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "int8": tflite.TensorType.INT8,
    "uint8": tflite.TensorType.UINT8,
    "int32": tflite.TensorType.INT32,
    "int4": tflite.TensorType.INT4,
}
"""Types of tensors; the data of int4 is its bytes."""
VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3} | dict.fromkeys(
    (
        *("RESHAPE", "HARD_SWISH", "ELU", "NEG", "SQRT", "LOG", "EXP", "PRELU"),
        *("RELU_N1_TO_1", "RELU_0_TO_1", "UNPACK", "REVERSE_V2", "MIRROR_PAD", "TILE"),
        *("BROADCAST_TO", "SPLIT_V", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"),
    ),
    1,
)
"""Operator versions that take int8 (2 for the others)."""


@dataclass(frozen=True)
class T:
    """A tensor of the file."""

    shape: Sequence[int]
    dtype: str = "int8"
    scale: Sequence[float] | float | None = None
    zero: Sequence[int] | int = 0
    axis: int = 0
    data: NDArray[Any] | None = None
    name: str = ""
    signature: Sequence[int] | None = None


@dataclass(frozen=True)
class O:  # noqa: E742 - the letter stands for operator, as T stands for tensor
    """An operator: builtin's name, tensor indices and options as ``{"Class": {field: value}}``."""

    kind: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: str = ""
    fields: tuple[tuple[str, Any], ...] = ()
    custom: str = ""


def _vector(b: Any, values: Sequence[int], kind: str) -> int:
    dtype = {"i4": np.int32, "i8": np.int64, "f4": np.float32, "u1": np.uint8}[kind]
    return b.CreateNumpyVector(np.asarray(values, dtype))


def _offsets(b: Any, start: Callable[[Any, int], Any], offsets: Sequence[int]) -> int:
    start(b, len(offsets))
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _tensor(b: Any, tensor: T, buffer: int) -> int:
    name = b.CreateString(tensor.name or f"tensor{buffer}")
    shape = _vector(b, tensor.shape, "i4")
    signature = None if tensor.signature is None else _vector(b, tensor.signature, "i4")
    quantization = None
    if tensor.scale is not None:
        scale = np.atleast_1d(np.asarray(tensor.scale, np.float32))
        zero = np.broadcast_to(np.asarray(tensor.zero, np.int64), scale.shape)
        scales, zeros = _vector(b, scale, "f4"), _vector(b, zero, "i8")
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scales)
        tflite.QuantizationParametersAddZeroPoint(b, zeros)
        tflite.QuantizationParametersAddQuantizedDimension(b, tensor.axis)
        quantization = tflite.QuantizationParametersEnd(b)
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, TYPES[tensor.dtype])
    tflite.TensorAddBuffer(b, buffer)
    tflite.TensorAddName(b, name)
    if quantization is not None:
        tflite.TensorAddQuantization(b, quantization)
    if signature is not None:
        tflite.TensorAddShapeSignature(b, signature)
    return tflite.TensorEnd(b)


def _operator(b: Any, op: O, code: int) -> int:
    inputs, outputs = _vector(b, op.inputs, "i4"), _vector(b, op.outputs, "i4")
    options = None
    if op.options:
        vectors = {
            name: _vector(b, value, "i4") for name, value in op.fields if isinstance(value, tuple)
        }
        getattr(tflite, f"{op.options}Start")(b)
        for name, value in op.fields:
            getattr(tflite, f"{op.options}Add{name}")(b, vectors.get(name, value))
        options = getattr(tflite, f"{op.options}End")(b)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, code)
    tflite.OperatorAddInputs(b, inputs)
    tflite.OperatorAddOutputs(b, outputs)
    if options is not None:
        tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, op.options))
        tflite.OperatorAddBuiltinOptions(b, options)
    return tflite.OperatorEnd(b)


def _code(b: Any, op: O) -> int:
    number = getattr(tflite.BuiltinOperator, op.kind)
    custom = b.CreateString(op.custom) if op.custom else None
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
    tflite.OperatorCodeAddBuiltinCode(b, number)
    tflite.OperatorCodeAddVersion(b, VERSIONS.get(op.kind, 2))
    if custom is not None:
        tflite.OperatorCodeAddCustomCode(b, custom)
    return tflite.OperatorCodeEnd(b)


def _buffer(b: Any, data: NDArray[Any] | None) -> int:
    raw = None if data is None else _vector(b, np.frombuffer(data.tobytes(), np.uint8), "u1")
    tflite.BufferStart(b)
    if raw is not None:
        tflite.BufferAddData(b, raw)
    return tflite.BufferEnd(b)


def write_tflite(
    tensors: Sequence[T], operators: Sequence[O], inputs: Sequence[int], outputs: Sequence[int]
) -> bytes:
    """Return the bytes of a TFLite file of one subgraph."""
    b = flatbuffers.Builder(1024)
    buffers = [_buffer(b, None)] + [_buffer(b, tensor.data) for tensor in tensors]
    tensor_list = [_tensor(b, tensor, i + 1) for i, tensor in enumerate(tensors)]
    operator_list = [_operator(b, op, i) for i, op in enumerate(operators)]
    codes = _offsets(b, tflite.ModelStartOperatorCodesVector, [_code(b, op) for op in operators])
    parts = (
        _offsets(b, tflite.SubGraphStartTensorsVector, tensor_list),
        _vector(b, inputs, "i4"),
        _vector(b, outputs, "i4"),
        _offsets(b, tflite.SubGraphStartOperatorsVector, operator_list),
    )
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, parts[0])
    tflite.SubGraphAddInputs(b, parts[1])
    tflite.SubGraphAddOutputs(b, parts[2])
    tflite.SubGraphAddOperators(b, parts[3])
    graph = _offsets(b, tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(b)])
    buffer_list = _offsets(b, tflite.ModelStartBuffersVector, buffers)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, codes)
    tflite.ModelAddSubgraphs(b, graph)
    tflite.ModelAddBuffers(b, buffer_list)
    b.Finish(tflite.ModelEnd(b), b"TFL3")
    return bytes(b.Output())
