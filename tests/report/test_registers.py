"""Register map and C header: the compiler's view of the header is the spec's tables."""

import shutil
import subprocess
from pathlib import Path

import pytest

from systolith.report.registers import c_header, command_reference, register_map, window_bytes
from systolith.spec.commands import COMMANDS
from systolith.spec.configuration import PRESETS, preset_for_array
from systolith.spec.registers import ADDRESS_BITS, REGISTERS, Window

SPECS = [*PRESETS.values(), preset_for_array(13, 5)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.array.rows}x{s.array.columns}")
def test_windows_do_not_overlap(spec: object) -> None:
    for window in Window:
        least = window is not Window.EXPONENTS  # a unit that is left out by default
        assert least <= window_bytes(spec, window) <= 1 << (ADDRESS_BITS - 4)


def test_every_register_and_command_is_documented() -> None:
    spec = PRESETS["base"]
    page, commands = register_map(spec), command_reference(spec)
    for register in REGISTERS:
        assert f"| `0x{register.offset:02X}` | `{register.name}` | {register.access} |" in page
    for layout in COMMANDS.values():
        for item in layout.fields:
            assert f"| `{item.name}` |" in commands


def test_header_compiles_to_the_tables(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: install gcc")
    spec = PRESETS["small"]
    (tmp_path / "registers.h").write_text(c_header(spec))
    names = {f"REG_{r.name.upper()}": r.offset for r in REGISTERS}
    names |= {f"{w.name}_BASE": w << 24 for w in Window}
    names |= {f"{w.name}_BYTES": window_bytes(spec, w) for w in Window}
    names |= {f"OPCODE_{o.name}": int(o) for o in COMMANDS}
    names |= {"ROWS": 8, "COLUMNS": 8, "LANES": 4}
    lines = "".join(
        f'_Static_assert(SYSTOLITH_{name} == {value}u, "{name}");\n'
        for name, value in names.items()
    )
    source = tmp_path / "check.c"
    source.write_text(f'#include "registers.h"\n#include "registers.h"\n{lines}')
    command = [compiler, "-std=c11", "-Wall", "-Werror", "-fsyntax-only", str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
