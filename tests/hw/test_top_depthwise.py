"""The whole accelerator in depthwise mode: random programs, a plain convolution, its cadence."""

import numpy as np
import pytest

from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_specs import random_spec
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, decode, encode
from systolith.spec.program import Buffer, Program
from systolith.spec.requant import RequantMode


def check(seed: int, layers: int) -> None:
    rng = np.random.default_rng(seed)
    spec = random_spec(rng, depthwise=True)
    program = random_program(rng, spec, layers=layers)
    inputs = random_inputs(rng, program)
    want = GoldenBackend().run(program, inputs).tensors
    got = PysimBackend().run(program, inputs).tensors
    for name, tensor in want.items():
        np.testing.assert_array_equal(got[name], tensor, err_msg=f"seed {seed}, {spec}")


@pytest.mark.parametrize("seed", range(4))
def test_random_programs(seed: int) -> None:
    check(seed, 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_random_programs(seed: int) -> None:
    check(seed, 5)


def test_random_programs_meet_every_case() -> None:
    """The generator draws what the tests above are meant to cover."""
    met: set[object] = set()
    for seed in range(120):
        rng = np.random.default_rng(seed)
        spec = random_spec(rng, depthwise=True)
        met |= {("lines", spec.array.depthwise_lines), ("pipelined", spec.array.pipelined)}
        for c in decode(random_program(rng, spec).commands.tolist()):
            if c.opcode is not Opcode.MATMUL:
                continue
            met.add(("depthwise", c["depthwise"]))
            if c["depthwise"]:
                last = c["x_first"] + (c["ox_count"] - 1) * c["x_step"]
                passes = c["ky_count"] * c["kx_count"] * c["kc_count"]
                met |= {("shared", max(0, last + 1 - c["mx_count"])), ("passes", passes > 1)}
                met |= {(n, c[n]) for n in ("x_step", "y_step", "expand", "maximum", "w_hold")}
                met |= {("pairs", c["pairs"]), ("rows in pairs", c["pairs"] and c["oy_count"] > 1)}
                met |= {(n, c[n]) for n in ("x_signed", "w_signed", "y_first", "t_count")}
                full = c["oy_count"] * c["ox_count"] > spec.memory.accumulator_depth
                met.add(("more than the ring", full))
    wanted = {(n, v) for n in ("x_step", "y_step", "t_count") for v in (1, 2, 3)}
    wanted |= {(n, v) for n in ("expand", "shared", "y_first") for v in (0, 1, 2, 3)}
    wanted.add(("rows in pairs", True))
    for name in (
        "pairs",
        "maximum",
        "w_hold",
        "x_signed",
        "w_signed",
        "depthwise",
        "pipelined",
        "passes",
    ):
        wanted |= {(name, 0), (name, 1)}
    wanted |= {("lines", v) for v in (1, 2, 3, 6)} | {("more than the ring", v) for v in (0, 1)}
    assert wanted <= met, wanted - met


def convolution(
    rng: np.random.Generator, size: tuple[int, int], step: int, tiles: int, depth: int, lanes: int
) -> tuple[Program, dict[str, np.ndarray], np.ndarray, int]:
    """A 3 x 3 layer of 4 * tiles channels, padded by 1, with a column between rows for both.

    Returns
    -------
    The program, its inputs, its output computed plainly, and the pixels of one tile's stream.
    """
    height, width = size
    oy, ox, channels, pitch = -(-height // step), -(-width // step), 4 * tiles, width + 1
    spec = AcceleratorSpec(
        array=ArraySpec(rows=9, columns=4, depthwise_lines=3, depthwise_width=16),
        memory=MemorySpec(
            activation_bytes=4096, weight_bytes=4 * 9 * tiles, accumulator_depth=depth,
            parameter_channels=4, tables=0,
        ),
        post=PostSpec(lanes=lanes, modes=frozenset({RequantMode.FIXED}), residual=False),
    )  # fmt: skip
    memory = np.zeros((height + 3, pitch, channels), np.int8)
    image, kernel = memory[1 : height + 1, 1:], rng.integers(-9, 9, (3, 3, channels))
    image[...] = rng.integers(-90, 90, image.shape)
    sums = np.zeros((oy, ox, channels), np.int64)
    wide = np.pad(image.astype(np.int64), ((1, 1), (1, 1), (0, 0)))
    for i, j in np.ndindex(3, 3):
        sums += kernel[i, j] * wide[i : i + height : step, j : j + width : step]
    parameters = np.zeros((4 // lanes, lanes, 8), np.uint32)
    parameters[..., 1], parameters[..., 4] = 1, 5
    matmul = {
        "x_signed": 1, "w_signed": 1, "depthwise": 1, "y_first": 2, "x_first": 2,
        "y_step": step, "x_step": step, "oy_count": oy, "ox_count": ox, "n_count": tiles,
        "my_count": height + 3, "mx_count": pitch, "x_n_stride": 4,
        "x_my_stride": pitch * channels, "x_mx_stride": channels,
    }  # fmt: skip
    store = {
        "y_base": spec.region_stride, "mode": int(RequantMode.FIXED), "channels": channels,
        "tile_channels": 4, "low": -128, "high": 127, "n_count": tiles, "my_count": oy,
        "mx_count": ox, "y_n_stride": 4, "y_my_stride": ox * channels, "y_mx_stride": channels,
    }  # fmt: skip
    words_of_weights = kernel.reshape(9, tiles, 4).swapaxes(0, 1).reshape(-1, 4)
    words = encode(Opcode.MATMUL, **matmul) + encode(Opcode.STORE, **store)
    whole = Buffer(
        base=0, shape=memory.shape, strides=(pitch * channels, channels, 1), dtype="int8"
    )
    result = Buffer(
        base=spec.region_stride, shape=sums.shape, strides=(ox * channels, channels, 1),
        dtype="int8",
    )  # fmt: skip
    program = Program(
        spec=spec, commands=np.array(words + encode(Opcode.END), np.uint32),
        weights=words_of_weights.astype(np.int8).view(np.uint8),
        parameters=parameters, tables=np.zeros((0, 256), np.uint8),
        buffers={"x": whole, "y": result}, inputs=("x",), outputs=("y",), layers=(),
    )  # fmt: skip
    last = (2 + (oy - 1) * step) * pitch + 2 + (ox - 1) * step
    return program, {"x": memory}, np.clip(sums >> 5, -128, 127), last + 1


@pytest.mark.parametrize(("depth", "lanes"), [(256, 4), (8, 1)])
@pytest.mark.parametrize(("size", "step"), [((6, 8), 1), ((7, 7), 2), ((5, 9), 3)])
def test_convolution(size: tuple[int, int], step: int, depth: int, lanes: int) -> None:
    """Against the definition, with post-processing as fast as the array and far slower."""
    program, inputs, want, _ = convolution(np.random.default_rng(step), size, step, 2, depth, lanes)
    result = PysimBackend().run(program, inputs)
    np.testing.assert_array_equal(result.tensors["y"], want)
    assert len(np.unique(want)) > 20
    assert (result.counters["stall_accumulators"] > 0) == (depth == 8 and step < 3)


@pytest.mark.parametrize("step", [1, 2])
def test_a_tile_takes_the_cycles_of_its_pixels(step: int) -> None:
    """Up to its last output, and the next tile follows without a bubble."""
    cycles = {}
    for tiles in (1, 3):
        rng = np.random.default_rng(1)
        program, inputs, want, pixels = convolution(rng, (6, 8), step, tiles, 256, 4)
        result = PysimBackend().run(program, inputs)
        np.testing.assert_array_equal(result.tensors["y"], want)
        assert result.counters["array_busy"] == tiles * pixels
        assert not result.counters["stall_accumulators"]
        cycles[tiles] = result.counters["cycles"]
    assert cycles[3] - cycles[1] == 2 * pixels
