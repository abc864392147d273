"""The accelerator that goes on a board: its specification, its top module, its clock."""

from dataclasses import replace

from systolith.build.pll import pll_setting
from systolith.constraints import Board, Family, HostPath
from systolith.errors import BoardError
from systolith.hw.board import BoardTop
from systolith.hw.technology import Technology
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.bus import BusClock, HostBus, MemoryBus

__all__ = ["TECHNOLOGIES", "board_spec", "board_top", "core_frequency"]

TECHNOLOGIES = {
    Family.ECP5: Technology.ECP5,
    Family.ICE40: Technology.ICE40,
    Family.GOWIN: Technology.GOWIN,
    Family.XC7: Technology.XILINX7,
    Family.XCUP: Technology.ULTRASCALE,
    Family.ASIC: Technology.GENERIC,
}


def core_frequency(board: Board, frequency: float | None = None) -> float:
    """Return the core's MHz: what the board's PLL makes of what is asked, or of the board's own.

    Raises
    ------
    BoardError: it is out of range, or the PLL cannot make it.
    """
    if frequency is not None and not 1 <= frequency <= 1000:
        raise BoardError(f"{board.name}: frequency must be from 1 to 1000 MHz, not {frequency:g}")
    if board.host is not HostPath.UART:  # a processor, or the chip around, makes the clock
        return frequency or board.core_mhz
    setting = pll_setting(board, frequency or board.core_mhz)
    return setting.output_mhz if setting else board.clock_mhz


def board_spec(
    board: Board, spec: AcceleratorSpec, frequency: float | None = None
) -> AcceleratorSpec:
    """Return a specification with the buses and the clock of a board.

    Raises
    ------
    BoardError: its PLL cannot make the frequency, the UART's rate is too high for it, or it has no
        external memory, which is asked for.
    """
    bus = spec.bus
    rules = (
        (spec.external.data_bytes and board.host is HostPath.UART, "external.data_bytes must be 0"),
        (bus.stream_bytes, "bus.stream_bytes must be 0"),
        (bus.bus_clock is not BusClock.SAME, "bus.bus_clock must be same"),
        (bus.memory is not MemoryBus.AXI4, "bus.memory must be axi4"),
    )
    for wrong, rule in rules:
        if wrong:
            raise BoardError(f"{board.name}: {rule}: there is nothing at the other end")
    host = HostBus.UART if board.host is HostPath.UART else HostBus.AXI4_LITE
    clock_hz = round(core_frequency(board, frequency) * 1e6)
    try:
        return replace(spec, bus=replace(bus, host=host, clock_hz=clock_hz))
    except ValueError as error:
        raise BoardError(f"{board.name}: {error}") from error


def board_top(board: Board, spec: AcceleratorSpec) -> BoardTop:
    """Return the top module, in the board's technology.

    Parameters
    ----------
    spec: as `board_spec` returns it.
    """
    return BoardTop(spec, technology=TECHNOLOGIES[board.family])
