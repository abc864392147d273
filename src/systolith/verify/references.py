"""The other side of the comparison: a runtime run live, the profile's formulas, stored tensors."""

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.errors import InputError
from systolith.graph import Graph
from systolith.importers.chatter import without_chatter
from systolith.profiles.reference import evaluate_graph, evaluate_node
from systolith.runtimes import run_runtime
from systolith.runtimes.torch import run_torch_layers
from systolith.verify.samples import Samples, load_arrays

__all__ = [
    "FORMULAS",
    "RUNTIME",
    "STORED",
    "LiveReference",
    "StoredReference",
    "layerwise",
    "runtime_version",
]

Arrays = dict[str, NDArray[Any]]

RUNTIME = "runtime"
FORMULAS = "formulas"
STORED = "stored"

_CHUNK = 16
"""Samples given to a runtime at a time: starting it costs more than an inference."""

_PACKAGES = {
    "tflite-reference": ("LiteRT reference kernels", "ai-edge-litert"),
    "tflite-xnnpack": ("LiteRT XNNPACK", "ai-edge-litert"),
    "tflm": ("TensorFlow Lite Micro", "tflite-micro"),
    "onnxruntime": ("onnxruntime", "onnxruntime"),
    "torch-x86": ("PyTorch FBGEMM (engine x86)", "torch"),
    "torch-qnnpack": ("PyTorch QNNPACK", "torch"),
    "torch-export": ("PyTorch exported program", "torch"),
    "qonnx": ("qonnx", "qonnx"),
}
_OUTPUT_KEYS = {"tflite-reference": "ref_out", "tflite-xnnpack": "xnn_out", "qonnx": "outputs"}


def runtime_version(profile: str) -> str:
    """Return the runtime's name and installed version, for people."""
    title, package = _PACKAGES[profile]
    try:
        return f"{title} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return title


class LiveReference:
    """What the runtime computes, a few samples ahead; formulas fill in what it does not tell.

    Parameters
    ----------
    graph: the network; its profile names the runtime.
    samples: inputs.
    """

    def __init__(self, graph: Graph, samples: Samples) -> None:
        self.graph, self.samples = graph, samples
        self._start = 0
        self._chunk: Arrays = {}

    def sample(self, index: int) -> tuple[Arrays, Arrays]:
        """Return canonical tensors of one sample: the runtime's, and others by the formulas."""
        graph = self.graph
        if not self._chunk or not self._start <= index < self._start + self._length:
            self._load(index)
        live: Arrays = {}
        for name, value in self._chunk.items():
            if name in graph.tensors:
                part = np.split(value, self._length)[index - self._start]
                live[name] = graph.tensors[name].canonical(part)
        missing = [n for node in graph for n in node.outputs if n not in live]
        if not missing:
            return live, {}
        computed = evaluate_graph(graph, {name: live[name] for name in graph.inputs})
        return live, {name: computed[name] for name in missing}

    def _load(self, index: int) -> None:
        self._start = index
        # An input without a batch dimension cannot be given several samples at once.
        batched = all(self.graph.tensors[n].source_shape[:1] == (1,) for n in self.graph.inputs)
        length = _CHUNK if batched else 1
        batch = {
            name: value[index : index + length] if batched else value[index]
            for name, value in self.samples.inputs.items()
        }
        self._length = len(next(iter(batch.values()))) if batched else 1
        with without_chatter():
            self._chunk = {**batch, **run_runtime(self.graph, batch, self.graph.profile)}


def layerwise(graph: Graph, values: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
    """Return every node's output as the runtime computes it from the node's own given inputs.

    What a layer gets wrong is then not found again in the layers behind it.

    Parameters
    ----------
    values: canonical tensors by name, of one run.

    Returns
    -------
    Canonical tensors: the runtime's, and those of nodes it does not know by the formulas.
    """
    sources = {
        name: graph.tensors[name].source(np.asarray(value))
        for name, value in values.items()
        if name in graph.tensors
    }
    with without_chatter():
        found = run_torch_layers(graph, sources)
    live = {name: graph.tensors[name].canonical(value) for name, value in found.items()}
    computed: Arrays = {}
    for node in graph.nodes:
        if node.outputs[0] not in live and all(name in values for name in node.inputs):
            operands = [values[name] for name in node.inputs]
            computed[node.outputs[0]] = evaluate_node(graph, node, operands)
    return live, computed


class StoredReference:
    """Tensors computed earlier, from a file.

    Keys are tensor names (``t<index>`` for TFLite files), optionally after ``out/``; ``ref_out``
    and ``xnn_out`` are the first output under LiteRT's reference and XNNPACK kernels, and a file
    that has ``ref_out`` has its ``t<index>`` from the reference kernels.

    Raises
    ------
    InputError: nothing in the file belongs to the model, or the shapes do not fit.
    """

    def __init__(self, graph: Graph, path: str | Path, count: int) -> None:
        self.graph, self.path = graph, Path(path)
        arrays = load_arrays(self.path)
        self.tensors = self._match(arrays)
        for name, value in self.tensors.items():
            wanted = graph.tensors[name].source_shape
            sample = wanted[1:] if wanted[:1] == (1,) else wanted
            if len(value) < count or value.shape[1:] not in (sample, (1, *sample)):
                raise InputError(
                    f"{self.path.name}: tensor {name!r} must have shape {(count, *sample)}, "
                    f"not {value.shape}"
                )

    def _match(self, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
        graph = self.graph
        made = {name for node in graph for name in node.outputs}
        foreign = "ref_out" in arrays and graph.profile != "tflite-reference"
        found: Arrays = {}
        for key, value in arrays.items():
            name = key.removeprefix("out/")
            if name in made and value.ndim and not (foreign and re.fullmatch(r"t\d+", name)):
                found[name] = value
        extra = _OUTPUT_KEYS.get(graph.profile)
        if extra is not None and extra in arrays and graph.outputs[0] not in found:
            found[graph.outputs[0]] = arrays[extra]
        return found

    def sample(self, index: int) -> Arrays:
        """Return the canonical tensors of one sample."""
        result = {}
        for name, value in self.tensors.items():
            tensor = self.graph.tensors[name]
            result[name] = tensor.canonical(value[index].reshape(tensor.source_shape))
        return result
