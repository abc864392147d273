"""Programs whose constants, commands and tensors come from external memory, on golden."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.compiler.check import ProgramFault, check_program
from systolith.compiler.compile import compile_graph
from systolith.compiler.trace import trace_program
from systolith.cycles import predict
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.importers.load import load_model
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import COMMANDS, Opcode, Target, Unit, encode
from systolith.spec.configuration import load_spec
from systolith.spec.program import Program

ARRAYS = [(4, 4, 1, 4), (8, 16, 8, 8), (13, 5, 5, 16), (16, 16, 8, 16)]


def spec_of(rows=16, columns=16, lanes=8, bus=16, depth=2, lines=0, **memory):
    sizes = {
        "activation_bytes": 1 << 15,
        "weight_bytes": columns * 8192,
        "parameter_channels": lanes * 512,
        "accumulator_depth": 24,
        "command_words": 16384,
        **memory,
    }
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns, depthwise_lines=lines),
        memory=MemorySpec(**sizes),
        post=PostSpec(lanes=lanes),
        external=ExternalSpec(data_bytes=bus),
        queue_depth=depth,
    )


def mixed(nets, seed=1):
    """A graph with every kind of layer: windows, groups, adds, tables, pads, moves, pools."""
    net = nets.Net(seed, "int8", "float32")
    x = net.input(12, 9, 5)
    a = net.conv(x, 20)
    b = net.lut(net.conv(a, 20, groups=20))
    c = net.binary(Op.ADD, net.conv(b, 20, kernel=(1, 1), pads=(0, 0, 0, 0)), a)
    d = net.conv(net.pad(c, (1, 0, 2, 1)), 12, strides=(2, 2), pads=(0, 0, 0, 0))
    e = net.concat(d, net.pool(Op.MAX_POOL, d, (3, 3), (1, 1), (1, 1, 1, 1)), tables=True)
    f = net.pool(Op.AVG_POOL, e, (2, 2), (2, 2), (0, 1, 0, 1))
    g = net.dense(net.reshape(f, 1, 1, net.tensors[f].shape[0] * 24 * net.tensors[f].shape[1]), 37)
    return net.graph(g, c)


def commands_of(program):
    return [c for c in trace_program(program).commands if c.opcode is not Opcode.END]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a[0]}x{a[1]}")
@pytest.mark.parametrize("depth", [1, 3])
def test_everything_comes_from_external_memory(nets, array, depth):
    rows, columns, lanes, bus = array
    model = nets.compare(mixed(nets), spec_of(rows, columns, lanes, bus, depth))
    program = model.program
    assert not len(program.weights) and not len(program.parameters) and not len(program.tables)
    for name in (*program.inputs, *program.outputs):
        assert program.buffers[name].external
    assert program.external_bytes >= len(program.external) > 0
    again = Program.from_bytes(program.to_bytes())
    assert check_program(again) == check_program(program)


def test_constants_that_fit_are_loaded_once_without_waiting(nets):
    model = nets.compare(mixed(nets), spec_of())
    loads = [c for c in commands_of(model.program) if c.opcode is Opcode.LOAD]
    constants = [c for c in loads if c["target"] in (Target.WEIGHTS, Target.PARAMETERS)]
    assert constants and not any(c["wait"] for c in constants)
    places = [(c["target"], c["m_base"]) for c in constants]
    assert len(set(places)) == len(places)


SMALLER = [
    ("weight_bytes", lambda spec: spec.array.rows * spec.array.columns),
    ("parameter_channels", lambda spec: spec.post.lanes),
    ("command_words", lambda spec: 2),
    ("activation_bytes", lambda spec: 2 * spec.line_bytes),
]


@pytest.mark.parametrize("array", ARRAYS[:3], ids=lambda a: f"{a[0]}x{a[1]}")
@pytest.mark.slow  # test_random_tiny.py has small cases of the same
@pytest.mark.parametrize(("name", "unit"), SMALLER, ids=[s[0] for s in SMALLER])
def test_memories_shrink_until_the_error_that_names_the_smallest(nets, name, unit, array):
    rows, columns, lanes, bus = array
    graph, spec = mixed(nets, 2), spec_of(rows, columns, lanes, bus)
    step = unit(spec)

    def limited(size):
        return replace(spec, memory=replace(spec.memory, **{name: size}))

    size, compared, text = getattr(spec.memory, name), 0, ""
    while not text:
        try:
            small = limited(size // step * step)
            nets.compare(graph, small)
        except CompileError as error:
            text = str(error)
            break
        except ValueError as error:  # the specification itself allows no less
            assert "must be between" in str(error)
            return
        compared += 1
        size = size // 3
    assert compared >= 2, text
    assert f"memory.{name}" in text and "\n" not in text, text
    least = int(text.rsplit("at least ", 1)[1].split()[0].rstrip(":"))
    if name != "command_words":
        assert least % step == 0, text
        nets.compare(graph, limited(least))


def test_long_programs_run_in_halves(nets):
    model = nets.compare(mixed(nets, 3), spec_of(command_words=200))
    program = model.program
    assert len(program.commands) <= 100
    commands = commands_of(program)
    jumps = [c for c in commands if c.opcode is Opcode.JUMP]
    loads = [c for c in commands if c.opcode is Opcode.LOAD and c["target"] == Target.COMMANDS]
    assert len(jumps) == len(loads) > 3
    assert {c["address"] for c in jumps} == {0, 100}
    assert all(c["wait"] == 1 << Unit.LOAD for c in jumps)
    assert predict(program).cycles > 1000  # and it comes to its end


def edited(program, change):
    """The program with fields of its first chunk changed."""
    words, position = list(program.commands), 0
    for command in commands_of(program):
        if position >= len(words):
            break
        layout = COMMANDS[command.opcode]
        values = {name: command[name] for name in layout.offsets}  # less what the trace added
        change(command, values)
        del values["opcode"], values["words"]
        count = layout.words
        words[position : position + count] = encode(command.opcode, **values)
        position += count
    return replace(program, commands=np.array(words, np.uint32))


def without_tokens(program, giver, taker):
    """The program without the tokens that one unit gives another."""

    def change(command, values):
        unit = COMMANDS[command.opcode].unit
        if unit is giver:
            values["signal"] &= ~(1 << taker)
        if unit is taker:
            values["wait"] &= ~(1 << giver)

    return edited(program, change)


def test_tokens_of_the_fetcher_are_refused(nets):
    program = nets.compare(mixed(nets, 3), spec_of(command_words=200)).program

    def change(command, values):
        if command.opcode is Opcode.LOAD:
            values["wait"] |= 1 << Unit.FETCH

    with pytest.raises(ProgramFault, match="needs a token that the fetcher does not give"):
        check_program(edited(program, change))


def test_a_jump_that_does_not_wait_is_found(nets):
    program = nets.compare(mixed(nets, 3), spec_of(command_words=200)).program
    with pytest.raises(ProgramFault, match="may be fetched before it is loaded"):
        check_program(without_tokens(program, Unit.LOAD, Unit.FETCH))


@pytest.mark.parametrize("taker", [Unit.COMPUTE, Unit.STORE])
def test_a_missing_wait_for_constants_is_found(nets, taker):
    program = nets.compare(mixed(nets), spec_of()).program
    with pytest.raises(ProgramFault, match="race for the same bytes"):
        check_program(without_tokens(program, Unit.LOAD, taker))


def test_a_load_beyond_the_memory_is_found(nets):
    program = nets.compare(mixed(nets), spec_of()).program

    def change(command, values):
        if command.opcode is Opcode.LOAD and command["target"] == Target.WEIGHTS:
            values["m_base"] = 8190

    with pytest.raises(ProgramFault, match="leaves the weight memory"):
        check_program(edited(program, change))


def test_layers_larger_than_the_weight_memory(nets):
    """A fully connected layer of 80 KiB: a channel tile of 1024 rows is 4 KiB, a pass 16 bytes."""
    net = nets.Net(5)
    x = net.input(1, 1, 1024)
    graph = net.graph(net.dense(x, 80))
    for size in (6144, 4080, 64, 16):
        model = nets.compare(graph, spec_of(4, 4, 4, 4, weight_bytes=size))
        assert model.memory.constants[Target.WEIGHTS] <= size
        assert model.memory.loaded >= 80 * 1024
        partial = [c["partial"] for c in commands_of(model.program) if c.opcode is Opcode.MATMUL]
        assert any(partial) == (size < 4096)


def test_compute_follows_the_stream_of_weights(nets):
    """Fully connected layers wait for a few KiB of weights each, not for all."""
    net = nets.Net(6)
    x = net.input(1, 1, 256)
    graph = net.graph(net.dense(net.dense(x, 256), 256))
    commands = commands_of(compile_graph(graph, spec_of(weight_bytes=1 << 17)).program)
    matmuls = [c for c in commands if c.opcode is Opcode.MATMUL]
    assert len(matmuls) == 32
    first = next(i for i, c in enumerate(commands) if c.opcode is Opcode.MATMUL)
    before = [c["length"] for c in commands[:first] if c.opcode is Opcode.LOAD]
    assert sum(before) <= 32 << 10


@pytest.mark.parametrize(
    "memory",
    [
        {},
        {"weight_bytes": 1 << 15},
        {"parameter_channels": 32, "command_words": 256},
        {"activation_bytes": 1 << 14, "weight_bytes": 1 << 15},
        {"activation_bytes": 6144},
    ],
    ids=["roomy", "weights", "parameters", "both", "activations"],
)
@pytest.mark.parametrize(
    "name",
    [
        "tflite/resnet8.tflite",
        "tflite/dscnn.tflite",
        "tflite/mobilenetv1_vww.tflite",
        "tflite/autoencoder.tflite",
        "onnx/ic_resnet8_qop_u8s8_pc.onnx",
        "onnx/kws_dscnn_qdq_s8s8_pc.onnx",
    ],
)
def test_networks(models, nets, name, memory):
    graph = load_model(models / name)
    base = load_spec("base")
    if "dscnn" in name and memory.get("activation_bytes") == 6144:
        memory = {"activation_bytes": 8192}
    spec = replace(
        base, external=ExternalSpec(data_bytes=16), memory=replace(base.memory, **memory)
    )
    source = graph.tensor(graph.inputs[0])
    inputs = None
    if source.dtype == "float32":
        values = np.random.default_rng(3).normal(size=source.shape).astype(np.float32)
        inputs = {source.name: values}
    nets.compare(graph, spec, inputs=inputs)
