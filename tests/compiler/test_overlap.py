"""Layers are cut so that the next one's first part does not wait for their last rows."""

from systolith.compiler.compile import compile_graph
from systolith.spec.commands import Opcode, Unit, decode
from systolith.spec.configuration import load_spec


def layers_of(program):
    """Commands of each layer: (MATMUL, STORE) pairs up to each stamp."""
    layers, pairs, matmul = [], [], None
    for command in decode(program.commands.tolist()):
        if command.opcode is Opcode.MATMUL:
            matmul = command
        elif command.opcode is Opcode.STORE:
            pairs.append((matmul, command))
            if command["stamp"]:
                layers.append(pairs)
                pairs = []
    return layers


def rows(pair):
    return pair[0]["t_count"] * pair[0]["my_count"]


def test_convolutions_follow_each_other_without_waiting(nets):
    net = nets.Net(1)
    x = net.input(24, 24, 16)
    for _ in range(3):
        x = net.conv(x, 16)
    model = nets.compare(net.graph(x), load_spec("base"))
    first, second, third = layers_of(model.program)
    assert sum(map(rows, first)) == sum(map(rows, second)) == 24
    assert rows(first[0]) > rows(second[0])
    store = 1 << Unit.STORE
    compute = 1 << Unit.COMPUTE
    # The first part waits for the first part, the last for the last.
    assert second[0][0]["wait"] & store and second[-1][0]["wait"] & store
    assert any(s["signal"] & compute for _, s in first[:-1]) and first[-1][1]["signal"] & compute
    assert len(third) == 1 or rows(third[0]) < rows(second[0])


def test_a_layer_before_a_global_pool_is_not_cut_for_it(nets):
    net = nets.Net(2)
    x = net.conv(net.input(8, 8, 16), 16)
    y = net.dense(net.reshape(x, 1, 1, 1024), 4)
    program = compile_graph(net.graph(y), load_spec("base")).program
    assert len(layers_of(program)[0]) == 1
