"""QUANTIZE and DEQUANTIZE on the device: at both ends, in the middle, in tiles; or why not."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.arithmetic import Codes, DequantizeArithmetic, QuantizeArithmetic
from systolith.compiler.check import ProgramFault, check_program
from systolith.compiler.compile import compile_graph
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.profiles.edges import QUANTIZE_FORMULAS
from systolith.spec.accelerator import ExternalSpec
from systolith.spec.commands import Opcode, decode, encode
from systolith.spec.configuration import load_spec
from systolith.spec.quantize import QuantizeForm
from systolith.verify.modes import layer_modes


def spec_with(lanes, forms=QuantizeForm):
    spec = load_spec("small")
    post = replace(spec.post, quantize_lanes=lanes, quantize_forms=frozenset(forms))
    return replace(spec, post=post)


def as_floats(net, name):
    net.tensors[name] = replace(net.tensors[name], dtype="float32")
    return name


def quantize(net, x, formula="onnxruntime", scale=0.05):
    zero = int(net.rng.integers(*net.limits))
    out = Codes(dtype=net.dtype, scale=float(np.float32(scale)), zero_point=zero)
    arithmetic = QuantizeArithmetic(formula=formula, out=out)
    return net.node(Op.QUANTIZE, [x], net.tensors[x].shape, arithmetic, zero)


def dequantize(net, x, scale=0.05):
    arithmetic = DequantizeArithmetic(formula="", codes=net.codes(x, float(np.float32(scale))))
    return as_floats(net, net.node(Op.DEQUANTIZE, [x], net.tensors[x].shape, arithmetic))


def numbers(graph):
    rng = np.random.default_rng(8)
    found = {n: rng.normal(0, 4, graph.tensor(n).shape) for n in graph.inputs}
    for value in found.values():
        value.reshape(-1)[:4] = [np.nan, np.inf, -np.inf, 1e30]
    return {name: value.astype(np.float32) for name, value in found.items()}


def places(model):
    return {note.name: note.where for note in model.notes}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("formula", ["onnxruntime", "tflite_reference", "xnnpack"])
def test_whole_network(nets, formula, dtype):
    """Padded readers behind the first conversion; another in the middle; a renamed tensor last."""
    assert formula in QUANTIZE_FORMULAS
    net = nets.Net(3, dtype=dtype)
    x = quantize(net, as_floats(net, net.input(5, 6, 3)), formula)
    inner = quantize(net, dequantize(net, net.conv(x, 7)), formula, 0.07)
    last = dequantize(net, net.reshape(net.conv(inner, 4), 1, 1, 120))
    graph = net.graph(last, inner)
    model = nets.compare(graph, spec_with(2), inputs=numbers(graph))
    assert model.prologue == model.epilogue == ()
    assert "host" not in places(model).values()
    assert model.program.inputs == tuple(graph.inputs)
    assert model.program.buffers[last].dtype == "float32"
    forms = {"onnxruntime": "divide_even", "tflite_reference": "divide_away"}
    assert layer_modes(model.program)["quantize0"] == forms.get(formula, "multiply_even")


def test_in_tiles_of_external_memory(nets):
    net = nets.Net(4)
    x = quantize(net, as_floats(net, net.input(40, 30, 8)))
    graph = net.graph(dequantize(net, net.conv(x, 8)))
    spec = spec_with(2)
    memory = replace(spec.memory, activation_bytes=2048)
    spec = replace(spec, memory=memory, external=ExternalSpec(data_bytes=8))
    model = nets.compare(graph, spec, inputs=numbers(graph))
    commands = list(decode(model.program.commands.tolist()))
    assert sum(c.opcode is Opcode.QUANTIZE for c in commands) > 4
    assert sum(c.opcode is Opcode.DEQUANTIZE for c in commands) > 4


def test_reasons_for_the_host(nets):
    net = nets.Net(5)
    first = quantize(net, as_floats(net, net.input(2, 2, 3)), "xnnpack")
    second = quantize(net, as_floats(net, net.input(2, 2, 3)), scale=1e-40)
    graph = net.graph(dequantize(net, net.softmax(net.binary(Op.ADD, first, second))))
    spec = spec_with(1, {QuantizeForm.DIVIDE_EVEN})
    spec = replace(spec, post=replace(spec.post, softmax_tables=0))
    model = compile_graph(graph, spec)
    texts = {note.name: note.text for note in model.notes if note.where == "host"}
    assert texts["quantize0"] == "post.quantize_forms must have multiply_even for it"
    assert texts["quantize1"].startswith("scale must be a positive, finite and normal float32")
    assert {"softmax3", "dequantize4"} <= texts.keys()
    assert set(places(compile_graph(graph, spec_with(0))).values()) >= {"host"}


def test_in_the_middle_without_lanes(nets):
    net = nets.Net(6)
    inner = quantize(net, dequantize(net, net.conv(net.input(3, 3, 2), 4)))
    graph = net.graph(net.conv(inner, 4))
    wanted = r"^layer 'dequantize1' \(DEQUANTIZE\): dequantize is computed by the host"
    with pytest.raises(CompileError, match=wanted):
        compile_graph(graph, spec_with(0))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"scale": 0}, "scale must be a positive"),
        ({"zero": 200}, "zero point must be between -128 and 127, not 200"),
        ({"length": 0}, "converts no numbers"),
        ({"form": 3}, "has a form that is not built in"),
    ],
)
def test_the_checker_knows_them(nets, changes, text):
    net = nets.Net(7)
    graph = net.graph(quantize(net, as_floats(net, net.input(1, 1, 4))))
    program = compile_graph(graph, spec_with(1, {QuantizeForm.DIVIDE_EVEN})).program
    words = []
    for command in decode(program.commands.tolist()):
        fields = {k: v for k, v in command.values.items() if k != "opcode"}
        fields |= changes if command.opcode is Opcode.QUANTIZE else {}
        words += encode(command.opcode, **fields)
    with pytest.raises(ProgramFault, match=text):
        check_program(replace(program, commands=np.array(words, np.uint32)))
