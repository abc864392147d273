"""Writing small QONNX models for tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_writer import Model

QONNX = "qonnx.custom_op.general"


class QonnxModel(Model):
    """Collects nodes and constants of a small QONNX model."""

    def quant(
        self,
        source: str,
        target: str,
        scale: Any = 1.0,
        bits: int = 4,
        *,
        zero: float = 0,
        signed: int = 1,
        narrow: int = 0,
        mode: str = "ROUND",
    ) -> str:
        """Append a Quant; return its output."""
        inputs = [source, *(self.constant(v, "float32") for v in (scale, zero, bits))]
        options = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
        self.add("Quant", inputs, target, QONNX, **options)
        return target

    def floats(self, value: Any) -> str:
        """Store a float32 constant; return its name."""
        return self.constant(value, "float32")

    def weights(self, value: Any, scale: Any, bits: int = 4, *, narrow: int = 1) -> str:
        """Store weights behind a Quant; return its output."""
        name = self.floats(value)
        return self.quant(name, f"{name}_q", scale, bits, narrow=narrow)

    def norm(self, source: str, target: str, rng: np.random.Generator, channels: int) -> str:
        """Append a random batch normalization, some factors negative; return its output."""
        scale, bias, mean = (rng.normal(size=channels) for _ in range(3))
        variance = rng.uniform(0.05, 3, channels)
        names = [self.floats(each) for each in (scale, bias, mean, variance)]
        self.add("BatchNormalization", [source, *names], target, epsilon=1e-5)
        return target

    def file(
        self, shape: Sequence[int], output: str = "y", qonnx: int = 1, opset: int = 13
    ) -> bytes:
        """Return the file: input x of that shape, one output."""
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "test",
            [info("x", TensorProto.FLOAT, shape)],
            [info(output, TensorProto.FLOAT, None)],
            self.constants,
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(QONNX, qonnx)]
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return model.SerializeToString()
