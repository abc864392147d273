"""TensorFlow Lite Micro, through its Python wheel."""

from typing import Any

from numpy.typing import NDArray

from systolith.errors import ToolError
from systolith.graph import Graph

__all__ = ["run_tflm"]

Arrays = dict[str, NDArray[Any]]


def run_tflm(graph: Graph, samples: list[Arrays]) -> list[Arrays]:
    """Return the outputs of each sample under TFLM's kernels."""
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError as error:
        raise ToolError(
            "TensorFlow Lite Micro is not installed; install it with: pip install systolith[tflm]"
        ) from error
    # Its own guess (ten times the file) is too small for small models of large activations.
    arena = (1 << 20) + 4 * sum(tensor.size for tensor in graph.tensors.values())
    results = []
    try:
        engine = runtime.Interpreter.from_bytes(graph.model_bytes, arena_size=arena)
        for sample in samples:
            for position, name in enumerate(graph.inputs):
                engine.set_input(sample[name], position)
            engine.invoke()
            results.append(
                {name: engine.get_output(i).copy() for i, name in enumerate(graph.outputs)}
            )
    except (RuntimeError, ValueError) as error:
        raise ToolError(f"TFLM cannot run {graph.name!r}: {error}") from error
    return results
