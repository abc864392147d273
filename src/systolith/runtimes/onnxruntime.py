"""onnxruntime, with every tensor exposed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.errors import ToolError
from systolith.graph import Graph
from systolith.importers.ort import open_session
from systolith.runtimes.onnx_blocks import block_layers

__all__ = ["run_onnxruntime", "unsigned_weights"]

Arrays = dict[str, NDArray[Any]]

_WEIGHTED = {"QLinearConv": (2, 3, 5), "QLinearMatMul": (2, 3, 5), "QGemm": (2, 3, 5)}
"""Positions of the activation's zero point, the weights and their zero point."""


def unsigned_weights(model: Any) -> None:
    """Rewrite uint8 x int8 layers of an ONNX model as uint8 x uint8, in place.

    x86 processors without VNNI add two uint8 x int8 products in saturating 16 bits, so onnxruntime
    gives other results there. ``w + 128`` with ``zero_point + 128`` are the same integers
    ``w - zero_point``, and their kernels are exact on every processor.
    """
    from onnx import numpy_helper

    stored = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        positions = _WEIGHTED.get(node.op_type)
        if positions is None or any(node.input[p] not in stored for p in positions):
            continue
        zero, *pair = (numpy_helper.to_array(stored[node.input[p]]) for p in positions)
        if zero.dtype != np.uint8 or pair[0].dtype != np.int8:
            continue
        for position, value in zip(positions[1:], pair, strict=True):
            name = f"{node.input[position]}/unsigned"
            if name not in stored:
                moved = (value.astype(np.int16) + 128).astype(np.uint8)
                stored[name] = numpy_helper.from_array(moved, name)
                model.graph.initializer.append(stored[name])
            node.input[position] = name


def run_onnxruntime(graph: Graph, samples: list[Arrays]) -> list[Arrays]:
    """Return every activation of each sample, codes and sums of blocks (MatMulNBits) among them.

    The graph's model is in QOperator form already, so optimisation is off: it would only rename.
    """
    import onnx

    model = onnx.load_model_from_string(graph.model_bytes)
    unsigned_weights(model)
    made = {name for node in model.graph.node for name in node.output}
    present = {value.name for value in model.graph.output}
    names = [name for name in graph.tensors if name in made]
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in present
    )
    try:
        session = open_session(model.SerializeToString())
        results = [dict(zip(names, session.run(names, s), strict=True)) for s in samples]
        layers = block_layers(graph, model)
        for sample, result in zip(samples, results, strict=True):
            for layer in layers:
                result.update(layer.tensors({**sample, **result}[layer.source]))
    except ToolError:
        raise
    except Exception as error:
        raise ToolError(f"onnxruntime cannot run {graph.name!r}: {error}") from error
    return [{**sample, **result} for sample, result in zip(samples, results, strict=True)]
