"""A program that uses external memory, with an independent AXI4 slave; see `test_external`."""

import cocotb
from axi_bench import OFFSET, PROGRAM, TENSORS, Board, board, pauses
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiBus, AxiRam, AxiResp

from systolith.spec.registers import Window

SIZE = 1 << 16
BASE = 3 << 16


def connect(dut, often: float, seed: int) -> AxiRam:
    """A memory with random pauses on every channel."""
    ram = AxiRam(AxiBus.from_prefix(dut, "memory_"), dut.clk, dut.rst, size=SIZE)
    write, read = ram.write_if, ram.read_if
    channels = (
        write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel,
    )  # fmt: skip
    for k, channel in enumerate(channels):
        channel.log.setLevel("WARNING")
        if often:
            channel.set_pause_generator(pauses(seed + k, often))
    for side in (write, read):
        side.log.setLevel("WARNING")
    return ram


async def feed(host: Board, ram: AxiRam) -> None:
    """Write the inputs, and external memory as it is before the run."""
    ram.write(0, PROGRAM.external.tobytes())
    for name in PROGRAM.inputs:
        data, buffer = TENSORS[f"in_{name}"].tobytes(), PROGRAM.buffers[name]
        if buffer.external:
            ram.write(buffer.base, data)
        else:
            await host.put((Window.ACTIVATIONS << 24) + buffer.base, data)


@cocotb.test()
@cocotb.parametrize(often=[0.0, 0.4, 0.8])
async def transfers(dut, often: float) -> None:
    """Two runs, all activations and all that is saved compared with golden."""
    host = await board(dut, 0.0, seed=1)
    ram = connect(dut, often, seed=int(100 * often))
    await ClockCycles(dut.clk, 2)
    await host.load()
    await host.set("memory_low", BASE)
    for _ in range(2):
        await host.put(Window.COMMANDS << 24, PROGRAM.commands.astype("<u4").tobytes())
        await feed(host, ram)
        await host.set("control", 1)
        assert await host.finished() == 0b010
        compared = 0
        for name in PROGRAM.outputs:
            want, buffer = TENSORS[f"out_{name}"].tobytes(), PROGRAM.buffers[name]
            if buffer.external:
                got = ram.read(buffer.base, len(want))
            else:
                answer = await host.axi.read((Window.ACTIVATIONS << 24) + buffer.base, len(want))
                assert answer.resp == AxiResp.OKAY
                got = answer.data
            assert bytes(got) == want, name
            compared += len(want)
        dut._log.info(f"{compared} bytes compared, none differs")
        assert await host.register("load_beats") and await host.register("save_beats")
        await host.load()  # what LOAD has written of the constants


@cocotb.test()
async def watchdog(dut) -> None:
    """A bus that stands still does not keep a run from ending."""
    host = await board(dut, 0.0, seed=1)
    for port in ("arready", "awready", "wready", "rvalid", "bvalid"):
        getattr(dut, f"memory__{port}").value = 0
    await host.load()
    await host.set("watchdog", 2000)
    await host.set("control", 1)
    assert await host.finished() == 0b110
    assert await host.register("error") == 4
    assert int.from_bytes((await host.axi.read(OFFSET["cycles"], 4)).data, "little") == 2002
