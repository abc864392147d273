"""COPY of the golden model, byte by byte, and the copies that it refuses."""

import numpy as np
import pytest

from systolith.golden.execute import execute
from systolith.sim.stress_moves import random_copy
from systolith.sim.stress_specs import random_spec
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode, encode
from systolith.spec.program import Buffer, Program, ProgramError


def program_of(spec: AcceleratorSpec, commands: list[int]) -> Program:
    """A program on nothing but activations, region by region."""
    size, stride = spec.memory.activation_bytes, spec.region_stride
    regions = {
        f"region{g}": Buffer(base=g * stride, shape=(1, 1, size), strides=(0, 0, 1), dtype="uint8")
        for g in range(spec.memory.activation_regions)
    }
    return Program(
        spec=spec, commands=np.array(commands + encode(Opcode.END), np.uint32),
        weights=np.zeros((0, spec.array.columns), np.uint8),
        parameters=np.zeros((0, spec.post.lanes, 8), np.uint32),
        tables=np.zeros((0, 256), np.uint8), buffers=regions,
        inputs=tuple(regions), outputs=tuple(regions), layers=(),
    )  # fmt: skip


def copied(spec: AcceleratorSpec, fields: dict[str, int], image: np.ndarray) -> np.ndarray:
    """The address space afterwards; one byte after the other."""
    after = image.copy()
    for index in np.ndindex(*(fields[f"d{k}_count"] for k in (3, 2, 1, 0))):
        at = dict(zip((3, 2, 1, 0), index, strict=True))
        source, target = (
            fields[f"{s}_base"] + sum(i * fields[f"{s}_d{k}_stride"] for k, i in at.items())
            for s in "sd"
        )
        for i in range(fields["length"]):
            after[target + i] = image[source + i]
    return after


@pytest.mark.parametrize("seed", range(40))
def test_random_copies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = random_spec(rng)
    drawn = random_copy(rng, spec)
    assert drawn is not None, "of these seeds, all have a place for a copy"
    fields, reads, writes = drawn
    program = program_of(spec, encode(Opcode.COPY, **fields))
    image = np.zeros(len(reads), np.uint8)
    inputs = {}
    for name, buffer in program.buffers.items():
        inputs[name] = rng.integers(0, 256, buffer.shape, np.uint8)
        image[buffer.addresses()] = inputs[name]
    after = copied(spec, fields, image)
    # Every byte read is told from the rest by the byte that it becomes.
    assert not (after != image)[~writes].any()
    for name, tensor in execute(program, inputs).items():
        np.testing.assert_array_equal(tensor, after[program.buffers[name].addresses()])


def test_random_copies_meet_every_case() -> None:
    met: set[object] = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        spec = random_spec(rng)
        drawn = random_copy(rng, spec)
        if drawn is None:
            continue
        fields, reads, writes = drawn
        runs = int(np.prod([fields[f"d{k}_count"] for k in range(4)]))
        line = spec.line_bytes
        met |= {("pieces", -(-fields["length"] // line)), ("runs", min(runs, 20))}
        met |= {("shift", (fields["d_base"] - fields["s_base"]) % line)} if line == 4 else set()
        met.add(("reads overlap", reads.sum() < runs * fields["length"]))
        met.add(("writes overlap", writes.sum() < runs * fields["length"]))
        met.add(("regions", fields["s_base"] // spec.region_stride != 0))
    wanted = {("pieces", n) for n in (1, 2, 5)} | {("runs", n) for n in (1, 4, 20)}
    wanted |= {("shift", n) for n in range(4)} | {("regions", v) for v in (False, True)}
    wanted |= {(f"{side} overlap", v) for side in ("reads", "writes") for v in (False, True)}
    assert wanted <= met


BASE = {"s_base": 16, "d_base": 64, "length": 8, "d0_count": 3, "s_d0_stride": 4, "d_d0_stride": 8}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"length": 0}, "length must be at least 1, not 0"),
        ({"d_base": 31}, "source and target must not overlap, but both have byte 0x1f"),
        ({"d_base": 16}, "source and target must not overlap, but both have byte 0x10"),
        ({"d_base": 0, "d_d0_stride": 5}, "must not overlap, but both have byte 0x10"),
        ({"d1_count": 2, "s_d1_stride": 71}, "must not overlap, but both have byte 0x57"),
    ],
)
def test_refused(changes: dict[str, int], text: str) -> None:
    rng = np.random.default_rng(0)
    spec = AcceleratorSpec()
    program = program_of(spec, encode(Opcode.COPY, **(BASE | changes)))
    inputs = {n: rng.integers(0, 256, b.shape, np.uint8) for n, b in program.buffers.items()}
    with pytest.raises(ProgramError, match=text):
        execute(program, inputs)


@pytest.mark.parametrize("target", [0, 8, 32, 63])
def test_neighbours_are_no_overlap(target: int) -> None:
    """Runs read are bytes 16 to 31; writes end before or begin behind them."""
    spec = AcceleratorSpec()
    fields = BASE | {"d_base": target, "d0_count": 3, "d_d0_stride": 0}
    program = program_of(spec, encode(Opcode.COPY, **fields))
    inputs = {
        n: np.arange(spec.memory.activation_bytes, dtype=np.uint8).reshape(b.shape)
        for n, b in program.buffers.items()
    }
    after = execute(program, inputs)["region0"].reshape(-1)
    assert after[target : target + 8].tolist() == list(range(24, 32))  # the last run holds
