"""Clock constraints name every port of the top once, with its direction and clock."""

from dataclasses import replace

import pytest
from amaranth.lib.wiring import Out

from systolith.hw.board import BoardTop
from systolith.report.sdc import clock_constraints
from systolith.spec.bus import BusClock, BusSpec, HostBus
from systolith.spec.configuration import PRESETS

TINY = PRESETS["tiny"]
BUSES = {
    "axi": BusSpec(clock_hz=125_000_000),
    "uart": BusSpec(host=HostBus.UART),
    "separate": BusSpec(bus_clock=BusClock.SEPARATE, host=HostBus.WISHBONE),
    "streams": BusSpec(stream_bytes=4),
}


def calls(text: str) -> list[list[str]]:
    """Run the constraints in Tcl; return the commands that are not its own."""
    tkinter = pytest.importorskip("tkinter", reason="needs a Tcl interpreter")
    tcl = tkinter.Tcl()
    seen: list[list[str]] = []
    tcl.createcommand("seen", lambda *words: seen.append(list(words)))
    tcl.eval("proc get_ports name { return $name }")
    tcl.eval("proc unknown args { seen {*}$args }")
    tcl.eval(text)
    return seen


@pytest.mark.parametrize("name", BUSES)
def test_every_port_is_constrained_once(name: str) -> None:
    spec = replace(TINY, bus=BUSES[name])
    top = BoardTop(spec)
    seen = calls(clock_constraints(spec, top.signature))
    separate = spec.bus.bus_clock is BusClock.SEPARATE
    members = dict(top.signature.members.items())
    ends = [words[-1].removesuffix("[*]") for words in seen if words[0] != "set_clock_groups"]
    others = ["clk", "rst", *(["bus_clk", "bus_rst"] if separate else [])]
    assert sorted(ends) == sorted([*members, *others])
    for words in seen:
        member = members.get(words[-1].removesuffix("[*]"))
        if member is not None and words[0] != "set_false_path":
            out = member.flow is Out
            assert words[0] == ("set_output_delay" if out else "set_input_delay"), words
            assert words[2:4] == ["-clock", "bus_clk" if separate else "clk"]


def test_periods() -> None:
    spec = replace(TINY, bus=BUSES["axi"])
    seen = calls(clock_constraints(spec, BoardTop(spec).signature))
    assert ["create_clock", "-name", "clk", "-period", "8.000", "clk"] in seen
    assert ["set_input_delay", "2.0", "-clock", "clk", "s_axi_awaddr[*]"] in seen
