"""What is refused of operators that move elements, and what becomes of the others."""

from types import ModuleType

import numpy as np
import pytest

from systolith.errors import ModelError, UnsupportedOperatorError
from systolith.graph import Graph, Op
from systolith.importers.onnx import import_onnx
from systolith.importers.tflite import import_tflite
from systolith.profiles import get_profile


def tflite(writer: ModuleType, kind: str, shapes: list, constants: list, **changes) -> Graph:
    """A model of one operator; `changes` are of the output."""
    codes = {"scale": 0.1, "zero": 3}
    tensors = [writer.T(shapes[0], **codes), writer.T(shapes[1], **codes | changes)]
    tensors += [
        writer.T(np.shape(each), "int32", data=np.array(each, np.int32)) for each in constants
    ]
    inputs = (0, *range(2, len(tensors)))
    operator = writer.O(kind, inputs, (1,))
    data = writer.write_tflite(tensors, [operator], (0,), (1,))
    return import_tflite(data, get_profile("tflite-reference"), name="moves")


def test_transposes_that_move_nothing_are_reshapes(writer: ModuleType) -> None:
    graph = tflite(writer, "TRANSPOSE", [(1, 4, 1, 6), (1, 1, 4, 6)], [[0, 2, 1, 3]])
    assert [node.op for node in graph] == [Op.RESHAPE]
    graph = tflite(writer, "TRANSPOSE", [(1, 4, 2, 6), (1, 2, 4, 6)], [[0, 2, 1, 3]])
    assert [node.op for node in graph] == [Op.GATHER]
    assert graph.nodes[0].attributes["index"][:7].tolist() == [0, 1, 2, 3, 4, 5, 12]


@pytest.mark.parametrize(
    ("kind", "shapes", "constants", "changes", "text"),
    [
        (
            "TRANSPOSE", [(1, 4, 2, 6), (1, 4, 2, 6)], [[0, 2, 1, 3]], {},
            "output must be [1, 2, 4, 6], not [1, 4, 2, 6]",
        ),
        (
            "TRANSPOSE", [(1, 4, 2, 6), (1, 2, 4, 6)], [[0, 2, 1, 3]], {"scale": 0.2},
            "input and output must have the same quantization",
        ),
        (
            "TRANSPOSE", [(1, 4, 2, 6), (1, 2, 4, 6)], [[0, 2, 1]], {},
            "must fit its input of shape [1, 4, 2, 6] (axes don't match array)",
        ),
        (
            "TRANSPOSE", [(1, 4, 2, 6), (1, 2, 4, 6)], [[0, 1, 1, 3]], {},
            "must fit its input of shape [1, 4, 2, 6] (repeated axis in transpose)",
        ),
    ],
)  # fmt: skip
def test_refused(
    writer: ModuleType, kind: str, shapes: list, constants: list, changes: dict, text: str
) -> None:
    with pytest.raises(ModelError) as caught:
        tflite(writer, kind, shapes, constants, **changes)
    assert str(caught.value) == f"layer '{kind.lower()}_0': {kind} {text}"


def mirrored(writer: ModuleType, widths: list, shape: tuple, mode: int) -> Graph:
    codes = {"scale": 0.1, "zero": 3}
    tensors = [
        writer.T((1, 3, 4, 2), **codes),
        writer.T(shape, **codes),
        writer.T((4, 2), "int32", data=np.array(widths, np.int32)),
    ]
    operator = writer.O("MIRROR_PAD", (0, 2), (1,), "MirrorPadOptions", (("Mode", mode),))
    data = writer.write_tflite(tensors, [operator], (0,), (1,))
    return import_tflite(data, get_profile("tflite-reference"), name="moves")


@pytest.mark.parametrize(("mode", "most"), [(0, [0, 2, 3, 1]), (1, [1, 3, 4, 2])])
def test_mirrored_padding_reaches_to_the_edge(
    writer: ModuleType, mode: int, most: list[int]
) -> None:
    rows, columns = most[1], most[2]
    shape = (1, 3 + 2 * rows, 4 + columns, 2)
    graph = mirrored(writer, [[0, 0], [rows, rows], [columns, 0], [0, 0]], shape, mode)
    places = graph.nodes[0].attributes["index"].reshape(shape[1:])
    assert places[0, 0, 0] == places[2 * rows - mode, 0, 0]
    assert places.min() == 0 and places.max() == 23
    widths = [[0, 0], [rows + 1, 0], [0, 0], [0, 0]]
    with pytest.raises(ModelError) as caught:
        mirrored(writer, widths, (1, 4 + rows, 4, 2), mode)
    assert str(caught.value).endswith(f"paddings must be between 0 and {most}, not {widths}")


def test_computed_permutation_is_refused(writer: ModuleType) -> None:
    codes = {"scale": 0.1, "zero": 3}
    tensors = [writer.T((1, 4), **codes), writer.T((4, 1), **codes), writer.T((2,), "int32")]
    operator = writer.O("TRANSPOSE", (0, 2), (1,), "TransposeOptions")
    data = writer.write_tflite(tensors, [operator], (0, 2), (1,))
    with pytest.raises(UnsupportedOperatorError, match="the permutation must be constant"):
        import_tflite(data, get_profile("tflite-reference"), name="moves")


def test_slopes_of_both_signs_are_refused(writer: ModuleType) -> None:
    codes = {"scale": 0.1, "zero": 3}
    slopes = np.array([[[-5, 9]]], np.int8)
    tensors = [
        writer.T((1, 4, 4, 2), **codes),
        writer.T((1, 4, 4, 2), **codes),
        writer.T((1, 1, 2), scale=0.01, data=slopes),
    ]
    data = writer.write_tflite(tensors, [writer.O("PRELU", (0, 2), (1,))], (0,), (1,))
    with pytest.raises(UnsupportedOperatorError, match=r"prelu_0.*must not be negative"):
        import_tflite(data, get_profile("tflite-reference"), name="prelu")


def onnx_graph(onnx_writer: ModuleType, model) -> Graph:
    data = model.bytes({"x": ("int8", (1, 3, 4, 4))}, {"y": "int8"})
    return import_onnx(data, get_profile("onnxruntime"), name="moves")


def test_a_float_of_no_code_cannot_be_padded_with(onnx_writer: ModuleType) -> None:
    model = onnx_writer.Model()
    codes = model.codes(0.5, 3, "int8")
    pads = model.constant([0, 0, 1, 1, 0, 0, 1, 1], "int64")
    model.add("DequantizeLinear", ["x", *codes], "d")
    model.add("Pad", ["d", pads, model.constant(0.3, "float32")], "r")
    model.add("QuantizeLinear", ["r", *codes], "y")
    with pytest.raises(UnsupportedOperatorError, match="must be the value of a code"):
        onnx_graph(onnx_writer, model)


def test_maxima_of_falling_functions_are_refused(onnx_writer: ModuleType) -> None:
    model = onnx_writer.Model()
    codes = model.codes(0.5, 3, "int8")
    model.add("DequantizeLinear", ["x", *codes], "d")
    model.add("Neg", ["d"], "n")
    model.add("ReduceMax", ["n", model.constant([2, 3], "int64")], "r")
    model.add("QuantizeLinear", ["r", *codes], "y")
    with pytest.raises(UnsupportedOperatorError, match="the values of its codes must grow"):
        onnx_graph(onnx_writer, model)


def test_a_quantization_that_changes_nothing_costs_nothing(onnx_writer: ModuleType) -> None:
    model = onnx_writer.Model()
    codes = model.codes(0.5, 3, "int8")
    model.add("DequantizeLinear", ["x", *codes], "d")
    model.add("Relu", ["d"], "r")
    model.add("Transpose", ["r"], "t", perm=[0, 2, 1, 3])
    model.add("QuantizeLinear", ["t", *codes], "q")
    model.add("DequantizeLinear", ["q", *codes], "e")
    model.add("Slice", ["e", *(model.constant([n], "int64") for n in (1, 3, 2))], "s")
    model.add("QuantizeLinear", ["s", *codes], "y")
    graph = onnx_graph(onnx_writer, model)
    assert sum(node.op is Op.LUT for node in graph) == 1


@pytest.mark.parametrize(
    ("kind", "attributes", "text"),
    [
        ("DepthToSpace", {}, "(the block size must be at least 1, not 0)"),
        ("SpaceToDepth", {"blocksize": -1}, "(the block size must be at least 1, not -1)"),
        ("DepthToSpace", {"blocksize": 1, "mode": "XYZ"}, "mode must be DCR or CRD, not 'XYZ'"),
        ("Pad", {"axes": [9]}, "axes must be different ones of 4, not [9]"),
        ("Pad", {"axes": [3, -1]}, "axes must be different ones of 4, not [3, -1]"),
    ],
)
def test_wrong_attributes_are_refused(
    onnx_writer: ModuleType, kind: str, attributes: dict, text: str
) -> None:
    model = onnx_writer.Model()
    codes = model.codes(0.5, 3, "int8")
    model.add("QLinearSigmoid", ["x", *codes, *codes], "s", domain=onnx_writer.MICROSOFT)
    inputs = ["s"]
    if axes := attributes.get("axes"):
        pads = model.constant([1] * 2 * len(axes), "int64")
        inputs += [pads, "", model.constant(axes, "int64")]
    model.add(kind, inputs, "y", **{k: v for k, v in attributes.items() if k != "axes"})
    with pytest.raises(ModelError) as caught:
        onnx_graph(onnx_writer, model)
    assert text in str(caught.value) and f"layer 'n1': {kind} " in str(caught.value)


def test_slope_that_is_no_number_is_refused(onnx_writer: ModuleType) -> None:
    model, alpha = onnx_writer.Model(), float("nan")
    codes = model.codes(0.5, 3, "int8")
    domain = onnx_writer.MICROSOFT
    model.add("QLinearLeakyRelu", ["x", *codes, *codes], "y", domain=domain, alpha=alpha)
    with pytest.raises(ModelError, match="alpha must be finite, not nan"):
        onnx_graph(onnx_writer, model)


@pytest.mark.parametrize(
    ("kind", "constants", "attributes", "text"),
    [
        ("Flatten", [], {"axis": 9}, "axis must be between -4 and 4, not 9"),
        ("Slice", [[0, 0], [1]], {}, "starts, ends, axes and steps must be as many"),
        ("Pad", [[0, 0, 4, 0, 0, 0, 0, 0]], {"mode": "reflect"}, "must be at most"),
        ("Pad", [[0, 0, 5, 0, 0, 0, 0, 0]], {"mode": "wrap"}, "must be at most"),
    ],
)
def test_moves_beyond_the_tensor_are_refused(
    onnx_writer: ModuleType, kind: str, constants: list, attributes: dict, text: str
) -> None:
    model = onnx_writer.Model()
    codes = model.codes(0.5, 3, "int8")
    model.add("QLinearLeakyRelu", ["x", *codes, *codes], "d", onnx_writer.MICROSOFT, alpha=0.5)
    names = [model.constant(numbers, "int64") for numbers in constants]
    model.add(kind, ["d", *names], "y", **attributes)
    with pytest.raises(ModelError, match=text):
        onnx_graph(onnx_writer, model)
