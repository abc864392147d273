"""onnxruntime, with every tensor exposed."""

from typing import Any

from numpy.typing import NDArray

from systolith.errors import ToolError
from systolith.graph import Graph

__all__ = ["run_onnxruntime"]

Arrays = dict[str, NDArray[Any]]


def run_onnxruntime(graph: Graph, samples: list[Arrays]) -> list[Arrays]:
    """Return every activation of each sample.

    The graph's model is in QOperator form already, so optimisation is off: it would only rename.
    """
    try:
        import onnx
        import onnxruntime as ort
    except ImportError as error:
        raise ToolError(
            "onnxruntime is not installed; install it with: pip install onnxruntime"
        ) from error
    model = onnx.load_model_from_string(graph.model_bytes)
    made = {name for node in model.graph.node for name in node.output}
    present = {value.name for value in model.graph.output}
    names = [name for name in graph.tensors if name in made]
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in present
    )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        results = [dict(zip(names, session.run(names, s), strict=True)) for s in samples]
    except Exception as error:
        raise ToolError(f"onnxruntime cannot run {graph.name!r}: {error}") from error
    return [{**sample, **result} for sample, result in zip(samples, results, strict=True)]
