"""The array's simulation model against its grid of processing elements, cycle by cycle."""

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from systolith.hw.array import WeightStationaryArray
from systolith.sim.array import ARRAY_SOURCE, ArrayModel
from systolith.sim.binding import Model
from systolith.sim.emit import simulation_verilog
from systolith.sim.fuzz import random_memory, random_program
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.verilator import build_model
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.precision import MultiplierForm, Precision
from systolith.spec.requant import RequantMode

pytestmark = pytest.mark.usefixtures("compiler")
CYCLES = 3000
W4A8, W4A4 = Precision.W4A8, Precision.W4A4


class Resettable(wiring.Component):
    """The grid in a `ResetInserter`, as in the accelerator, with the ports of the model."""

    def __init__(self, grid: WeightStationaryArray):
        self.grid = grid
        super().__init__({"reset": In(1), **grid.signature.members})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.grid = ResetInserter(self.reset)(self.grid)
        for name, member in self.grid.signature.members.items():
            ours, theirs = getattr(self, name), getattr(self.grid, name)
            m.d.comb += theirs.eq(ours) if member.flow is In else ours.eq(theirs)
        return m


def stimuli(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Tiles as the weight loader sends them, then inputs that follow no rule; resets in both."""
    shift, switch = np.zeros((CYCLES, rows), bool), np.zeros(CYCLES, bool)
    at = 0
    while at < CYCLES // 2:
        for k in range(min(rows, CYCLES - at)):
            shift[at + k, : k + 1] = True
        at += rows + int(rng.integers(0, 5)) * int(rng.integers(0, 2))
        switch[at] = True
    half = CYCLES // 2
    shift[half:] = rng.random((CYCLES - half, rows)) < rng.random((CYCLES - half, 1)) ** 2
    switch[half:] = rng.random(CYCLES - half) < 0.2
    ports = {"reset": rng.random(CYCLES) < 0.01, "rst": rng.random(CYCLES) < 0.003}
    # Long stretches of either kind of vector; then mixed; then seldom one of the depthwise kind.
    ports["i_lane"] = np.repeat(rng.random(CYCLES // 50) < 0.5, 50)
    ports["i_lane"][half // 2 : -half // 2] = rng.random(half) < 0.5
    ports["i_lane"][-half // 4 :] = rng.random(half // 4) < 0.05
    # The same for precisions; depthwise vectors are W8A8.
    precision = np.repeat(rng.integers(0, 4, CYCLES // 30), 30)
    precision[half:] = rng.integers(0, 4, half) * (rng.random(half) < rng.random())
    precision[ports["i_lane"] & (rng.random(CYCLES) < 0.5)] = 0
    ports["i_lane"] &= precision == 0
    ports["i_precision"] = precision[:, np.newaxis] >> [0, 1] & 1 == 1
    ports["i_nibbles"] = rng.random(CYCLES) < 0.5
    return ports | {"i_shift": shift, "i_switch": switch}


def drive(model: Model, ports: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Sums, [cycle, byte], for inputs of bits [cycle, bit]."""
    raw = {}
    for name, bits in ports.items():
        size = model.variables[name].word_bytes
        packed = np.packbits(bits.reshape(CYCLES, -1), axis=1, bitorder="little")
        raw[name] = np.pad(packed, ((0, 0), (0, size - packed.shape[1])))
    outputs = {
        name: np.zeros((CYCLES, model.variables[name].word_bytes), np.uint8)
        for name in ("o", "o_high")
        if name in model.variables
    }
    assert model.drive(CYCLES, raw, outputs) == CYCLES
    return list(outputs.values())


def _avoid_lowest(bits: np.ndarray, size: int) -> None:
    """Make operands of -256, which no byte less its sign is, others: high products have no room."""
    operands = bits.reshape(CYCLES, -1, size)
    lowest = operands[:, :, 8] & ~operands[:, :, :8].any(axis=2)
    operands[:, :, 0] |= lowest


def check(rows: int, columns: int, **options: object) -> None:
    """Same outputs in every cycle, for legal and for arbitrary inputs."""
    model = ArrayModel(rows, columns, **options)
    grid = WeightStationaryArray(rows, columns, **options)
    texts = [
        f"{simulation_verilog(model)}\n{ARRAY_SOURCE.read_text()}",
        simulation_verilog(Resettable(grid)),
    ]
    rng = np.random.default_rng([rows, columns])
    ports = {
        name: bits
        for name, bits in stimuli(rng, rows).items()
        if name in (*model.signature.members, "rst")
    }
    for name in [n for n in ("i_x", "i_w", "i_d") if n in model.signature.members]:
        ports[name] = rng.random((CYCLES, len(getattr(model, name)))) < 0.5
    _avoid_lowest(ports["i_x"], model.x_bits)
    if model.sparse and model.stages:  # see `ArrayModel`
        ports["reset"][:] = ports["rst"][:] = False
    if model.sparse:
        dense = rng.random(CYCLES) < 0.6  # words of a row's own activations, and of any places
        places = ports["i_w"].reshape(CYCLES, columns, -1)[:, :, -2:]
        places[dense] = (rng.random(CYCLES) < 0.5)[dense, None, None] & np.array([True, False])
    ours, theirs = (drive(Model(build_model(text, jobs=1)), ports) for text in texts)
    for our, their in zip(ours, theirs, strict=True):
        assert their.any()
        np.testing.assert_array_equal(our, their)


SIZES = [(1, 1, 0), (3, 1, 0), (2, 5, 0), (5, 3, 2)]
LARGE_SIZES = [(5, 4, 0), (7, 20, 0), (1, 1, 1), (3, 2, 3), (9, 4, 3), (7, 20, 3), (4, 6, 1)]


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize(
    "size", [*SIZES, *(pytest.param(s, marks=pytest.mark.slow) for s in LARGE_SIZES)]
)
def test_outputs_are_the_grids(size: tuple[int, int, int], pipelined: bool) -> None:
    rows, columns, lines = size
    check(rows, columns, pipelined=pipelined, lines=lines)


@pytest.mark.parametrize(
    ("pipelined", "lines", "more"),
    [(False, 2, [W4A8, W4A4]), (True, 0, [W4A8]), (True, 2, [W4A4])],
)
@pytest.mark.parametrize("size", [(4, 3), pytest.param((7, 20), marks=pytest.mark.slow)])
def test_precisions_are_the_grids(
    size: tuple[int, int], pipelined: bool, lines: int, more: list[Precision]
) -> None:
    precisions = {Precision.W8A8, *more}
    check(*size, pipelined=pipelined, lines=lines, precisions=precisions)


@pytest.mark.parametrize(
    ("stages", "lines", "more"), [(1, 2, []), (2, 0, [W4A8, W4A4]), (1, 2, [W4A8]), (2, 1, [])]
)
@pytest.mark.parametrize("sparse", [False, True])
def test_stages_are_the_grids(stages: int, lines: int, more: list[Precision], sparse: bool) -> None:
    precisions = {Precision.W8A8, *more}
    check(4, 3, pipelined=True, stages=stages, lines=lines, precisions=precisions, sparse=sparse)


@pytest.mark.parametrize(
    ("pipelined", "lines", "more"),
    [(False, 0, []), (True, 2, []), (True, 0, [W4A8]), (False, 3, [W4A8, W4A4])],
)
@pytest.mark.parametrize("size", [(4, 3), pytest.param((6, 20), marks=pytest.mark.slow)])
def test_places_are_the_grids(
    size: tuple[int, int], pipelined: bool, lines: int, more: list[Precision]
) -> None:
    """Weights of any places, among them whole rows of weights of the row's own."""
    precisions = {Precision.W8A8, *more}
    check(*size, pipelined=pipelined, lines=lines, precisions=precisions, sparse=True)


@pytest.mark.parametrize(("pipelined", "columns"), [(False, 5), (True, 4)])
def test_columns_in_pairs_are_the_grids(pipelined: bool, columns: int) -> None:
    """Of operands that there are: both halves of a pair share a multiplier, and a cycle."""
    check(3, columns, pipelined=pipelined, form=MultiplierForm.PACKED27)


@pytest.mark.parametrize(
    "array",
    [
        ArraySpec(rows=5, columns=6, depthwise_lines=2),
        ArraySpec(rows=5, columns=6, pipelined=True),
        ArraySpec(
            rows=3,
            columns=4,
            depthwise_lines=2,
            precisions=frozenset(Precision),
            multiplier=MultiplierForm.PACKED18,
        ),
        ArraySpec(rows=3, columns=6, multiplier=MultiplierForm.PACKED27),
    ],
    ids=["depthwise", "pipelined", "packed18", "packed27"],
)
def test_programs_take_the_same_cycles(array: ArraySpec) -> None:
    """Random programs leave golden's memory in both forms, and the same counters and stamps."""
    spec = AcceleratorSpec(
        array=array,
        memory=MemorySpec(
            activation_bytes=2048,
            weight_bytes=3000,
            accumulator_depth=9,
            parameter_channels=128,
            tables=1,
        ),
        post=PostSpec(lanes=2, modes=frozenset(RequantMode)),
    )
    fast, structural = VerilatorBackend(structural=False), VerilatorBackend()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        program = random_program(rng, spec)
        memory = random_memory(rng, program)
        want = GoldenBackend().run(program, memory).tensors
        ours, theirs = fast.run(program, memory), structural.run(program, memory)
        assert ours.counters == theirs.counters
        assert ours.stamps == theirs.stamps
        for name, tensor in want.items():
            np.testing.assert_array_equal(ours.tensors[name], tensor)
            np.testing.assert_array_equal(theirs.tensors[name], tensor)
