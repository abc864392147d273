"""Multiplier blocks: every technology's, simulated with its cells, against plain operators."""

import numpy as np
import pytest

from systolith.hw.dsp import PRIMITIVES
from systolith.hw.multiplier import Multiplier, PackedMultiplier
from systolith.hw.multiplier_block import MultiplierBlock
from systolith.hw.technology import Technology
from systolith.sim.binding import Model
from systolith.sim.cells import cell_models
from systolith.sim.emit import simulation_verilog
from systolith.sim.verilator import build_model
from systolith.spec.precision import Precision

pytestmark = pytest.mark.usefixtures("compiler")


def stimuli(rng: np.random.Generator, block: MultiplierBlock, every: bool) -> dict[str, np.ndarray]:
    """All pairs of 9-bit operands, each weight held for all activations; then anything, anyhow."""
    x_bits, w_bits = block.multiplier.activation_bits, block.multiplier.weight_bits
    count = 20_000
    x = rng.integers(0, 1 << x_bits, count)
    rails = [1 << x_bits - 1, (1 << x_bits - 1) - 1, 0, (1 << x_bits) - 1]
    x[rng.random(count) < 0.2] = rng.choice(rails)
    w, take = rng.integers(0, 1 << w_bits, count), rng.random(count) < 0.3
    if every:
        span = np.arange(1 << 9)
        x = np.concatenate([np.tile(span, 1 << 9), x])
        w = np.concatenate([np.repeat(span, 1 << 9), w])
        take = np.concatenate([np.tile(span == 0, 1 << 9), take])
    return {"i_x": x, "i_w": w, "i_take": take}


def outputs(block: MultiplierBlock, ports: dict[str, np.ndarray]) -> np.ndarray:
    """`o` of every cycle, as bytes."""
    text = simulation_verilog(block)
    model = Model(build_model(f"{text}\n{cell_models(text)}", jobs=1))
    raw = {}
    for name, values in ports.items():
        octets = values.astype("<u8").view(np.uint8).reshape(-1, 8)
        raw[name] = np.ascontiguousarray(octets[:, : model.variables[name].word_bytes])
    o = np.zeros((len(ports["i_x"]), model.variables["o"].word_bytes), np.uint8)
    assert model.drive(len(o), raw, {"o": o}) == len(o)
    return o


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("technology", PRIMITIVES)
def test_all_operands(technology: Technology, stages: int) -> None:
    """262,144 products, and 20,000 cycles with weights taken at any time."""
    blocks = [
        MultiplierBlock(Multiplier(), stages=stages, pipelined=True, technology=t)
        for t in (technology, Technology.GENERIC)
    ]
    ports = stimuli(np.random.default_rng(stages), blocks[0], every=True)
    found, wanted = (outputs(block, ports) for block in blocks)
    np.testing.assert_array_equal(found, wanted)
    x, w = ((ports[n] & 511 ^ 256) - 256 for n in ("i_x", "i_w"))
    product = x * w
    got = (wanted.view("<i4").ravel() & 0x3FFFF ^ 0x20000) - 0x20000
    late = blocks[0].latency
    np.testing.assert_array_equal(got[late + 1 : 1 << 18], product[1 : (1 << 18) - late])


@pytest.mark.parametrize("technology", PRIMITIVES)
def test_packed_operands(technology: Technology) -> None:
    """Operands of 18 bits; 20,000 cycles."""
    multiplier = PackedMultiplier(frozenset(Precision))
    blocks = [
        MultiplierBlock(multiplier, stages=2, pipelined=True, technology=t)
        for t in (technology, Technology.GENERIC)
    ]
    ports = stimuli(np.random.default_rng(7), blocks[0], every=False)
    found, wanted = (outputs(block, ports) for block in blocks)
    assert wanted.any()
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("stages", "pipelined", "latency"), [(0, False, 0), (0, True, 1), (1, True, 2), (2, True, 3)]
)
def test_latency(stages: int, pipelined: bool, latency: int) -> None:
    assert MultiplierBlock(Multiplier(), stages=stages, pipelined=pipelined).latency == latency
