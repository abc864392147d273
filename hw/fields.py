"""Commands as hardware values, from the spec's field table."""

from amaranth.hdl import Value

from systolith.spec.commands import COMMANDS, Opcode

__all__ = ["command_bits", "command_fields"]


def command_bits(opcode: Opcode) -> int:
    """Width of a whole command, header included."""
    return 32 * COMMANDS[opcode].words


def command_fields(opcode: Opcode, bits: Value) -> dict[str, Value]:
    """Every field of a command, signed where the table says so, as slices of ``bits``."""
    layout = COMMANDS[opcode]
    fields = {}
    for item in layout.fields:
        start = layout.offsets[item.name]
        value = bits[start : start + item.bits]
        fields[item.name] = value.as_signed() if item.signed else value
    return fields
