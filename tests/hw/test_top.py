"""The whole accelerator on random programs: gates, golden model and a plain reference agree."""

from types import ModuleType

import numpy as np
import pytest

from systolith.hw.accumulators import MINIMUM_PASS
from systolith.sim.backend import Result
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_specs import random_spec
from systolith.spec.commands import Opcode, encode


def random_case(reference: ModuleType, seed: int, layers: int) -> Result:
    rng = np.random.default_rng(seed)
    spec = random_spec(rng)
    program = random_program(rng, spec, layers=layers)
    return reference.check(program, random_inputs(rng, program), f"seed {seed}, {spec}")


@pytest.mark.parametrize("seed", range(12))
def test_random_accelerators_and_programs(reference: ModuleType, seed: int) -> None:
    random_case(reference, seed, 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1080))
def test_many_random_accelerators_and_programs(reference: ModuleType, seed: int) -> None:
    random_case(reference, seed, 5)


@pytest.mark.parametrize(("rows", "columns", "lanes"), [(4, 4, 4), (3, 5, 5), (8, 4, 2), (1, 3, 3)])
@pytest.mark.parametrize("extra", [0, 5])
def test_tiles_follow_without_bubbles(
    reference: ModuleType, rows: int, columns: int, lanes: int, extra: int
) -> None:
    """With as many vectors as rows and `MINIMUM_PASS`, and lanes that keep up, nothing waits."""
    spec = reference.spec_of(rows, columns, lanes, accumulator_depth=64)
    vectors = max(MINIMUM_PASS, rows) + extra
    counts = {"t_count": 2, "n_count": 2, "mx_count": vectors}
    # Each result takes columns / lanes cycles: over ky * kc passes the lanes have the time.
    matmul = (
        reference.MATMUL
        | counts
        | {"ky_count": 2, "kc_count": 2, "x_mx_stride": rows, "x_kc_stride": 1}
    )
    store = reference.STORE | counts | {"channels": 2 * columns, "tile_channels": columns}
    store |= {"y_base": spec.region_stride, "y_mx_stride": 2 * columns, "y_n_stride": columns}
    store |= {"y_t_stride": 2 * columns * vectors}
    words = encode(Opcode.MATMUL, **matmul) + encode(Opcode.STORE, **store) + encode(Opcode.END)
    program = reference.program_of(spec, words)
    result = reference.check(
        program, random_inputs(np.random.default_rng(1), program), "no bubbles", varied=True
    )
    counters = result.counters
    assert counters["array_busy"] == 2 * 2 * 4 * vectors
    # The first tile is loaded once the command is there; after that nothing stalls.
    assert counters["stall_weights"] <= rows + 2
    for name in ("stall_tokens", "stall_accumulators", "stall_activations"):
        assert counters[name] == 0, name
    # Before the first vector: fetch of the command and the first tile.
    start = len(encode(Opcode.MATMUL)) + rows + 12
    drain = len(encode(Opcode.STORE)) + 60 + columns
    assert counters["cycles"] <= counters["array_busy"] + start + drain
    busy = counters["array_busy"] + sum(v for k, v in counters.items() if k.startswith("stall_"))
    assert counters["cycles"] - busy <= 2, "every other cycle has a reason"


def test_read_port_conflicts(reference: ModuleType) -> None:
    """A residual stream in the array's own region costs a cycle a vector, and changes nothing."""
    counters = []
    for region in (0, 1):
        spec = reference.spec_of(2, 4, 4, activation_regions=3, accumulator_depth=4)
        counts = {"t_count": 6, "mx_count": 4}
        matmul = (
            reference.MATMUL
            | counts
            | {"ky_count": 3, "x_mx_stride": 3, "x_ky_stride": 5, "x_t_stride": 11}
        )
        store = reference.STORE | counts | {
            "channels": 4, "tile_channels": 4, "y_base": 2 * spec.region_stride, "y_mx_stride": 4,
            "y_t_stride": 16, "residual": 1, "r_base": region * spec.region_stride + 3,
            "r_mx_stride": 1, "r_t_stride": 9, "r_multiplier_y": 1 << 20,
            "r_multiplier_r": 1 << 20, "r_shift": 21, "r_low": -128, "r_high": 127,
        }  # fmt: skip
        words = encode(Opcode.MATMUL, **matmul) + encode(Opcode.STORE, **store)
        program = reference.program_of(spec, words + encode(Opcode.END))
        inputs = random_inputs(np.random.default_rng(2), program)
        counters.append(reference.check(program, inputs, f"region {region}", varied=True).counters)
    assert counters[0]["stall_activations"] > 0
    assert counters[1]["stall_activations"] == 0
