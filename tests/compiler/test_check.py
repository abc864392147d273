"""The checker finds what a wrong compiler would do; footprints against brute force."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from systolith.compiler.check import ProgramFault, check_program
from systolith.compiler.check_commands import result_vectors
from systolith.compiler.compile import compile_graph
from systolith.compiler.footprint import Access, Spans, accesses, strided
from systolith.compiler.schedule import assign_tokens
from systolith.spec.commands import COMMANDS, Opcode, Unit, decode, encode
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
    for number, command in enumerate(commands):
        if command.opcode is Opcode.END:
            continue
        own = COMMANDS[command.opcode].unit
        for other in Unit:
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


def test_a_store_must_not_wait_for_a_matmul_that_needs_it(nets):
    """A MATMUL with more results than the ring holds ends only beside its STORE."""
    program = program_of(nets)
    commands = list(decode(program.commands.tolist()))
    made = {k: result_vectors(c) for k, c in enumerate(commands) if c.opcode is Opcode.MATMUL}
    matmul = max(made, key=made.get)

    def wait_for_the_end(number, values):
        if number == matmul:
            values["signal"] |= 1 << Unit.STORE
        if number == matmul + 1:
            assert values["opcode"] == Opcode.STORE
            values["wait"] |= 1 << Unit.COMPUTE

    def with_ring(depth):
        memory = replace(program.spec.memory, accumulator_depth=depth)
        return edited(replace(program, spec=replace(program.spec, memory=memory)), wait_for_the_end)

    check_program(with_ring(made[matmul]))
    with pytest.raises(ProgramFault, match=r"^deadlock .* MATMUL 2, STORE 3 wait for ever$"):
        check_program(with_ring(made[matmul] - 1))


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


def depthwise_program(nets, kernel=(3, 5)):
    """One depthwise layer whose rows end in the next ones' padding."""
    net = nets.Net(5)
    x = net.input(6, 5, 8)
    pads = tuple(np.repeat([k // 2 for k in kernel], 2))
    a = net.conv(x, 8, kernel=kernel, pads=tuple(map(int, pads)), groups=8)
    base = load_spec("base")
    spec = replace(base, array=replace(base.array, depthwise_lines=3, depthwise_width=16))
    return compile_graph(net.graph(a), spec).program


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("ox_count", 0, "have different loops"),
        ("y_step", 0, "makes no outputs"),
        ("mx_count", 17, "has rows that the lines do not hold"),
        ("x_first", 9, "has outputs that span more than a row"),
        ("x_my_stride", 300, "ends outputs in another row, but rows have gaps"),
        ("y_first", 9, "reads too few pixels for its outputs"),
        ("my_count", 8, "reads too few pixels for its outputs"),
    ],
)
def test_depthwise_fields(nets, field, value, text):
    def change(number, values):
        if values["opcode"] == Opcode.MATMUL:
            values[field] = value

    program = depthwise_program(nets)
    assert check_program(program).commands == 4
    with pytest.raises(ProgramFault, match=text):
        check_program(edited(program, change))


def test_depthwise_needs_its_mode(nets):
    program = depthwise_program(nets)
    array = replace(program.spec.array, depthwise_lines=0)
    with pytest.raises(ProgramFault, match="needs a depthwise mode"):
        check_program(replace(program, spec=replace(program.spec, array=array)))


@pytest.mark.parametrize("kernel", [(3, 3), (3, 5)])
def test_shared_padding_must_be_filled_evenly(nets, kernel):
    """Where the array may pause behind the first of several shared columns they must be alike."""
    program = depthwise_program(nets, kernel)
    fills = [c for c in decode(program.commands.tolist()) if c.opcode is Opcode.FILL]
    for index in range(len(fills)):
        left = iter(range(len(fills)))

        def change(number, values, index=index, left=left):
            if values["opcode"] == Opcode.FILL and next(left) == index:
                values["value"] ^= 1

        if kernel == (3, 3):
            check_program(edited(program, change))
            continue
        with pytest.raises(ProgramFault, match=r"^MATMUL 2 may pause in padding that is not"):
            check_program(edited(program, change))


def depthwise_reads(values, store, weights, spec):
    """Bytes under weights other than zero, by the definition of a depthwise pass."""
    lines, taps = spec.array.depthwise_lines, spec.array.depthwise_taps
    found = set()
    names = ("t", "n", "ky", "kx", "kc")
    for loop in product(*(range(values[f"{n}_count"]) for n in names)):
        base = values["x_base"]
        base += sum(i * values[f"x_{n}_stride"] for i, n in zip(loop, names, strict=True))
        counts = [values[f"{n}_count"] for n in names[1:]]
        tile = weights[int(np.ravel_multi_index(loop[1:], counts))]
        width = min(store["tile_channels"], store["channels"] - loop[1] * store["tile_channels"])
        for line, tap, c in product(range(lines), range(taps), range(width)):
            if tile[line * taps + tap, c] == values["w_zero"]:
                continue
            for i, j in product(range(values["oy_count"]), range(values["ox_count"])):
                y = values["y_first"] + i * values["y_step"] - lines + 1 + line
                x = values["x_first"] + j * values["x_step"] - taps + 1 + tap
                at = base + y * values["x_my_stride"] + x * values["x_mx_stride"]
                found.add(at + (c >> values["expand"]))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_depthwise_footprint(nets, seed):
    """Exact where no channel between two others has only zeros."""
    rng = np.random.default_rng(seed)
    net = nets.Net(seed)
    kernel = tuple(int(n) for n in rng.integers(1, 6, 2))
    stride = tuple(int(n) for n in rng.integers(1, 3, 2))
    x = net.input(7, 6, 5)
    multiplier = int(rng.choice([1, 2]))
    a = net.conv(x, 5 * multiplier, kernel=kernel, strides=stride, pads=(2, 2, 2, 2), groups=5)
    base = load_spec("small")
    spec = replace(base, array=replace(base.array, depthwise_lines=2))
    program = compile_graph(net.graph(a), spec).program
    commands = [(c.opcode, c.values) for c in decode(program.commands.tolist())]
    found = accesses(commands, program.weights, spec)
    for number, (opcode, values) in enumerate(commands):
        if opcode is Opcode.MATMUL and values["depthwise"]:
            store = commands[number + 1][1]
            tiles = program.weights[values["w_base"] :].view(np.int8)
            count = values["n_count"] * values["ky_count"] * values["kx_count"]
            tiles = tiles[: count * 8].reshape(count, 8, 8)
            wanted = depthwise_reads(values, store, tiles, spec)
            assert wanted and bytes_of(found[number].reads) == wanted


def copying_program(nets):
    net = nets.Net(6)
    x = net.input(20, 10, 1)
    a = net.conv(x, 64, kernel=(8, 3), pads=(3, 4, 1, 1))
    return compile_graph(net.graph(a), load_spec("base")).program


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [("length", 0, "copies no bytes"), ("d_base", "s_base", "writes bytes that it reads"),
     ("d_base", (1 << 18) - 8, "leaves the activation memory")],
)  # fmt: skip
def test_copies(nets, field, value, text):
    def change(number, values):
        if values["opcode"] == Opcode.COPY:
            values[field] = values.get(value, value)

    program = copying_program(nets)
    assert Opcode.COPY in {c.opcode for c in decode(program.commands.tolist())}
    with pytest.raises(ProgramFault, match=text):
        check_program(edited(program, change))


def test_copy_footprint():
    values = {"s_base": 100, "d_base": 500, "length": 3, "d3_count": 1, "d2_count": 2,
              "d1_count": 1, "d0_count": 2, "s_d3_stride": 0, "s_d2_stride": 20,
              "s_d1_stride": 0, "s_d0_stride": 1, "d_d3_stride": 0, "d_d2_stride": 6,
              "d_d1_stride": 0, "d_d0_stride": 3}  # fmt: skip
    (access,) = accesses([(Opcode.COPY, values)], np.zeros((0, 4), np.uint8), load_spec("tiny"))
    assert bytes_of(access.reads) == {*range(100, 104), *range(120, 124)}
    assert bytes_of(access.writes) == set(range(500, 512))


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


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"moves": False}, r"^FILL \d+ needs the unit MOVE, which is not built in$"),
        ({"count_bits": 6}, r"^MATMUL \d+: kc_count of MATMUL must be at most 63, not 64$"),
    ],
)
def test_what_is_not_built(nets, fields, text):
    def change(number, values):
        if values["opcode"] == Opcode.MATMUL:
            values["kc_count"] = 64

    program = program_of(nets)
    if "count_bits" in fields:
        program = edited(program, change)
    with pytest.raises(ProgramFault, match=text):
        check_program(replace(program, spec=replace(program.spec, **fields)))
