"""PLLs: settings for a frequency, and the cell that has them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const, Instance, Signal

from systolith.constraints import Board, Family
from systolith.errors import BoardError

__all__ = ["PLLS", "PllSetting", "pll_instance", "pll_setting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PllSetting:
    """Dividers of a PLL: output = input * feedback / reference, at the oscillator's / post.

    Parameters
    ----------
    input_mhz, output_mhz: frequencies at its ports.
    reference: the input is divided by it before it is compared.
    feedback: the output (of SB_PLL40 the oscillator) is divided by it before it is compared.
    post: the oscillator is divided by it.
    vco_mhz: frequency of the oscillator.
    """

    input_mhz: float
    output_mhz: float
    reference: int
    feedback: int
    post: int
    vco_mhz: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Pll:
    """A family's PLL: limits from its data sheet, and its cell.

    Parameters
    ----------
    reference, feedback: largest dividers.
    posts: the dividers behind the oscillator that there are.
    compare: least and most MHz of the divided input.
    vco: least and most MHz of the oscillator.
    output: least and most MHz at its output.
    inside: the feedback is taken before the divider behind the oscillator.
    cell: makes the instance from the setting, the input, the output and the lock signal.
    """

    reference: int
    feedback: int
    posts: tuple[int, ...]
    compare: tuple[float, float]
    vco: tuple[float, float]
    output: tuple[float, float]
    inside: bool
    cell: Callable[..., Instance]

    def settings(self, source: float) -> Iterator[PllSetting]:
        """Yield everything that the limits allow."""
        for reference in range(1, self.reference + 1):
            compare = source / reference
            if not self.compare[0] <= compare <= self.compare[1]:
                continue
            for feedback in range(1, self.feedback + 1):
                for post in self.posts:
                    vco = compare * feedback * (1 if self.inside else post)
                    low, high = self.output
                    if self.vco[0] <= vco <= self.vco[1] and low <= vco / post <= high:
                        yield PllSetting(
                            input_mhz=source,
                            output_mhz=vco / post,
                            reference=reference,
                            feedback=feedback,
                            post=post,
                            vco_mhz=vco,
                        )


def _ehxplll(s: PllSetting, clock: Any, out: Signal, locked: Signal) -> Instance:
    """ECP5's: the feedback is the output itself."""
    attributes = {
        "FREQUENCY_PIN_CLKI": f"{s.input_mhz:g}",
        "FREQUENCY_PIN_CLKOP": f"{s.output_mhz:.6g}",
        "ICP_CURRENT": "12",
        "LPF_RESISTOR": "8",
        "MFG_ENABLE_FILTEROPAMP": "1",
        "MFG_GMCREF_SEL": "2",
    }
    off = ("PLLRST_ENA", "INTFB_WAKE", "STDBY_ENABLE", "DPHASE_SOURCE")
    low = ("RST", "STDBY", "PHASESEL0", "PHASESEL1", "PLLWAKESYNC", "ENCLKOP")
    return Instance(
        "EHXPLLL",
        *(("a", name, value) for name, value in attributes.items()),
        *(("p", name, "DISABLED") for name in off),
        p_CLKI_DIV=s.reference,
        p_CLKFB_DIV=s.feedback,
        p_CLKOP_DIV=s.post,
        p_CLKOP_ENABLE="ENABLED",
        p_CLKOP_CPHASE=s.post - 1,
        p_CLKOP_FPHASE=0,
        p_FEEDBK_PATH="CLKOP",
        p_OUTDIVIDER_MUXA="DIVA",
        **{f"i_{name}": Const(0, 1) for name in low},
        **{f"i_{name}": Const(1, 1) for name in ("PHASEDIR", "PHASESTEP", "PHASELOADREG")},
        i_CLKI=clock,
        i_CLKFB=out,
        o_CLKOP=out,
        o_LOCK=locked,
    )


def _sb_pll40(s: PllSetting, clock: Any, out: Signal, locked: Signal) -> Instance:
    """iCE40's, with the input at its own pad."""
    compare = s.input_mhz / s.reference
    steps = (17, 26, 44, 66, 101)
    return Instance(
        "SB_PLL40_PAD",
        p_FEEDBACK_PATH="SIMPLE",
        p_DIVR=Const(s.reference - 1, 4),
        p_DIVF=Const(s.feedback - 1, 7),
        p_DIVQ=Const(s.post.bit_length() - 1, 3),
        p_FILTER_RANGE=Const(1 + sum(compare >= step for step in steps), 3),
        i_PACKAGEPIN=clock,
        i_RESETB=Const(1, 1),
        i_BYPASS=Const(0, 1),
        o_PLLOUTGLOBAL=out,
        o_LOCK=locked,
    )


def _rpll(s: PllSetting, clock: Any, out: Signal, locked: Signal) -> Instance:
    """Gowin's: the feedback is the output."""
    off = [f"DYN_{name}" for name in ("IDIV_SEL", "FBDIV_SEL", "ODIV_SEL", "DA_EN")]
    off += [f"{name}_BYPASS" for name in ("CLKOUT", "CLKOUTP", "CLKOUTD")]
    zeros = {"FBDSEL": 6, "IDSEL": 6, "ODSEL": 6, "PSDA": 4, "DUTYDA": 4, "FDLY": 4}
    return Instance(
        "rPLL",
        *(("p", name, "false") for name in off),
        p_DEVICE="GW2AR-18C",
        p_FCLKIN=f"{s.input_mhz:g}",
        p_IDIV_SEL=s.reference - 1,
        p_FBDIV_SEL=s.feedback - 1,
        p_ODIV_SEL=s.post,
        p_PSDA_SEL="0000",
        p_DUTYDA_SEL="1000",
        p_CLKOUT_FT_DIR=Const(1, 1),
        p_CLKOUTP_FT_DIR=Const(1, 1),
        p_CLKOUT_DLY_STEP=0,
        p_CLKOUTP_DLY_STEP=0,
        p_CLKFB_SEL="internal",
        p_DYN_SDIV_SEL=2,
        p_CLKOUTD_SRC="CLKOUT",
        p_CLKOUTD3_SRC="CLKOUT",
        **{f"i_{name}": Const(0, width) for name, width in zeros.items()},
        **{f"i_{name}": Const(0, 1) for name in ("RESET", "RESET_P", "CLKFB")},
        i_CLKIN=clock,
        o_CLKOUT=out,
        o_LOCK=locked,
    )


PLLS: Mapping[Family, Pll] = {
    # Lattice FPGA-DS-02012, table 3.22.
    Family.ECP5: Pll(
        reference=128, feedback=80, posts=tuple(range(1, 129)), compare=(10, 400),
        vco=(400, 800), output=(3.125, 400), inside=False, cell=_ehxplll,
    ),
    # Lattice FPGA-DS-02008, section 4.20.
    Family.ICE40: Pll(
        reference=16, feedback=128, posts=(2, 4, 8, 16, 32, 64), compare=(10, 133),
        vco=(533, 1066), output=(16, 275), inside=True, cell=_sb_pll40,
    ),
    # Gowin DS226, table 3-29, speed C8/I7.
    Family.GOWIN: Pll(
        reference=64, feedback=64, posts=(2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128),
        compare=(3, 500), vco=(500, 1250), output=(3.9, 625), inside=False, cell=_rpll,
    ),
}  # fmt: skip


def pll_setting(board: Board, mhz: float) -> PllSetting | None:
    """Return the setting nearest to a frequency and not above it, or None if no PLL is needed.

    Of equals the one with the slowest oscillator, which takes the least power.

    Raises
    ------
    BoardError: the board has no PLL of ours, or none of its frequencies is within 5 % below.
    """
    if mhz == board.clock_mhz:
        return None
    if board.family not in PLLS:
        raise BoardError(
            f"{board.name}: frequency must be {board.clock_mhz:g} MHz, not {mhz:g}: "
            "the vendor's tool makes the clock"
        )
    found = [
        s for s in PLLS[board.family].settings(board.clock_mhz) if s.output_mhz <= mhz * (1 + 1e-9)
    ]
    best = max(found, key=lambda s: (round(s.output_mhz, 6), -s.vco_mhz), default=None)
    if best is None or best.output_mhz < 0.95 * mhz:
        near = f"; the nearest below is {best.output_mhz:.4g} MHz" if best else ""
        raise BoardError(
            f"{board.name}: its PLL cannot make {mhz:g} MHz from {board.clock_mhz:g}{near}"
        )
    return best


def pll_instance(
    board: Board, setting: PllSetting, clock: Any, out: Signal, locked: Signal
) -> Instance:
    """Return the family's PLL with a setting."""
    return PLLS[board.family].cell(setting, clock, out, locked)
