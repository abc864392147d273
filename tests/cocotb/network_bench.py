"""A compiled network at the ports of a board top; `test_network` builds it and starts this."""

import random

import cocotb
import numpy as np
from axi_bench import PROGRAM, TENSORS, Board, board, pauses
from cocotb.triggers import RisingEdge
from cocotbext.axi import (
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from systolith.spec.registers import Window
from systolith.spec.stream import STREAM_BASE, STREAM_REGISTERS, stream_layout

STREAM = {r.name: STREAM_BASE + r.offset for r in STREAM_REGISTERS}
(INPUT,), (OUTPUT,) = PROGRAM.inputs, PROGRAM.outputs
IMAGES, WANTED = TENSORS["images"], TENSORS["wanted"]
BEAT = PROGRAM.spec.bus.stream_bytes


def runs(name: str):
    """Address and source bytes of every run of a tensor's contiguous pixels."""
    buffer = PROGRAM.buffers[name]
    height, width, channels = buffer.shape
    dense = buffer.strides[1] == channels
    for y in range(height):
        for x in range(1 if dense else width):
            address = buffer.base + y * buffer.strides[0] + x * buffer.strides[1]
            part = (slice(y, y + 1), slice(None) if dense else slice(x, x + 1))
            yield (Window.ACTIVATIONS << 24) + address, part


async def through_the_bus(host: Board) -> None:
    """Write an image, wait for the interrupt, read what golden computed."""
    await host.set("interrupt", 1)
    for address, part in runs(INPUT):
        await host.put(address, IMAGES[0][part].tobytes())
    await host.set("control", 1)
    await RisingEdge(host.dut.irq)
    assert await host.register("status") == 0b010
    compared = 0
    for address, part in runs(OUTPUT):
        answer = await host.axi.read(address, WANTED[0][part].size)
        assert answer.resp == AxiResp.OKAY
        got = np.frombuffer(bytes(answer.data), WANTED.dtype)
        assert np.array_equal(got, WANTED[0][part].ravel()), part
        compared += got.size
    assert compared == WANTED[0].size
    assert await host.register("stamps") == len(PROGRAM.layers)


def frame(data: bytes, holes: random.Random | None) -> AxiStreamFrame:
    """Data as a frame; with bytes between them that TKEEP says are none, if there are holes."""
    keep: list[int] = []
    for _ in data:
        while holes and holes.random() < 0.3:
            keep.append(0)
        keep.append(1)
    keep += [0] * (-len(keep) % BEAT)
    source = iter(data)
    return AxiStreamFrame(bytes(next(source) if k else 0xEE for k in keep), tkeep=keep)


async def set_up(host: Board) -> None:
    """Tell the stream unit where frames go and come from, and let it go round by itself."""
    for side, name in (("input", INPUT), ("output", OUTPUT)):
        for field, value in stream_layout(PROGRAM.buffers[name]).items():
            await host.put(STREAM[f"{side}_{field}"], value.to_bytes(4, "little"))
    await host.put(STREAM["stream_control"], (0b111).to_bytes(4, "little"))


def send(source: AxiStreamSource, often: float) -> int:
    """Send all images; with pauses also some that are cut short or too long. Return how many."""
    rng, wrong = random.Random(int(10 * often)), 0
    for image in IMAGES:
        data = image.tobytes()
        for bad in (data[: rng.randrange(1, len(data))], data + bytes(rng.randrange(1, 9))):
            if often and rng.random() < 0.5:
                source.send_nowait(frame(bad, rng))
                wrong += 1
        source.send_nowait(frame(data, rng if often else None))
    return wrong


@cocotb.test()
async def images(dut) -> None:
    """Load the network; an image through the bus; then images one after the other as a stream.

    The host does nothing between these; both streams pause at random in the second round.
    """
    host = await board(dut, 0.2, seed=5, prefix="s_axi")
    await host.load()
    await through_the_bus(host)
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst)
    for model in (source, sink):
        model.log.setLevel("ERROR")
    await set_up(host)
    compared = mismatches = dropped = 0
    for often in (0.0, 0.6):
        for number, model in enumerate((source, sink)):
            model.set_pause_generator(pauses(number, often))
        wrong = send(source, often)
        assert bool(often) == bool(wrong)
        dropped += wrong
        for wanted in WANTED:
            got = bytes((await sink.recv()).tdata)
            assert len(got) == wanted.size
            mismatches += int((np.frombuffer(got, WANTED.dtype) != wanted.ravel()).sum())
            compared += len(got)
    assert (compared, mismatches) == (2 * WANTED.size, 0) and sink.empty()
    counts = {}
    for name in ("stream_received", "stream_sent", "stream_dropped"):
        counts[name] = int.from_bytes((await host.axi.read(STREAM[name], 4)).data, "little")
    assert counts == {
        "stream_received": 2 * len(IMAGES),
        "stream_sent": 2 * len(IMAGES),
        "stream_dropped": dropped,
    }
    dut._log.info("%d values compared, %d frames dropped", compared, dropped)
