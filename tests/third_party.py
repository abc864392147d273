"""Runtime, formulas and golden side by side on one model: what every exactness test compares."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.compiler.compile import compile_graph
from systolith.errors import ToolError
from systolith.graph import Graph
from systolith.host import run_model
from systolith.importers.onnx import import_onnx
from systolith.importers.qonnx import import_qonnx
from systolith.importers.tflite import import_tflite
from systolith.profiles import get_profile
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime
from systolith.sim.backends import get_backend
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)


def _spec(rows: int, columns: int, lanes: int, *, lines: int = 0, bus: int = 0) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns, depthwise_lines=lines),
        memory=MemorySpec(
            weight_bytes=columns * (1 << 14),
            parameter_channels=lanes * 1024,
            command_words=1 << 14,
            tables=8,
            activation_regions=2,
            activation_bytes=rows * (1 << (9 if bus else 13)),
        ),
        post=PostSpec(lanes=lanes),
        external=ExternalSpec(data_bytes=bus),
    )


SPEC = _spec(4, 4, 2)
"""A small array with room for the tests' tensors."""
SPECS = (
    SPEC,
    _spec(3, 5, 5),
    _spec(16, 16, 16, lines=3),
    _spec(9, 16, 4),
    _spec(8, 8, 4, lines=2, bus=8),
)
"""Arrays of many shapes, with depthwise mode and without; the last has external memory."""


def imported(data: bytes, profile: str) -> Graph:
    """The graph of a TFLite or ONNX model."""
    importers = {"onnxruntime": import_onnx, "qonnx": import_qonnx}
    importer = importers.get(profile, import_tflite)
    return importer(data, get_profile(profile), name="test")


def compare(
    data: bytes,
    profile: str,
    inputs: dict[str, NDArray[Any]],
    *,
    spec: AcceleratorSpec | None = SPEC,
    backend: str = "golden",
) -> int:
    """Require that the runtime's outputs, the formulas' and a backend's are equal.

    Parameters
    ----------
    data: the model file.
    inputs: samples in the runtime's layout, by name.
    spec: what to compile for; None to leave the accelerator out.

    Returns
    -------
    Output values of the runtime that were compared.
    """
    graph = imported(data, profile)
    try:
        expected = run_runtime(graph, inputs)
    except ToolError as error:
        if "not installed" in str(error):
            pytest.skip(str(error))
        raise
    model = None if spec is None else compile_graph(graph, spec)
    compared = 0
    for index in range(len(next(iter(inputs.values())))):
        given = {
            name: graph.tensors[name].canonical(value[index : index + 1])
            for name, value in inputs.items()
        }
        found = {"formula": evaluate_graph(graph, given)}
        if model is not None:
            found[backend] = run_model(model, get_backend(backend), given).tensors
        for name in graph.outputs:
            for way, values in found.items():
                got = graph.tensors[name].source(values[name])
                want = expected[name][index : index + 1].reshape(got.shape)
                message = f"{profile}, {way}, {name}, sample {index}"
                np.testing.assert_array_equal(got, want, err_msg=message)
            compared += got.size
    return compared
