"""Amaranth component to Verilog: a readable hierarchy for people, a flat form for simulation.

Amaranth's own Verilog is not used: Yosys' `proc` and `opt_dff` give `if (rst) .. else if (en) ..`
registers, half the text, and a Verilator model several times as fast.
"""

import contextlib
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amaranth.back import rtlil as amaranth_rtlil
from amaranth.lib.wiring import Component

from systolith.errors import ToolError
from systolith.sim.gating import gate_logic
from systolith.sim.toolchain import find_verilator, run_tool
from systolith.sim.verilog_text import (
    ansi_ports,
    compact_memories,
    guard_assertions,
    join_assertions,
    join_writes,
    merge_modules,
    repeat_elements,
    skip_case_checks,
    unescape,
    with_header,
)

__all__ = [
    "LINT_WAIVERS",
    "lint",
    "readable_verilog",
    "run_yosys",
    "simulation_verilog",
    "to_rtlil",
]

# Every rule of `verilator --lint-only -Wall` that the readable form is excused from, and why.
LINT_WAIVERS: dict[str, str] = {
    "WIDTHEXPAND": "Yosys leaves operands as narrow as their values need; Verilog extends them by "
    "the signedness that each operand states, as intended",
    "WIDTHTRUNC": "sums are computed by Yosys in one bit more than is kept; the cut is the wrap "
    "that the arithmetic asks for",
    "UNUSEDSIGNAL": "names of the source that no logic reads any more are kept as documentation",
    "DECLFILENAME": "one file holds all modules of the design",
    "PROCASSINIT": "registers have a power-on value in their declaration, and a reset value, as "
    "FPGAs offer both",
    "SYNCASYNCNET": "the reset of a queue's writing side resets the reading side at once, too, and "
    "both last until either side has seen them",
    "CASEOVERLAP": "the selects of Yosys' parallel multiplexers are one-hot: each pattern names "
    "one bit, and no two bits are ever set together",
}

_PASSES = ("opt_expr", "wreduce", "opt_expr", "opt_clean", "opt_dff", "opt_clean -purge")
_PATCH_LOCK = threading.Lock()


def _emit_memory(self: Any, cell_idx: int, cell: Any) -> None:
    """Emit the initial contents of one memory, or nothing when all are zero.

    Replaces `ModuleEmitter.emit_memory` of Amaranth 0.5, which makes one object per bit (20 s for
    1 MiB) and also prints zeros. Here a memory without contents starts as zeros: `compact_memories`
    says so in the Verilog, and synthesis is free to use block RAMs that cannot be initialised.
    """
    if not any(cell.init):
        return
    data = "".join(
        format(row & ((1 << cell.width) - 1), f"0{cell.width}b") for row in cell.init[::-1]
    )
    self.builder.cell(
        "$meminit_v2",
        ports={
            "ADDR": "{ }",
            "DATA": f"{cell.width * cell.depth}'{data}",
            "EN": f"{cell.width}'{'1' * cell.width}",
        },
        parameters={
            "MEMID": self.memories[cell_idx].memid,
            "ABITS": 0,
            "WIDTH": cell.width,
            "WORDS": cell.depth,
            "PRIORITY": 0,
        },
        src_loc=cell.src_loc,
    )


@contextlib.contextmanager
def _quick_memories() -> Iterator[None]:
    with _PATCH_LOCK:
        original = amaranth_rtlil.ModuleEmitter.emit_memory
        amaranth_rtlil.ModuleEmitter.emit_memory = _emit_memory
        try:
            yield
        finally:
            amaranth_rtlil.ModuleEmitter.emit_memory = original


def to_rtlil(component: Component, name: str = "top") -> str:
    """Return the component as RTLIL text, without source locations and without zeros of memories.

    Equal components give equal text. Parameters: `name` is the name of the top module.
    """
    with _quick_memories():
        return str(amaranth_rtlil.convert(component, name=name, emit_src=False))


def run_yosys(
    rtlil: str,
    passes: Sequence[str],
    *,
    outputs: Sequence[str],
    inputs: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Run Yosys passes on a design, in a process of its own, and return the files they wrote.

    Parameters
    ----------
    rtlil: the design; the passes find it loaded.
    passes: command lines of Yosys, such as "proc" or "write_json out.json".
    outputs: names of the files to return; "log" is the text that Yosys printed.
    inputs: texts of more files, by name, for the passes to read.

    Raises
    ------
    ToolError: a pass failed; the text has Yosys' own error line.
    """
    job = Path(__file__).with_name("yosys_job.py")
    with tempfile.TemporaryDirectory(prefix="systolith-") as folder:
        for name, text in {"design.il": rtlil, **(inputs or {})}.items():
            (Path(folder) / name).write_text(text)
        # -I keeps the folder of this file, whose names are not top-level modules, off the path.
        command = [sys.executable, "-I", str(job), "read_rtlil design.il", *passes]
        result = run_tool(command, cwd=Path(folder))
        if result.returncode != 0:
            lines = [line for line in result.stdout.splitlines() if line.strip()]
            errors = [line for line in lines if "ERROR" in line or "Error" in line] or lines[-1:]
            hint = errors[0] if errors else f"exit status {result.returncode}"
            raise ToolError(
                f"yosys failed: {hint}: check that `pip install pyosys==0.70` is intact"
            )
        files = {name: (Path(folder) / name).read_text() for name in outputs if name != "log"}
    if "log" in outputs:
        files["log"] = result.stdout
    return files


def _as_rtlil(design: Component | str, name: str) -> str:
    return design if isinstance(design, str) else to_rtlil(design, name)


def readable_verilog(design: Component | str, name: str = "top") -> str:
    """Return hierarchical SystemVerilog for people and synthesis tools.

    Modules with equal text are merged into one, memories stay memories, ports are in the ANSI
    style, and the result passes `lint`.

    Parameters
    ----------
    design: component, or RTLIL text whose top module is `name`.
    """
    passes = ["proc", *_PASSES, "write_verilog -noattr -sv out.v"]
    text = run_yosys(_as_rtlil(design, name), passes, outputs=["out.v"])["out.v"]
    text = unescape(guard_assertions(join_assertions(compact_memories(text))))
    return with_header(merge_modules(ansi_ports(text), name))


def simulation_verilog(
    design: Component | str, name: str = "top", *, gated: bool = False, models: str = ""
) -> str:
    """Return flat SystemVerilog for Verilator: one module, hierarchical names as `\\a.b.c `.

    Same function as `readable_verilog`, cycle by cycle.

    Parameters
    ----------
    design: component, or RTLIL text whose top module is `name`.
    gated: logic is evaluated only in cycles in which a register takes it (`gate_logic`): faster,
        but most wires are not there to be traced or read.
    models: Verilog of cells that the design has by name, to be put in their places.
    """
    # Registers that always hold the same, as the valid bits of all lanes, are simulated once; once
    # more after `opt_dff`, which makes the same enables and resets anew for every register.
    merge = "opt_merge -share_all"
    passes = ["read_verilog -sv models.v", f"hierarchy -top {name}"] if models else []
    passes += ["proc", "flatten", "opt_expr", merge, *_PASSES[:-1], "opt_clean"]
    passes += [merge, "opt_expr", "opt_dff", merge, "opt_clean -purge" if gated else "opt_clean"]
    passes += ["write_verilog -noattr -sv out.v"]
    inputs = {"models.v": models} if models else {}
    rtlil = _as_rtlil(design, name)
    text = run_yosys(rtlil, passes, outputs=["out.v"], inputs=inputs)["out.v"]
    text = skip_case_checks(repeat_elements(join_writes(join_assertions(compact_memories(text)))))
    return with_header(gate_logic(text) if gated else text)


def lint(verilog: str, top: str = "top") -> list[str]:
    """Return what `verilator --lint-only -Wall` objects to, other than `LINT_WAIVERS`.

    Raises
    ------
    ToolError: Verilator is not installed.
    """
    tool = find_verilator()
    waivers = [f"-Wno-{rule}" for rule in LINT_WAIVERS]
    with tempfile.TemporaryDirectory(prefix="systolith-") as folder:
        (Path(folder) / "design.sv").write_text(verilog)
        command = [str(tool.binary), "--lint-only", "-Wall", *waivers, "--top-module", top]
        result = run_tool(
            [*command, "design.sv"], cwd=Path(folder), env={"VERILATOR_ROOT": str(tool.root)}
        )
    found = re.findall(r"^%(?:Warning|Error).*$", result.stdout, re.MULTILINE)
    if result.returncode != 0 and not found:
        found = [result.stdout.strip() or f"verilator: exit status {result.returncode}"]
    return [line for line in found if "Exiting due to" not in line]
