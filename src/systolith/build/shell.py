"""The logic between a board's pins and a design: clock, reset, and the LED."""

from amaranth.hdl import Cat, ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.build.accelerator import board_top
from systolith.build.pll import PllSetting, pll_instance, pll_setting
from systolith.constraints import Board, HostPath
from systolith.errors import BoardError
from systolith.sim.board import TOP
from systolith.sim.emit import to_rtlil
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["BoardShell", "board_shell", "check_uart", "design_rtlil", "shell_rtlil"]

RESET_CYCLES = 16


class BoardShell(wiring.Component):
    """Top module of a board without a processor.

    The design's reset lasts until the PLL has locked, and 16 cycles more; it ends at a clock edge.

    Parameters
    ----------
    board: gives the PLL and the LED's polarity.
    setting: of the PLL, or None to run at the board's clock.
    design: what is put on the board, in the domain `sync`: has ports `uart_rx`, `uart_tx`, `busy`.

    Members
    -------
    clk: clock of the board.
    uart_rx, uart_tx: the serial line, as the FPGA sees it.
    led: lit while the design works, if the board has an LED.
    """

    clk: Signal
    uart_rx: Signal
    uart_tx: Signal
    led: Signal

    def __init__(self, board: Board, setting: PllSetting | None, design: wiring.Component) -> None:
        self.board, self.setting, self.design = board, setting, design
        members = {"clk": In(1), "uart_rx": In(1), "uart_tx": Out(1)}
        super().__init__(members | ({"led": Out(1)} if board.has_led else {}))

    def elaborate(self, platform: object) -> Module:
        """Connect everything."""
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.domains.start = start = ClockDomain(reset_less=True, local=True)
        locked = Signal(init=1)
        if self.setting is None:
            m.d.comb += sync.clk.eq(self.clk)
        else:
            locked = Signal()
            m.submodules.pll = pll_instance(self.board, self.setting, self.clk, sync.clk, locked)
        # Registers begin with zeros after configuration; `locked` knows nothing of the clock.
        ready = Signal(RESET_CYCLES)
        m.d.comb += [start.clk.eq(sync.clk), sync.rst.eq(~ready[-1])]
        synchronised = ready[1]
        m.d.start += ready[:2].eq(Cat(locked, ready[0]))
        with m.If(synchronised):
            m.d.start += ready[2:].eq(ready[1:])
        with m.Else():
            m.d.start += ready[2:].eq(0)
        m.submodules.design = design = self.design
        m.d.comb += [design.uart_rx.eq(self.uart_rx), self.uart_tx.eq(design.uart_tx)]
        if self.board.has_led:
            m.d.comb += self.led.eq(design.busy ^ self.board.led_active_low)
        return m


def board_shell(design: wiring.Component, board: Board, frequency: float | None) -> BoardShell:
    """Return the whole of a bitstream.

    Parameters
    ----------
    frequency: MHz of the core, or None for the board's.

    Raises
    ------
    BoardError: the board's PLL has no setting for the frequency.
    """
    return BoardShell(board, pll_setting(board, frequency or board.core_mhz), design)


def shell_rtlil(shell: BoardShell) -> str:
    """Return what is synthesised, and what is simulated at a board's pins: the same text."""
    return to_rtlil(shell, TOP)


def check_uart(board: Board) -> None:
    """Require that the host reaches the board's accelerator over a UART.

    Raises
    ------
    BoardError: it does not.
    """
    if board.host is not HostPath.UART:
        raise BoardError(
            f"{board.name}: a board must have a UART to be run at its pins, but its host is "
            f"{board.host}: take --backend registers"
        )


def design_rtlil(board: Board, spec: AcceleratorSpec, frequency: float | None = None) -> str:
    """Return the RTLIL of a board's bitstream.

    Parameters
    ----------
    board: has a UART.
    spec: as `systolith.build.accelerator.board_spec` returns it.
    frequency: as of `board_shell`.
    """
    return shell_rtlil(board_shell(board_top(board, spec), board, frequency))
