"""Writing small ONNX models for tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
ELEMENT = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


class Model:
    """Collects nodes and constants of a small model."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: str) -> str:
        """Store a constant; return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def codes(self, scale: Any, zero: Any, dtype: str) -> tuple[str, str]:
        """Store a scale and a zero point; return their names."""
        return self.constant(scale, "float32"), self.constant(zero, dtype)

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str | Sequence[str],
        domain: str = "",
        **kw: Any,
    ) -> None:
        """Append a node."""
        outputs = [output] if isinstance(output, str) else list(output)
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **kw))

    def bytes(self, inputs: dict[str, tuple[str, Sequence[int]]], outputs: dict[str, str]) -> bytes:
        """Return the file: inputs with their types and shapes, outputs with their types."""
        ins = [helper.make_tensor_value_info(n, ELEMENT[t], s) for n, (t, s) in inputs.items()]
        outs = [helper.make_tensor_value_info(n, ELEMENT[t], None) for n, t in outputs.items()]
        graph = helper.make_graph(self.nodes, "test", ins, outs, self.constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return model.SerializeToString()
