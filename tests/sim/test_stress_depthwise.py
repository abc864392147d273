"""Random depthwise commands: the shared columns' FILL, and the weights that must be 0."""

import numpy as np
import pytest

from systolith.sim.stress_depthwise import DepthwiseDraw, draw_depthwise
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec

SPEC = AcceleratorSpec(
    array=ArraySpec(rows=7, columns=20, depthwise_lines=3, depthwise_width=11),
    memory=MemorySpec(accumulator_depth=9, weight_bytes=20 * 500, parameter_channels=20),
    post=PostSpec(lanes=4),
)


def draws() -> list[DepthwiseDraw]:
    rng = np.random.default_rng(3)
    return [draw_depthwise(rng, SPEC, results=40, stride=9, tiles=6) for _ in range(400)]


def test_sizes_keep_their_limits() -> None:
    for draw in draws():
        f = draw.fields
        results = f["t_count"] * f["n_count"] * f["oy_count"] * f["ox_count"]
        passes = f["ky_count"] * f["kx_count"] * f["kc_count"]
        assert results <= 40 and draw.tiles <= 6
        assert f["ox_count"] <= 9 and (passes == 1 or f["oy_count"] * f["ox_count"] <= 9)
        assert draw.tiles == (1 if f["w_hold"] else f["n_count"] * passes)


def test_shared_columns_become_equal() -> None:
    """After the FILL all streams have one byte there, whatever was there before."""
    seen = 0
    for draw in draws():
        if draw.shared < 2:
            continue
        f, memory = draw.fields, np.arange(20_000) % 251
        fill = draw.padding(10_000, 77)
        for i, j in np.ndindex(fill["d1_count"], fill["d0_count"]):
            start = fill["d_base"] + i * fill["d_d1_stride"] + j * fill["d_d0_stride"]
            memory[start : start + fill["length"]] = 255
        assert not any(f[f"x_{n}_stride"] for n in ("n", "ky", "kx", "kc"))
        for t, y, x in np.ndindex(f["t_count"], f["my_count"], draw.shared):
            at = 10_000 + t * f["x_t_stride"] + y * f["x_my_stride"] + x * f["x_mx_stride"]
            assert (memory[at : at + 7] == 255).all()
        seen += 1
    assert seen > 50


@pytest.mark.parametrize("seed", range(3))
def test_weights_that_must_be_0_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for draw in draws()[seed::3]:
        before = rng.integers(0, 256, (SPEC.weight_words, 20)).astype(np.uint8)
        weights = before.copy()
        draw.blank(weights, 7)
        end = 7 + 7 * draw.tiles
        np.testing.assert_array_equal(weights[:7], before[:7])
        np.testing.assert_array_equal(weights[end:], before[end:])
        zero = draw.fields["w_zero"] & 255
        tiles = weights[7:end].reshape(-1, 7, 20)
        assert (tiles[:, 6:] == zero).all()
        assert (tiles[:, :, 7 << draw.fields["expand"] :] == zero).all()
        old = before[7:end].reshape(-1, 7, 20)
        assert (tiles == np.where(draw.used, old, zero)).all() and draw.used.any()
