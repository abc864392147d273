"""Real networks, every tensor of every layer: golden against the runtimes' own results."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.compiler.check import check_program
from systolith.compiler.compile import compile_graph
from systolith.golden.execute import execute
from systolith.importers.load import load_model
from systolith.spec.commands import Opcode, decode
from systolith.spec.configuration import load_spec

TFLITE = ["resnet8", "dscnn", "autoencoder", "mobilenetv1_vww", "micro_speech", "hello_world"]
ONNX = [
    f"{net}_{kind}"
    for net in ("ic_resnet8", "kws_dscnn")
    for kind in ("qdq_s8s8_pc", "qdq_u8s8_pc", "qop_s8s8_pt", "qop_u8s8_pc")
]


def roomy(name, lines=0):
    """A preset with memories that hold every network here, and with depthwise lines."""
    spec = load_spec(name)
    memory = replace(
        spec.memory,
        activation_bytes=1 << 18,
        weight_bytes=spec.array.columns << 15,
        parameter_channels=spec.post.lanes << 12,
    )
    return replace(spec, memory=memory, array=replace(spec.array, depthwise_lines=lines))


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("name", TFLITE)
def test_tflite_reference(models, name, fuse):
    graph = load_model(models / "tflite" / f"{name}.tflite")
    vectors = np.load(models / "tflite" / f"{name}.npz")
    model = compile_graph(graph, roomy("base"), fuse=fuse)
    capture = [layer.tensor for layer in model.program.layers]
    source = graph.tensor(graph.inputs[0])
    codes = source.canonical(vectors["inputs"][0].reshape(source.source_shape))
    given = {n: codes.reshape(graph.tensor(n).shape) for n in model.program.inputs}
    found = execute(model.program, given, capture=capture)
    checked = 0
    for tensor, value in found.items():
        if tensor in vectors:
            wanted = vectors[tensor][0].reshape(graph.tensor(tensor).source_shape)
            np.testing.assert_array_equal(graph.tensor(tensor).source(value), wanted, tensor)
            checked += 1
    assert checked >= len(capture)


@pytest.mark.parametrize("name", ["resnet8", "dscnn", "mobilenetv1_vww"])
def test_tflite_xnnpack(models, nets, name):
    graph = load_model(models / "tflite" / f"{name}.tflite", "tflite-xnnpack")
    model = nets.compare(graph, roomy("base"))
    assert not any(note.where == "host" for note in model.notes[:-1])


@pytest.mark.parametrize("name", ONNX)
def test_onnxruntime(models, nets, name):
    graph = load_model(models / "onnx" / f"{name}.onnx", "onnxruntime")
    shape = graph.tensor(graph.inputs[0]).shape
    inputs = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    nets.compare(graph, roomy("base"), inputs={graph.inputs[0]: inputs})


@pytest.mark.parametrize("name", ["dscnn", "mobilenetv1_vww", "resnet8", "micro_speech"])
@pytest.mark.parametrize(("array", "lines"), [("base", 3), ("8x16", 2), ("small", 2)])
def test_depthwise_mode(models, nets, name, array, lines):
    graph = load_model(models / "tflite" / f"{name}.tflite")
    model = nets.compare(graph, roomy(array, lines))
    commands = list(decode(model.program.commands.tolist()))
    depthwise = [c for c in commands if c.opcode is Opcode.MATMUL and c["depthwise"]]
    layers = {"dscnn": 4, "mobilenetv1_vww": 13}.get(name, 0)
    assert len(depthwise) >= layers and bool(depthwise) is bool(layers)


@pytest.mark.parametrize("name", [n for n in ONNX if "dscnn" in n])
def test_depthwise_mode_of_onnx(models, nets, name):
    graph = load_model(models / "onnx" / f"{name}.onnx", "onnxruntime")
    shape = graph.tensor(graph.inputs[0]).shape
    inputs = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    nets.compare(graph, roomy("base", 3), inputs={graph.inputs[0]: inputs})


@pytest.mark.parametrize("array", ["tiny", "small", "8x16", "13x5", "large"])
def test_arrays(models, nets, array):
    graph = load_model(models / "tflite" / "resnet8.tflite")
    model = nets.compare(graph, roomy(array))
    assert check_program(model.program).tokens <= 12


def test_averages_with_ties_everywhere_are_left_to_the_host(models):
    graph = load_model(models / "onnx" / "ic_resnet8_qdq_s8s8_pc.onnx")
    model = compile_graph(graph, roomy("base"))
    notes = {note.name: note for note in model.notes}
    assert notes["pool12"].where == "host"
    assert notes["pool12"].text == (
        "the order of the runtime's float32 additions decides 254 of 16321 sums"
    )
    assert [node.name for node in model.epilogue][0] == "pool12"


def test_averages_with_few_open_sums_run_on_the_array_and_say_so(models):
    graph = load_model(models / "onnx" / "ic_resnet8_qop_u8s8_pc.onnx")
    model = compile_graph(graph, roomy("base"))
    note = next(note for note in model.notes if note.name == "pool12_quant")
    assert note.where == "array"
    assert note.text.endswith(
        "within one code on 3 of 16321 sums: the runtime's float order decides"
    )


def test_resnet8_needs_little_memory(models):
    model = compile_graph(load_model(models / "tflite" / "resnet8.tflite"), load_spec("base"))
    assert model.memory.shared_reads == 0
    assert model.memory.peak <= 1.02 * model.memory.bound
