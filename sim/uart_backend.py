"""Boards behind a serial line, and the same boards simulated at their pins."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

from systolith.drivers.host import DeviceError, UartMmio, open_port
from systolith.errors import InputError
from systolith.sim.backend import RunError, Traffic
from systolith.sim.board import PinLine, board_dut, board_rtlil
from systolith.sim.device_backend import DeviceBackend
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.bus import LEAST_PERIOD, MOST_BAUD, BusSpec, HostBus

__all__ = ["UART_PREFIX", "UartBackend", "UartSimBackend", "uart_spec"]

UART_PREFIX = "uart:"
_LEAST_BAUD = 300


def uart_spec(spec: AcceleratorSpec, baud: int | None = None) -> AcceleratorSpec:
    """Return the specification with a UART of a rate.

    Parameters
    ----------
    baud: bits a second; None for the most: four cycles a bit, or what the UART can do at all.

    Raises
    ------
    InputError: the UART cannot have that rate.
    """
    bus = spec.bus
    base = bus if bus.host is HostBus.UART else BusSpec(clock_hz=bus.clock_hz)
    rate = min(bus.clock_hz // LEAST_PERIOD, MOST_BAUD) if baud is None else baud
    try:
        return replace(spec, bus=replace(base, host=HostBus.UART, uart_baud=rate))
    except ValueError as error:
        raise InputError(f"backend uart-sim@{rate}: {error}") from error


def parse_baud(text: str, name: str) -> int:
    """Return the rate that stands behind an @.

    Raises
    ------
    InputError: it is none.
    """
    if not (text.isascii() and text.isdecimal() and int(text) >= _LEAST_BAUD):
        raise InputError(
            f"backend {name}: the rate behind @ must be {_LEAST_BAUD} baud or more, not {text!r}"
        )
    return int(text)


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
    slack: as of `UartMmio`.
    """

    def __init__(self, port: str, *, slack: float = 0.25) -> None:
        super().__init__()
        self._slack = slack
        path, at, baud = port.rpartition("@") if "@" in port else (port, "", "")
        self.name = f"{UART_PREFIX}{port}"
        if not path:
            raise InputError(f"backend must be uart:PORT or uart:PORT@BAUD, not {self.name!r}")
        self._port, self._baud = path, parse_baud(baud, self.name) if at else None
        self._host: UartHost | None = None

    def connect(self, spec: AcceleratorSpec) -> UartHost:
        """See `DeviceBackend.connect`."""
        if self._host is None:
            line = open_port(self._port, self._baud or spec.bus.uart_baud)
            self._host = UartHost(UartMmio(line, slack=self._slack, where=self._port))
        return self._host

    def traffic(self, spec: AcceleratorSpec) -> Traffic | None:
        """See `DeviceBackend.traffic`."""
        mmio = self.connect(spec).mmio
        return Traffic(sent=mmio.sent, received=mmio.received)

    def _forget(self) -> None:
        """See `DeviceBackend._forget`: the port is closed, too, should the board come back."""
        super()._forget()
        if self._host is not None:
            self._host.mmio.close()
            self._host = None


class UartSimBackend(DeviceBackend):
    """The Verilated design of a board with a UART, driven bit by bit at its pins.

    What is simulated is the RTLIL that a bitstream is synthesised from, or, if no board is named,
    its part between PLL and pins (`systolith.hw.board.BoardTop`). One thing is chosen anew: the
    UART's rate, because a character at 1 Mbaud takes 480 cycles at 48 MHz and one of four cycles a
    bit 40.

    Parameters
    ----------
    baud: bits a second; the most that the UART can do if None.
    design: RTLIL of the design of a specification that has a UART.
    """

    def __init__(
        self,
        baud: int | None = None,
        design: Callable[[AcceleratorSpec], str] = board_rtlil,
    ) -> None:
        super().__init__()
        self.name = "uart-sim" if baud is None else f"uart-sim@{baud}"
        self.baud, self._design = baud, design
        self._hosts: dict[AcceleratorSpec, UartHost] = {}
        self._digests: dict[AcceleratorSpec, str] = {}

    def connect(self, spec: AcceleratorSpec) -> UartHost:
        """See `DeviceBackend.connect`."""
        spec = uart_spec(spec, self.baud)
        if spec.external.data_bytes:
            raise RunError(
                "backend uart-sim has no external memory: choose a specification without one"
            )
        if spec not in self._hosts:
            rtlil, bus = self._design(spec), spec.bus
            self._digests[spec] = sha256(rtlil.encode()).hexdigest()
            dut = board_dut(rtlil, spec)
            line = PinLine(dut, clock_hz=bus.clock_hz, baudrate=bus.uart_baud)
            self._hosts[spec] = UartHost(UartMmio(line, slack=0.002, where="the simulated pins"))
        return self._hosts[spec]

    def traffic(self, spec: AcceleratorSpec) -> Traffic | None:
        """See `DeviceBackend.traffic`."""
        mmio = self.connect(spec).mmio
        return Traffic(sent=mmio.sent, received=mmio.received)

    def design_text(self, spec: AcceleratorSpec) -> str:
        """Say which design was simulated, and what of it is not the bitstream's."""
        simulated = uart_spec(spec, self.baud)
        if simulated == spec:
            return f"simulated RTLIL: sha256 {self._digests[spec]}"
        bus = simulated.bus
        wanted = f"the board's {spec.bus.uart_baud:,}" if spec.bus.host is HostBus.UART else "none"
        return (
            f"simulated line: {bus.uart_baud:,} baud, {bus.clock_hz / bus.uart_baud:.3g} cycles a "
            f"bit, in place of {wanted}: nothing else differs"
        )
