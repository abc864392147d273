"""Place and route, and packing, by family: command lines and files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from systolith.build.floorplan import fix_multipliers
from systolith.constraints import Board, Family

__all__ = ["ROUTES", "Route"]

NETLIST, REPORT = "netlist.json", "pnr.json"
LARGE = 30_000
"""Look-up tables of a design from which on `Route.large` are its options."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """From a netlist to a bitstream. Files are named relative to the build's folder.

    Parameters
    ----------
    place: the program that places and routes, a key of `TOOLS`.
    options: its arguments, but for the netlist, the report and the seed, from board and core clock.
    pack: the program that writes the bitstream, a key of `TOOLS`.
    packing: its arguments, from the board.
    bitstream: the file it writes.
    frequency: line of constraints that says the board's clock; empty if a command line does.
    floorplan: gives cells of a netlist, in Yosys' JSON, their places on the part.
    large: options for large designs.
    """

    place: str
    options: Callable[[Board, float], list[str]]
    pack: str
    packing: Callable[[Board], list[str]]
    bitstream: str
    frequency: str = ""
    floorplan: Callable[[str, Board], str] = lambda netlist, board: netlist
    large: tuple[str, ...] = ()

    def place_arguments(self, board: Board, core_mhz: float, seed: int, luts: int) -> list[str]:
        """Arguments of the program that places and routes a design of so many look-up tables.

        Whether timing is met is told from the report, so that one that is not met has one, too.
        """
        return [
            "--json", NETLIST, "--report", REPORT, "--seed", str(seed), "--timing-allow-fail",
            "--freq", f"{core_mhz:g}", *self.options(board, core_mhz),
            *(self.large if luts >= LARGE else ()),
        ]  # fmt: skip


def _ecp5(board: Board, core_mhz: float) -> list[str]:
    part = board.part
    return [
        f"--{part.device}", "--package", part.package, "--speed", part.speed,
        "--lpf", board.pin_file.name, "--textcfg", "design.config",
    ]  # fmt: skip


def _ice40(board: Board, core_mhz: float) -> list[str]:
    part = board.part
    return [
        f"--{part.device}", "--package", part.package, "--pcf", board.pin_file.name,
        "--asc", "design.asc",
    ]  # fmt: skip


def _gowin(board: Board, core_mhz: float) -> list[str]:
    part = board.part
    return [
        "--device", part.number, "--vopt", f"family={part.device}",
        "--vopt", f"cst={board.pin_file.name}", "--write", "routed.json",
    ]  # fmt: skip


ROUTES: Mapping[Family, Route] = {
    Family.ECP5: Route(
        place="nextpnr-ecp5",
        options=_ecp5,
        pack="ecppack",
        packing=lambda board: ["--compress", "design.config", "design.bit"],
        bitstream="design.bit",
        floorplan=lambda netlist, board: fix_multipliers(netlist, board.part.device),
        # router1, which takes nets back one at a time, does not end on a part that is half full.
        large=("--placer", "static", "--router", "router2"),
    ),
    Family.ICE40: Route(
        place="nextpnr-ice40",
        options=_ice40,
        pack="icepack",
        packing=lambda board: ["design.asc", "design.bin"],
        bitstream="design.bin",
        frequency="set_frequency clk {mhz:g}",
    ),
    Family.GOWIN: Route(
        place="nextpnr-gowin",
        options=_gowin,
        pack="gowin_pack",
        packing=lambda board: ["-d", board.part.device, "-o", "design.fs", "routed.json"],
        bitstream="design.fs",
    ),
}
