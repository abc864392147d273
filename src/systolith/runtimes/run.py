"""Running a graph's model in its runtime."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.errors import InputError, SpecError
from systolith.graph import Graph
from systolith.importers import load_model
from systolith.profiles.table import get_profile
from systolith.runtimes.litert import run_reference, run_xnnpack
from systolith.runtimes.onnxruntime import run_onnxruntime
from systolith.runtimes.qonnx import run_qonnx
from systolith.runtimes.tflm import run_tflm
from systolith.runtimes.torch import run_torch

__all__ = ["RUNTIMES", "default_runtime", "run_runtime"]

Arrays = dict[str, NDArray[Any]]
Runtime = Callable[[Graph, list[Arrays]], list[Arrays]]

RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        "tflite-reference": run_reference,
        "tflite-xnnpack": run_xnnpack,
        "tflm": run_tflm,
        "onnxruntime": run_onnxruntime,
        "torch-x86": run_torch,
        "torch-qnnpack": run_torch,
        "torch-export": run_torch,
        "qonnx": run_qonnx,
    }
)
"""``f(graph, samples)``: tensors of each sample; one row for every profile, of the same name."""


def default_runtime(graph: Graph) -> str:
    """Return the runtime whose bits a graph's profile promises."""
    return graph.profile


def _samples(graph: Graph, inputs: Mapping[str, NDArray[Any]]) -> list[Arrays]:
    """Split inputs with a leading batch into samples of batch 1, in the model's shapes and types.

    Raises
    ------
    InputError: an input is missing, unknown, or of another shape or type.
    """
    if set(inputs) != set(graph.inputs):
        raise InputError(f"inputs must be {sorted(graph.inputs)}, not {sorted(inputs)}")
    split: dict[str, list[NDArray[Any]]] = {}
    for name, value in inputs.items():
        tensor = graph.tensors[name]
        array = np.asarray(value)
        if array.dtype != np.dtype(tensor.dtype):
            raise InputError(f"input {name!r} must be {tensor.dtype}, not {array.dtype}")
        shape = tensor.source_shape
        if array.shape == shape or array.shape == shape[1:]:
            array = array.reshape((1, *shape))
        elif shape[:1] == (1,) and array.shape[1:] == shape[1:]:
            array = array[:, None]
        else:
            raise InputError(f"input {name!r} must have shape {shape}, not {array.shape}")
        split[name] = list(array)
    if len({len(each) for each in split.values()}) != 1:
        raise InputError("inputs must have the same number of samples")
    number = len(next(iter(split.values())))
    return [{name: values[i] for name, values in split.items()} for i in range(number)]


def run_runtime(
    model: Graph | str | Path,
    inputs: Mapping[str, NDArray[Any]] | NDArray[Any],
    runtime: str | None = None,
) -> Arrays:
    """Return what a runtime computes: the graph's tensors by name, in the runtime's layout.

    tflite-reference, onnxruntime and qonnx give every tensor, tflite-xnnpack and tflm the outputs
    only.

    Parameters
    ----------
    model: a graph, or a file.
    inputs: arrays in the runtime's layout by input name (one array if there is one input), with
        batch 1 or N; N samples are run one after the other and stacked.
    runtime: a key of `RUNTIMES`; the graph's own if None.

    Raises
    ------
    SpecError: the runtime does not exist or cannot read this kind of model.
    InputError: the inputs do not fit.
    ToolError: the runtime is not installed or fails.
    """
    graph = model if isinstance(model, Graph) else load_model(model, runtime)
    chosen = runtime or default_runtime(graph)
    if chosen not in RUNTIMES:
        raise SpecError(f"runtime must be one of {', '.join(RUNTIMES)}, not {chosen!r}")
    containers = {get_profile(name).container for name in (chosen, graph.profile)}
    alone = {"onnxruntime", "qonnx", "torch-x86", "torch-qnnpack"}
    if len(containers) > 1 or chosen != graph.profile and alone & {chosen, graph.profile}:
        raise SpecError(f"runtime must be one for {graph.profile!r} models, not {chosen!r}")
    if not isinstance(inputs, Mapping):
        if len(graph.inputs) != 1:
            raise InputError(f"inputs must be given by name: {', '.join(graph.inputs)}")
        inputs = {graph.inputs[0]: inputs}
    samples = _samples(graph, inputs)
    results = RUNTIMES[chosen](graph, samples)
    if len(results) == 1:
        return results[0]
    return {name: np.concatenate([each[name] for each in results]) for name in results[0]}
