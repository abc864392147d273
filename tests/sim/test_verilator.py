import subprocess
import sys
import time
from pathlib import Path

import pytest

from systolith.errors import ToolError
from systolith.sim.dut import Dut
from systolith.sim.verilator import build_model

TINY = """module top(input wire clk, input wire [3:0] a, output reg [3:0] b);
  always @(posedge clk) b <= a;
endmodule
"""


def test_two_processes_build_once(logging_compiler: Path, tmp_path: Path) -> None:
    source = tmp_path / "tiny.v"
    source.write_text(TINY)
    code = (
        "import pathlib, sys; from systolith.sim.verilator import build_model; "
        "print(build_model(pathlib.Path(sys.argv[1]).read_text(), jobs=1))"
    )
    command = [sys.executable, "-c", code, str(source)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = [process.communicate()[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert paths[0] == paths[1]
    calls = logging_compiler.read_text().splitlines()
    for name in ("unit.cpp", "verilated.cpp"):
        assert sum(name in call.split(" -c ")[-1] for call in calls if " -c " in call) == 1
    assert not [item for item in (tmp_path / "cache" / "models").iterdir() if "." in item.stem]

    # The same model is now taken from the cache, at once and without the compiler.
    start = time.perf_counter()
    assert str(build_model(TINY)) == paths[0]
    assert time.perf_counter() - start < 0.5
    now = [call for call in logging_compiler.read_text().splitlines() if " -c " in call]
    assert len(now) == len([call for call in calls if " -c " in call])
    assert Path(paths[0]).with_name("design.sv").read_text() == TINY


def test_every_option_is_part_of_the_key(compiler: None) -> None:
    paths = [
        build_model(TINY),
        build_model(TINY, public=["b"]),
        build_model(TINY.replace("b", "c")),
    ]
    assert len(set(paths)) == 3
    assert build_model(TINY, public=["b", "b"]) == paths[1]


def test_rejected_verilog_gives_line_and_log(
    compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SYSTOLITH_CACHE", str(tmp_path))
    with pytest.raises(ToolError, match=r"^verilator failed: %Error: design\.sv:1:\d+: ") as info:
        build_model("module top(input a; endmodule\n")
    log = Path(str(info.value).split("output is in ")[1].rstrip(")"))
    assert "%Error" in log.read_text()
    assert [item.suffix for item in (tmp_path / "models").iterdir() if item.is_dir()] == []


def test_compiler_errors_give_line_and_log(
    compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "bad-c++"
    fails = 'echo "x.cpp:3: error: no"; exit 1'
    script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo bad 1 && exit 0\n{fails}\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setenv("SYSTOLITH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ToolError, match=r"^the C\+\+ compiler failed: x\.cpp:3: error: no \(the"):
        build_model(TINY)


def test_trace_must_be_known() -> None:
    with pytest.raises(ValueError, match=r"^trace must be a bool, 'vcd' or 'fst', not 'png'$"):
        build_model(TINY, trace="png")


def test_combinational_top(compiler: None) -> None:
    text = "module top(input wire [3:0] a, output wire [3:0] b); assign b = ~a; endmodule\n"
    with Dut.build(text) as dut:
        dut.io.a = 5
        assert dut.io.b == 10
        with pytest.raises(ValueError, match=r"^the top must have a port clk to be ticked"):
            dut.clock.tick()


def test_finish_and_printed_text(compiler: None) -> None:
    text = """module top(input wire clk, output reg [7:0] n = 0);
      always @(posedge clk) begin
        n <= n + 1;
        if (n == 5) begin $display("five"); $finish; end
      end
    endmodule
    """
    with Dut.build(text) as dut:
        assert dut.clock.tick(100) == 6
        assert dut.finish
        assert dut.log.startswith("five\n")
