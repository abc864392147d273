"""Storages in use at the same time never share bytes, and stay inside a region."""

import numpy as np
import pytest

from systolith.compiler.allocate import Live, allocate, live_ranges
from systolith.compiler.ir import Storage, SymbolicCommand
from systolith.errors import CompileError
from systolith.spec.accelerator import AcceleratorSpec, MemorySpec
from systolith.spec.commands import Opcode


def live(size, first, last):
    return Live(storage=Storage(name="t", size=size, layer="l"), first=first, last=last)


def spec_of(size, regions=2):
    memory = MemorySpec(activation_bytes=size, activation_regions=regions)
    return AcceleratorSpec(memory=memory)


def test_no_two_live_storages_overlap():
    rng = np.random.default_rng(0)
    for _ in range(60):
        lives = []
        for _ in range(12):
            first = int(rng.integers(0, 20))
            lives.append(live(int(rng.integers(1, 600)), first, first + int(rng.integers(0, 6))))
        spec = spec_of(4096)
        report = allocate(lives, [], spec)
        assert report.bound <= report.peak <= report.available
        for index, a in enumerate(lives):
            start = a.storage.address % spec.region_stride
            assert start + a.storage.size <= spec.memory.activation_bytes
            for b in lives[:index]:
                apart = (
                    a.storage.address + a.storage.size <= b.storage.address
                    or b.storage.address + b.storage.size <= a.storage.address
                )
                assert apart or not a.overlaps(b)


def test_memory_is_used_again():
    lives = [live(4000, i, i) for i in range(5)]
    assert allocate(lives, [], spec_of(4096, 1)).peak == 4000


def test_streams_read_together_lie_in_different_regions():
    lives = [live(100, 0, 9), live(100, 0, 9), live(100, 0, 9)]
    report = allocate(lives, [(lives[0].storage, lives[2].storage)], spec_of(4096))
    regions = [v.storage.address // spec_of(4096).region_stride for v in lives]
    assert regions[0] != regions[2]
    assert report.shared_reads == 0


def test_a_store_lives_while_its_matmul_reads():
    x, y = (Storage(name=n, size=64, layer="l") for n in "xy")
    commands = [
        SymbolicCommand(opcode=Opcode.MATMUL, layer="l", bases={"x_base": (x, 0)}),
        SymbolicCommand(opcode=Opcode.STORE, layer="l", bases={"y_base": (y, 0)}),
    ]
    a, b = live_ranges(commands, [x], [y])
    assert a.overlaps(b)


def test_what_does_not_fit_is_named():
    lives = [live(3000, 0, 5), live(3000, 3, 8)]
    wanted = (
        r"^layer 'l': 6000 bytes of activations are live at once, which do not fit 1 regions of "
        r"4096: raise memory.activation_bytes to at least 6016, or memory.activation_regions$"
    )
    with pytest.raises(CompileError, match=wanted):
        allocate(lives, [], spec_of(4096, 1))


def test_what_is_used_side_by_side_is_kept_apart():
    """Each of a chain disturbs the next; they alternate, whatever their sizes."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        lives = [live(int(rng.integers(100, 900)), first, first + 1) for first in range(9)]
        chain = [(a.storage, b.storage) for a, b in zip(lives, lives[1:], strict=False)]
        report = allocate(lives, chain, spec_of(2048))
        assert report.shared_reads == 0


def test_aligned_storages_begin_with_a_line():
    lives = [live(37, 0, 9) for _ in range(40)]
    for each in lives[::3]:
        each.storage.aligned = True
    spec = spec_of(1024)
    allocate(lives, [], spec)
    assert all(v.storage.address % spec.line_bytes == 0 for v in lives[::3])
