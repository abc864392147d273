"""Verilated boards: the design of a bitstream, with a serial line at its pins."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systolith.hw.board import BoardTop
from systolith.sim.accelerator import cached_verilog
from systolith.sim.cells import cell_models
from systolith.sim.dut import Dut
from systolith.sim.emit import simulation_verilog, to_rtlil
from systolith.sim.verilator import build_model
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["PinLine", "board_dut", "board_rtlil", "board_verilog"]

TOP = "top"
"""Name of the top module in the RTLIL of a board's design."""
START_CYCLES = 64
"""Cycles after which a board's own reset has ended, its PLL's lock included."""
_PLLS = Path(__file__).with_name("plls.sv")
_BITS = 10
"""Bits of a character: start, 8 of data, stop."""
_CHUNK = 4096
"""Most cycles that are simulated at once while an answer is awaited."""


def board_rtlil(spec: AcceleratorSpec) -> str:
    """RTLIL of a board top between no particular pins, with clock and reset as ports."""
    return to_rtlil(BoardTop(spec), TOP)


def board_verilog(rtlil: str, spec: AcceleratorSpec) -> str:
    """Simulation Verilog of the RTLIL that synthesis gets; made once, then cached.

    Nothing is left out or replaced but cells that a chip has by name: multipliers by their models
    (`sim/cells.sv`), and the PLL by one whose output is its input (`sim/plls.sv`), so that a cycle
    of the pin `clk` is one of the core.

    Parameters
    ----------
    rtlil: a whole design, with the top module `top`.
    spec: of its accelerator.
    """
    models = _PLLS.read_text()
    digest = hashlib.sha256((rtlil + models).encode()).hexdigest()
    text = cached_verilog(
        f"pins {digest}", spec, lambda: simulation_verilog(rtlil, TOP, gated=True, models=models)
    )
    return f"{text}\n{cell_models(text)}\n"


def board_dut(rtlil: str, spec: AcceleratorSpec) -> Dut:
    """Return a board that has just been configured: its line is idle, its reset has ended.

    Raises
    ------
    ToolError: no C++ compiler, or another tool is missing.
    """
    dut = Dut(build_model(board_verilog(rtlil, spec), TOP), name=spec.name)
    dut.io["uart_rx"] = 1
    if "rst" in dut.io:
        dut.reset()
    else:  # the board's own logic makes it
        dut.clock.tick(START_CYCLES)
    return dut


class PinLine:
    """A serial line at the pins `uart_rx` and `uart_tx` of a simulated board.

    Every bit is a level of the pin for as many clock cycles as its time takes, and what the board
    sends is sampled in every cycle. It has the interface of `serial.Serial`; its time is the
    simulated one, which stands still between calls.

    Parameters
    ----------
    dut: the board, out of reset.
    clock_hz: frequency of its clock.
    baudrate: bits a second of the host's side; a little off the board's is allowed.
    """

    def __init__(self, dut: Dut, *, clock_hz: int, baudrate: int) -> None:
        self._dut, self._clock_hz = dut, clock_hz
        self.baudrate = baudrate
        self.timeout: float | None = 1.0
        self._cycles = clock_hz / baudrate
        self._late = 0.0  # cycles that bits sent before should have taken longer
        self._received = bytearray()
        self._samples = np.ones(0, np.uint8)  # from the last cycle on that may begin a character
        dut.io["uart_rx"] = 1

    @property
    def in_waiting(self) -> int:
        """Bytes that have been received and not read."""
        return len(self._received)

    def write(self, data: bytes) -> int:
        """Send bytes, one after the other without a pause."""
        bits = np.ones((len(data), _BITS), np.uint8)
        bits[:, 0] = 0
        bits[:, 1:9] = np.unpackbits(np.frombuffer(data, np.uint8)[:, None], 1, bitorder="little")
        edges = self._late + self._cycles * np.arange(bits.size + 1)
        whole = np.floor(edges).astype(np.int64)
        self._late = float(edges[-1] - whole[-1])
        self._drive(np.repeat(bits.ravel(), np.diff(whole)))
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Return that many bytes, or those that came until the timeout."""
        left = int((self.timeout or 0.0) * self._clock_hz)
        while (missing := size - len(self._received)) > 0 and left > 0:
            # No more than the bytes take that are missing, but for a pause: answers are short.
            count = min(_CHUNK, left, 1 + int(missing * _BITS * self._cycles))
            self._drive(np.ones(count, np.uint8))
            left -= count
        result = bytes(self._received[:size])
        del self._received[:size]
        return result

    def _drive(self, levels: NDArray[np.uint8]) -> None:
        """Put one level a cycle on the board's input, and decode what its output does."""
        sent = np.zeros(len(levels), np.uint8)
        self._dut.model.drive(len(levels), {"uart_rx": levels}, {"uart_tx": sent})
        self._samples = np.concatenate([self._samples, sent])
        self._received += bytes(self._characters())

    def _characters(self) -> Iterator[int]:
        """Characters that are complete, sampled in the middle of their bits."""
        samples, start = self._samples, 0
        middles = ((np.arange(_BITS) + 0.5) * self._cycles).astype(np.int64)
        while True:
            lows = np.flatnonzero(samples[start:] == 0)
            if not lows.size or start + int(lows[0]) + middles[-1] >= len(samples):
                start = start + int(lows[0]) if lows.size else len(samples)
                break
            begin = start + int(lows[0])
            bits = samples[begin + middles]
            if bits[-1] and not bits[0]:
                yield int(np.packbits(bits[1:9], bitorder="little")[0])
            start = begin + int(middles[-1])
        self._samples = samples[start:]
