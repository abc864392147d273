"""LiteRT: the reference kernels with every tensor, and the default XNNPACK kernels."""

from typing import Any

from numpy.typing import NDArray

from systolith.errors import ToolError
from systolith.graph import Graph

__all__ = ["run_reference", "run_xnnpack"]

Arrays = dict[str, NDArray[Any]]


def _module() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise ToolError(
            "LiteRT is not installed; install it with: pip install systolith[tflite]"
        ) from error
    return interpreter


def _run(graph: Graph, samples: list[Arrays], names: list[str], **options: Any) -> list[Arrays]:
    """Run samples and return the tensors of `names` (``t<index>``)."""
    module = _module()
    if "experimental_op_resolver_type" in options:
        resolvers = module.OpResolverType
        options["experimental_op_resolver_type"] = resolvers[
            options["experimental_op_resolver_type"]
        ]
    results = []
    try:
        engine = module.Interpreter(model_content=graph.model_bytes, num_threads=1, **options)
        engine.allocate_tensors()
        for sample in samples:
            for name, value in sample.items():
                engine.set_tensor(int(name[1:]), value)
            engine.invoke()
            results.append({name: engine.get_tensor(int(name[1:])) for name in names})
    except (RuntimeError, ValueError) as error:
        raise ToolError(f"LiteRT cannot run {graph.name!r}: {error}") from error
    return results


def run_reference(graph: Graph, samples: list[Arrays]) -> list[Arrays]:
    """Return every activation of each sample under LiteRT's reference kernels."""
    names = [
        name for name, tensor in graph.tensors.items() if tensor.data is None and "/" not in name
    ]
    return _run(
        graph,
        samples,
        names,
        experimental_op_resolver_type="BUILTIN_REF",
        experimental_preserve_all_tensors=True,
    )


def run_xnnpack(graph: Graph, samples: list[Arrays]) -> list[Arrays]:
    """Return the outputs of each sample under LiteRT's default kernels (XNNPACK)."""
    return _run(graph, samples, list(graph.outputs))
