"""The backends by name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from systolith.errors import InputError
from systolith.hw.technology import Technology
from systolith.sim.backend import Backend
from systolith.sim.device_backend import RegistersBackend
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.netlist_backend import NetlistBackend
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.uart_backend import UART_PREFIX, UartBackend, UartSimBackend, parse_baud
from systolith.sim.verilator_backend import VerilatorBackend

__all__ = ["BACKENDS", "DEVICES", "get_backend"]

BACKENDS: Mapping[str, Callable[[], Backend]] = {
    "verilator": VerilatorBackend,
    "verilator-fast": partial(VerilatorBackend, structural=False),
    "pysim": PysimBackend,
    "golden": GoldenBackend,
    "registers": RegistersBackend,
    "uart-sim": UartSimBackend,
    "netlist-ecp5": partial(NetlistBackend, Technology.ECP5),
    "netlist-gowin": partial(NetlistBackend, Technology.GOWIN),
    "netlist-ice40": partial(NetlistBackend, Technology.ICE40),
    "netlist-xilinx7": partial(NetlistBackend, Technology.XILINX7),
}
"""Every way to run a program, the default first, but boards.

``verilator`` simulates every gate as it is shipped; ``verilator-fast`` has a model in place of the
array's grid of processing elements (`systolith.sim.array`), equal in every cycle, which builds and
runs faster: for large arrays and long runs. ``registers`` loads, runs and reads the Verilated
accelerator through its control slave alone, ``uart-sim`` a board's design through its serial
pins, as hosts of hardware do: both show a program's outputs, and no tensor between. The
``netlist`` ones simulate the cells that synthesis makes of small accelerators.
"""
DEVICES = frozenset({"registers", "uart-sim"})
"""Backends that are reached as hardware is."""


def get_backend(name: str, *, trace: Path | None = None) -> Backend:
    """A new backend.

    Parameters
    ----------
    name: a key of `BACKENDS`, or ``uart:PORT`` for a board at a serial port; `uart-sim` and that
        may have ``@BAUD`` behind them.
    trace: waveform file, Verilator only.

    Raises
    ------
    InputError: unknown name, or a trace where none can be made.
    """
    simulated, at, baud = name.partition("@")
    if simulated == "uart-sim" and at:
        return UartSimBackend(parse_baud(baud, name))
    if name not in BACKENDS and not name.startswith(UART_PREFIX):
        names = ", ".join((*BACKENDS, f"{UART_PREFIX}PORT"))
        raise InputError(f"backend must be one of {names}, not {name!r}")
    if trace is not None:
        if name != "verilator":
            raise InputError(f"waveforms can be traced with backend verilator only, not {name!r}")
        return VerilatorBackend(trace=trace)
    if name.startswith(UART_PREFIX):
        return UartBackend(name.removeprefix(UART_PREFIX))
    return BACKENDS[name]()
