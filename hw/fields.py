"""Commands as hardware values, from the spec's field table."""

from amaranth.hdl import Value

from systolith.spec.commands import COMMANDS, Opcode
from systolith.spec.fields import COUNT_BITS

__all__ = ["command_bits", "command_fields"]


def command_bits(opcode: Opcode) -> int:
    """Width of a whole command, header included."""
    return 32 * COMMANDS[opcode].words


def command_fields(opcode: Opcode, bits: Value, count_bits: int = COUNT_BITS) -> dict[str, Value]:
    """Every field of a command, signed where the table says so, as slices of ``bits``.

    Parameters
    ----------
    opcode: of the command.
    bits: the whole command.
    count_bits: of a count; those above are not looked at.
    """
    layout = COMMANDS[opcode]
    fields = {}
    for item in layout.fields:
        start = layout.offsets[item.name]
        width = min(item.bits, count_bits) if item.is_count else item.bits
        value = bits[start : start + width]
        fields[item.name] = value.as_signed() if item.signed else value
    return fields
