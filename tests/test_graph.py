"""Layouts of tensors, and graphs that must not be."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.errors import InputError, ModelError, SystolithError, UnsupportedOperatorError
from systolith.graph import Graph, Node, Op, Tensor


def tensor(name: str, shape: tuple[int, int, int] = (1, 1, 4)) -> Tensor:
    return Tensor(name=name, shape=shape, dtype="int8", source_shape=(1, shape[2]))


def graph(*nodes: Node, shapes: dict[str, tuple[int, int, int]] | None = None) -> Graph:
    tensors = {name: tensor(name, (shapes or {}).get(name, (1, 1, 4))) for name in "xyz"}
    return Graph(name="g", nodes=nodes, tensors=tensors, inputs=("x",), outputs=("y",), profile="p")


def node(name: str, source: str, target: str) -> Node:
    return Node(name=name, op=Op.RESHAPE, inputs=(source,), outputs=(target,))


def test_canonical_and_source_are_inverse() -> None:
    order = np.arange(24).reshape(1, 2, 3, 4).transpose(0, 2, 3, 1).ravel()
    image = Tensor(name="i", shape=(3, 4, 2), dtype="int8", source_shape=(1, 2, 3, 4), order=order)
    array = np.random.default_rng(0).integers(-128, 128, (1, 2, 3, 4)).astype(np.int8)
    canonical = image.canonical(array)
    np.testing.assert_array_equal(canonical, array[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(image.source(canonical), array)
    np.testing.assert_array_equal(image.canonical(array[0]), canonical)


def test_wrong_shapes() -> None:
    one = replace(tensor("x"), source_name="image")
    with pytest.raises(InputError, match=r"^tensor 'image': shape must be \(1, 4\), not \(2, 4\)$"):
        one.canonical(np.zeros((2, 4)))
    text = r"^tensor 'x': canonical shape must be \(1, 1, 4\), not \(4,\)$"
    with pytest.raises(InputError, match=text):
        one.source(np.zeros(4))


def test_valid_graph() -> None:
    valid = graph(node("a", "x", "z"), node("b", "z", "y")).validate()
    assert [each.name for each in valid] == ["a", "b"]
    assert valid.producer("y") is valid.nodes[1]
    assert valid.producer("x") is None
    assert valid.consumers("z") == (valid.nodes[1],)
    assert valid.macs() == 0


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ((node("a", "z", "y"),), "layer 'a': reads 'z' before it is written"),
        (
            (node("a", "x", "y"), node("b", "x", "y")),
            "layer 'b': must write a new tensor, not 'y'",
        ),
        ((node("a", "x", "w"),), "layer 'a': must write a new tensor, not 'w'"),
        ((node("a", "x", "z"),), "graph input or output 'y' must be a tensor of the graph"),
    ],
)
def test_invalid_graphs(nodes: tuple[Node, ...], text: str) -> None:
    with pytest.raises(ModelError) as caught:
        graph(*nodes).validate()
    assert str(caught.value) == text


def test_reshape_keeps_the_size() -> None:
    text = r"^layer 'a': reshape must keep the size, not \(1, 1, 4\) to \(1, 1, 5\)$"
    with pytest.raises(ModelError, match=text):
        graph(node("a", "x", "y"), shapes={"y": (1, 1, 5)}).validate()


def test_errors_are_one_line() -> None:
    error = UnsupportedOperatorError("two\n lines", layer="l", op="OP")
    assert isinstance(error, SystolithError)
    assert (str(error), error.layer, error.op) == ("layer 'l': two lines", "l", "OP")
