"""Blocks in a memory over time: whatever a command uses is there, and came early enough."""

import numpy as np
import pytest

from systolith.compiler.residency import Use, place_blocks


def random_uses(seed, capacity):
    rng = np.random.default_rng(seed)
    sizes = {key: int(rng.integers(1, capacity + 1)) for key in range(int(rng.integers(1, 12)))}
    keys = rng.integers(0, len(sizes), 40)
    return [Use(at=2 * i, key=int(k), size=sizes[int(k)]) for i, k in enumerate(keys)]


@pytest.mark.parametrize("seed", range(40))
def test_every_use_finds_its_block(seed):
    capacity = 20
    uses = random_uses(seed, capacity)
    placed = place_blocks(uses, capacity)
    arrivals = sorted(placed.arrivals, key=lambda a: a.before)
    memory = [None] * capacity
    users = [-1] * capacity
    for use, address in zip(uses, placed.addresses, strict=True):
        for arrival in arrivals:
            if arrival.before == use.at:
                part = slice(arrival.address, arrival.address + arrival.size)
                # It may be loaded once the last user of what lay there is done, not earlier.
                assert max(users[part]) == arrival.after < arrival.before
                memory[part] = [arrival.key] * arrival.size
        assert memory[address : address + use.size] == [use.key] * use.size
        users[address : address + use.size] = [use.at] * use.size
    assert placed.peak <= capacity


def test_what_fits_is_loaded_once():
    uses = [Use(at=i, key=i % 4, size=5) for i in range(12)]
    placed = place_blocks(uses, 20)
    assert [(a.after, a.before) for a in placed.arrivals] == [(-1, 0), (-1, 1), (-1, 2), (-1, 3)]
    assert placed.peak == 20


def test_streams_rotate_through_the_memory():
    """Blocks used once take the place of the oldest: loads run ahead as far as there is room."""
    uses = [Use(at=i, key=i, size=5) for i in range(9)]
    placed = place_blocks(uses, 15)
    assert [a.address for a in placed.arrivals] == [0, 5, 10] * 3
    assert [a.after for a in placed.arrivals] == [-1, -1, -1, 0, 1, 2, 3, 4, 5]


def test_a_block_that_returns_late_does_not_stay():
    """Two rounds through 6 blocks in room for 3: keeping some would leave no room to load ahead."""
    uses = [Use(at=i, key=i % 6, size=5) for i in range(12)]
    placed = place_blocks(uses, 15)
    assert [a.address for a in placed.arrivals] == [0, 5, 10] * 4


def test_a_small_block_in_use_again_soon_stays():
    keys = ["a", 0, "a", 1, "a", 2, "a", 3, "a"]
    uses = [Use(at=i, key=k, size=1 if k == "a" else 6) for i, k in enumerate(keys)]
    placed = place_blocks(uses, 16)
    assert [a.key for a in placed.arrivals].count("a") == 1
