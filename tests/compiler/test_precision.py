"""Layers of 4-bit weights and activations: every tensor by golden is that of the formulas."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.compiler.precision import nibble_bytes, nibble_codes, nibble_range
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, decode
from systolith.spec.precision import Precision

ALL = frozenset(Precision)


def spec(rows=4, columns=4, *, lanes=None, lines=0, bus=0, precisions=ALL, **memory):
    """An array with nibbles and enough memory."""
    wanted = {
        "activation_bytes": 1 << 14,
        "weight_bytes": columns << 13,
        "parameter_channels": columns * 256,
        "accumulator_depth": 64,
        "tables": 8,
    } | memory
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns, depthwise_lines=lines, precisions=precisions),
        memory=MemorySpec(**wanted),
        post=PostSpec(lanes=lanes or columns),
        external=ExternalSpec(data_bytes=bus),
    )


@pytest.fixture
def narrow(nets):
    """``narrow(seed, window=None)``: a builder of layers with 4-bit weights.

    With a window, outputs are clamped to 16 codes from there on.
    """

    class Narrow(nets.Net):
        window = None

        def weights(self, *shape, dtype=np.int8):
            low = self.rng.choice([-8, 0, -15]) if dtype == np.int8 else self.rng.integers(0, 241)
            return self.rng.integers(low, low + 16, shape).astype(dtype)

        def mac(self, op, x, shape, weights, **attributes):
            name = super().mac(op, x, shape, weights, **attributes)
            arithmetic = self.nodes[-1].arithmetic
            if weights.dtype == np.uint8:
                zero = int(weights.min() + 8)
                arithmetic = replace(arithmetic, weight_zero_point=zero)
            requant = arithmetic.requant
            gain = 8 / requant.scale.max() / np.sqrt(weights[0].size)
            if self.window is not None:
                requant = replace(requant, low=self.window, high=self.window + 15)
                self.zero[name] = self.window + int(self.rng.integers(16))
                requant = replace(requant, zero_point=self.zero[name])
            requant = replace(requant, shift=requant.shift + int(np.log2(gain) // 1) - 5)
            arithmetic = replace(arithmetic, requant=requant)
            object.__setattr__(self.nodes[-1], "arithmetic", arithmetic)
            return name

    def build(seed, window=None, **options):
        net = Narrow(seed=seed, **options)
        net.window = window
        return net

    return build


def precisions(model):
    """Precisions of the program's MATMULs, in order, without repetitions."""
    found = [
        Precision(c["precision"])
        for c in decode(model.program.commands.tolist())
        if c.opcode is Opcode.MATMUL
    ]
    return [p for i, p in enumerate(found) if not i or found[i - 1] is not p]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (5, 3)])
def test_weights_of_4_bits(nets, narrow, size, seed):
    net = narrow(seed)
    x = net.input(5, 6, 3)
    x = net.conv(x, 2 * size[1] + 1)
    x = net.conv(x, size[1], strides=(1, 2))
    x = net.conv(x, 3 * size[1], (1, 1), pads=(0, 0, 0, 0), dtype=np.uint8 if seed % 2 else np.int8)
    x = net.dense(net.reshape(x, 1, 3, net.tensors[x].size // 3), 2 * size[1])
    model = nets.compare(net.graph(x), spec(*size))
    assert Precision.W4A8 in precisions(model)


@pytest.mark.parametrize("seed", range(4))
def test_groups(nets, narrow, seed):
    net = narrow(seed)
    x = net.conv(net.input(5, 4, 12), 12, groups=2)
    x = net.conv(x, 24, groups=12)
    x = net.conv(x, 24, (1, 3), groups=2, pads=(0, 0, 1, 1))
    nets.compare(net.graph(x), spec(4, 4, lines=2 if seed % 2 else 0))


def test_neighbouring_outputs_are_channels(nets, narrow):
    net = narrow(3)
    x = net.conv(net.input(8, 8, 4), 4)
    model = nets.compare(net.graph(x), spec(8, 4))
    stores = [c for c in decode(model.program.commands.tolist()) if c.opcode is Opcode.STORE]
    assert {c["tile_channels"] for c in stores} == {8}


@pytest.mark.parametrize("seed", range(6))
def test_tiles_and_parts_of_sums(nets, narrow, seed):
    net = narrow(seed)
    x = net.conv(net.input(12, 12, 6), 12)
    x = net.conv(x, 9, strides=(2, 1))
    x = net.dense(net.reshape(x, 1, 1, net.tensors[x].size), 24)
    model = nets.compare(
        net.graph(x), spec(4, 4, bus=4, activation_bytes=(1024, 512)[seed % 2], weight_bytes=1024)
    )
    assert Precision.W4A8 in precisions(model)


@pytest.mark.parametrize("window", [-128, -8, 0, 16, 24, 112])
@pytest.mark.parametrize("bus", [0, 4])
def test_activations_of_4_bits(nets, narrow, window, bus):
    net = narrow(window + 200, window)
    x = net.conv(net.input(7, 6, 3), 8)
    x = net.conv(x, 6, strides=(2, 1))
    x = net.conv(x, 4, (1, 1), pads=(0, 0, 0, 0))
    model = nets.compare(net.graph(x), spec(4, 4, lanes=2, bus=bus))
    assert Precision.W4A4 in precisions(model)
    packed = [name for name, b in model.program.buffers.items() if b.window is not None]
    assert packed and all(model.program.buffers[name].window == window for name in packed)
    # A layer that reads packed codes is the array's, not fused with itself.
    assert not any(note.text == f"in {note.name!r}" for note in model.notes)
    assert {note.where for note in model.notes} == {"array"}


def test_unsigned_activations(nets, narrow):
    net = narrow(1, 0, dtype="uint8")
    x = net.dense(net.input(1, 3, 10), 12)
    x = net.dense(net.dense(x, 8), 5)
    assert Precision.W4A4 in precisions(nets.compare(net.graph(x), spec(4, 4)))


@pytest.mark.parametrize("lines", [0, 3])
def test_a_depthwise_layer_packs_its_result(nets, narrow, lines):
    net = narrow(5, -128)
    x = net.conv(net.input(6, 6, 8), 8, groups=8)
    x = net.conv(x, 4, (1, 1), pads=(0, 0, 0, 0))
    model = nets.compare(net.graph(x), spec(12, 4, lines=lines))
    assert precisions(model)[0] in (Precision.W8A8, Precision.W4A8)
    assert precisions(model)[-1] is Precision.W4A4


def test_a_residual_operand_stays_bytes(nets, narrow):
    net = narrow(6, -128)
    x = net.conv(net.input(6, 6, 4), 8)
    y = net.conv(net.conv(x, 8), 8)
    net.window = None
    z = net.binary(Op.ADD, x, y)
    model = nets.compare(net.graph(z), spec())
    windows = {name: buffer.window for name, buffer in model.program.buffers.items()}
    assert windows[x] is None and -128 in windows.values()


def test_packed_tensors_that_do_not_fit_are_bytes(nets, narrow):
    net = narrow(7, -128)
    x = net.conv(net.input(16, 16, 4), 16)
    x = net.conv(net.conv(x, 16), 4)
    tight = spec(bus=4, activation_bytes=1024, activation_regions=2)
    model = nets.compare(net.graph(x), tight)
    assert not any(b.window is not None for b in model.program.buffers.values())


def choice(narrow, **wanted):
    """Compile two convolutions whose result in the middle has 4 bits."""
    net = narrow(8, -128)
    x = net.conv(net.input(6, 6, 4), 8)
    net.conv(x, 8)
    graph = net.graph(list(net.tensors)[-1])
    return compile_graph(graph, spec(), precision={k: Precision[v] for k, v in wanted.items()})


def test_the_choice_can_be_made(narrow):
    assert precisions(choice(narrow)) == [Precision.W4A8, Precision.W4A4]
    assert precisions(choice(narrow, conv2d1="W4A8")) == [Precision.W4A8]
    assert precisions(choice(narrow, conv2d0="W8A8", conv2d1="W8A8")) == [Precision.W8A8]


def test_bad_choices(narrow, nets):
    with pytest.raises(CompileError) as caught:
        choice(narrow, conv2d7="W8A8")
    assert str(caught.value) == "precision must be of a layer with weights, not of 'conv2d7'"
    with pytest.raises(CompileError, match="precision w4a4 is not possible: 't0' is an input"):
        choice(narrow, conv2d0="W4A4")
    net = nets.Net(seed=1)
    graph = net.graph(net.conv(net.input(4, 4, 4), 4))
    with pytest.raises(CompileError, match="w4a8 needs weights within 16 neighbouring codes"):
        compile_graph(graph, spec(), precision={"conv2d0": Precision.W4A8})
    few = spec(precisions=frozenset({Precision.W8A8}))
    with pytest.raises(CompileError, match="layer 'conv2d0'.*array.precisions lacks w4a8"):
        compile_graph(graph, few, precision={"conv2d0": Precision.W4A8})


@pytest.mark.parametrize("low", range(-16, 1))
def test_nibbles_hold_what_they_say(low):
    for high in range(17):
        found = nibble_codes(low, high)
        assert (found is None) == (high - low > 15)
        if found is None:
            continue
        first, last = (-8, 7) if found.signed else (0, 15)
        assert first <= low + found.zero and high + found.zero <= last
        assert first <= found.zero <= last


def test_nibbles_of_windows():
    for window in range(-128, 113, 8):
        low, high = nibble_range(window)
        for code in range(window, window + 16):
            value = (code & 15) - (16 if low < 0 and code & 8 else 0)
            assert low <= value <= high and code - value == window - low


def test_bytes_of_nibbles():
    codes = np.arange(-8, 8).reshape(1, 1, 4, 4)
    wide = nibble_bytes(codes, Precision.W4A8)
    assert wide.tolist() == [[[[0xA8, 0xB9], [0xEC, 0xFD], [0x20, 0x31], [0x64, 0x75]]]]
    deep = nibble_bytes(codes, Precision.W4A4)
    assert deep.tolist() == [[[[0xC8, 0xD9, 0xEA, 0xFB], [0x40, 0x51, 0x62, 0x73]]]]
