"""onnxruntime sessions as everything here wants them: CPU, one thread, silent, no fallback."""

from pathlib import Path
from typing import Any

from systolith.errors import ToolError

__all__ = ["open_session"]


def open_session(model: bytes, *, fuse_to: Path | None = None) -> Any:
    """Return an InferenceSession of a model.

    Parameters
    ----------
    model: an ONNX file's bytes.
    fuse_to: if given, optimise at level EXTENDED (which fuses QDQ, and keeps int8 activations
        int8) and write the result there; otherwise do not optimise at all.

    Raises
    ------
    ToolError: onnxruntime is not installed. Whatever onnxruntime raises on a bad model is its own.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise ToolError(
            "onnxruntime is not installed; install it with: pip install onnxruntime"
        ) from error
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if fuse_to is not None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        options.optimized_model_filepath = str(fuse_to)
    # Without enable_fallback=0 a failure is printed and tried again.
    return ort.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
