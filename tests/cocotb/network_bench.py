"""A compiled network through the accelerator's bus; `test_network` builds it and starts this."""

import cocotb
import numpy as np
from axi_bench import PROGRAM, TENSORS, board
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiResp

from systolith.spec.registers import Window


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


@cocotb.test()
async def classify(dut) -> None:
    """Load the network, write an image, wait for the interrupt, read what golden computed."""
    host = await board(dut, 0.2, seed=5)
    await host.load()
    await host.set("interrupt", 1)
    for name in PROGRAM.inputs:
        for address, part in runs(name):
            await host.put(address, TENSORS[f"in_{name}"][part].tobytes())
    await host.set("control", 1)
    await RisingEdge(dut.irq)
    assert await host.register("status") == 0b010
    compared = 0
    for name in PROGRAM.outputs:
        want = TENSORS[f"out_{name}"]
        for address, part in runs(name):
            answer = await host.axi.read(address, want[part].size)
            assert answer.resp == AxiResp.OKAY
            got = np.frombuffer(bytes(answer.data), want.dtype)
            assert np.array_equal(got, want[part].ravel()), (name, part)
            compared += got.size
    assert compared == sum(TENSORS[f"out_{n}"].size for n in PROGRAM.outputs)
    assert await host.register("stamps") == len(PROGRAM.layers)
