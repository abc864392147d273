"""Gathers: which are aliases, which are copies, and that any of them is exact."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.compiler.copies import copy_bytes, copy_cycles
from systolith.compiler.ir import Storage
from systolith.graph import Op
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import COPY_LOOPS, Opcode, decode
from systolith.strides import positions

SPEC = AcceleratorSpec(
    array=ArraySpec(rows=8, columns=8),
    memory=MemorySpec(
        weight_bytes=1 << 16,
        parameter_channels=1024,
        command_words=8192,
        tables=4,
        activation_regions=2,
        activation_bytes=1 << 14,
    ),
    post=PostSpec(lanes=4),
)


def copies(model) -> int:
    return sum(command.opcode is Opcode.COPY for command in decode(model.program.commands))


def where(model) -> dict[str, str]:
    return {note.name: note.where for note in model.notes}


SLICES = {
    "rows": lambda p: p[1:4],
    "columns": lambda p: p[:, 2:5],
    "channels": lambda p: p[:, :, 3:7],
    "box with steps": lambda p: p[::2, 1::2, 2:5],
    "a channel": lambda p: p[:, :, 4:5],
    "a pixel": lambda p: p[2:3, 3:4],
    "a column": lambda p: p[:, 3:4],
    "channels as pixels": lambda p: p[2:3, 3:4].reshape(1, 3, 4),
}


@pytest.mark.parametrize("name", SLICES)
def test_slices_are_aliases(nets: SimpleNamespace, name: str) -> None:
    net = nets.Net(1)
    x = net.conv(net.input(6, 6, 5), 12)
    part = net.gather(x, SLICES[name](net.places(x)))
    last = net.conv(part, 6, (1, 1), pads=(0, 0, 0, 0))
    model = nets.compare(net.graph(last, x), SPEC)
    assert where(model)[net.nodes[1].name] == "alias"
    assert copies(model) == 0


MOVED = {
    "turned image": lambda p: p.transpose(1, 0, 2),
    "channels first": lambda p: p.transpose(2, 0, 1),
    "mirrored": lambda p: p[:, ::-1],
    "repeated": lambda p: np.repeat(p, 2, axis=1),
    "every other channel": lambda p: p[:, :, ::2],
    "shuffled channels": lambda p: p.reshape(6, 6, 3, 4).swapaxes(2, 3).reshape(6, 6, 12),
    "chosen rows": lambda p: p[[4, 0, 1, 1]],
}


@pytest.mark.parametrize("name", MOVED)
def test_other_choices_are_copied(nets: SimpleNamespace, name: str) -> None:
    net = nets.Net(2)
    x = net.conv(net.input(6, 6, 5), 12)
    part = net.gather(x, MOVED[name](net.places(x)))
    last = net.conv(part, 6)  # with a halo to fill around the copy
    model = nets.compare(net.graph(last), SPEC)
    assert where(model)[net.nodes[1].name] == "copy"
    assert copies(model) >= 1


def test_a_padded_reader_needs_a_copy(nets: SimpleNamespace) -> None:
    net = nets.Net(3)
    x = net.conv(net.input(6, 6, 5), 12)
    last = net.conv(net.gather(x, net.places(x)[:, :, :6]), 4)
    model = nets.compare(net.graph(last), SPEC)
    assert copies(model) == 1


def test_reshape_between_padded_layers(nets: SimpleNamespace) -> None:
    """Neither side is dense, and rows of one end inside rows of the other."""
    net = nets.Net(4)
    x = net.conv(net.input(4, 6, 3), 5)
    flat = net.reshape(x, 6, 4, 5)
    last = [net.conv(x, 3), net.conv(flat, 4)]
    assert copies(nets.compare(net.graph(*last), SPEC)) >= 1


def test_slices_of_slices_and_pads_of_them(nets: SimpleNamespace) -> None:
    net = nets.Net(5)
    x = net.input(6, 7, 9)
    one = net.gather(x, net.places(x)[1:5])
    two = net.gather(one, net.places(one)[:, 1:6, 2:8])
    padded = net.pad(two, (1, 0, 2, 1))
    joined = net.concat(two, net.gather(x, net.places(x)[1:5, :5, :3]))
    nets.compare(net.graph(padded, joined, net.reshape(one, 1, 28, 9)), SPEC)


def written(commands, read: np.ndarray, size: int) -> np.ndarray:
    """What COPY commands leave, each element's number as its value."""
    after = np.full(size, -1)
    for command in commands:
        v = command.values
        counts = [v.get(f"{name}_count", 1) for name in COPY_LOOPS]
        s, d = (
            positions(
                command.bases[f"{side}_base"][1],
                [*counts, v["length"]],
                [*(v.get(f"{side}_{name}_stride", 0) for name in COPY_LOOPS), 1],
            )
            for side in "sd"
        )
        assert (after[d] < 0).all(), "no byte is written twice"
        after[d] = s
    return after


@pytest.mark.parametrize("seed", range(30))
def test_any_places(seed: int) -> None:
    """Nests of too many loops, periods of unequal runs, and no order at all."""
    rng = np.random.default_rng(seed)
    storages = tuple(Storage(name=n, size=4096, layer=n) for n in "st")
    kind = seed % 3
    if kind == 0:
        shape = rng.integers(2, 4, 6)
        places = np.arange(int(np.prod(shape))).reshape(shape)
        read = places.transpose(rng.permutation(6)).ravel()
    elif kind == 1:
        read = np.concatenate([np.arange(n) + 9 * n for n in (3, 5, 2)])
        read = (read + 100 * np.arange(int(rng.integers(1, 6)))[:, None]).ravel()
    else:
        read = rng.integers(0, 500, int(rng.integers(1, 80)))
    commands = copy_bytes("layer", storages, read, np.arange(len(read)))
    np.testing.assert_array_equal(written(commands, read, len(read)), read)
    assert copy_cycles(commands, 4) >= len(read) / 4


def test_long_runs_and_loops_are_cut() -> None:
    storages = tuple(Storage(name=n, size=1 << 20, layer=n) for n in "st")
    for read in (np.arange(200_000), 3 * np.arange(140_000)):
        commands = copy_bytes("layer", storages, read, np.arange(len(read)))
        assert len(commands) > 1
        np.testing.assert_array_equal(written(commands, read, len(read)), read)


def test_too_many_commands_is_one_line(nets: SimpleNamespace) -> None:
    net = nets.Net(6)
    x = net.input(20, 20, 8)
    rng = np.random.default_rng(0)
    graph = net.graph(net.gather(x, rng.permutation(net.places(x).ravel()).reshape(20, 20, 8)))
    with pytest.raises(Exception, match=r"memory.command_words must be at least"):
        compile_graph(graph, SPEC)


@pytest.mark.parametrize(("added", "depth"), [(False, 15), (True, 8)], ids=["source", "residual"])
def test_tiles_of_a_slice_leave_what_lies_between_its_rows(nets, added, depth) -> None:
    """A column of an external image: no row of the image fits a region of 64 bytes."""
    memory = replace(SPEC.memory, activation_bytes=64)
    spec = replace(SPEC, memory=memory, external=ExternalSpec(data_bytes=4))
    net = nets.Net(1)
    image = net.conv(net.input(6, 9, 4), depth, (1, 1), pads=(0, 0, 0, 0))
    column = net.gather(image, net.places(image)[:, 4:5])
    if added:
        near = net.conv(net.input(6, 1, 4), depth, (1, 1), pads=(0, 0, 0, 0))
        target = net.binary(Op.ADD, near, column)
    else:
        target = net.conv(column, 3, (2, 1), pads=(0, 0, 0, 0), groups=3)
    model = nets.compare(net.graph(image, target), spec)
    assert where(model)["gather1"] == "alias"
