"""Netlists of cells against the design that they were synthesised from."""

import numpy as np
import pytest

from systolith.errors import InputError
from systolith.hw.array import WeightStationaryArray
from systolith.hw.technology import Technology
from systolith.sim.binding import Model
from systolith.sim.emit import simulation_verilog
from systolith.sim.netlist import SYNTHESIS, synthesise, with_models
from systolith.sim.verilator import build_model

pytestmark = pytest.mark.usefixtures("compiler")
CYCLES = 5000
SIMULATED = [Technology.ECP5, Technology.ICE40, Technology.GOWIN, Technology.XILINX7]


def stimuli(rng: np.random.Generator, array: WeightStationaryArray) -> dict[str, np.ndarray]:
    """Any inputs, resets now and then, as bytes."""
    ports = {}
    for name, probability in (("i_x", 0.5), ("i_w", 0.5), ("i_shift", 0.4), ("i_switch", 0.2)):
        bits = rng.random((CYCLES, len(getattr(array, name)))) < probability
        ports[name] = np.packbits(bits, axis=1, bitorder="little")
    ports["rst"] = np.packbits(rng.random((CYCLES, 1)) < 0.01, axis=1, bitorder="little")
    return ports


def outputs(text: str, ports: dict[str, np.ndarray]) -> np.ndarray:
    """`o` of every cycle, as bytes."""
    model = Model(build_model(text, jobs=1, quick=True))
    raw = {}
    for name, octets in ports.items():
        padding = model.variables[name].word_bytes - octets.shape[1]
        raw[name] = np.pad(octets, ((0, 0), (0, padding)))
    o = np.zeros((CYCLES, model.variables["o"].word_bytes), np.uint8)
    assert model.drive(CYCLES, raw, {"o": o}) == CYCLES
    return o


def compare(rows: int, columns: int, stages: int, technology: Technology) -> str:
    """Compare 5,000 cycles of an array's netlist with the design, and return the netlist."""
    plain = WeightStationaryArray(rows, columns, pipelined=True, stages=stages)
    array = WeightStationaryArray(
        rows, columns, pipelined=True, stages=stages, technology=technology
    )
    netlist = synthesise(array, technology)
    ports = stimuli(np.random.default_rng(5), plain)
    wanted = outputs(simulation_verilog(plain), ports)
    assert wanted.any()
    np.testing.assert_array_equal(outputs(with_models(netlist, technology), ports), wanted)
    return netlist


@pytest.mark.parametrize("technology", [t for t in SIMULATED if t is not Technology.ICE40])
def test_an_array(technology: Technology) -> None:
    """2 x 2 elements."""
    compare(2, 2, 1, technology)


@pytest.mark.parametrize(
    ("rows", "columns", "stages"),
    [
        (4, 2, 1),
        *(
            pytest.param(*size, marks=pytest.mark.slow)
            for size in [(2, 2, 1), (4, 2, 0), (4, 4, 1), (8, 1, 2)]
        ),
    ],
)
def test_an_array_of_many_rows(rows: int, columns: int, stages: int) -> None:
    """All products are in blocks: `synth_ice40 -dsp` alone left 3 of 4 x 2, and lost the sums."""
    netlist = compare(rows, columns, stages, Technology.ICE40)
    assert netlist.count("SB_MAC16 #") == rows * columns


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_generic_designs_have_no_netlist() -> None:
    known = ", ".join(SYNTHESIS)
    message = f"^technology must be one of {known} for a netlist, not generic$"
    with pytest.raises(InputError, match=message):
        synthesise(WeightStationaryArray(1, 1), Technology.GENERIC)
