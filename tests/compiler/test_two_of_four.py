"""Two of four weights: the encoder and both decoders, layers that take them and why others do not.

Networks are small and random; golden runs them, and every tensor is compared with the runtime's
formulas.
"""

from dataclasses import replace

import numpy as np
import pytest

from systolith.arithmetic import MacArithmetic
from systolith.compiler.check import ProgramFault, check_program
from systolith.compiler.compile import compile_graph
from systolith.compiler.reduction import Kernel, line_reduction
from systolith.compiler.two_of_four import stored_rows
from systolith.compiler.weight_formats import ENCODERS, decoded_words
from systolith.cycles import predict
from systolith.errors import CompileError
from systolith.golden.weights import weight_tiles
from systolith.graph import Graph, Node, Op
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, decode, decode_one, encode
from systolith.spec.precision import Precision, WeightFormat

SPARSE = WeightFormat.TWO_OF_FOUR


def two_of_four(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers, of four neighbours at most two other than 0; some have fewer."""
    numbers = rng.integers(-128, 128, shape)
    if shape[-1] % 4:
        return numbers
    fours = numbers.reshape(-1, 4)
    order = rng.permuted(np.broadcast_to(np.arange(4), fours.shape), axis=1)
    np.put_along_axis(fours, order[:, :2], 0, axis=1)
    return (fours * (rng.random(fours.shape) < 0.9)).reshape(shape)


def spec_of(rows: int, columns: int, bus: int = 0, **memory: int) -> AcceleratorSpec:
    sizes = {"activation_bytes": 1 << 15, "parameter_channels": 2000}
    sizes["weight_bytes"] = columns * (400 if bus else 20000)
    return AcceleratorSpec(
        array=ArraySpec(
            rows=rows,
            columns=columns,
            depthwise_lines=2,
            weight_formats=frozenset({WeightFormat.DENSE, WeightFormat.BITMAP, SPARSE}),
        ),
        memory=MemorySpec(**(sizes | memory)),
        post=PostSpec(lanes=1),
        external=ExternalSpec(data_bytes=bus),
    )


def pruned(nets, seed: int, dtype: str = "int8"):
    """A builder whose weights are two of four where inputs are a multiple of four."""
    net = nets.Net(seed, dtype)
    net.weights = lambda *shape, dtype=np.int8: two_of_four(net.rng, shape).astype(dtype)
    return net


def network(nets, seed: int = 1, channels: int = 32) -> Graph:
    """Windows, strides, dilations, groups, a residual, and a fully connected layer."""
    net = pruned(nets, seed)
    x = net.conv(net.input(9, 8, 3), channels)
    y = net.conv(x, channels)
    x = net.binary(Op.ADD, net.conv(y, channels, (1, 1), pads=(0, 0, 0, 0)), x)
    x = net.conv(x, channels, groups=channels, strides=(2, 2))
    x = net.conv(x, 2 * channels, strides=(2, 2), pads=(0, 1, 1, 0))
    height, width, depth = net.tensors[x].shape
    return net.graph(net.dense(net.reshape(x, 1, 1, height * width * depth), 30))


def forms(model) -> dict[str, WeightFormat]:
    return {layer: stored.form for layer, stored in model.weights.items()}


@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (4, 4), (6, 3), (10, 5), (16, 16)])
def test_encoded_weights_are_decoded(rows: int, columns: int) -> None:
    """Random tiles between other words, with any zero point."""
    for seed in range(12):
        rng = np.random.default_rng([seed, rows])
        n, passes = (int(v) for v in rng.integers(1, 4, 2))
        numbers = two_of_four(rng, (n, passes, columns, 2 * rows)).swapaxes(2, 3)
        signed = int(rng.integers(2))
        codes = (numbers + (0 if signed else 128)).astype(np.uint8)
        values = {"w_signed": signed, "w_zero": 0 if signed else 128, "w_hold": 0}
        encoded = ENCODERS[SPARSE](codes, values)
        assert encoded is not None and len(encoded.words) == n * passes * stored_rows(rows)
        base = int(rng.integers(5))
        junk = rng.integers(0, 256, (40, columns)).astype(np.uint8)
        memory = np.concatenate([junk[:base], encoded.words, junk[base:]])
        fields = values | {"n_count": n, "ky_count": passes, "w_base": base} | encoded.fields
        command = decode_one(encode(Opcode.MATMUL, **fields), 0)
        found = weight_tiles(spec_of(rows, columns), memory, command)
        np.testing.assert_array_equal(found.reshape(numbers.shape), numbers, f"seed {seed}")
        dense, read = decoded_words(memory, command.values, rows)
        assert read == len(encoded.words)
        np.testing.assert_array_equal(dense.reshape(codes.shape), codes, f"seed {seed}")


def test_three_of_four_are_too_many() -> None:
    tiles = np.array([0, 1, 2, 0, 3, 0, 0, 4], np.uint8).reshape(1, 1, 8, 1)
    values = {"w_signed": 1, "w_zero": 0}
    assert ENCODERS[SPARSE](tiles, values) is not None
    tiles[0, 0, 0] = 9
    assert ENCODERS[SPARSE](tiles, values) is None


def test_vectors_begin_with_lines() -> None:
    """Passes of kernels: all of a row together if its pixels are not lines, none if rows are."""
    kernel = Kernel(height=3, width=3, row=320, pixel=32, channels=32)
    found = line_reduction(kernel, 16, 16)
    assert found is not None and found.passes == 9 and all(s % 16 == 0 for s in found.strides)
    kernel = Kernel(height=3, width=3, row=80, pixel=8, channels=8)
    found = line_reduction(kernel, 16, 16)
    assert found is not None and found.whole_rows and found.passes == 3
    kernel = Kernel(height=1, width=1, row=0, pixel=0, channels=40)
    found = line_reduction(kernel, 6, 8)  # 12 bytes a vector, of which 8 are whole lines
    assert found is not None and (found.passes, found.rows, found.spare) == (5, 8, 4)
    kernel = Kernel(height=3, width=1, row=36, pixel=4, channels=40)
    assert line_reduction(kernel, 4, 16) is None


@pytest.mark.parametrize(
    ("rows", "columns", "bus"), [(4, 4, 4), (4, 4, 0), (6, 3, 8), (16, 16, 8), (10, 7, 0)]
)
def test_networks(nets, rows, columns, bus) -> None:
    """Golden is right, the program passes its check, and takes fewer cycles and bytes."""
    spec, graph = spec_of(rows, columns, bus), network(nets)
    model = nets.compare(graph, spec)
    array = replace(spec.array, weight_formats=frozenset({WeightFormat.DENSE}))
    dense = compile_graph(graph, replace(spec, array=array))
    names = [n.name for n in graph if isinstance(n.arithmetic, MacArithmetic)]
    found = forms(model)
    assert [found.get(name) is SPARSE for name in names] == [False, True, True, False, True, True]
    assert predict(model.program).cycles < 0.85 * predict(dense.program).cycles
    # Of 12 bytes that 6 rows could take, 8 are a line.
    assert model.memory.loaded < dense.memory.loaded or not bus or rows == 6
    notes = {note.name: note.text for note in model.notes}
    assert "two_of_four" not in notes[names[0]]  # of 3 channels
    assert all(f"weights two_of_four, {model.weights[n].bytes} of" in notes[n] for n in names[1:3])
    for stored in model.weights.values():
        assert stored.bytes < stored.dense_bytes


@pytest.mark.parametrize("seed", range(3))
def test_little_memory(nets, seed) -> None:
    """Tiles, and sums in parts: what lies on chip is only a piece of a tensor."""
    rng = np.random.default_rng(seed)
    size = 1 << (9 + seed % 2)
    spec = spec_of(4, 4, 4, activation_bytes=size, weight_bytes=4 * 150, accumulator_depth=16)
    model = nets.compare(network(nets, seed, 16 << int(rng.integers(2))), spec)
    assert SPARSE in forms(model).values()
    assert any("tiles" in note.text for note in model.notes)


def test_uint8_weights_with_a_zero_point(nets) -> None:
    """Codes that cannot be int8 less their zero point."""
    net = nets.Net(3)
    x = net.conv(net.input(5, 5, 8), 8, dtype=np.uint8)
    node = net.nodes[-1]
    weights = two_of_four(net.rng, (8, 3, 3, 8)) & 255
    arithmetic = replace(node.arithmetic, weights=weights.astype(np.uint8), weight_zero_point=0)
    net.nodes[-1] = replace(node, arithmetic=arithmetic)
    model = nets.compare(net.graph(x), spec_of(4, 4))
    assert set(forms(model).values()) == {SPARSE}


def test_slices_and_concatenations(nets) -> None:
    """Tensors that lie inside others, at lines and beside them."""
    for first in (4, 8):
        net = pruned(nets, first)
        a, b = net.input(4, 4, first), net.input(4, 4, 16)
        x = net.conv(net.concat(net.conv(a, first), net.conv(b, 16)), 16)
        part = net.gather(x, net.places(x)[:, :, first : first + 8])
        graph = net.graph(net.conv(part, 12))
        model = nets.compare(graph, spec_of(8, 4))
        assert SPARSE in forms(model).values()


def asking(graph: Graph, index: int, **attributes: str) -> tuple[Graph, Node]:
    """A layer with attributes."""
    nodes = list(graph.nodes)
    nodes[index] = replace(nodes[index], attributes={**nodes[index].attributes, **attributes})
    return replace(graph, nodes=tuple(nodes)), nodes[index]


def test_a_layer_asks(nets) -> None:
    """For it where it does not pay, and for another format where it would."""
    net = pruned(nets, 1)
    graph = net.graph(net.dense(net.input(1, 1, 4), 4))
    model = compile_graph(graph, spec_of(4, 4))
    assert SPARSE not in forms(model).values()
    assert "two_of_four takes no fewer cycles" in model.notes[0].text
    graph, node = asking(graph, 0, weight_format="two_of_four")
    assert forms(nets.compare(graph, spec_of(4, 4))) == {node.name: SPARSE}
    net = pruned(nets, 1)
    graph = net.graph(net.dense(net.input(1, 1, 64), 4))
    assert set(forms(compile_graph(graph, spec_of(4, 4))).values()) == {SPARSE}
    for form in (WeightFormat.DENSE, WeightFormat.BITMAP):
        model = compile_graph(graph, spec_of(4, 4), weight_formats={graph.nodes[0].name: form})
        assert SPARSE not in forms(model).values()


def test_what_cannot_be(nets) -> None:
    """Weights, groups, pixels or a precision that do not allow it: the layer is named."""
    graph = network(nets)
    spec = spec_of(4, 4)

    def fault(graph: Graph, index: int, spec=spec, **attributes: str) -> str:
        asked, node = asking(graph, index, weight_format="two_of_four", **attributes)
        with pytest.raises(CompileError) as error:
            compile_graph(asked, spec)
        assert f"layer {node.name!r}" in str(error.value)
        return str(error.value)

    assert "begin 3 bytes apart, rows 27" in fault(graph, 0)
    assert "its 32 groups share a tile" in fault(graph, 4)
    node = graph.nodes[1]
    weights = node.arithmetic.weights.copy()
    weights[5, 1, 2, 8:12] = [0, 1, 1, 1]
    weights[7] = 1
    nodes = list(graph.nodes)
    nodes[1] = replace(node, arithmetic=replace(node.arithmetic, weights=weights))
    text = fault(replace(graph, nodes=tuple(nodes)), 1)
    assert "weights [5, 1, 2, 8:12]" in text and "2 at most that are not 0, not 3" in text
    array = replace(spec.array, weight_formats=frozenset({WeightFormat.DENSE}))
    text = fault(graph, 1, replace(spec, array=array))
    assert "array.weight_formats must have two_of_four" in text


def test_precision_decides_first(nets) -> None:
    net = nets.Net(2)
    net.weights = lambda *shape, dtype=np.int8: np.sign(two_of_four(net.rng, shape)).astype(dtype)
    graph, node = asking(
        net.graph(net.dense(net.input(1, 1, 64), 8)), 0, precision="w4a8",
        weight_format="two_of_four",
    )  # fmt: skip
    spec = spec_of(4, 4)
    array = replace(spec.array, precisions=frozenset({Precision.W8A8, Precision.W4A8}))
    with pytest.raises(CompileError, match=f"layer '{node.name}'.* needs precision w8a8, not w4a8"):
        compile_graph(graph, replace(spec, array=array))


def test_the_check_knows_lines_and_words(nets) -> None:
    """Weights that end a word too early, and vectors that do not begin with a line."""
    program = compile_graph(network(nets), spec_of(4, 4)).program
    check_program(program)
    with pytest.raises(ProgramFault, match="leaves the weight memory"):
        check_program(replace(program, weights=program.weights[:-1]))
    words: list[int] = []
    for command in decode(program.commands.tolist()):
        values = {k: v for k, v in command.values.items() if k not in ("opcode", "words")}
        if command.opcode is Opcode.MATMUL and values["w_format"] == SPARSE:
            values["x_base"] += 1
        words += encode(command.opcode, **values)
    with pytest.raises(ProgramFault, match="must begin at multiples of 4"):
        check_program(replace(program, commands=np.array(words, np.uint32)))
