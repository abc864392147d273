"""Commands: one field table makes the encoder, golden's decoder, the hardware layout and the docs.

A command is a header word followed by its fields, packed in table order into little-endian 32-bit
words; a field never straddles a word unless it is wider than 32 bits (then it starts a word).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from systolith.spec.fields import (
    COPY_FIELDS,
    COPY_LOOPS,
    DEQUANTIZE_FIELDS,
    FILL_FIELDS,
    FILL_LOOPS,
    HEADER,
    JUMP_FIELDS,
    LOAD_FIELDS,
    MATMUL_FIELDS,
    MATMUL_LOOPS,
    QUANTIZE_FIELDS,
    SAVE_FIELDS,
    SOFTMAX_FIELDS,
    SOFTMAX_LOOPS,
    STORE_FIELDS,
    STORE_LOOPS,
    TRANSFER_LOOPS,
    Field,
)

__all__ = [
    "COMMANDS",
    "COPY_LOOPS",
    "FILL_LOOPS",
    "HEADER",
    "MATMUL_LOOPS",
    "SOFTMAX_LOOPS",
    "STORE_LOOPS",
    "TRANSFER_LOOPS",
    "Command",
    "CommandLayout",
    "Field",
    "Opcode",
    "ParameterForm",
    "Target",
    "Unit",
    "count_fault",
    "decode",
    "decode_one",
    "encode",
]


class Unit(IntEnum):
    """The in-order units; the value is the bit in the wait and signal masks."""

    MOVE = 0
    """Writes constants to the activation memory, moves bytes inside it, computes softmax,
    and converts float32 numbers."""
    COMPUTE = 1
    """Streams activations through the array."""
    STORE = 2
    """Post-processing."""
    LOAD = 3
    """External memory to the memories on chip."""
    SAVE = 4
    """Activation memory to external memory."""
    FETCH = 5
    """Reads commands; it waits for tokens at a JUMP and gives none."""


class Opcode(IntEnum):
    """Commands; the value is the header's opcode field."""

    END = 0
    """Wait until every unit is idle, then stop with status `done`."""
    MATMUL = 1
    """Stream activations through the array into accumulator tiles (unit COMPUTE)."""
    STORE = 2
    """Requantize accumulator tiles and write them to the activation memory (unit STORE)."""
    FILL = 3
    """Write a constant byte to runs of the activation memory (unit MOVE)."""
    COPY = 4
    """Copy runs of bytes inside the activation memory (unit MOVE)."""
    LOAD = 5
    """Read runs of external memory into a memory on chip (unit LOAD)."""
    SAVE = 6
    """Write runs of the activation memory to external memory (unit SAVE)."""
    JUMP = 7
    """Go on at another word of the command memory (unit FETCH)."""
    SOFTMAX = 8
    """Softmax of rows of the activation memory, one after the other (unit MOVE)."""
    QUANTIZE = 9
    """Runs of float32 numbers in the activation memory to codes, a byte each (unit MOVE)."""
    DEQUANTIZE = 10
    """Runs of codes to float32 numbers, four bytes each (unit MOVE)."""


class Target(IntEnum):
    """The memory that a LOAD writes, and what `m_base` and the `m` strides count."""

    ACTIVATIONS = 0
    """Bytes; any alignment on both sides."""
    WEIGHTS = 1
    """Weight words. In external memory a word takes the next power of two of bytes (at least 4)."""
    PARAMETERS = 2
    """Lane words; what one takes in external memory depends on field `form`."""
    TABLES = 3
    """Bytes: table * 256 + code."""
    COMMANDS = 4
    """32-bit words."""
    EXPONENTS = 5
    """32-bit words: table * 256 + difference."""


class ParameterForm(IntEnum):
    """How external memory holds the lane words of a LOAD of PARAMETERS."""

    SHORT = 0
    """16 bytes a channel: bias, multiplier, then 56 bits of offset above 8 of shift."""
    WIDE = 1
    """32 bytes a channel, as in `PARAMETER_FIELDS`."""
    UNIFORM = 2
    """16 bytes a lane word: a channel as in SHORT, that all lanes get."""
    BIAS = 3
    """4 bytes a channel: its bias; all else stays as it is."""


@dataclass(frozen=True, slots=True)
class CommandLayout:
    """Where each field of a command lies.

    Parameters
    ----------
    opcode: the command.
    unit: the unit that runs it, or None for END (the fetcher itself).
    fields: header and body fields in order.
    offsets: bit offset of each field from the command's first bit.
    words: length in 32-bit words.
    """

    opcode: Opcode
    unit: Unit | None
    fields: tuple[Field, ...]
    offsets: Mapping[str, int]
    words: int


@dataclass(frozen=True, slots=True)
class Command:
    """A decoded command: opcode and every field's value (header fields included)."""

    opcode: Opcode
    values: Mapping[str, int]

    def __getitem__(self, name: str) -> int:
        """The value of field ``name``."""
        return self.values[name]


def _layout(opcode: Opcode, unit: Unit | None, body: tuple[Field, ...]) -> CommandLayout:
    offsets: dict[str, int] = {}
    position = 0
    for item in HEADER + body:
        room = 32 - position % 32
        starts_word = position % 32 == 0
        if item.bits > room and not (item.bits > 32 and starts_word):
            position += room
        offsets[item.name] = position
        position += item.bits
        if len(offsets) == len(HEADER):
            position = 32
    return CommandLayout(opcode, unit, HEADER + body, offsets, -(-position // 32))


COMMANDS: Mapping[Opcode, CommandLayout] = {
    Opcode.END: _layout(Opcode.END, None, ()),
    Opcode.MATMUL: _layout(Opcode.MATMUL, Unit.COMPUTE, MATMUL_FIELDS),
    Opcode.STORE: _layout(Opcode.STORE, Unit.STORE, STORE_FIELDS),
    Opcode.FILL: _layout(Opcode.FILL, Unit.MOVE, FILL_FIELDS),
    Opcode.COPY: _layout(Opcode.COPY, Unit.MOVE, COPY_FIELDS),
    Opcode.LOAD: _layout(Opcode.LOAD, Unit.LOAD, LOAD_FIELDS),
    Opcode.SAVE: _layout(Opcode.SAVE, Unit.SAVE, SAVE_FIELDS),
    Opcode.JUMP: _layout(Opcode.JUMP, Unit.FETCH, JUMP_FIELDS),
    Opcode.SOFTMAX: _layout(Opcode.SOFTMAX, Unit.MOVE, SOFTMAX_FIELDS),
    Opcode.QUANTIZE: _layout(Opcode.QUANTIZE, Unit.MOVE, QUANTIZE_FIELDS),
    Opcode.DEQUANTIZE: _layout(Opcode.DEQUANTIZE, Unit.MOVE, DEQUANTIZE_FIELDS),
}


def count_fault(opcode: Opcode, values: Mapping[str, int], count_bits: int) -> str | None:
    """Return which count of a command does not fit into so many bits; those of transfers do."""
    layout, most = COMMANDS[opcode], (1 << count_bits) - 1
    if layout.unit in (Unit.LOAD, Unit.SAVE):
        return None
    for item in layout.fields:
        value = values.get(item.name, 0)
        if item.is_count and value > most:
            return f"{item.name} of {opcode.name} must be at most {most}, not {value}"
    return None


def encode(opcode: Opcode, **values: int) -> list[int]:
    """Encode one command into its 32-bit words.

    Fields not given are 0, except ``*_count`` and ``*_step``, which are 1, and ``words``.

    Raises
    ------
    KeyError: an unknown field.
    ValueError: a value outside its field: `x_base must be between 0 and 16777215, not -1`.
    """
    layout = COMMANDS[opcode]
    values = {"opcode": int(opcode), "words": layout.words, **values}
    unknown = values.keys() - layout.offsets.keys()
    if unknown:
        raise KeyError(f"{opcode.name} has no field {sorted(unknown)[0]!r}")
    bits = 0
    for item in layout.fields:
        value = int(values.get(item.name, 1 if item.name.endswith(("_count", "_step")) else 0))
        if not item.low <= value <= item.high:
            raise ValueError(
                f"{item.name} must be between {item.low} and {item.high}, not {value!r}"
            )
        bits |= (value & ((1 << item.bits) - 1)) << layout.offsets[item.name]
    return [(bits >> (32 * i)) & 0xFFFFFFFF for i in range(layout.words)]


def decode_one(words: Sequence[int], position: int) -> Command:
    """Decode the command at word ``position``.

    Raises
    ------
    ValueError: an unknown opcode, or words that end too early.
    """
    if position >= len(words):
        raise ValueError("command stream must end with END")
    header = int(words[position])
    try:
        opcode = Opcode(header & 0xF)
    except ValueError:
        raise ValueError(f"opcode at word {position} must be known, not {header & 0xF}") from None
    layout = COMMANDS[opcode]
    chunk = [int(w) for w in words[position : position + layout.words]]
    if len(chunk) < layout.words:
        raise ValueError(
            f"command at word {position} must have {layout.words} words, not {len(chunk)}"
        )
    return Command(opcode, _unpack(layout, chunk))


def decode(words: Sequence[int]) -> Iterator[Command]:
    """Decode commands that lie one after the other, up to and including END.

    Raises
    ------
    ValueError: as of `decode_one`, or a stream that ends before END.
    """
    position = 0
    while True:
        command = decode_one(words, position)
        yield command
        if command.opcode is Opcode.END:
            return
        position += COMMANDS[command.opcode].words


def _unpack(layout: CommandLayout, chunk: Sequence[int]) -> dict[str, int]:
    bits = sum(word << (32 * i) for i, word in enumerate(chunk))
    values = {}
    for item in layout.fields:
        value = (bits >> layout.offsets[item.name]) & ((1 << item.bits) - 1)
        if item.signed and value >> (item.bits - 1):
            value -= 1 << item.bits
        values[item.name] = value
    return values
