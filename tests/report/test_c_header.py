"""The C header: a compiler's view of it is the spec's tables, in C99 and in C++."""

import shutil
import subprocess
from pathlib import Path

import pytest

from systolith.report.c_header import c_header
from systolith.report.registers import window_bytes
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS
from systolith.spec.configuration import PRESETS, preset_for_array, spec_fingerprint
from systolith.spec.registers import (
    COUNTERS,
    ERRORS,
    IDENTIFIER,
    REGISTERS,
    VERSION,
    Window,
    window_stride,
)

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SPECS = {"small": PRESETS["small"], "stream": PRESETS["stream"], "13x5": preset_for_array(13, 5)}


def run(command: list[str]) -> str:
    """Run a tool that must succeed."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def compiler(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no compiler {name}: install gcc and g++")
    return path


def constants(spec: AcceleratorSpec) -> dict[str, int]:
    """What the header must define."""
    names = {f"REG_{r.name.upper()}": r.offset for r in REGISTERS}
    for register in REGISTERS:
        for bit in register.bits:
            names[f"{register.name}_{bit.name}_MASK".upper()] = 1 << bit.position
    names |= {f"{w.name}_BASE": w << 24 for w in Window}
    names |= {f"{w.name}_BYTES": window_bytes(spec, w) for w in Window}
    names |= {f"{w.name}_STRIDE": window_stride(spec, w) for w in Window}
    names |= {f"OPCODE_{o.name}": int(o) for o in COMMANDS}
    names |= {f"ERROR_{e.name}": int(e) for e in ERRORS}
    names |= {"ROWS": spec.array.rows, "COLUMNS": spec.array.columns, "LANES": spec.post.lanes}
    names |= {"IDENTIFIER": IDENTIFIER, "VERSION": VERSION, "COUNTERS": len(COUNTERS)}
    names |= {"FINGERPRINT": spec_fingerprint(spec)}
    return names | {"EXTERNAL_DATA_BYTES": spec.external.data_bytes}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(
    ("tool", "options"), [("cc", ["-xc", "-std=c99"]), ("c++", ["-xc++", "-std=c++11"])], ids=str
)
def test_header_compiles_to_the_tables(
    tmp_path: Path, name: str, tool: str, options: list[str]
) -> None:
    spec = SPECS[name]
    (tmp_path / "registers.h").write_text(c_header(spec))
    checks = "".join(
        f"typedef char check_{number}[SYSTOLITH_{constant} == {value}u ? 1 : -1];\n"
        for number, (constant, value) in enumerate(constants(spec).items())
    )
    source = tmp_path / "check.c"
    source.write_text(f'#include "registers.h"\n#include "registers.h"\n{checks}')
    run([compiler(tool), *options, *STRICT, "-fsyntax-only", str(source)])


def test_accessors_reach_their_registers(tmp_path: Path) -> None:
    """In ordinary memory: every register that can be written is where reading finds it."""
    spec = PRESETS["stream"]
    (tmp_path / "registers.h").write_text(c_header(spec))
    both = [r for r in REGISTERS if r.access == "rw"]
    body = "".join(
        f"    systolith_set_{r.name}(base, {7 + i}u);\n"
        f"    if (systolith_get_{r.name}(base) != {7 + i}u || memory[{r.offset // 4}] != {7 + i}u)"
        f" return {1 + i};\n"
        for i, r in enumerate(both)
    )
    (tmp_path / "check.c").write_text(
        '#include "registers.h"\nstatic uint32_t memory[64];\nint main(void)\n{\n'
        f"    const uintptr_t base = (uintptr_t)memory;\n{body}"
        "    systolith_set_control(base, SYSTOLITH_CONTROL_START_MASK);\n"
        "    return memory[2] == 1u ? 0 : 100;\n}\n"
    )
    program = tmp_path / "check"
    run([compiler("cc"), "-std=c99", *STRICT, str(tmp_path / "check.c"), "-o", str(program)])
    run([str(program)])
    assert len(both) == 5


def test_registers_of_external_memory_are_left_out_without_it() -> None:
    assert "set_memory_low" in c_header(PRESETS["stream"])
    assert "set_memory_low" not in c_header(PRESETS["small"])
