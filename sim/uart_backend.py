"""Boards behind a serial line, and the same boards simulated at their pins."""

from dataclasses import replace
from typing import Any

from systolith.drivers.host import DeviceError, UartMmio, open_port
from systolith.errors import InputError
from systolith.hw.technology import Technology
from systolith.sim.backend import RunError
from systolith.sim.board import PinLine, board_model
from systolith.sim.device_backend import DeviceBackend
from systolith.sim.dut import Dut
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.bus import BusSpec, HostBus

__all__ = ["UART_PREFIX", "UartBackend", "UartSimBackend", "uart_spec"]

UART_PREFIX = "uart:"
_FAST = BusSpec(host=HostBus.UART, clock_hz=48_000_000, uart_baud=12_000_000)
"""Four cycles a bit: the fastest line there is, for simulation of a specification without one."""


def uart_spec(spec: AcceleratorSpec) -> AcceleratorSpec:
    """Return the specification with a UART, if it has none."""
    return spec if spec.bus.host is HostBus.UART else replace(spec, bus=_FAST)


class UartHost:
    """A device behind a serial line."""

    def __init__(self, mmio: UartMmio) -> None:
        self.mmio = mmio

    def allocate(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Refuse: external memory is not reached over the line.

        Raises
        ------
        DeviceError: always.
        """
        raise DeviceError(
            "the network needs external memory, which a serial line does not reach: compile it for "
            "an accelerator whose memories hold it"
        )


class UartBackend(DeviceBackend):
    """A board at a serial port.

    Parameters
    ----------
    port: its name, `/dev/ttyUSB0` or `COM3`, perhaps with `@` and the baud rate behind it; without
        one it is the specification's (`bus.uart_baud`).
    """

    def __init__(self, port: str) -> None:
        super().__init__()
        path, _, baud = port.partition("@")
        if not path or (baud and not baud.isdecimal()):
            raise InputError(f"backend must be uart:PORT or uart:PORT@BAUD, not 'uart:{port}'")
        self.name = f"{UART_PREFIX}{port}"
        self._port, self._baud = path, int(baud or 0)
        self._host: UartHost | None = None

    def connect(self, spec: AcceleratorSpec) -> UartHost:
        """See `DeviceBackend.connect`."""
        if self._host is None:
            line = open_port(self._port, self._baud or spec.bus.uart_baud)
            self._host = UartHost(UartMmio(line, where=self._port))
        return self._host


class UartSimBackend(DeviceBackend):
    """The Verilated top of a board with a UART, driven bit by bit at its pins.

    What is simulated is the module that goes into a bitstream (`systolith.hw.board.BoardTop`); a
    specification whose host bus is another one gets a UART of four cycles a bit.

    Parameters
    ----------
    technology: whose primitives the module has, as on a board of that family.
    """

    name = "uart-sim"

    def __init__(self, technology: Technology = Technology.GENERIC) -> None:
        super().__init__()
        self._technology = technology
        self._hosts: dict[AcceleratorSpec, UartHost] = {}

    def connect(self, spec: AcceleratorSpec) -> UartHost:
        """See `DeviceBackend.connect`."""
        spec = uart_spec(spec)
        if spec.external.data_bytes:
            raise RunError(
                "backend uart-sim has no external memory: choose a specification without one"
            )
        if spec not in self._hosts:
            dut = Dut(board_model(spec, self._technology), name=spec.name)
            dut.io["uart_rx"] = 1
            dut.reset()
            bus = spec.bus
            line = PinLine(dut, clock_hz=bus.clock_hz, baudrate=bus.uart_baud)
            self._hosts[spec] = UartHost(UartMmio(line, slack=0.002, where="the simulated pins"))
        return self._hosts[spec]
