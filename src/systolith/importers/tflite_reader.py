"""TFLite flatbuffers as plain records, with every offset and length checked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from systolith.errors import ModelError
from systolith.importers.damage import damage_as_model_error

__all__ = ["RawModel", "RawOperator", "RawTensor", "read_tflite"]

_TYPES = {
    value: name
    for name, value in vars(tflite.TensorType).items()
    if not name.startswith("_") and isinstance(value, int)
}
_OPERATORS = {
    value: name
    for name, value in vars(tflite.BuiltinOperator).items()
    if not name.startswith("_") and isinstance(value, int)
}
_NUMPY: dict[str, np.dtype[Any]] = {
    "FLOAT32": np.dtype("<f4"),
    "INT8": np.dtype("i1"),
    "UINT8": np.dtype("u1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "BOOL": np.dtype("?"),
}
_MAX_ELEMENTS = 1 << 31


@dataclass(frozen=True, kw_only=True, eq=False)
class RawTensor:
    """One tensor of the file, as it stands there; codes of 4 bits are int8 in `data`."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int
    data: NDArray[Any] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class RawOperator:
    """One operator of the file; absent optional inputs have index -1."""

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: Any

    @property
    def label(self) -> str:
        """What errors call the operator."""
        return f"{self.kind.lower()}_{self.index}"

    def options(self, kind: str) -> Any:
        """Return the operator's options as the flatbuffers class ``<kind>``.

        Raises
        ------
        ModelError: the operator carries none.
        """
        union = self.table.BuiltinOptions()
        if union is None:
            raise ModelError(f"must have {kind}", layer=self.label, op=self.kind)
        options = getattr(tflite, kind)()
        options.Init(union.Bytes, union.Pos)
        return options


@dataclass(frozen=True, kw_only=True, eq=False)
class RawModel:
    """The main subgraph."""

    tensors: tuple[RawTensor, ...]
    operators: tuple[RawOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _ints(values: Any) -> tuple[int, ...]:
    """Return a flatbuffers vector (0 when absent) as ints."""
    return () if isinstance(values, int) else tuple(int(v) for v in values)


def _count(length: int, data: bytes, what: str) -> int:
    if not 0 <= length <= len(data):
        raise ModelError(f"damaged file: number of {what} must fit the file, not {length!r}")
    return length


def _contents(model: Any, index: int, dtype: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return a constant's values, or None for an activation.

    Raises
    ------
    ModelError: the buffer's size does not fit shape and type.
    """
    raw = model.Buffers(index).DataAsNumpy() if index < model.BuffersLength() else 0
    if isinstance(raw, int) or raw.size == 0:
        return None
    kind, count = _NUMPY.get(dtype), int(np.prod(shape, dtype=np.int64))
    if dtype == "INT4":
        if raw.size != -(-count // 2):
            need = f"{-(-count // 2)} bytes, two codes each"
            raise ModelError(
                f"damaged file: buffer {index} of INT4{list(shape)} must have {need}, "
                f"not {raw.size}"
            )
        return _nibbles(np.asarray(raw, np.uint8))[:count].reshape(shape)
    if kind is None:
        return np.asarray(raw, np.uint8)
    if raw.size != count * kind.itemsize:
        raise ModelError(f"damaged file: buffer {index} must hold {dtype}{list(shape)}")
    return np.frombuffer(raw.tobytes(), kind).reshape(shape)


def _nibbles(raw: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Signed codes of 4 bits, the low one of a byte first."""
    codes = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1).astype(np.int8)
    return np.where(codes > 7, codes - 16, codes).astype(np.int8)


def _tensor(model: Any, table: Any, index: int) -> RawTensor:
    name = (table.Name() or b"").decode("utf-8", "replace")
    shape = _ints(table.ShapeAsNumpy())
    signature = _ints(table.ShapeSignatureAsNumpy())
    if any(side < 0 for side in (*shape, *signature[1:])):
        raise ModelError(f"tensor {name!r}: shape must be fixed, not {list(signature or shape)}")
    if int(np.prod(shape, dtype=np.float64)) > _MAX_ELEMENTS:
        raise ModelError(f"tensor {name!r}: must be smaller than {list(shape)}")
    if table.Sparsity() is not None:
        raise ModelError(f"tensor {name!r}: must be dense, sparse tensors are not supported")
    dtype = _TYPES.get(table.Type(), f"type {table.Type()}")
    scales, zeros, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    quantization = table.Quantization()
    if quantization is not None and quantization.ScaleLength():
        scales = np.array(quantization.ScaleAsNumpy(), np.float32)
        zeros = np.array(_ints(quantization.ZeroPointAsNumpy()), np.int64)
        zeros = zeros if zeros.size else np.zeros(scales.size, np.int64)
        axis = quantization.QuantizedDimension()
        bad = scales[~(np.isfinite(scales) & (scales > 0))]
        if bad.size:
            raise ModelError(f"tensor {name!r}: scales must be finite and positive, not {bad[0]}")
        if zeros.size != scales.size:
            raise ModelError(f"tensor {name!r}: zero points must be as many as scales")
    return RawTensor(
        index=index,
        name=name,
        shape=shape,
        dtype=dtype,
        scales=scales,
        zero_points=zeros,
        axis=axis,
        data=_contents(model, table.Buffer(), dtype, shape),
    )


def _operator(model: Any, table: Any, index: int, tensors: int) -> RawOperator:
    code = model.OperatorCodes(table.OpcodeIndex())
    number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
    kind = _OPERATORS.get(number, f"operator {number}")
    if kind == "CUSTOM":
        kind = f"CUSTOM {(code.CustomCode() or b'').decode('utf-8', 'replace')}"
    inputs, outputs = _ints(table.InputsAsNumpy()), _ints(table.OutputsAsNumpy())
    if any(not -1 <= i < tensors for i in inputs) or any(not 0 <= i < tensors for i in outputs):
        raise ModelError("damaged file: operands must be tensors of the file", layer=str(index))
    return RawOperator(index=index, kind=kind, inputs=inputs, outputs=outputs, table=table)


def _read(data: bytes) -> RawModel:
    model = tflite.Model.GetRootAsModel(data, 0)
    if _count(model.SubgraphsLength(), data, "subgraphs") == 0:
        raise ModelError("model must have a subgraph")
    graph = model.Subgraphs(0)
    tensors = tuple(
        _tensor(model, graph.Tensors(i), i)
        for i in range(_count(graph.TensorsLength(), data, "tensors"))
    )
    operators = tuple(
        _operator(model, graph.Operators(i), i, len(tensors))
        for i in range(_count(graph.OperatorsLength(), data, "operators"))
    )
    inputs, outputs = _ints(graph.InputsAsNumpy()), _ints(graph.OutputsAsNumpy())
    if not inputs or not outputs or any(not 0 <= i < len(tensors) for i in (*inputs, *outputs)):
        raise ModelError("model must have inputs and outputs among its tensors")
    return RawModel(tensors=tensors, operators=operators, inputs=inputs, outputs=outputs)


def read_tflite(data: bytes) -> RawModel:
    """Return the records of a TFLite file.

    Raises
    ------
    ModelError: the file is damaged or truncated, or has what no record can hold.
    """
    if data[4:8] != b"TFL3":
        raise ModelError(f"not a TFLite file: bytes 4-7 must be b'TFL3', not {data[4:8]!r}")
    with damage_as_model_error("TFLite"):
        return _read(data)
