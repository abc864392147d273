"""What a board is: its part, its clock and pins, what the part holds, how a host reaches it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from systolith.errors import BoardError
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Board", "Capacity", "Family", "HostPath", "Part"]


class Family(StrEnum):
    """A family of parts, which share cells and tools."""

    ECP5 = "ecp5"
    """Lattice ECP5 and ECP5-5G: nextpnr-ecp5."""
    ICE40 = "ice40"
    """Lattice iCE40 UltraPlus: nextpnr-ice40."""
    GOWIN = "gowin"
    """Gowin LittleBee and Arora: nextpnr-himbaechel-gowin and Apicula."""
    XC7 = "xc7"
    """Xilinx 7 series and Zynq-7000: Vivado."""
    XCUP = "xcup"
    """Xilinx UltraScale+ and Zynq UltraScale+: Vivado."""
    ASIC = "asic"
    """Standard cells of a liberty file."""


class HostPath(StrEnum):
    """How the host reaches the accelerator's registers."""

    UART = "uart"
    """Pins `uart_rx` and `uart_tx`, through a bridge in the FPGA."""
    ZYNQ = "zynq"
    """The processor of a Zynq-7000: AXI4-Lite, and AXI4 to its memory."""
    ZYNQMP = "zynqmp"
    """The processor of a Zynq UltraScale+: AXI4-Lite, and AXI4 to its memory."""
    JTAG = "jtag"
    """A JTAG to AXI bridge of the vendor, for a board without a processor."""
    BUS = "bus"
    """Ports `s_axi_*` (and `m_axi_*`) of a block in a larger chip."""


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise BoardError(f"{name} must be a text, not {value!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The chip.

    Parameters
    ----------
    number: as ordered from the manufacturer.
    device: the place and route tool's name of the die.
    package, speed: the tool's names; empty where the device or the part number says them.
    """

    number: str
    device: str = ""
    package: str = ""
    speed: str = ""

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_text(f"part.{item.name}", getattr(self, item.name))
        if not self.number:
            raise BoardError("part.number must be the part's number, not empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What the part holds, in the units in which the tools count. 0: none, or not limited.

    Parameters
    ----------
    luts: look-up tables (4 inputs; of Xilinx 6).
    ffs: flip-flops.
    dsps: multiplier blocks.
    block_rams: block memories: DP16KD (16 Kibit), SB_RAM40_4K, BSRAM (18 Kibit), RAMB36.
    large_rams: the larger ones: SB_SPRAM256KA (256 Kibit), URAM288.
    """

    luts: int = 0
    ffs: int = 0
    dsps: int = 0
    block_rams: int = 0
    large_rams: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise BoardError(
                    f"capacity.{item.name} must be an integer of at least 0, not {value!r}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """A board.

    Parameters
    ----------
    name: of its data file, and of the command line.
    title: for people.
    sources: where the facts come from.
    family, part, capacity: its chip.
    clock_mhz: of the clock at the port `clk`.
    core_mhz: of the accelerator: a PLL makes it, unless it is `clock_mhz`.
    host: how the accelerator's registers are reached.
    pin_file: constraints in the tools' own format; its ports are `pins`.
    pins: places of the ports: `clk`, with a UART `uart_rx` and `uart_tx`, and `led`, if any.
    led_active_low: the LED is lit by 0.
    vendor: the vendor tool's names of the board, by what they name; only for Xilinx.
    program: command that loads the bitstream; `{bitstream}` is its file.
    spec: the accelerator if none is named.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    family: Family
    part: Part
    capacity: Capacity
    clock_mhz: float
    core_mhz: float
    host: HostPath
    pin_file: Path
    pins: Mapping[str, str]
    spec: AcceleratorSpec
    led_active_low: bool = False
    vendor: Mapping[str, str]
    program: str = ""

    def __post_init__(self) -> None:
        for name in ("clock_mhz", "core_mhz"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BoardError(f"{name} must be a number of MHz, not {value!r}")
            if not 1 <= value <= 1000:
                raise BoardError(f"{name} must be from 1 to 1000 MHz, not {value!r}")
        for name in ("title", "program"):
            _check_text(name, getattr(self, name))
        for source in self.sources:
            _check_text("each of sources", source)
        for name, value in self.vendor.items():
            _check_text(f"vendor.{name}", value)
        if not isinstance(self.led_active_low, bool):
            raise BoardError(f"led_active_low must be true or false, not {self.led_active_low!r}")
        if not self.sources:
            raise BoardError("sources must name where the pins come from, not nothing")
        for port in self.needed_pins:
            if port not in self.pins:
                raise BoardError(f"{self.pin_file.name} must place the port {port!r}")

    @property
    def needed_pins(self) -> tuple[str, ...]:
        """Ports that must have a place."""
        if self.host is HostPath.UART:
            return ("clk", "uart_rx", "uart_tx")
        return ("clk",) if self.host is HostPath.JTAG else ()

    @property
    def has_led(self) -> bool:
        """Whether an LED can show that a program runs."""
        return "led" in self.pins
