"""BusSpec: what is around the accelerator's inner interface, at its ports."""

from dataclasses import dataclass
from enum import StrEnum

from systolith.spec.checks import check

__all__ = [
    "BAUD_FRACTION",
    "LEAST_PERIOD",
    "MOST_BAUD",
    "BusClock",
    "BusSpec",
    "HostBus",
    "MemoryBus",
    "WishboneMode",
    "baud_period",
]

BAUD_FRACTION = 8
"""Fractional bits of a UART's bit period in clock cycles."""

LEAST_PERIOD = 4
"""Least clock cycles of a bit: a sample lies within a cycle of the bit's middle."""
MOST_BAUD = 12_000_000
"""Bits a second that a UART can have at most."""


class HostBus(StrEnum):
    """What the host's side speaks."""

    AXI4_LITE = "axi4-lite"
    """An AXI4-Lite slave with ports `s_axi_*`."""
    WISHBONE = "wishbone"
    """A Wishbone B4 slave with ports `s_wb_*`."""
    UART = "uart"
    """A serial line with ports `uart_rx` and `uart_tx`: docs/uart-protocol.md."""


class MemoryBus(StrEnum):
    """What the side of external memory speaks, if there is one (`external.data_bytes`)."""

    AXI4 = "axi4"
    """An AXI4 master with ports `m_axi_*`."""
    WISHBONE = "wishbone"
    """A Wishbone B4 master with ports `m_wb_*`, with registered feedback bursts."""


class WishboneMode(StrEnum):
    """Handshake of the host's Wishbone slave."""

    CLASSIC = "classic"
    """The strobe stays until the cycle of its answer."""
    PIPELINED = "pipelined"
    """A request is taken in a cycle without stall; its answer follows."""


class BusClock(StrEnum):
    """Clock of the buses."""

    SAME = "same"
    """They run on the core's clock `clk`."""
    SEPARATE = "separate"
    """They run on a clock of their own, `bus_clk`, with any ratio to the core's."""


def baud_period(clock_hz: int, baud: int) -> int:
    """Clock cycles of a bit, in units of ``2**-BAUD_FRACTION`` cycles."""
    return ((clock_hz << (BAUD_FRACTION + 1)) // baud + 1) >> 1


@dataclass(frozen=True, kw_only=True, slots=True)
class BusSpec:
    """The buses at the ports of the board's top module.

    Parameters
    ----------
    host: what the host's side speaks: `axi4-lite`, `wishbone` or `uart`.
    memory: what external memory's side speaks: `axi4` or `wishbone`.
    wishbone: handshake of the host's Wishbone slave: `classic` or `pipelined`.
    bus_clock: `same`, or `separate` for buses on a clock of their own (not the UART).
    stream_bytes: bytes of a beat of AXI4-Stream input and output: 1, 2 or 4; 0 leaves both out.
    clock_hz: frequency of the core's clock, which a UART's bit times are made from.
    uart_baud: bits a second of the UART, at most a quarter of `clock_hz`.
    """

    host: HostBus = HostBus.AXI4_LITE
    memory: MemoryBus = MemoryBus.AXI4
    wishbone: WishboneMode = WishboneMode.CLASSIC
    bus_clock: BusClock = BusClock.SAME
    stream_bytes: int = 0
    clock_hz: int = 48_000_000
    uart_baud: int = 1_000_000

    def __post_init__(self) -> None:
        kinds = {
            "host": HostBus,
            "memory": MemoryBus,
            "wishbone": WishboneMode,
            "bus_clock": BusClock,
        }
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"bus.{name} must be a {kind.__name__}, not {getattr(self, name)!r}"
                )
        check("bus.stream_bytes", self.stream_bytes, 0, 4)
        if self.stream_bytes == 3:
            raise ValueError("bus.stream_bytes must be 0, 1, 2 or 4, not 3")
        check("bus.clock_hz", self.clock_hz, 1_000_000, 1_000_000_000)
        check("bus.uart_baud", self.uart_baud, 300, MOST_BAUD)
        if self.host is HostBus.UART and self.clock_hz < LEAST_PERIOD * self.uart_baud:
            raise ValueError(
                f"bus.uart_baud must be at most a quarter of bus.clock_hz ({self.clock_hz}), "
                f"not {self.uart_baud!r}"
            )

    @property
    def baud_period(self) -> int:
        """Clock cycles of a UART's bit, in units of ``2**-BAUD_FRACTION`` cycles."""
        return baud_period(self.clock_hz, self.uart_baud)
