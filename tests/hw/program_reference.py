"""What programs compute, command by command and byte by byte, and small ones to try."""

import itertools
from collections.abc import Iterator

import numpy as np

from systolith.golden.requant import requantize
from systolith.golden.residual import residual_add
from systolith.sim.backend import Result
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.pysim_backend import PysimBackend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import (
    COPY_LOOPS,
    FILL_LOOPS,
    MATMUL_LOOPS,
    STORE_LOOPS,
    Command,
    Opcode,
    decode,
)
from systolith.spec.precision import WeightFormat
from systolith.spec.program import Buffer, Program
from systolith.spec.requant import PARAMETER_FIELDS, RequantMode, ResidualRounding

Image = np.ndarray


def nest(command: Command, loops: tuple[str, ...]) -> Iterator[dict[str, int]]:
    """Indices of a nest, outermost first."""
    for index in itertools.product(*(range(command[f"{n}_count"]) for n in loops)):
        yield dict(zip(loops, index, strict=True))


def place(command: Command, stream: str, at: dict[str, int]) -> int:
    return command[f"{stream}_base"] + sum(
        i * command[f"{stream}_{n}_stride"] for n, i in at.items()
    )


class Reference:
    """Commands one after the other, byte by byte, as the tables of the spec say them."""

    def __init__(self, program: Program, image: Image) -> None:
        self.program, self.image = program, image
        self.results: list[np.ndarray] = []
        self.left: dict[tuple[int, ...], np.ndarray] = {}
        for command in decode(program.commands.tolist()):
            if command.opcode is not Opcode.END:
                getattr(self, command.opcode.name.lower())(command)
        assert not self.results

    def fill(self, c: Command) -> None:
        for at in nest(c, FILL_LOOPS):
            start = place(c, "d", at)
            self.image[start : start + c["length"]] = c["value"]

    def copy(self, c: Command) -> None:
        runs = [
            (place(c, "d", at), self.image[start : start + c["length"]].copy())
            for at in nest(c, COPY_LOOPS)
            for start in [place(c, "s", at)]
        ]
        for start, run in runs:
            self.image[start : start + len(run)] = run

    def tile(self, c: Command, number: int) -> np.ndarray:
        """Weights of a tile, [bytes of a vector, columns]."""
        rows, words = self.program.spec.array.rows, self.program.weights
        places = -(-rows // 4) if c["w_format"] == WeightFormat.TWO_OF_FOUR else 0
        first = c["w_base"] + number * (places + rows) + places
        codes = words[first : first + rows]
        weights = (codes.view(np.int8) if c["w_signed"] else codes).astype(np.int64) - c["w_zero"]
        if not places:
            return weights
        spread = np.zeros((2 * rows, words.shape[1]), np.int64)
        for row, column in np.ndindex(*weights.shape):
            place = words[first - places + row // 4, column] >> 2 * (row % 4) & 3
            spread[4 * (row // 2) + place, column] += weights[row, column]
        return spread

    def matmul(self, c: Command) -> None:
        assert c["w_format"] in (WeightFormat.DENSE, WeightFormat.TWO_OF_FOUR)
        passes = c["ky_count"] * c["kx_count"] * c["kc_count"]
        partial = self.left if c["accumulate"] else {}
        for at in nest(c, MATMUL_LOOPS):
            k = (at["ky"] * c["kx_count"] + at["kx"]) * c["kc_count"] + at["kc"]
            weights = self.tile(c, 0 if c["w_hold"] else at["n"] * passes + k)
            start = place(c, "x", at)
            x = self.image[start : start + len(weights)]
            x = (x.view(np.int8) if c["x_signed"] else x).astype(np.int64)
            sums = x @ weights
            where = at["t"], at["n"], at["my"], at["mx"]
            if k or c["accumulate"]:
                old = partial[where]
                sums = np.maximum(old, sums) if c["maximum"] else old + sums
            partial[where] = sums
        if c["partial"]:
            self.left = partial
        else:
            self.results += [partial[where] for where in sorted(partial)]

    def store(self, c: Command) -> None:
        lanes = self.program.spec.post.lanes
        writes = []
        for at in nest(c, STORE_LOOPS):
            acc = self.results.pop(0)
            width = c["tile_channels"]
            count = min(width, c["channels"] - at["n"] * width)
            base = c["p_base"] + at["n"] * c["p_stride"]
            words = [self.program.parameters[base + i // lanes, i % lanes] for i in range(count)]
            fields = {f.name: np.array([field(w, f) for w in words]) for f in PARAMETER_FIELDS}
            value = requantize(
                acc[:count], mode=RequantMode(c["mode"]), zero_point=c["zero"], low=c["low"],
                high=c["high"], **fields,
            )  # fmt: skip
            if c["residual"]:
                value = self.add(c, value, place(c, "r", at), count)
            byte = (value & 255).astype(np.uint8)
            if c["table"]:
                byte = self.program.tables[c["table_index"]][byte]
            writes.append((place(c, "y", at), byte))
        for start, byte in writes:
            self.image[start : start + len(byte)] = byte

    def add(self, c: Command, value: np.ndarray, start: int, count: int) -> np.ndarray:
        r = self.image[start : start + count]
        r = (r.view(np.int8) if c["r_signed"] else r).astype(np.int64)
        names = ("multiplier_y", "multiplier_r", "offset", "shift", "zero", "low", "high")
        fields = {name: c[f"r_{name}"] for name in names}
        if c["r_product"]:
            value = value * (r - c["r_zero_r"])
            r = value < 0
        return residual_add(value, r, rounding=ResidualRounding(c["r_rounding"]), **fields)


def field(words: np.ndarray, f) -> int:
    value = sum(int(words[f.word + i]) << 32 * i for i in range(-(-f.bits // 32)))
    value &= (1 << f.bits) - 1
    return value - (value >> f.bits - 1 << f.bits) if f.signed else value


def image_of(program: Program, tensors: dict[str, np.ndarray]) -> Image:
    spec = program.spec
    image = np.zeros(spec.region_stride * spec.memory.activation_regions, np.uint8)
    for name, tensor in tensors.items():
        image[program.buffers[name].addresses()] = tensor
    return image


def assert_varied(before: Image, after: Image) -> None:
    """Codes written differ: a test of clamped ones alone would miss most errors."""
    assert len(set(after[before != after].view(np.int8).tolist()) - {-128, 127}) > 8


def check(
    program: Program, inputs: dict[str, np.ndarray], note: str, *, varied: bool = False
) -> Result:
    """Run in Amaranth's simulator, compare all of the activation memory."""
    image = image_of(program, inputs)
    golden = GoldenBackend().run(program, inputs)
    reference = Reference(program, image).image
    if varied:
        assert_varied(image_of(program, inputs), reference)
    result = PysimBackend().run(program, inputs)
    for name, got in result.tensors.items():
        want = reference[program.buffers[name].addresses()]
        np.testing.assert_array_equal(golden.tensors[name], want, err_msg=f"golden: {note}")
        np.testing.assert_array_equal(got, want, err_msg=f"gates: {note}")
    stamped = [c["stamp"] for c in decode(program.commands.tolist())]
    assert len(result.stamps) == sum(stamped)
    assert list(result.stamps) == sorted(set(result.stamps))
    return result


def spec_of(rows: int, columns: int, lanes: int, **memory: int) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns),
        memory=MemorySpec(
            **{
                "activation_bytes": 1024, "weight_bytes": columns * rows * 24,
                "accumulator_depth": 16, "parameter_channels": lanes * 16, "command_words": 256,
                "tables": 0, **memory,
            }
        ),
        post=PostSpec(lanes=lanes, modes=frozenset({RequantMode.FIXED})),
    )  # fmt: skip


def program_of(spec: AcceleratorSpec, commands: list[int]) -> Program:
    """Random weights and parameters around given commands; all activations are one input."""
    rng = np.random.default_rng(0)
    parameters = np.zeros((spec.lane_words, spec.post.lanes, 8), np.uint32)
    parameters[..., 1], parameters[..., 4] = 1 << 30, 38
    size = spec.memory.activation_bytes
    buffers = {
        f"region{g}": Buffer(
            base=g * spec.region_stride, shape=(1, 1, size), strides=(size, size, 1), dtype="uint8"
        )
        for g in range(spec.memory.activation_regions)
    }
    return Program(
        spec=spec, commands=np.array(commands, np.uint32),
        weights=rng.integers(0, 256, (spec.weight_words, spec.array.columns)).astype(np.uint8),
        parameters=parameters, tables=np.zeros((0, 256), np.uint8), buffers=buffers,
        inputs=tuple(buffers), outputs=tuple(buffers), layers=(),
    )  # fmt: skip


MATMUL = {"x_signed": 1, "w_signed": 1}
STORE = {"mode": 2, "low": -128, "high": 127}
