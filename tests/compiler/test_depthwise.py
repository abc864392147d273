"""Depthwise layers: streams and tiles against brute force, layers on golden on many arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.compiler.depthwise import Scan, Side, phases, scans
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, Unit, decode

ARRAYS = [(16, 16, 16, 3), (9, 16, 4, 3), (8, 8, 4, 2), (5, 3, 1, 2), (6, 6, 3, 3), (3, 8, 8, 1)]


def spec_of(rows, columns, lanes, lines, *, width=256, **memory):
    memory = {
        "activation_bytes": 1 << 16,
        "weight_bytes": columns * 20000,
        "parameter_channels": lanes * 2000,
        **memory,
    }
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns, depthwise_lines=lines, depthwise_width=width),
        memory=MemorySpec(**memory),
        post=PostSpec(lanes=lanes),
    )


@pytest.fixture(params=ARRAYS, ids=lambda p: f"{p[0]}x{p[1]}")
def spec(request):
    return spec_of(*request.param)


def matmuls(model):
    return [c for c in decode(model.program.commands.tolist()) if c.opcode is Opcode.MATMUL]


def streams(model):
    return [c for c in matmuls(model) if c["depthwise"]]


def ends_beyond(command):
    """Columns in which outputs of a row end in the next one."""
    last = command["x_first"] + (command["ox_count"] - 1) * command["x_step"]
    return last + 1 - command["mx_count"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 9), st.integers(1, 5),
       st.integers(-6, 3))  # fmt: skip
def test_phases_visit_every_tap_once(outputs, taps, stride, dilation, start):
    side = Side(outputs=outputs, taps=taps, stride=stride, dilation=dilation, start=start, pixel=10)
    found = {}
    for axis in phases(side, 64):
        assert axis.padding == sum(axis.start + i * axis.pitch // 10 < 0 for i in range(99))
        for index in range(axis.outputs):
            pixels = [axis.start + (index * axis.step + tap) * axis.pitch // 10
                      for tap in range(taps)]  # fmt: skip
            assert found.setdefault(axis.first + index * axis.every, pixels) is pixels
    wanted = {o: [start + o * stride + k * dilation for k in range(taps)] for o in range(outputs)}
    assert found == wanted


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_tiles_cover_all_outputs_once_within_the_memories(data):
    draw = data.draw
    size, kernel, stride = st.integers(1, 40), st.integers(1, 7), st.integers(1, 4)
    spec = spec_of(
        *draw(st.sampled_from(ARRAYS)),
        width=draw(st.integers(4, 20)),
        accumulator_depth=draw(st.integers(4, 40)),
    )
    rows, columns = (
        Side(outputs=draw(size), taps=draw(kernel), stride=draw(stride),
             dilation=draw(st.integers(1, 3)), start=-draw(st.integers(0, 3)), pixel=pixel)
        for pixel in (1000, 10)
    )  # fmt: skip
    plan, cost = scans(rows, columns, spec, least=1, beats=1, channel_tiles=1)
    seen = []
    for scan in plan:
        y, x = (scan.inner, scan.outer) if scan.turned else (scan.outer, scan.inner)
        for tiles in scan.tiles():
            held = tiles.width * (tiles.height if scan.passes > 1 else 1)
            assert held <= spec.memory.accumulator_depth
            assert 2 <= scan.row(tiles.width) <= spec.array.depthwise_width
            for i in range(tiles.count):
                for a in range(tiles.height):
                    for b in range(tiles.width):
                        outer, inner = (
                            tiles.y + i * tiles.step_y + a,
                            tiles.x + i * tiles.step_x + b,
                        )
                        if scan.turned:
                            outer, inner = inner, outer
                        seen.append((y.first + outer * y.every, x.first + inner * x.every))
    assert sorted(seen) == [(a, b) for a in range(rows.outputs) for b in range(columns.outputs)]
    assert cost >= rows.outputs * columns.outputs


def test_rows_share_their_padding():
    """25 x 5 pixels with one pixel of padding around: rows of six, not seven."""
    rows, columns = (
        Side(outputs=n, taps=3, stride=1, dilation=1, start=-1, pixel=pixel)
        for n, pixel in ((25, 6 * 64), (5, 64))
    )
    plan, _ = scans(rows, columns, spec_of(*ARRAYS[0]), least=16, beats=1, channel_tiles=4)
    (scan,) = plan
    assert isinstance(scan, Scan) and not scan.turned
    assert (scan.row(5), scan.rows(25, 5)) == (6, 28)
    assert scan.cycles(25, 5) == 4 * (26 * 6 + 7 + 2)


def test_an_array_that_cannot_hold_a_step():
    side = Side(outputs=3, taps=1, stride=16, dilation=1, start=0, pixel=8)
    assert scans(side, side, spec_of(*ARRAYS[0]), least=1, beats=1, channel_tiles=1) is None


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_kernels_strides_and_pads(nets, spec, dtype):
    net = nets.Net(1, dtype)
    x = net.input(9, 7, 18)
    a = net.conv(x, 18, groups=18)
    b = net.conv(a, 18, kernel=(5, 5), pads=(2, 2, 2, 2), groups=18, dtype=np.uint8)
    c = net.conv(b, 18, kernel=(7, 3), strides=(2, 3), pads=(3, 5, 0, 2), groups=18)
    d = net.conv(a, 18, kernel=(1, 9), pads=(0, 0, 3, 6), groups=18)
    e = net.conv(a, 18, kernel=(2, 2), strides=(3, 1), pads=(0, 1, 1, 0), groups=18)
    assert len(streams(nets.compare(net.graph(c, d, e), spec))) >= 3


def test_zero_points_at_the_rails(nets, spec):
    for dtype, zero in (("int8", -128), ("int8", 127), ("uint8", 0), ("uint8", 255)):
        net = nets.Net(2, dtype)
        x = net.tensor((6, 5, 7), zero)
        net.inputs.append(x)
        model = nets.compare(net.graph(net.conv(x, 7, groups=7)), spec)
        assert streams(model)


def test_dilations_are_streams_of_their_own(nets, spec):
    net = nets.Net(3)
    x = net.input(11, 10, 6)
    a = net.conv(x, 6, pads=(2, 2, 2, 2), dilations=(2, 2), groups=6)
    b = net.conv(a, 6, pads=(3, 1, 0, 2), dilations=(3, 1), strides=(2, 1), groups=6)
    c = net.conv(b, 6, kernel=(2, 3), pads=(0, 2, 2, 2), dilations=(2, 2), strides=(2, 2), groups=6)
    assert len(streams(nets.compare(net.graph(c), spec))) >= 4


@pytest.mark.parametrize("multiplier", [2, 3, 4, 8])
def test_channel_multipliers(nets, spec, multiplier):
    net = nets.Net(4)
    x = net.input(6, 7, 10)
    a = net.conv(x, 10 * multiplier, groups=10, strides=(1, 2))
    model = nets.compare(net.graph(net.conv(a, 4, kernel=(1, 1), pads=(0, 0, 0, 0))), spec)
    able = multiplier != 3 and multiplier <= spec.array.columns
    assert not streams(model) if not able else streams(model) or spec.array.columns < 8
    assert all(1 << c["expand"] == multiplier for c in streams(model))


def test_wide_rows_and_short_accumulators(nets):
    net = nets.Net(5)
    x = net.input(6, 31, 5)
    a = net.conv(x, 5, groups=5)
    b = net.conv(a, 5, kernel=(5, 4), pads=(2, 2, 1, 2), groups=5)
    spec = spec_of(8, 8, 4, 2, width=9, accumulator_depth=7)
    found = streams(nets.compare(net.graph(b), spec))
    assert len(found) >= 4 and max(c["mx_count"] for c in found) <= 9


def test_one_pixel_wide(nets, spec):
    net = nets.Net(6)
    x = net.input(12, 1, 4)
    a = net.conv(x, 4, kernel=(3, 1), pads=(1, 1, 0, 0), groups=4)
    b = net.conv(a, 4, kernel=(5, 5), pads=(2, 2, 2, 2), groups=4)
    nets.compare(net.graph(b), spec)


def test_outputs_that_end_in_the_next_row(nets):
    net = nets.Net(7)
    x = net.input(7, 8, 16)
    a = net.conv(x, 16, kernel=(3, 5), pads=(1, 1, 2, 2), groups=16)
    b = net.conv(a, 16, kernel=(3, 3), groups=16)
    c = net.conv(b, 20)
    model = nets.compare(net.graph(c), spec_of(*ARRAYS[0]))
    assert {ends_beyond(c) for c in streams(model)} == {2, 1}


def test_adds_and_tables_behind(nets, spec):
    net = nets.Net(8)
    x = net.input(6, 6, 7)
    a = net.binary(Op.ADD, net.conv(x, 7, groups=7), x)
    b = net.lut(net.conv(a, 7, pads=(2, 2, 2, 2), dilations=(2, 2), groups=7))
    c = net.binary(Op.ADD, net.conv(b, 7, groups=7), net.input(1, 1, 7))
    assert streams(nets.compare(net.graph(c), spec))


def test_averages_as_sums(nets, spec):
    net = nets.Net(9)
    x = net.input(11, 9, 18)
    a = net.pool(Op.AVG_POOL, x, (3, 3), (1, 1), (1, 1, 1, 1))
    b = net.pool(Op.AVG_POOL, a, (11, 9), (1, 1), (0, 0, 0, 0))
    c = net.pool(Op.AVG_POOL, x, (2, 2), (2, 2), (0, 0, 0, 0))
    assert streams(nets.compare(net.graph(b, c), spec))


def test_views_inside_other_tensors(nets, spec):
    net = nets.Net(10)
    x = net.input(6, 5, 4)
    a = net.conv(x, 3)
    b = net.concat(a, net.conv(x, 6))
    c = net.pad(b, (1, 2, 1, 0), (2, 1))
    d = net.conv(c, 12, groups=12, pads=(0, 0, 0, 0))
    e = net.conv(a, 3, groups=3, pads=(0, 0, 0, 0))
    nets.compare(net.graph(d, e), spec)


def test_channels_stored_last_are_filtered_last(nets):
    """The layer before keeps its last channel tile for last, and so does the depthwise layer."""
    net = nets.Net(11)
    a = net.conv(net.input(8, 8, 20), 40, kernel=(1, 1), pads=(0, 0, 0, 0))
    model = nets.compare(net.graph(net.conv(a, 40, groups=40)), spec_of(*ARRAYS[0]))
    assert [(c["depthwise"], c["n_count"]) for c in matmuls(model)] == [
        (0, 2), (0, 1), (1, 2), (1, 1),
    ]  # fmt: skip
    assert model.program.layers[0].tensor == a


def test_the_next_layer_starts_on_the_upper_rows(nets):
    """The last channel tile is cut by rows, and the layer behind waits for its upper rows only."""
    net = nets.Net(14)
    a = net.conv(net.input(20, 6, 40), 40, groups=40)
    model = nets.compare(net.graph(net.conv(a, 16, (1, 1), pads=(0, 0, 0, 0))), spec_of(*ARRAYS[0]))
    found = matmuls(model)
    first, upper, lower = found[:3]
    assert [c["n_count"] for c in found[:3]] == [2, 1, 1]
    assert first["oy_count"] == upper["oy_count"] + lower["oy_count"] == 20
    assert lower["my_count"] == lower["oy_count"] + 3  # its outputs end in the next row
    assert len(found) > 4 and found[3]["my_count"] * found[3]["t_count"] <= upper["oy_count"]
    stores = [c for c in decode(model.program.commands.tolist()) if c.opcode is Opcode.STORE]
    tokens = [bool(c["signal"] >> Unit.COMPUTE & 1) for c in stores[:3]]
    assert tokens == [False, True, True]


def test_large_steps_use_ordinary_tiles(nets):
    net = nets.Net(12)
    x = net.input(40, 3, 4)
    a = net.conv(x, 4, kernel=(2, 1), strides=(16, 1), pads=(0, 0, 0, 0), groups=4)
    assert not streams(nets.compare(net.graph(a), spec_of(*ARRAYS[0])))


def paired_spec(**external):
    array = ArraySpec(rows=8, columns=8, depthwise_lines=3, depthwise_width=40)
    memory = MemorySpec(activation_bytes=16 << 10, weight_bytes=8 * 4096, parameter_channels=4096)
    post = PostSpec(lanes=8)
    return AcceleratorSpec(
        array=array, memory=memory, post=post, external=ExternalSpec(**external), queue_depth=4
    )


@pytest.mark.parametrize(("kernel", "pad"), [(3, (0, 1)), (3, (1, 1)), (5, (2, 2)), (2, (0, 0))])
@pytest.mark.parametrize("size", [12, 11])
def test_even_strides_read_rows_in_pairs(nets, size, kernel, pad):
    """The pitch of rows is an odd number of lines, and a stream has half as many rows."""
    net = nets.Net(20 + kernel)
    a = net.conv(net.input(size, size - 1, 16), 16, (1, 1), pads=(0, 0, 0, 0))
    b = net.conv(a, 16, (kernel, kernel), (2, 2), (*pad, *pad), groups=16)
    spec = paired_spec()
    found = streams(nets.compare(net.graph(b), spec))
    assert found and all(c["pairs"] for c in found)
    for c in found:
        assert c["x_my_stride"] // spec.line_bytes % 2 == 1 and c["my_count"] % 2 == 0


def test_rows_are_not_paired_where_pixels_are_no_lines_or_all_rows_have_outputs(nets):
    net = nets.Net(30)
    x = net.input(12, 9, 20)
    a = net.conv(x, 20, strides=(2, 2), groups=20)
    b = net.conv(net.input(12, 9, 16), 16, groups=16)
    assert not any(c["pairs"] for c in streams(nets.compare(net.graph(a, b), paired_spec())))


def test_pairs_in_row_tiles(nets):
    """Of an input in external memory, tile by tile; what lies above a slab does not matter."""
    net = nets.Net(31)
    x = net.input(64, 31, 16)
    b = net.conv(x, 16, strides=(2, 2), groups=16)
    found = streams(nets.compare(net.graph(b), paired_spec(data_bytes=8)))
    assert len(found) > 2 and all(c["pairs"] for c in found)


def test_the_last_pair_of_rows_has_room(nets):
    """Its second row may lie behind the image: no memory is too small by just that much."""
    net = nets.Net(1)
    a = net.conv(net.input(9, 6, 16), 16, (3, 3), (2, 1), pads=(0, 1, 0, 0), groups=16)
    graph, compiled = net.graph(a), 0
    for size in range(960, 1360, 16):
        memory = MemorySpec(
            activation_regions=2, activation_bytes=size, weight_bytes=8192, accumulator_depth=8,
            parameter_channels=256,
        )  # fmt: skip
        array = ArraySpec(rows=4, columns=4, depthwise_lines=2, depthwise_width=24)
        try:
            nets.compare(graph, AcceleratorSpec(array=array, memory=memory, post=PostSpec(lanes=4)))
            compiled += 1
        except CompileError as error:
            assert not compiled and "raise memory.activation_bytes" in str(error)
    assert compiled
