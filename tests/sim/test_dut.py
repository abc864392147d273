import re
from pathlib import Path

import numpy as np
import pytest
from amaranth.lib.wiring import Component

from systolith.errors import InputError
from systolith.sim.dut import CycleLimitError, Dut, SimulationError, as_signed


def test_ports_are_checked_and_signed(dut: Dut) -> None:
    dut.io.x = -3
    assert dut.io.x == -3
    dut.clock.tick(4)
    assert dut.internals["plus.total"] == -12
    for name, value, bits in (("x", 128, "8 signed bits"), ("x", -129, "8 signed bits")):
        with pytest.raises(
            InputError, match=f"^value of port {name} must fit in {bits}, not {value}$"
        ):
            dut.io[name] = value
    with pytest.raises(InputError, match=r"^value of port address must fit in 6 bits, not 300$"):
        dut.io.address = 300
    with pytest.raises(InputError, match=r"^value of port address must fit in 6 bits, not -1$"):
        dut.io.address = -1
    with pytest.raises(InputError, match=r"^port read must be an input to be set, not an output$"):
        dut.io.read = 1
    with pytest.raises(TypeError):
        dut.io.x = 1.5


def test_wide_ports(dut: Dut) -> None:
    dut.io.wide = value = (1 << 99) | 12345
    dut.clock.tick()
    assert dut.io.wide_sum == value
    dut.clock.tick(3)
    assert dut.io.wide_sum == 4 * value % 2**100


def test_unknown_names(dut: Dut) -> None:
    with pytest.raises(AttributeError, match=r"^port must be one of .*x.*, not 'missing'$"):
        _ = dut.io.missing
    with pytest.raises(InputError, match=r"public=\[\.\.\.\]"):
        _ = dut.internals["minus.total"]
    with pytest.raises(InputError, match=r"^memory must be one of .*store.*, not 'missing'$"):
        dut.memory("missing")
    assert {"x", "i__valid", "plus.acc", "store"} <= set(dut.names())
    assert "i__ready" in dir(dut.io) and "plus.acc" in dut.internals


def test_memory_is_written_and_read_in_place(dut: Dut) -> None:
    store = dut.memory("store")
    assert (len(store), store.width) == (64, 24)
    store[0:64] = np.arange(64) * 1000
    store[-1] = 0xABCDEF
    for address in (3, 63):
        dut.io.address = address
        dut.clock.tick()
        assert dut.io.read == store[address] == (3000 if address == 3 else 0xABCDEF)
    assert store.bytes.shape == (64, 3)
    assert store.bytes[63].tolist() == [0xEF, 0xCD, 0xAB]
    store.bytes[5] = [1, 2, 3]
    assert store[5] == 0x030201
    dut.io.address, dut.io.word, dut.io.write = 9, 77, 1
    dut.clock.tick()
    assert store.array[8] == 77
    with pytest.raises(InputError, match=r"^word of store must fit in 24 bits, not 16777216$"):
        store[0] = 1 << 24
    with pytest.raises(InputError, match=r"^words of store must fit in 24 bits$"):
        store[0:2] = [0, 1 << 24]
    with pytest.raises(IndexError, match=r"^index of store must be below 64, not 64$"):
        _ = store[64]
    with pytest.raises(InputError, match=r"must be 8, 16, or a multiple of 32 bits"):
        store.write_bytes(0, [1])


def test_memory_as_bytes(dut: Dut) -> None:
    table = dut.memory("table")
    assert table[0:4].tolist() == [7, 5, 3, 0]
    table.write_bytes(10, np.array([-1, 2], np.int8))
    assert table.read_bytes(9, 4).tolist() == [0, 255, 2, 0]
    with pytest.raises(InputError, match=r"^bytes of table must lie in 0\.\.64, not 63\.\.65$"):
        table.read_bytes(63, 2)


def test_written_memory_is_seen_by_combinational_reads(dut: Dut) -> None:
    dut.memory("table")[9] = 200
    dut.io.i__payload, dut.io.i__valid = 9, 1
    dut.clock.tick()
    assert dut.io.o__payload == 209


def test_run_until(dut: Dut) -> None:
    dut.io.wide = 5
    assert dut.run(1000, until="plus.acc", value=0) == 0
    dut.io.x = 2
    assert dut.run(1000, until="plus.acc", value=100) == 50
    assert dut.run(1, until="plus.acc", value=102) == 1
    with pytest.raises(
        CycleLimitError, match=r"^plus\.acc must become 1 within 10 cycles, not later$"
    ):
        dut.run(10, until="plus.acc", value=1)
    with pytest.raises(
        InputError, match=r"^until must name a signal of at most 64 bits, not 'wide'$"
    ):
        dut.run(10, until="wide")


def test_instances_are_independent_and_pause(dut: Dut) -> None:
    other = Dut(dut.library)
    dut.io.x, other.io.x = 1, 10
    dut.clock.tick(5)
    other.clock.tick(2)
    dut.memory("store")[0] = 11
    assert (dut.internals["plus.acc"], other.internals["plus.acc"]) == (5, 20)
    assert other.memory("store")[0] == 0
    dut.close()
    assert other.clock.tick(1) == 1
    with pytest.raises(SimulationError, match=r"^the model is closed"):
        dut.clock.tick()


def test_two_designs_in_one_process(dut: Dut) -> None:
    text = "module top(input wire clk, output reg [7:0] n = 0); always @(posedge clk) n <= n + 1;"
    with Dut.build(text + "endmodule\n") as counter:
        counter.clock.tick(3)
        dut.io.x = 1
        dut.clock.tick(3)
        assert (counter.io.n, dut.internals["plus.acc"]) == (3, 3)


def test_failed_assertion_is_an_error(dut: Dut, capfd: pytest.CaptureFixture[str]) -> None:
    dut.io.word = 0xBAD
    with pytest.raises(SimulationError, match=r"stopped at cycle 3: .*word is bad"):
        dut.clock.tick(5)
    assert dut.finish
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("seed", [1, 2])
def test_drive_equals_ticks(dut: Dut, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-128, 128, 50)
    wide = [int(value) << 70 for value in rng.integers(0, 1 << 30, 50)]
    other = Dut(dut.library)
    result = dut.drive({"x": values, "wide": wide}, ["total", "wide_sum", "plus.acc"])
    for cycle in range(50):
        other.io.x, other.io.wide = values[cycle], wide[cycle]
        assert other.io.total == result["total"][cycle]
        assert other.io.wide_sum == result["wide_sum"][cycle]
        assert other.internals["plus.acc"] == result["plus.acc"][cycle]
        other.clock.tick()
    with pytest.raises(InputError, match=r"^inputs must all have one length, not \[1, 2\]$"):
        dut.drive({"x": [1], "wide": [1, 2]}, [])
    with pytest.raises(InputError, match=r"^value of port x must fit in 8 signed bits, not 400$"):
        dut.drive({"x": [1, 400]}, [])


def test_trace(mixed: Component, compiler: None, tmp_path: Path) -> None:
    with Dut.build(mixed, trace="vcd") as dut:
        dut.clock.tick(3)
        for number, cycles in ((1, 5), (2, 3)):
            path = tmp_path / f"{number}.vcd"
            dut.start_trace(path)
            dut.io.x = number
            dut.clock.tick(cycles)
            dut.stop_trace()
            text = path.read_text()
            assert "$enddefinitions" in text and "wide_sum" in text
            assert len(re.findall(r"^#\d+$", text, re.M)) >= 2 * cycles
        with pytest.raises(InputError, match=r"^path must end in \.vcd, .*, not x\.fst$"):
            dut.start_trace("x.fst")


def test_trace_must_be_built_in(dut: Dut, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^the model must be built with trace=True"):
        dut.start_trace(tmp_path / "x.vcd")


def test_repr_and_signed_helper(dut: Dut) -> None:
    assert repr(dut) == "<Dut top: 16 ports, cycle 2>"
    assert repr(dut.memory("store")) == "<Memory store: 64 x 24 bits>"
    assert "x=0" in repr(dut.io)
    assert [as_signed(value, 4) for value in (7, 8, 15, 16)] == [7, -8, -1, 0]
