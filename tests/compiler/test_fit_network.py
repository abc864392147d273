"""compiler.fit_network: the smallest requantizer, and that nothing smaller will do."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.compiler.fit_network import fit_network
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.spec.accelerator import PostSpec
from systolith.spec.configuration import preset_for_array
from systolith.spec.requant import RequantMode

BASE = preset_for_array(8, 8)


def network(nets, formula):
    net = nets.Net(12, "int8", formula)
    a = net.conv(net.input(6, 6, 3), 6)
    b = net.pool(Op.AVG_POOL, a, (2, 2), (2, 2), (0, 0, 0, 0))
    return net.graph(net.conv(b, 5))


@pytest.mark.parametrize("formula", ["double", "float32", "f64away"])
def test_the_smallest_is_exact_and_one_bit_less_is_an_error(nets, formula):
    graph = network(nets, formula)
    fit = fit_network(graph, BASE.post)
    assert all(layer.proof is not None for layer in fit.layers)
    spec = replace(BASE, post=fit.post)
    model = nets.compare(graph, spec)
    proofs = [proof for note in model.notes for proof in note.proofs]
    assert {p.formula for p in proofs} == {formula, "divide"}
    assert all(p.bits <= fit.post.multiplier_bits for p in proofs)
    if fit.post.modes & {RequantMode.FLOAT32, RequantMode.DOUBLE}:
        return
    for field in ("multiplier_bits", "accumulator_bits"):
        value = getattr(fit.post, field)
        if value == 16:
            continue
        post = replace(fit.post, **{field: value - 1})
        words = field[:-5]
        wanted = rf"channel \d+ needs an? {words} of {value} bits in mode \w+, not {value - 1}; "
        with pytest.raises(CompileError, match=wanted + f"set post.{field} to at least {value}$"):
            compile_graph(graph, replace(BASE, post=post))


def test_counts_of_provable_channels(nets):
    fit = fit_network(network(nets, "double"), PostSpec())
    pools = [layer for layer in fit.layers if layer.node.op is Op.AVG_POOL]
    assert all(layer.channels == 1 for layer in pools)  # all channels are alike
    assert fit.channels == 6 + len(pools) + 5
    for mode in (RequantMode.FIXED, RequantMode.MAGNITUDE):
        counts = [fit.provable(mode, bits) for bits in (2, 16, 18, 24, 32)]
        assert counts == sorted(counts) and counts[0] < counts[-1]
    assert fit.provable(RequantMode.MAGNITUDE, 32) == fit.channels
    assert fit.provable(RequantMode.DOUBLE, 32) == 11
    assert fit.provable(RequantMode.DOUBLE, 31) == fit.provable(RequantMode.FLOAT32, 32) == 0
    assert fit.anyhow(32) == fit.channels


def test_a_mode_that_would_do_is_named(nets):
    """DOUBLE is not to be had in 24 bits, but MAGNITUDE is."""
    graph = network(nets, "double")
    bits = fit_network(graph, PostSpec()).post.multiplier_bits
    post = replace(BASE.post, modes=frozenset({RequantMode.FIXED}), multiplier_bits=bits)
    text = r"channel \d equals fixed at no width; add 'magnitude' to post.modes$"
    with pytest.raises(CompileError, match=text):
        compile_graph(graph, replace(BASE, post=post))
    with pytest.raises(CompileError, match=r"set post.multiplier_bits to at least \d+$"):
        compile_graph(graph, replace(BASE, post=replace(post, multiplier_bits=16)))


def test_needs_are_those_of_every_channel(nets):
    fit = fit_network(network(nets, "float32"), PostSpec())
    for layer in fit.layers:
        for need in layer.needs.values():
            assert need.multiplier.shape == need.accumulator.shape == (layer.channels,)
            assert np.all((need.multiplier >= 0) & (need.multiplier <= 32))
