"""Softmax layers on the device: anywhere in a graph, tables shared, reasons for the host."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.arithmetic import Codes, SoftmaxArithmetic
from systolith.compiler.check import ProgramFault, check_program
from systolith.compiler.compile import compile_graph
from systolith.compiler.ir import Storage, View
from systolith.compiler.softmax import SoftmaxPlan, plan_softmax, softmax_commands
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.profiles.softmax import SOFTMAX_FORMULAS
from systolith.spec.accelerator import ExternalSpec
from systolith.spec.commands import COMMANDS, Opcode, Unit, decode, encode
from systolith.spec.configuration import load_spec
from systolith.verify.modes import layer_modes


def spec_with(tables):
    spec = load_spec("tiny")
    memory = replace(spec.memory, activation_bytes=1 << 14, weight_bytes=1 << 15)
    return replace(spec, memory=memory, post=replace(spec.post, softmax_tables=tables))


def softmax_of(model):
    commands = decode(model.program.commands.tolist())
    return [c for c in commands if c.opcode is Opcode.SOFTMAX]


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("formula", SOFTMAX_FORMULAS)
def test_between_other_layers(nets, formula, dtype, fuse):
    """Padded readers around it, a branch beside it that does not depend on it, a table behind."""
    net = nets.Net(3, dtype=dtype)
    x = net.input(5, 6, 7)
    wide = net.conv(x, 9)
    soft = net.softmax(wide, formula)
    beside = net.conv(x, 9)
    joined = net.binary(Op.ADD, net.conv(soft, 9), beside)
    graph = net.graph(net.lut(net.softmax(joined, formula)), soft)
    model = nets.compare(graph, spec_with(4), fuse=fuse)
    assert len(softmax_of(model)) == 5 + 1  # the padded one a row of pixels at a time
    assert [note.where for note in model.notes if note.name.startswith("softmax")] == ["array"] * 2
    form = {"tflite_reference": "fixed", "tflite_table": "inverse", "onnxruntime": "quotient"}
    assert layer_modes(model.program)["softmax1"] == form[formula]
    assert [layer.stamp for layer in model.program.layers] == list(range(len(model.program.layers)))


@pytest.mark.parametrize("formula", SOFTMAX_FORMULAS)
def test_of_an_input_and_of_views(nets, formula):
    """Rows of an input with halos, of a concatenation's part, of a reshaped tensor."""
    net = nets.Net(5)
    x = net.input(4, 5, 6)
    first = net.softmax(x, formula)
    both = net.concat(first, net.conv(x, 3), axis=2)
    last = net.softmax(net.reshape(net.conv(both, 4), 1, 1, 80), formula)
    model = nets.compare(net.graph(last), spec_with(4))
    assert not model.epilogue
    # A row of pixels a command where the rows of the tensor have gaps.
    assert [c["row_count"] for c in softmax_of(model)] == [5] * 4 + [1]


def test_equal_tables_are_stored_once(nets):
    net = nets.Net(6)
    x = net.input(2, 2, 6)
    one, two, three = net.softmax(x), net.softmax(x), net.softmax(x, scale=0.3)
    model = nets.compare(net.graph(one, two, three), spec_with(4))
    assert [c["table"] for c in softmax_of(model)] == [0, 0, 1]
    assert model.program.exponents.shape == (2, 256)


def test_layers_without_a_table_are_the_hosts(nets):
    net = nets.Net(6)
    x = net.input(2, 2, 6)
    one, two = net.softmax(x, "tflite_table"), net.softmax(x, "onnxruntime")
    model = nets.compare(net.graph(one, two), spec_with(2))
    assert [node.name for node in model.epilogue] == ["softmax1"]
    (note,) = [note for note in model.notes if note.name == "softmax1"]
    assert (note.where, note.text) == ("host", "post.softmax_tables must be at least 3 for it")


def test_without_the_unit_softmax_is_the_hosts(nets):
    net = nets.Net(6)
    x = net.input(2, 2, 6)
    model = compile_graph(net.graph(net.softmax(net.conv(x, 5))), spec_with(0))
    assert not softmax_of(model)
    assert [node.op for node in model.epilogue] == [Op.SOFTMAX]
    assert model.notes[-1].text == "softmax at the network's edge"


def test_reasons_of_layers_inside(nets):
    net = nets.Net(6)
    x = net.input(1, 1, 4100)
    graph = net.graph(net.conv(net.softmax(x), 2, kernel=(1, 1), pads=(0, 0, 0, 0)))
    wanted = r"must be at the network's edge \(rows must have at most 4095 codes, not 4100\)"
    with pytest.raises(CompileError, match=wanted):
        compile_graph(graph, spec_with(2))


@pytest.mark.parametrize(
    ("formula", "changes", "count", "reason"),
    [
        ("tflite_reference", {}, 4096, "rows must have at most 4095 codes, not 4096"),
        ("tflite_table", {}, 65536, "rows must have at most 65535 codes, not 65536"),
        ("tflite_reference", {"scale": 2.0**-70}, 9, "scales must be between 2**-64 and 2**64"),
        ("tflite_table", {"scale": 2.0**65}, 9, "scales must be between 2**-64 and 2**64"),
        ("onnxruntime", {}, 1, "its exponentials or their sum leave the range of float32"),
    ],
)
def test_reasons(formula, changes, count, reason):
    codes = Codes(**{"dtype": "int8", "scale": 0.25, "zero_point": 0} | changes)
    out = Codes(dtype="int8", scale=1 / 256, zero_point=-128)
    plan = plan_softmax(SoftmaxArithmetic(formula=formula, beta=1.0, codes=codes, out=out), count)
    assert isinstance(plan, str)
    assert plan.startswith(reason)


def test_rows_of_many_pixels_are_several_commands():
    plan = SoftmaxPlan(tables=np.zeros((1, 256), np.uint32), fields={"length": 3})
    shape = (300, 400, 3)
    view = View(
        storage=Storage(name="a", size=1, layer=""), offset=7, shape=shape, row=1200, pixel=3
    )
    commands = softmax_commands("layer", plan, view, view)
    assert [c.values["row_count"] for c in commands] == [65535, 120000 - 65535]
    assert [c.bases["s_base"][1] for c in commands] == [7, 7 + 3 * 65535]
    column = replace(view, shape=(300, 1, 3), row=5)
    (command,) = softmax_commands("layer", plan, column, column)
    assert (command.values["row_count"], command.values["s_row_stride"]) == (300, 5)


def _changed(program, opcode, **fields):
    words = []
    for command in decode(program.commands.tolist()):
        names = {f.name for f in COMMANDS[command.opcode].fields} - {"opcode", "words"}
        values = {name: command[name] for name in names}
        if command.opcode is opcode:
            values |= fields
        words += encode(command.opcode, **values)
    return replace(program, commands=np.array(words, np.uint32))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"table": 1}, "names a table that does not exist"),
        ({"length": 0}, "has empty rows"),
        ({"wait": 0}, "tokens are left over|race for the same"),
    ],
)
def test_check(nets, fields, text):
    net = nets.Net(8)
    program = compile_graph(
        net.graph(net.softmax(net.conv(net.input(2, 2, 3), 4))), spec_with(1)
    ).program
    check_program(program)
    with pytest.raises(ProgramFault, match=text):
        check_program(_changed(program, Opcode.SOFTMAX, **fields))


def test_stamps_of_two_units_are_ordered(nets):
    """Softmax and a layer beside it share no byte, but the order of their stamps."""
    net = nets.Net(9)
    x = net.input(3, 3, 4)
    graph = net.graph(net.softmax(x), net.conv(x, 4))
    program = compile_graph(graph, spec_with(1)).program
    check_program(program)
    stores = [c for c in decode(program.commands.tolist()) if c.opcode is Opcode.STORE]
    assert stores[-1]["wait"] >> Unit.MOVE & 1
    loose = _changed(program, Opcode.STORE, wait=0)
    loose = _changed(loose, Opcode.SOFTMAX, signal=0)
    with pytest.raises(ProgramFault, match="race for the same time stamp$"):
        check_program(loose)


@pytest.mark.parametrize("formula", SOFTMAX_FORMULAS)
@pytest.mark.parametrize("activation_bytes", [1 << 14, 1024, 512])
def test_tensors_in_external_memory(nets, formula, activation_bytes):
    """Rows pass through slabs where a tensor has no place on chip."""
    spec = spec_with(4)
    memory = replace(spec.memory, activation_bytes=activation_bytes)
    spec = replace(spec, memory=memory, external=ExternalSpec(data_bytes=4))
    net = nets.Net(3)
    x = net.input(12, 10, 8)
    soft = net.softmax(net.conv(x, 9), formula)
    joined = net.binary(Op.ADD, net.conv(soft, 9), net.conv(x, 9))
    model = nets.compare(net.graph(net.lut(net.softmax(joined, formula)), soft), spec)
    assert not model.epilogue
