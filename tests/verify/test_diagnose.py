"""Coordinates and numbers of a mismatch, against the importer's own layout and plain sums."""

import numpy as np

from systolith.importers import load_model
from systolith.profiles.reference import evaluate_graph
from systolith.verify.diagnose import describe, source_index
from systolith.verify.samples import default_model, default_samples

GRAPH = load_model(default_model())


def values() -> dict[str, np.ndarray]:
    """All tensors of the first test image."""
    image = default_samples(GRAPH).inputs["image"][:1]
    return evaluate_graph(GRAPH, {"image": GRAPH.tensors["image"].canonical(image)})


def test_source_index_is_where_the_value_lies() -> None:
    tensor = GRAPH.tensors["c2_quantized"]
    numbers = np.arange(tensor.size).reshape(tensor.shape)
    source = tensor.source(numbers)
    for index in ((0, 0, 0), (1, 2, 3), (3, 3, 23), (0, 3, 7)):
        assert source[source_index(GRAPH, tensor.name, index)] == numbers[index]


def test_accumulator_of_a_convolution() -> None:
    tensors = values()
    node = next(n for n in GRAPH if n.name == "conv2_quant")
    k = node.arithmetic
    padded = np.pad(
        tensors["c1_quantized"].astype(int) - k.input_zero_point, ((1, 1), (1, 1), (0, 0))
    )
    index = (2, 1, 5)
    window = padded[4:7, 2:5]
    details = describe(GRAPH, node, index, tensors)
    assert details["accumulator"] == int((window * k.weights[5].astype(int)).sum())
    assert details["bias"] == int(k.bias[5])
    assert details["scale"] == float(k.requant.scale[5])


def test_operands_of_an_addition() -> None:
    tensors = values()
    node = next(n for n in GRAPH if n.name == "add_quant")
    details = describe(GRAPH, node, (3, 0, 2), tensors)
    assert details["operand_a"] == tensors[node.inputs[0]][3, 0, 2]
    assert details["operand_b"] == tensors[node.inputs[1]][3, 0, 2]


def test_nothing_is_invented_without_operands() -> None:
    node = next(n for n in GRAPH if n.name == "conv2_quant")
    assert describe(GRAPH, node, (0, 0, 0), {}) == {}
