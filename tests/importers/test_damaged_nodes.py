"""ONNX nodes that are wrong by themselves: the error names the layer, and the attribute."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from systolith.errors import SystolithError
from systolith.importers import load_model

WRONG = {"float": 1.5, "text": "one", "ints": [1, 2], "int": 1, "floats": [1.0, 2.0]}


def model(*nodes: onnx.NodeProto, **constants: object) -> onnx.ModelProto:
    """A model of 1 x 2 x 4 x 4 floats to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [
        helper.make_opsetid("", 21),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid("qonnx.custom_op.general", 1),
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def qoperator() -> onnx.ModelProto:
    """Every kind of attribute: integers, lists, a number, a text."""
    rng = np.random.default_rng(0)
    q = ["s", "z"]
    node = helper.make_node
    return model(
        node("QuantizeLinear", ["x", *q], ["xq"], name="quantize", axis=1),
        node(
            "QLinearConv", ["xq", *q, "w", "s", "zero", *q], ["c"], name="conv",
            kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1,
            auto_pad="NOTSET",
        ),
        node("QLinearLeakyRelu", ["c", *q, *q], ["l"], name="leaky", alpha=0.25,
             domain="com.microsoft"),
        node("MaxPool", ["l"], ["m"], name="pool", kernel_shape=[3, 3], ceil_mode=0),
        node("Transpose", ["m"], ["t"], name="transpose", perm=[0, 1, 3, 2]),
        node("Flatten", ["t"], ["f"], name="flatten", axis=1),
        node("QLinearMatMul", ["f", *q, "d", "s", "zero", *q], ["p"], name="dense"),
        node("QLinearSoftmax", ["p", *q, *q], ["o"], name="softmax", axis=-1, opset=13,
             domain="com.microsoft"),
        node("DequantizeLinear", ["o", *q], ["y"], name="dequantize", axis=1),
        s=np.float32(0.1), z=np.int8(3), zero=np.int8(0),
        w=rng.integers(-128, 128, (3, 2, 2, 2)).astype(np.int8),
        d=rng.integers(-128, 128, (3, 4)).astype(np.int8),
    )  # fmt: skip


def qonnx() -> onnx.ModelProto:
    """The same for QONNX."""
    quant = {"domain": "qonnx.custom_op.general", "signed": 1, "narrow": 0}
    node = helper.make_node
    return model(
        node("Quant", ["x", "s", "z", "b"], ["q"], name="quant", rounding_mode="ROUND", **quant),
        node("Conv", ["q", "w"], ["c"], name="conv", kernel_shape=[2, 2], strides=[1, 1], group=1),
        node("Relu", ["c"], ["r"], name="relu"),
        node("Quant", ["r", "s", "z", "b"], ["y"], name="again", rounding_mode="ROUND", **quant),
        s=np.float32(0.125), z=np.float32(0), b=np.float32(8),
        w=np.ones((3, 2, 2, 2), np.float32),
    )  # fmt: skip


def outcome(tmp_path: Path, changed: onnx.ModelProto) -> str:
    """The error's text, or nothing if the model loads; anything but our own error escapes."""
    path = tmp_path / "model.onnx"
    path.write_bytes(changed.SerializeToString())
    try:
        load_model(path)
    except SystolithError as error:
        return str(error)
    return ""


def damaged(source: onnx.ModelProto) -> Iterator[tuple[str, str, onnx.ModelProto]]:
    """Every attribute in every wrong type, every input left out: (layer, what, model)."""
    for index, node in enumerate(source.graph.node):
        for place, attribute in enumerate(node.attribute):
            for kind, value in WRONG.items():
                changed = onnx.ModelProto()
                changed.CopyFrom(source)
                wrong = helper.make_attribute(attribute.name, value)
                if wrong.type != attribute.type:
                    changed.graph.node[index].attribute[place].CopyFrom(wrong)
                    yield node.name, f"{attribute.name} {kind}", changed
        for count in range(len(node.input)):
            changed = onnx.ModelProto()
            changed.CopyFrom(source)
            del changed.graph.node[index].input[count:]
            yield node.name, f"{count} inputs", changed
        changed = onnx.ModelProto()
        changed.CopyFrom(source)
        del changed.graph.node[index].output[:]
        yield node.name, "no output", changed


@pytest.mark.parametrize("make", [qoperator, qonnx], ids=lambda make: make.__name__)
def test_the_layer_is_named(tmp_path: Path, make: Callable[[], onnx.ModelProto]) -> None:
    source = make()
    assert outcome(tmp_path, source) == ""
    refused = 0
    for layer, what, changed in damaged(source):
        text = outcome(tmp_path, changed)
        assert "damaged" not in text and "\n" not in text, (what, text)
        if text:
            refused += 1
            # An operator may do without some inputs, and the next one refuse what it gives then.
            assert "layer '" in text or f"'{layer}'" in text, (what, text)
            name = what.partition(" ")[0]
            if not (name.isdecimal() or name == "no"):
                assert f"layer '{layer}'" in text and name in text, (what, text)
    assert refused > 20


def test_what_it_says(tmp_path: Path) -> None:
    source = qoperator()
    sides = next(a for a in source.graph.node[1].attribute if a.name == "kernel_shape")
    sides.CopyFrom(helper.make_attribute("kernel_shape", [2.0, 2.0]))
    assert outcome(tmp_path, source) == (
        "model.onnx: layer 'conv': QLinearConv attribute 'kernel_shape' must be a list of "
        "integers, not of type floats"
    )
    source = qoperator()
    del source.graph.node[2].input[:]
    assert outcome(tmp_path, source) == (
        "model.onnx: layer 'leaky': QLinearLeakyRelu must have an input, but has none"
    )
