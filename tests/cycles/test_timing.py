"""The model's latencies are those that the hardware states, which the model must not import."""

import itertools

import pytest

from systolith.cycles import timing
from systolith.cycles.timing import Timing
from systolith.hw.accumulators import MINIMUM_PASS
from systolith.hw.activation import ActivationMemory
from systolith.hw.array import WeightStationaryArray
from systolith.hw.lane import PostLane
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.requant import RequantMode

MODES = [frozenset(m) for k in (1, 2, 3, 4) for m in itertools.combinations(RequantMode, k)]


def test_constants() -> None:
    assert ActivationMemory.read_latency == timing.READ_LATENCY
    assert ActivationMemory.write_latency == timing.WRITE_LATENCY
    assert timing.MINIMUM_PASS == MINIMUM_PASS


@pytest.mark.parametrize("modes", MODES, ids=lambda m: "+".join(sorted(mode.name for mode in m)))
def test_lanes(modes: frozenset[RequantMode]) -> None:
    operands = ((False, False), (True, False), (True, True))
    fixed = modes <= {RequantMode.FIXED, RequantMode.MAGNITUDE}
    widths = ({}, {"multiplier_bits": 18, "accumulator_bits": 20})[: 1 + fixed]
    for (residual, product), tables, narrow in itertools.product(operands, (0, 3), widths):
        post = PostSpec(modes=modes, residual=residual, product=product, **narrow)
        spec = AcceleratorSpec(memory=MemorySpec(tables=tables), post=post)
        lane = PostLane(
            modes, residual=residual, product=product, tables=tables, widths=post.widths
        )
        latencies = Timing.of(spec)
        assert latencies.write == ActivationMemory.read_latency + lane.latency
        assert latencies.landed == latencies.write + ActivationMemory.write_latency


def test_results_take_longer_through_larger_arrays() -> None:
    """A row, a column and a register in every element cost a cycle each."""
    credits = []
    sizes = ((4, 4, 0), (5, 4, 0), (5, 5, 0), (5, 5, 1), (5, 5, 2), (5, 5, 3))
    for rows, columns, registers in sizes:
        stages = max(0, registers - 1)
        array = ArraySpec(
            rows=rows, columns=columns, pipelined=registers > 0, multiplier_stages=stages
        )
        assert array.latency == WeightStationaryArray.of(array).latency
        post = PostSpec(lanes=1)
        memory = MemorySpec(weight_bytes=2000, parameter_channels=20)
        credits.append(Timing.of(AcceleratorSpec(array=array, post=post, memory=memory)).credit)
    assert credits == [12, 13, 14, 15, 16, 17]
