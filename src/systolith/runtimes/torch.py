"""PyTorch, running the model's own file: whole networks, or a layer at a time."""

import functools
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from systolith.graph import Graph
from systolith.importers.torch_export_reader import read_export
from systolith.importers.torch_program import TorchProgram
from systolith.importers.torchscript_reader import ENGINES, read_torchscript

__all__ = ["run_torch", "run_torch_layers"]

Arrays = dict[str, NDArray[Any]]


@functools.lru_cache(maxsize=2)
def _read(data: bytes, profile: str, path: str) -> TorchProgram:
    """Read a file once, however many layers and samples it runs."""
    return read_torchscript(data, profile, path) if profile in ENGINES else read_export(data)


def _program(graph: Graph) -> TorchProgram:
    return _read(graph.model_bytes, graph.profile, graph.source_path)


def run_torch(graph: Graph, samples: list[Arrays]) -> list[Arrays]:
    """Return every activation of each sample under PyTorch's kernels."""
    program = _program(graph)
    names = [name for name in graph.tensors if name in program.values]
    return [program.evaluate(sample, names) for sample in samples]


def run_torch_layers(graph: Graph, tensors: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return each node's output as PyTorch computes it from that node's own inputs.

    Parameters
    ----------
    tensors: inputs of the nodes by name, in the runtime's layout; those of other nodes are left
        out, and what renamings inside of a node lead to is taken from its source.
    """
    program = _program(graph)
    known = {name: value for name, value in tensors.items() if name in program.values}
    results: Arrays = {}
    for node in graph.nodes:
        name = node.outputs[0]
        if name in program.values:
            given = {key: value for key, value in known.items() if key != name}
            results.update(program.evaluate(given, [name]))
    return results
