"""Averages that a sum of codes decides only up to a bound."""

import numpy as np
import pytest

from systolith.compiler.average import candidates, open_sums
from systolith.graph import Op
from systolith.importers import load_model
from systolith.profiles.pooling import average_pool_bounds, average_window

ONNX = ["ic_resnet8_qop_s8s8_pt", "ic_resnet8_qop_u8s8_pc", "kws_dscnn_qop_s8s8_pt"]


@pytest.fixture(params=ONNX)
def pool(request, models):
    graph = load_model(models / "onnx" / f"{request.param}.onnx")
    return next(n.arithmetic for n in graph.nodes if n.op is Op.AVG_POOL)


def _sums(arithmetic, count):
    source, _ = arithmetic.source
    zero = arithmetic.input_zero_point
    return np.arange((source.low - zero) * count, (source.high - zero) * count + 1)


def test_every_candidate_is_within_the_bounds_and_monotone(pool):
    for count in pool.requants:
        least, most = average_pool_bounds(_sums(pool, count), pool, count)
        for codes in candidates(pool, count):
            assert np.all((least <= codes) & (codes <= most))
            assert np.all(np.diff(codes) >= 0)
        undecided, total = open_sums(pool, count)
        assert undecided == np.count_nonzero(least != most)
        assert total == len(least)


def test_random_windows_agree_wherever_the_sum_decides(pool):
    (count,) = pool.requants
    source, _ = pool.source
    rng = np.random.default_rng(7)
    codes = rng.integers(source.low, source.high, (20_000, count), endpoint=True)
    wanted = average_window(codes, pool)
    sums = (codes - pool.input_zero_point).sum(axis=1) - _sums(pool, count)[0]
    first = next(candidates(pool, count))
    least, most = average_pool_bounds(_sums(pool, count), pool, count)
    decided = (least == most)[sums]
    assert decided.mean() > 0.99
    assert np.array_equal(first[sums][decided], wanted[decided])
