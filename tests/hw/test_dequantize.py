"""The dequantize lane against numpy's float32, which is the runtimes' formula."""

import numpy as np
import pytest

from systolith.golden.quantize import dequantize_codes
from systolith.hw.dequantize import DequantizeLane
from systolith.sim.dut import Dut
from systolith.sim.float_samples import scales
from systolith.spec.quantize import CodeFormat

SIZES = [100_000, pytest.param(4_000_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", SIZES)
def test_numbers(count: int) -> None:
    rng = np.random.default_rng(61)
    scale = scales(rng, count)
    kind = list(CodeFormat)
    chosen = rng.integers(0, len(kind), count)
    low = np.array([k.low for k in kind])[chosen]
    high = np.array([k.high for k in kind])[chosen]
    code, zero = (rng.integers(low, high + 1) for _ in range(2))
    code = np.where(rng.integers(0, 20, count) == 0, zero, code)
    real = scale.astype(np.uint32).view(np.float32)
    with np.errstate(over="ignore"):
        wanted = ((code - zero).astype(np.float32) * real).view(np.uint32)
    some = slice(0, 20_000)
    got = dequantize_codes(code[some], scale[some], zero[some])
    np.testing.assert_array_equal(got, wanted[some])
    rest = np.zeros(DequantizeLane.latency, np.int64)
    columns = {"i": code, "i_scale": scale, "i_zero": zero, "i_valid": np.ones_like(code)}
    with Dut.build(DequantizeLane()) as dut:
        seen = dut.drive(
            {name: np.concatenate([value, rest]) for name, value in columns.items()},
            ["o", "o_valid"],
        )
    np.testing.assert_array_equal(seen["o"][DequantizeLane.latency :], wanted)
    assert seen["o_valid"][DequantizeLane.latency :].all()
    assert not seen["o_valid"][: DequantizeLane.latency].any()
