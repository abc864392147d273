"""QONNX's own execution, with every tensor exposed; values on a quantizer's grid become codes."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.errors import ToolError
from systolith.graph import Graph, Tensor
from systolith.importers.onnx_reader import MAX_IR_VERSION

__all__ = ["run_qonnx"]

Arrays = dict[str, NDArray[Any]]

_OFF_GRID = 1e-2
"""Parts of a code by which a float may miss it: float32 rounding is far less."""


@contextlib.contextmanager
def _readable_models() -> Iterator[None]:
    """Let qonnx write models that the pinned onnxruntime reads.

    It wraps each standard operator in a model of onnx's newest IR version, which onnxruntime
    refuses.
    """
    import onnx

    names = vars(onnx)
    newest = onnx.IR_VERSION
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names["IR_VERSION"] = min(int(newest), MAX_IR_VERSION)
        try:
            yield
        finally:
            names["IR_VERSION"] = newest


def _wrapped(graph: Graph) -> Any:
    """Return qonnx's model of a graph, all shapes known."""
    try:
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.infer_shapes import InferShapes
    except ImportError as error:
        raise ToolError(
            "qonnx is not installed; install it with: pip install systolith[qonnx]"
        ) from error
    import onnx

    model = ModelWrapper(onnx.load_model_from_string(graph.model_bytes))
    return model.transform(InferShapes())


def _codes(tensor: Tensor, value: NDArray[Any]) -> NDArray[Any]:
    """Return a float tensor's codes, exactly, if it has any."""
    q = tensor.quantization
    if q is None:
        return value
    sides = [-1 if axis == q.axis else 1 for axis in range(value.ndim)]
    scale, zero = (each.reshape(sides if q.axis is not None else ()) for each in (
        q.scale.astype(np.float64), q.zero_point))  # fmt: skip
    real = value.astype(np.float64) / scale
    whole = np.rint(real)
    if not np.all(np.abs(real - whole) <= _OFF_GRID):
        raise ToolError(f"qonnx gives {tensor.name!r} values that are no multiples of its scale")
    return (whole.astype(np.int64) + zero).astype(tensor.dtype)


def run_qonnx(graph: Graph, samples: list[Arrays]) -> list[Arrays]:
    """Return every activation of each sample that qonnx computes: codes, or floats.

    Raises
    ------
    ToolError: qonnx is not installed or cannot run the model.
    """
    results = []
    with _readable_models():
        model = _wrapped(graph)
        from qonnx.core.onnx_exec import execute_onnx

        for sample in samples:
            try:
                context = execute_onnx(model, dict(sample), return_full_exec_context=True)
            except Exception as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ToolError(f"qonnx cannot run {graph.name!r}: {reason}") from error
            found = {
                name: _codes(tensor, np.asarray(context[tensor.source_name]))
                for name, tensor in graph.tensors.items()
                if tensor.data is None and tensor.source_name in context
            }
            results.append({**sample, **found})
    return results
