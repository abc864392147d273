"""The checker finds what a wrong compiler would do; footprints against brute force."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from systolith.compiler.check import ProgramFault, check_program
from systolith.compiler.compile import compile_graph
from systolith.compiler.footprint import Access, Spans, accesses, strided
from systolith.compiler.schedule import assign_tokens
from systolith.spec.commands import Opcode, Unit, decode, encode
from systolith.spec.configuration import load_spec


def program_of(nets, **changes):
    net = nets.Net(3)
    x = net.input(6, 6, 5)
    a = net.conv(x, 5)
    b = net.conv(a, 7, kernel=(2, 2), pads=(0, 1, 0, 1))
    program = compile_graph(net.graph(net.conv(b, 3)), load_spec("tiny")).program
    return replace(program, **changes)


def edited(program, change):
    """The program with ``change(number, values)`` applied to every command's fields."""
    words = []
    for number, command in enumerate(decode(program.commands.tolist())):
        values = dict(command.values)
        change(number, values)
        words += encode(Opcode(values.pop("opcode")), **values)
    return replace(program, commands=np.array(words, np.uint32))


def test_compiled_program_is_in_order(nets):
    report = check_program(program_of(nets))
    assert report.ordered > 5 and report.tokens >= 1


def test_every_token_is_needed(nets):
    """Taking away any single token pair leaves a race."""
    program = program_of(nets)
    commands = list(decode(program.commands.tolist()))
    signals: dict[tuple[int, int], list[int]] = {}
    pairs = []
    units = {Opcode.FILL: 0, Opcode.MATMUL: 1, Opcode.STORE: 2}
    for number, command in enumerate(commands):
        if command.opcode is Opcode.END:
            continue
        own = units[command.opcode]
        for other in range(3):
            if command["wait"] >> other & 1:
                pairs.append((signals[other, own].pop(0), number, other, own))
            if command["signal"] >> other & 1:
                signals.setdefault((own, other), []).append(number)
    assert pairs
    for giver, taker, other, own in pairs:

        def drop(number, values, giver=giver, taker=taker, other=other, own=own):
            if number == giver:
                values["signal"] &= ~(1 << own)
            if number == taker:
                values["wait"] &= ~(1 << other)

        with pytest.raises(ProgramFault, match=r" race for the same bytes$"):
            check_program(edited(program, drop))


def test_deadlock_is_found(nets):
    def wait_for_nobody(number, values):
        if number == 2:
            values["wait"] = 1 << Unit.STORE

    with pytest.raises(ProgramFault, match=r"^deadlock with queues of 2: .* wait for ever$"):
        check_program(edited(program_of(nets), wait_for_nobody))


def test_left_over_tokens_are_found(nets):
    def signal(number, values):
        if values["opcode"] == Opcode.STORE:
            values["signal"] |= 1 << Unit.MOVE

    with pytest.raises(ProgramFault, match=r"^tokens are left over at the end$"):
        check_program(edited(program_of(nets), signal))


@pytest.mark.parametrize(
    ("opcode", "field", "value", "text"),
    [
        (Opcode.STORE, "y_base", (1 << 24) - 1, "leaves the activation memory"),
        (Opcode.MATMUL, "w_base", (1 << 24) - 1, "leaves the weight memory"),
        (Opcode.STORE, "p_base", (1 << 16) - 1, "leaves the parameter memory"),
        (Opcode.STORE, "table", 1, "names a table that does not exist"),
        (Opcode.STORE, "mode", 3, "needs post-processing that is not built in"),
        (Opcode.STORE, "channels", 99, "has channels and tiles that do not agree"),
    ],
)
def test_bounds(nets, opcode, field, value, text):
    def change(number, values):
        if values["opcode"] == opcode:
            values[field] = value

    with pytest.raises(ProgramFault, match=text):
        check_program(edited(program_of(nets), change))


def test_strided_spans():
    rng = np.random.default_rng(0)
    for _ in range(200):
        loops = [(int(rng.integers(1, 5)), int(rng.integers(-9, 30))) for _ in range(3)]
        base, length = int(rng.integers(500, 600)), int(rng.integers(1, 9))
        spans = strided(base, loops, length)
        wanted = {
            base + sum(i * s for i, (_, s) in zip(index, loops, strict=True)) + b
            for index in product(*(range(n) for n, _ in loops))
            for b in range(length)
        }
        assert bytes_of(spans) == wanted
        assert np.all(spans.starts[1:] > spans.ends[:-1])


def bytes_of(spans):
    return {b for s, e in zip(spans.starts, spans.ends, strict=True) for b in range(s, e)}


def test_overlaps():
    rng = np.random.default_rng(1)
    for _ in range(300):
        a, b = (
            strided(int(rng.integers(0, 40)), [(3, int(rng.integers(5, 20)))], 4) for _ in range(2)
        )
        assert a.overlaps(b) == bool(bytes_of(a) & bytes_of(b))
    assert not strided(0, [], 1).overlaps(Spans(np.zeros(0, np.int64), np.zeros(0, np.int64)))


def test_matmul_footprint_ends_where_the_weights_do(nets):
    """A 1x1 convolution of 5 channels on 4 rows reads no sixth byte."""
    net = nets.Net(4)
    graph = net.graph(net.conv(net.input(1, 1, 5), 3, kernel=(1, 1), pads=(0, 0, 0, 0)))
    program = compile_graph(graph, load_spec("tiny")).program
    commands = [(c.opcode, c.values) for c in decode(program.commands.tolist())]
    reads = accesses(commands, program.weights, program.spec)[0].reads
    base = program.buffers["t0"].base
    assert bytes_of(reads) <= set(range(base, base + 5))
    assert len(bytes_of(reads)) == 5


def test_tokens_of_transitive_dependencies():
    """The MATMUL waits for the STORE alone: it was behind the FILL already."""
    one, two = strided(0, [], 4), strided(8, [], 4)
    commands = [
        (Unit.MOVE, Access(writes=one)),
        (Unit.COMPUTE, Access()),
        (Unit.STORE, Access(reads=one, writes=two)),
        (Unit.COMPUTE, Access(reads=strided(0, [], 12))),
        (Unit.STORE, Access()),
    ]
    tokens = assign_tokens(commands)
    assert [t.wait for t in tokens] == [0, 0, 1, 4, 0]
    assert [t.signal for t in tokens] == [4, 0, 2, 0, 0]
