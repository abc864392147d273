"""golden.execute against a plain interpreter of the commands, byte by byte in Python."""

import re
from collections import deque
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from systolith.errors import InputError
from systolith.golden.execute import execute
from systolith.golden.requant import requantize
from systolith.golden.residual import residual_add
from systolith.sim.fuzz import draw_fill, draw_matmul, draw_store, random_program
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import (
    FILL_LOOPS,
    MATMUL_LOOPS,
    STORE_LOOPS,
    Opcode,
    decode,
    encode,
)
from systolith.spec.precision import Precision
from systolith.spec.program import Buffer, Layer, Program, ProgramError
from systolith.spec.requant import RequantMode, ResidualRounding

SIZE = 1024
SPEC = AcceleratorSpec(
    array=ArraySpec(rows=3, columns=6),
    memory=MemorySpec(
        activation_bytes=SIZE,
        weight_bytes=6 * 256,
        accumulator_depth=16,
        parameter_channels=64,
        tables=2,
    ),
    post=PostSpec(lanes=2),
)
NIBBLES = replace(SPEC, array=replace(SPEC.array, precisions=frozenset(Precision)))
WHOLE = {
    f"region{g}": Buffer(base=g * SIZE, shape=(1, 1, SIZE), strides=(0, 0, 1), dtype="uint8")
    for g in range(2)
}


def make_program(rng, commands, layers=(), **changes) -> Program:
    """A program over random memories whose input and output is the whole activation memory."""
    words = [w for opcode, values in commands for w in encode(opcode, **values)]
    values = {
        "commands": np.array(words + encode(Opcode.END), np.uint32),
        "layers": tuple(layers),
        "parameters": valid_for_all_modes(rng),
    }
    return replace(random_program(rng, SPEC), **(values | changes))


def valid_for_all_modes(rng):
    """Parameters with a multiplier of 24 bits and a shift which every mode allows."""
    parameters = np.zeros((64, 2, 8), np.uint32)
    parameters[..., 1] = rng.integers(1 << 23, 1 << 24, (64, 2))
    parameters[..., 4] = 31
    return parameters


def random_inputs(rng):
    return {name: rng.integers(0, 256, (1, 1, SIZE), np.uint8) for name in WHOLE}


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Plain:
    """Scalar interpreter: loops, Python integers, one byte at a time."""

    def __init__(self, program, inputs):
        self.program, self.queue = program, deque()
        self.memory = [int(v) for name in WHOLE for v in inputs[name].reshape(-1)]
        for command in decode(program.commands.tolist()):
            if command.opcode is not Opcode.END:
                getattr(self, command.opcode.name.lower())(command)

    @staticmethod
    def place(address, i, port):
        """Address of byte i of a vector which is moved in pieces of ``port`` bytes."""
        piece = (address + i // port * port) % (2 * SIZE)
        return piece // SIZE * SIZE + (piece + i % port) % SIZE

    @staticmethod
    def nest(command, loops):
        return product(*(range(command[f"{name}_count"]) for name in loops))

    @staticmethod
    def address(command, stream, loops, index):
        steps = zip(loops, index, strict=True)
        moved = sum(i * command[f"{stream}_{name}_stride"] for name, i in steps)
        return command[f"{stream}_base"] + moved

    def fill(self, command):
        for index in self.nest(command, FILL_LOOPS):
            for i in range(command["length"]):
                start = self.address(command, "d", FILL_LOOPS, index)
                self.memory[self.place(start, i, SPEC.line_bytes)] = command["value"]

    def matmul(self, command):
        rows, columns = SPEC.array.rows, SPEC.array.columns
        precision = Precision(command["precision"])
        totals = {}
        steps = {}
        for index in self.nest(command, MATMUL_LOOPS):
            t, n, *k, my, mx = index
            tile = steps.setdefault((n, *k), len(steps)) * (1 - command["w_hold"])
            address = self.address(command, "x", MATMUL_LOOPS, index)
            x = [self.memory[self.place(address, r, rows)] for r in range(rows)]
            for c in range(columns * (2 if precision is Precision.W4A8 else 1)):
                total = 0
                for r in range(rows):
                    w = int(self.program.weights[command["w_base"] + tile * rows + r, c % columns])
                    total += self.product(command, precision, x[r], w, c // columns)
                key = (t, n, my, mx, c)
                if key not in totals:
                    totals[key] = total
                elif command["maximum"]:
                    totals[key] = max(totals[key], total)
                else:
                    totals[key] = signed(totals[key] + total, 32)
        for vector in self.nest(command, ("t", "n", "my", "mx")):
            n = sum(key[:4] == vector for key in totals)
            self.queue.append([totals[*vector, c] for c in range(n)])

    @staticmethod
    def product(command, precision, x, w, half):
        """What a byte of activations and a byte of weights add to a sum."""

        def code(byte, nibble, is_signed):
            bits = 8 if nibble is None else 4
            value = byte >> 4 * (nibble or 0) & (1 << bits) - 1
            return signed(value, bits) if is_signed else value

        pairs = {
            Precision.W8A8: [(None, None)],
            Precision.W4A8: [(None, half)],
            Precision.W4A4: [(0, 0), (1, 1)],
        }[precision]
        total = 0
        for of_x, of_w in pairs:
            value = code(w, of_w, command["w_signed"]) - command["w_zero"]
            weight = signed(value, 9 if precision is Precision.W8A8 else 5)
            total += code(x, of_x, command["x_signed"]) * weight
        return total

    def store(self, command):
        for index in self.nest(command, STORE_LOOPS):
            vector = self.queue.popleft()
            n, width = index[1], command["tile_channels"]
            y, r = (self.address(command, s, STORE_LOOPS, index) for s in "yr")
            count = min(width, command["channels"] - n * width)
            codes = []
            for c in range(count):
                word = command["p_base"] + n * command["p_stride"] + c // SPEC.post.lanes
                other = self.memory[self.place(r, c, SPEC.post.lanes)]
                codes.append(self.code(command, vector[c], word, c % SPEC.post.lanes, other))
            port = SPEC.post.lanes
            if command["packed"]:
                codes, port = [v & 15 for v in [*codes, 0]], port // 2
                codes = [codes[i] + 16 * codes[i + 1] for i in range(0, count, 2)]
            for i, code in enumerate(codes):
                self.memory[self.place(y, i, port)] = code

    def code(self, command, acc, word, lane, other):
        p = [int(v) for v in self.program.parameters[word, lane]]
        z = requantize(
            np.array([acc]),
            mode=RequantMode(command["mode"]),
            bias=signed(p[0], 32),
            multiplier=signed(p[1], 32),
            offset=signed(p[2] | p[3] << 32, 64),
            shift=signed(p[4], 8),
            zero_point=command["zero"],
            low=command["low"],
            high=command["high"],
        )
        if command["residual"]:
            other = signed(other, 8) if command["r_signed"] else other
            names = ("multiplier_y", "multiplier_r", "offset", "shift", "zero", "low", "high")
            fields = {name: command[f"r_{name}"] for name in names}
            z = residual_add(z, other, rounding=ResidualRounding(command["r_rounding"]), **fields)
        z = int(z[0]) & 255
        return int(self.program.tables[command["table_index"], z]) if command["table"] else z


def assert_equal(program, inputs):
    want = np.array(Plain(program, inputs).memory, np.uint8)
    got = execute(program, inputs)
    assert np.array_equal(np.concatenate([got[name].reshape(-1) for name in WHOLE]), want)


@pytest.mark.parametrize("seed", range(25))
def test_random_programs(seed):
    rng = np.random.default_rng(seed)
    assert_equal(random_program(rng, SPEC), random_inputs(rng))


@pytest.mark.parametrize("seed", range(25))
def test_random_programs_of_every_precision(seed):
    rng = np.random.default_rng(seed)
    assert_equal(random_program(rng, NIBBLES), random_inputs(rng))


@pytest.mark.parametrize("seed", range(10))
def test_accesses_across_the_ends_of_regions(seed):
    rng = np.random.default_rng(seed)
    matmul = draw_matmul(rng, SPEC) | {"x_base": 2 * SIZE - 30}
    store = draw_store(rng, SPEC, matmul) | {"mode": int(rng.integers(0, 3))}
    # Not both at once: reads that wrap around would meet writes, in an order that is not defined.
    if seed % 2:
        store |= {"y_base": 2 * SIZE - 20, "residual": 0}
    else:
        store |= {"y_base": SIZE + 200, "r_base": SIZE - 9, "residual": 1}
    fill = draw_fill(rng, SPEC) | {"d_base": SIZE * (1 + seed % 2) - 5}
    commands = [(Opcode.FILL, fill), (Opcode.MATMUL, matmul), (Opcode.STORE, store)]
    assert_equal(make_program(rng, commands), random_inputs(rng))


def test_results_queue_across_commands():
    """Two MATMULs before two STOREs which cut their results elsewhere."""
    rng = np.random.default_rng(0)
    first, second = draw_matmul(rng, SPEC) | {"t_count": 1}, draw_matmul(rng, SPEC) | {"t_count": 1}
    for command in (first, second):
        command |= {"n_count": 1, "my_count": 2, "mx_count": 3}
    stores = [draw_store(rng, SPEC, first) | {"my_count": 1, "mx_count": n} for n in (5, 7)]
    commands = [(Opcode.MATMUL, first), (Opcode.MATMUL, second)]
    commands += [(Opcode.STORE, s) for s in stores]
    assert_equal(make_program(rng, commands), random_inputs(rng))


def test_chunks_agree():
    """A long reduction gives the same bytes whether gathered at once or vector by vector."""
    rng = np.random.default_rng(1)
    matmul = draw_matmul(rng, SPEC) | {"kc_count": 3, "ky_count": 3, "kx_count": 3, "maximum": 0}
    store = draw_store(rng, SPEC, matmul)
    program = make_program(rng, [(Opcode.MATMUL, matmul), (Opcode.STORE, store)])
    inputs = random_inputs(rng)
    whole = execute(program, inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("systolith.golden.matmul._CHUNK", 100)
        parts = execute(program, inputs)
    assert all(np.array_equal(whole[name], parts[name]) for name in WHOLE)


def test_captures_before_later_layers_overwrite():
    rng = np.random.default_rng(2)
    fill = {"d_base": 10, "length": 4}
    matmul = draw_matmul(rng, SPEC)
    store = draw_store(rng, SPEC, matmul) | {"stamp": 1}
    commands = [
        (Opcode.MATMUL, matmul),
        (Opcode.STORE, store),
        (Opcode.FILL, fill | {"value": 77, "d_base": SIZE, "length": SIZE}),
        (Opcode.MATMUL, matmul),
        (Opcode.STORE, store),
    ]
    layers = [Layer(name="first", op="CONV_2D", tensor="region1", stamp=0, macs=1)]
    program = make_program(rng, commands, layers, outputs=("region0",))
    inputs = random_inputs(rng)
    calls = []
    got = execute(program, inputs, capture=("region1",), progress=lambda *done: calls.append(done))
    assert calls == [(1, 1)]
    want = Plain(replace(program, commands=cut(program, 2)), inputs).memory[SIZE:]
    assert got["region1"].reshape(-1).tolist() == want


def cut(program, count):
    """The first commands of a program, and END."""
    kept = list(decode(program.commands.tolist()))[:count]
    words = [w for c in kept for w in encode(c.opcode, **without_opcode(c))]
    return np.array(words + encode(Opcode.END), np.uint32)


def without_opcode(command):
    return {name: value for name, value in command.values.items() if name != "opcode"}


def test_a_convolution():
    """3x3 over 4 channels with padding, two channel tiles, against shifted sums."""
    rng = np.random.default_rng(3)
    spec = replace(SPEC, array=ArraySpec(rows=12, columns=6))
    x = rng.integers(-128, 128, (5, 6, 4)).astype(np.int8)
    weights = rng.integers(-128, 128, (8, 3, 3, 4))
    tiles = np.zeros((2, 3, 12, 6), np.int64)
    for n, ky, c in product(range(2), range(3), range(4)):
        tiles[n, ky, :, c] = weights[4 * n + c, ky].reshape(-1)
    row = 8 * 4
    commands = [
        (Opcode.MATMUL, {
            "x_base": 0, "x_signed": 1, "w_signed": 1, "n_count": 2, "ky_count": 3,
            "my_count": 2, "mx_count": 6, "t_count": 2, "x_my_stride": row, "x_mx_stride": 4,
            "x_t_stride": 2 * row, "x_ky_stride": row,
        }),
        (Opcode.STORE, {
            "y_base": SIZE, "mode": int(RequantMode.FIXED), "channels": 8, "tile_channels": 4,
            "p_stride": 2, "low": -128, "high": 127, "t_count": 2, "n_count": 2, "my_count": 2,
            "mx_count": 6, "y_t_stride": 2 * 48, "y_n_stride": 4, "y_my_stride": 48,
            "y_mx_stride": 8,
        }),
    ]  # fmt: skip
    parameters = np.zeros((8, 2, 8), np.uint32)
    parameters[..., 1], parameters[..., 2], parameters[..., 4] = 5, 1 << 11, 12
    buffers = {
        "x": Buffer(base=row + 4, shape=(5, 6, 4), strides=(row, 4, 1), dtype="int8"),
        "y": Buffer(base=SIZE, shape=(4, 6, 8), strides=(48, 8, 1), dtype="int8"),
    }
    program = make_program(
        rng, commands, spec=spec, weights=tiles.reshape(-1, 6).astype(np.int8).view(np.uint8),
        parameters=parameters, buffers=buffers, inputs=("x",), outputs=("y",),
    )  # fmt: skip
    padded = np.zeros((7, 8, 4), np.int64)
    padded[1:6, 1:7] = x
    acc = sum(
        np.einsum("yxc,oc->yxo", padded[ky : ky + 4, kx : kx + 6], weights[:, ky, kx])
        for ky, kx in product(range(3), range(3))
    )
    want = np.clip((acc * 5 + (1 << 11)) >> 12, -128, 127)
    assert np.array_equal(execute(program, {"x": x})["y"], want)


def small(rng, **changes):
    matmul = {"x_base": 0}
    store = {"y_base": SIZE, "mode": 1, "channels": 6, "tile_channels": 6, "high": 9}
    commands = [(Opcode.MATMUL, matmul), (Opcode.STORE, store | changes)]
    return make_program(rng, commands)


@pytest.mark.parametrize(("changes", "message"), [
    ({"tile_channels": 7}, "tile_channels must be between 1 and 6, not 7"),
    ({"mx_count": 2}, "STORE must take at most 1 result vectors, not 2"),
    ({"mx_count": 0}, "mx_count must be at least 1, not 0"),
    ({"table": 1, "table_index": 2}, "table_index must be below 2, not 2"),
    ({"p_base": 63}, "lane word must be below 64, not 65"),
    ({"channels": 0}, "channels must be more than 0, not 0"),
    ({"wait": 2}, "token of unit COMPUTE must be given before"),
    ({"mode": 3}, "mode must be one that the accelerator has, not MAGNITUDE"),
])  # fmt: skip
def test_commands_that_cannot_run(changes, message):
    rng = np.random.default_rng(4)
    message = f"command 1 (STORE): {message}"
    with pytest.raises(ProgramError, match=f"^{re.escape(message)}$"):
        execute(small(rng, **changes), random_inputs(rng))


def test_tokens_are_consumed():
    rng = np.random.default_rng(5)
    fill = {"length": 1, "signal": 2}
    commands = [(Opcode.FILL, fill), (Opcode.MATMUL, {"wait": 1}), (Opcode.MATMUL, {"wait": 1})]
    message = "command 2 (MATMUL): token of unit MOVE must be given before"
    with pytest.raises(ProgramError, match=f"^{re.escape(message)}$"):
        execute(make_program(rng, commands), random_inputs(rng))


def test_results_left_over():
    rng = np.random.default_rng(6)
    message = "program must store all results, but 1 are left"
    with pytest.raises(ProgramError, match=f"^{message}$"):
        execute(make_program(rng, [(Opcode.MATMUL, {})]), random_inputs(rng))


def test_writes_need_memory():
    """Regions of 1000 bytes leave holes in the address space."""
    rng = np.random.default_rng(7)
    spec = replace(SPEC, memory=replace(SPEC.memory, activation_bytes=1000))
    program = make_program(rng, [(Opcode.FILL, {"d_base": 998, "length": 3})], spec=spec)
    message = "command 0 (FILL): written address must have memory, not 0x3e8"
    with pytest.raises(ProgramError, match=f"^{re.escape(message)}$"):
        execute(program, random_inputs(rng))


def test_inputs_are_checked():
    rng = np.random.default_rng(8)
    program, good = small(rng), random_inputs(rng)
    cases = [
        ({"region0": good["region0"]}, "input 'region1' must be given"),
        (good | {"z": good["region0"]},
         "input must be one of ['region0', 'region1'], not 'z'"),
        (good | {"region0": good["region0"][0]},
         f"input 'region0' must have shape (1, 1, {SIZE}), not (1, {SIZE})"),
        (good | {"region0": good["region0"].view(np.int8)},
         "input 'region0' must be uint8, not int8"),
    ]  # fmt: skip
    for inputs, message in cases:
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            execute(program, inputs)
    message = "captured tensor must be a layer's result, not 'z'"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        execute(program, good, capture=("z",))
