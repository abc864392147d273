"""Runtimes that quantize float32 numbers, run live, and PyTorch's formula in exact floats."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.spec.quantize import CodeFormat, QuantizeForm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tflite_writer as writer

__all__ = ["CASES", "Case", "dequantize_session"]

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]
Oracle = Callable[[Floats], Codes]


@dataclass(frozen=True)
class Case:
    """A runtime's quantization with one scale and zero point."""

    runtime: str
    format: CodeFormat
    form: QuantizeForm
    scale: float
    zero: int

    @property
    def name(self) -> str:
        """What `--case` takes."""
        return f"{self.runtime}-{self.format}"

    @property
    def bits(self) -> int:
        """The scale's bits."""
        return int(np.float32(self.scale).view(np.uint32))

    def oracle(self) -> Oracle:
        """Return the function from numbers to the runtime's codes."""
        return _ORACLES[self.runtime](self)


def _onnx_session(case: Case, *, quantize: bool) -> Any:
    """Open a session of QuantizeLinear or DequantizeLinear; 4-bit codes come and go as int8."""
    import onnx
    from onnx import TensorProto, helper

    from systolith.importers.ort import open_session

    kind = getattr(TensorProto, case.format.upper())
    outside = kind if case.format.bits == 8 else TensorProto.INT8
    cast = [] if outside == kind else ["Cast"]
    nodes, name = [], "x"
    for index, op in enumerate(
        ["QuantizeLinear", *cast] if quantize else [*cast, "DequantizeLinear"]
    ):
        last, name = name, f"n{index}"
        linear = op != "Cast"
        attributes = {} if linear else {"to": outside if quantize else kind}
        nodes.append(
            helper.make_node(op, [last, "s", "z"] if linear else [last], [name], **attributes)
        )
    sides = (TensorProto.FLOAT, outside) if quantize else (outside, TensorProto.FLOAT)
    infos = [
        helper.make_tensor_value_info(n, k, [None]) for n, k in zip(("x", name), sides, strict=True)
    ]
    constants = [
        helper.make_tensor("s", TensorProto.FLOAT, (), [case.scale]),
        helper.make_tensor("z", kind, (), [case.zero]),
    ]
    graph = helper.make_graph(nodes, "edge", infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return open_session(model.SerializeToString())


def _onnxruntime(case: Case) -> Oracle:
    session = _onnx_session(case, quantize=True)
    return lambda x: session.run(None, {"x": x})[0].astype(np.int64)


def dequantize_session(case: Case) -> Callable[[NDArray[Any]], Floats]:
    """Return onnxruntime's DequantizeLinear as a function of int8 or uint8 codes."""
    session = _onnx_session(case, quantize=False)
    return lambda codes: session.run(None, {"x": codes})[0]


def _litert(resolver: str | None) -> Callable[[Case], Oracle]:
    """QUANTIZE by one of LiteRT's sets of kernels."""

    def make(case: Case) -> Oracle:
        from ai_edge_litert import interpreter

        tensors = [
            writer.T((1, 8), "float32"),
            writer.T((1, 8), str(case.format), case.scale, case.zero),
        ]
        operator = writer.O("QUANTIZE", (0,), (1,), "QuantizeOptions")
        options = {}
        if resolver is not None:
            options["experimental_op_resolver_type"] = interpreter.OpResolverType[resolver]
        content = writer.write_tflite(tensors, [operator], (0,), (1,))
        engine = interpreter.Interpreter(model_content=content, num_threads=1, **options)

        def run(x: Floats) -> Codes:
            if tuple(engine.get_input_details()[0]["shape"]) != (1, x.size):
                engine.resize_tensor_input(0, (1, x.size))
            engine.allocate_tensors()
            engine.set_tensor(0, x[None])
            engine.invoke()
            answer: Codes = engine.get_tensor(1)[0].astype(np.int64)
            return answer

        return run

    return make


def _pytorch(case: Case) -> Oracle:
    """rint(fma(x, 1 / s, zero)), clamped as the vector kernels do.

    An 80-bit float holds every product, and its sum with a zero point wherever that is not the
    zero point itself to less than a quarter.
    """
    inverse = np.longdouble(np.float32(1) / np.float32(case.scale))

    def run(x: Floats) -> Codes:
        with np.errstate(all="ignore"):
            total = (x.astype(np.longdouble) * inverse + case.zero).astype(np.float32)
        codes = np.clip(np.rint(total), case.format.low, case.format.high)
        return np.where(np.isnan(total), case.format.high, codes).astype(np.int64)

    return run


_ORACLES: dict[str, Callable[[Case], Oracle]] = {
    "onnxruntime": _onnxruntime,
    "litert-reference": _litert("BUILTIN_REF"),
    "litert-xnnpack": _litert(None),
    "pytorch-formula": _pytorch,
}

_EVEN, _AWAY = QuantizeForm.DIVIDE_EVEN, QuantizeForm.DIVIDE_AWAY
_MULTIPLY, _FUSED = QuantizeForm.MULTIPLY_EVEN, QuantizeForm.FUSED_EVEN
CASES = tuple(
    Case(runtime, CodeFormat(kind), form, scale, zero)
    for runtime, kind, form, scale, zero in (
        ("onnxruntime", "int8", _EVEN, 0.0196078438, -1),
        ("onnxruntime", "uint8", _EVEN, 0.5, 128),
        ("onnxruntime", "int4", _EVEN, 0.1, 3),
        ("onnxruntime", "uint4", _EVEN, 1e-30, 7),
        ("litert-reference", "int8", _AWAY, 0.0196078438, -1),
        ("litert-reference", "uint8", _AWAY, 0.25, 200),
        ("litert-xnnpack", "int8", _MULTIPLY, 0.0196078438, -1),
        ("litert-xnnpack", "uint8", _MULTIPLY, 0.0078431377, 127),
        ("pytorch-formula", "int8", _FUSED, 0.0196078438, -3),
        ("pytorch-formula", "uint8", _FUSED, 0.5, 127),
    )
)
"""Scales with and without ties, odd zero points where rounding and zero point do not commute."""
