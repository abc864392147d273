"""Conflicts by last access against conflicts by comparison; address spaces."""

import numpy as np
import pytest

from systolith.compiler.cuts import full_values
from systolith.compiler.footprint import Access, joined, strided
from systolith.compiler.hazards import LastAccess
from systolith.compiler.spaces import SPACE_BITS, Space, by_space, span, whole_access
from systolith.spec.commands import Opcode, Target, Unit
from systolith.spec.configuration import load_spec


def random_spans(rng):
    spans = strided(int(rng.integers(0, 300)), [(int(rng.integers(1, 40)), 5)], 3)
    if rng.integers(2):
        spans = joined(spans, span(Space.WEIGHTS, int(rng.integers(0, 30)), 4))
    if rng.integers(2):
        spans = joined(spans, span(Space.EXTERNAL, 64 * int(rng.integers(0, 9)), 64))
    return spans


@pytest.mark.parametrize("seed", range(20))
def test_latest_conflict(seed):
    rng = np.random.default_rng(seed)
    last = LastAccess()
    history = {unit: [] for unit in Unit}
    for _ in range(60):
        unit = Unit(int(rng.integers(len(Unit))))
        access = Access(
            reads=random_spans(rng) if rng.integers(2) else Access().reads,
            writes=random_spans(rng) if rng.integers(3) == 0 else Access().writes,
        )
        wanted = {}
        for other in Unit:
            for index, earlier in enumerate(history[other]):
                if access.conflicts(earlier):
                    wanted[other] = index
        assert last.conflicts(access, tuple(Unit)) == wanted
        last.record(unit, len(history[unit]), access)
        history[unit].append(access)


def test_spaces_are_told_apart():
    spans = joined(span(Space.WEIGHTS, 3, 4), span(Space.COMMANDS, 0, 2))
    found = [(s, a.tolist(), b.tolist()) for s, a, b in by_space(spans)]
    assert found == [(Space.WEIGHTS, [3], [7]), (Space.COMMANDS, [0], [2])]
    assert not span(Space.WEIGHTS, 0, 4).overlaps(span(Space.PARAMETERS, 0, 4))


@pytest.mark.parametrize("target", Target)
def test_loads_write_units_of_their_target(target):
    spec = load_spec("base")
    words = {Target.WEIGHTS: 16, Target.PARAMETERS: 128, Target.COMMANDS: 4, Target.EXPONENTS: 4}
    unit = words.get(target, 1)
    fields = {"target": int(target), "e_base": 640, "m_base": 7, "length": 3 * unit}
    access = whole_access(Opcode.LOAD, full_values(Opcode.LOAD, fields), Access(), spec)
    base = int(target) << SPACE_BITS
    assert (access.writes.starts.tolist(), access.writes.ends.tolist()) == ([base + 7], [base + 10])
    assert access.reads.size == 3 * unit
