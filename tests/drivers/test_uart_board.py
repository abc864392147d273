"""Digits on the board top, at its serial pins, and over a pseudo-terminal as on a board."""

import os
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from driver_networks import SPECS, compiled_digits, digits

from systolith.compiler.compile import compile_graph
from systolith.host import run_model
from systolith.sim.backend import RunError
from systolith.sim.backends import get_backend
from systolith.sim.board import PinLine, board_dut, board_rtlil
from systolith.sim.dut import Dut
from systolith.sim.uart_backend import UartBackend, uart_spec
from systolith.spec.program import Program

COUNT = 6
SLACK = 1.5
"""Seconds: the simulator that answers may have to wait for the processor."""


@pytest.fixture(scope="module")
def dut() -> Dut:
    """The board top, out of reset."""
    spec = uart_spec(SPECS["on-chip"])
    return board_dut(board_rtlil(spec), spec)


def test_digits_at_the_pins() -> None:
    """Every code of every output is golden's; cycles are those of the accelerator alone."""
    compiled = compiled_digits("on-chip")
    images, codes = digits(COUNT)
    pins, alone = get_backend("uart-sim"), get_backend("verilator")
    (name,), (output,) = compiled.graph.inputs, compiled.program.outputs
    for image, wanted in zip(images, codes, strict=True):
        run = run_model(compiled, pins, {name: image})
        np.testing.assert_array_equal(run.tensors[output].ravel(), wanted)
    other = run_model(compiled, alone, {name: images[-1]}).result
    assert run.result.counters == other.counters and run.result.stamps == other.stamps


@pytest.mark.parametrize("error", [-0.02, 0.02])
def test_a_line_that_is_a_little_off(dut: Dut, error: float) -> None:
    """Two per cent between the clocks of both sides, at four cycles a bit."""
    from systolith.drivers.host import UartMmio

    bus = uart_spec(SPECS["on-chip"]).bus
    line = PinLine(dut, clock_hz=bus.clock_hz, baudrate=round(bus.uart_baud * (1 + error)))
    mmio = UartMmio(line, slack=0.002)
    words = np.random.default_rng(5).integers(0, 1 << 32, 200, np.uint32)
    mmio.write_block(1 << 24, words)
    np.testing.assert_array_equal(mmio.read_block(1 << 24, 200), words)
    assert mmio.repeated == 0


@contextmanager
def terminal(dut: Dut, unplug_after: int = 1 << 62) -> Iterator[str]:
    """A pseudo-terminal with the simulated board behind it.

    Parameters
    ----------
    unplug_after: bytes from the host after which the other end is closed.
    """
    bus = uart_spec(SPECS["on-chip"]).bus
    line = PinLine(dut, clock_hz=bus.clock_hz, baudrate=bus.uart_baud)
    line.timeout = 20e-6
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    stop = threading.Event()

    def serve() -> None:
        seen = 0
        while not stop.is_set() and seen < unplug_after:
            try:
                line.write(data := os.read(master, 4096))
                seen += len(data)
            except BlockingIOError:
                stop.wait(0.0005)
            answer = line.read(64)
            if answer:
                os.write(master, answer)
        os.close(slave)
        os.close(master)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        stop.set()
        thread.join()


def test_a_serial_port(dut: Dut) -> None:
    """The same call as for a board: `uart:PORT`, through pyserial."""
    pytest.importorskip("serial")
    compiled = compiled_digits("on-chip")
    images, codes = digits(2)
    (name,), (output,) = compiled.graph.inputs, compiled.program.outputs
    with terminal(dut) as port:
        backend = get_backend(f"uart:{port}@115200")
        assert isinstance(backend, UartBackend)
        backend = UartBackend(f"{port}@115200", slack=SLACK)
        for image, wanted in zip(images, codes, strict=True):
            run = run_model(compiled, backend, {name: image})
            np.testing.assert_array_equal(run.tensors[output].ravel(), wanted)
        other = replace(SPECS["on-chip"], queue_depth=3)
        with pytest.raises(RunError, match="the network was compiled for another specification"):
            run_model(compile_graph(compiled.graph, other), backend, {name: images[0]})


def test_a_board_that_is_unplugged(dut: Dut) -> None:
    """While its network is loaded: the error says so, and the port is free for a board that is."""
    pytest.importorskip("serial")
    compiled = compiled_digits("on-chip")
    images, codes = digits(1)
    (name,), (output,) = compiled.graph.inputs, compiled.program.outputs
    with terminal(dut, unplug_after=3000) as port:
        backend = UartBackend(f"{port}@115200", slack=SLACK)
        with pytest.raises(RunError, match=f"{port}: the line was lost, cannot .*: connect the"):
            run_model(compiled, backend, {name: images[0]})
    with terminal(dut) as port:
        backend._port = port
        run = run_model(compiled, backend, {name: images[0]})
        np.testing.assert_array_equal(run.tensors[output].ravel(), codes[0])


def test_what_a_line_does_not_reach() -> None:
    compiled = compiled_digits("external")
    (name,) = compiled.graph.inputs
    with pytest.raises(RunError, match="backend uart-sim has no external memory"):
        run_model(compiled, get_backend("uart-sim"), {name: digits(1)[0][0]})


def test_a_run_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog stops what is stuck, also on a board that nobody watches."""
    compiled = compiled_digits("on-chip")
    monkeypatch.setattr("systolith.sim.device_backend.cycle_limit", lambda program: 1000)
    (name,) = compiled.graph.inputs
    with pytest.raises(RunError, match="the accelerator stopped with error timeout: The run took"):
        run_model(compiled, get_backend("registers"), {name: digits(1)[0][0]})
    assert isinstance(compiled.program, Program)
