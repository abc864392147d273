"""Register map and command reference: every table of the spec is in them."""

import pytest

from systolith.report.registers import command_reference, register_map, window_bytes
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
