"""Constants of QONNX files: quantized ones as codes, others as onnxruntime folds them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.errors import SystolithError
from systolith.importers.onnx_reader import MAX_IR_VERSION
from systolith.importers.ort import open_session

__all__ = ["QuantizedConstant", "fold"]

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedConstant:
    """A constant that a quantizer has made: ``value = float32(codes * scale)``.

    Parameters
    ----------
    codes: int64, zero point taken off.
    scale: float32, of the same shape.
    """

    codes: NDArray[np.int64]
    scale: NDArray[np.float32]

    @property
    def value(self) -> NDArray[np.float32]:
        """The float32 values."""
        return self.codes.astype(np.float32) * self.scale

    def moved(self, rule: Callable[[Array], Array]) -> "QuantizedConstant":
        """Return the constant after an operator that only moves elements."""
        return QuantizedConstant(codes=rule(self.codes), scale=rule(self.scale))


def fold(node: onnx.NodeProto, values: list[Array], opset: int) -> list[Array] | None:
    """Return what onnxruntime makes of an operator whose inputs are constants, None if nothing.

    Parameters
    ----------
    node: a standard operator.
    values: of its inputs; those left out are absent.
    opset: version of the model's operators.
    """
    helper = onnx.helper
    names = [name for name in node.input if name]
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in dict(zip(names, values, strict=True)).items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "fold", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = min(model.ir_version, MAX_IR_VERSION)
    try:
        session = open_session(model.SerializeToString())
        result: list[Array] = session.run(None, dict(zip(names, values, strict=True)))
    except SystolithError:
        raise
    except Exception:
        return None
    return result
