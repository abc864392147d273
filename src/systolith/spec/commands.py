"""Commands: one field table makes the encoder, golden's decoder, the hardware layout and the docs.

A command is a header word followed by its fields, packed in table order into little-endian 32-bit
words; a field never straddles a word unless it is wider than 32 bits (then it starts a word).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

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
    "decode",
    "decode_one",
    "encode",
]


class Unit(IntEnum):
    """The in-order units; the value is the bit in the wait and signal masks."""

    MOVE = 0
    """Writes constants to the activation memory, moves bytes inside it, and computes softmax."""
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
class Field:
    """A field of a command.

    Parameters
    ----------
    name: the same name in golden, hw and docs.
    bits: width.
    signed: two's complement if true.
    doc: one sentence; units are bytes, vectors or counts as it says.
    """

    name: str
    bits: int
    signed: bool = False
    doc: str = ""

    @property
    def low(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value."""
        return (1 << (self.bits - (1 if self.signed else 0))) - 1


HEADER = (
    Field("opcode", 4, doc="`Opcode`."),
    Field("wait", 6, doc="Bit u: consume one token that unit u signalled, before starting."),
    Field("signal", 6, doc="Bit u: give one token to unit u, after finishing."),
    Field(
        "stamp",
        1,
        doc="Units STORE and MOVE: append the cycle counter to the stamps when finished.",
    ),
    Field("words", 5, doc="Length of the command in 32-bit words, header included."),
)

MATMUL_LOOPS = ("t", "n", "ky", "kx", "kc", "my", "mx")
"""Loop nest of MATMUL, outermost first: tiles, output-channel tiles, reduction (3), pixels (2)."""
STORE_LOOPS = ("t", "n", "my", "mx")
"""Loop nest of STORE, outermost first: the same tiles, channel tiles and pixels."""
FILL_LOOPS = ("d2", "d1", "d0")
"""Loop nest of FILL, outermost first; each innermost step writes one run."""
COPY_LOOPS = ("d3", "d2", "d1", "d0")
"""Loop nest of COPY, outermost first; each innermost step copies one run."""
SOFTMAX_LOOPS = ("row",)
"""Loop nest of SOFTMAX; each step computes one row."""
TRANSFER_LOOPS = ("d2", "d1", "d0")
"""Loop nest of LOAD and SAVE, outermost first; each innermost step moves one run."""

_ADDRESS = 24


def _loops(names: Sequence[str], *streams: str, bits: int = _ADDRESS) -> tuple[Field, ...]:
    """Count fields of a loop nest and, per stream, its signed strides."""
    counts = tuple(
        Field(f"{n}_count", 16, doc=f"Iterations of loop {n}, at least 1.") for n in names
    )
    strides = tuple(
        Field(f"{s}_{n}_stride", bits, True, f"Bytes stream {s} advances per iteration of {n}.")
        for s in streams
        for n in names
    )
    return counts + strides


_MATMUL = (
    Field("x_base", _ADDRESS, doc="Activation byte address of the first row vector."),
    Field("x_signed", 1, doc="Activations are int8 (1) or uint8 (0)."),
    Field("w_signed", 1, doc="Weights are int8 (1) or uint8 (0)."),
    Field(
        "w_hold", 1, doc="1: one weight tile for the whole command; 0: a new one for each (n, k)."
    ),
    Field("maximum", 1, doc="Passes combine by maximum (1) or sum (0)."),
    Field(
        "w_zero", 9, True, "Weight zero point, subtracted from every weight at the array's edge."
    ),
    Field("w_base", _ADDRESS, doc="Weight word address; tiles of `rows` words follow each other."),
    Field(
        "depthwise",
        1,
        doc="1: column c filters channel c alone; loops my and mx count the pixels that are read.",
    ),
    Field("expand", 2, doc="Depthwise: column c reads byte c >> expand of a vector."),
    Field("y_first", 8, doc="Depthwise: row of the last pixel that the first output needs."),
    Field("x_first", 16, doc="Depthwise: column of that pixel."),
    Field("y_step", 4, doc="Depthwise: rows between outputs, at least 1."),
    Field("x_step", 4, doc="Depthwise: columns between outputs, at least 1."),
    Field("oy_count", 16, doc="Depthwise: rows of outputs."),
    Field("ox_count", 16, doc="Depthwise: outputs in a row."),
    *_loops(MATMUL_LOOPS, "x"),
)
_STORE = (
    Field("y_base", _ADDRESS, doc="Activation byte address of the first output vector."),
    Field("mode", 2, doc="`RequantMode`."),
    Field("residual", 1, doc="Add the residual stream."),
    Field("r_signed", 1, doc="Residual operand is int8 (1) or uint8 (0)."),
    Field("table", 1, doc="Map the result through a table."),
    Field("table_index", 4, doc="Which table."),
    Field(
        "p_base",
        16,
        doc="Parameter address in lane words; beat b of tile n uses p_base+n*p_stride+b.",
    ),
    Field("p_stride", 16, doc="Lane words a channel tile."),
    Field("channels", 16, doc="Output channels over all of loop n."),
    Field("tile_channels", 8, doc="Output channels of a full tile (at most the array's columns)."),
    Field("zero", 9, True, "Output zero point of the requantizer."),
    Field("low", 9, True, "Lower clamp of the requantizer."),
    Field("high", 9, True, "Upper clamp of the requantizer."),
    Field("r_base", _ADDRESS, doc="Activation byte address of the first residual vector."),
    Field("r_shift", 6, doc="Shift of the residual add."),
    Field("r_rounding", 2, doc="`ResidualRounding`."),
    Field("r_zero", 9, True, "Zero point added after the residual add's shift."),
    Field("r_low", 9, True, "Lower clamp after the residual add."),
    Field("r_high", 9, True, "Upper clamp after the residual add."),
    Field("r_multiplier_y", 32, True, "Factor of the requantized value."),
    Field("r_multiplier_r", 32, True, "Factor of the residual operand."),
    Field("r_offset", 48, True, "Constant of the residual add."),
    *_loops(STORE_LOOPS, "y"),
    *_loops(STORE_LOOPS, "r")[len(STORE_LOOPS) :],
)
_FILL = (
    Field("d_base", _ADDRESS, doc="Activation byte address of the first run."),
    Field("value", 8, doc="The byte to write."),
    Field("length", 16, doc="Bytes in a run, at least 1."),
    *_loops(FILL_LOOPS, "d"),
)
_COPY = (
    Field("s_base", _ADDRESS, doc="Activation byte address of the first run to read."),
    Field(
        "d_base",
        _ADDRESS,
        doc="Activation byte address of the first run to write; "
        "no byte may be both read and written by a command.",
    ),
    Field("length", 16, doc="Bytes in a run, at least 1."),
    *_loops(COPY_LOOPS, "s", "d"),
)
_SOFTMAX = (
    Field("s_base", _ADDRESS, doc="Activation byte address of the first row to read."),
    Field("signed", 1, doc="Codes that are read are int8 (1) or uint8 (0)."),
    Field("form", 2, doc="`SoftmaxForm`."),
    Field("table", 2, doc="Which table of exponentials; QUOTIENT reads the next one, too."),
    Field("d_base", _ADDRESS, doc="Activation byte address of the first row to write."),
    Field("zero", 9, True, doc="Added to the rounded result."),
    Field("low", 9, True, doc="Lower clamp."),
    Field("high", 9, True, doc="Upper clamp."),
    Field("scale", 32, doc="INVERSE: bits of the output scale, a positive float32 number."),
    Field("length", 16, doc="Codes in a row, at least 1."),
    *_loops(SOFTMAX_LOOPS, "s", "d"),
)
_TRANSFER = (
    Field("e_base", 32, doc="External byte address of the first run, from register `memory`."),
    Field("m_base", _ADDRESS, doc="Where the first run lies on chip, in the target's units."),
    Field("length", _ADDRESS, doc="Bytes of external memory in a run, at least 1."),
    *_loops(TRANSFER_LOOPS, "e", bits=32),
    *_loops(TRANSFER_LOOPS, "m")[len(TRANSFER_LOOPS) :],
)
_LOAD = (
    Field("target", 3, doc="`Target`."),
    Field("form", 2, doc="`ParameterForm`, of PARAMETERS."),
    *_TRANSFER,
)
_JUMP = (Field("address", 16, doc="Word of the command memory to go on at."),)


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
    Opcode.MATMUL: _layout(Opcode.MATMUL, Unit.COMPUTE, _MATMUL),
    Opcode.STORE: _layout(Opcode.STORE, Unit.STORE, _STORE),
    Opcode.FILL: _layout(Opcode.FILL, Unit.MOVE, _FILL),
    Opcode.COPY: _layout(Opcode.COPY, Unit.MOVE, _COPY),
    Opcode.LOAD: _layout(Opcode.LOAD, Unit.LOAD, _LOAD),
    Opcode.SAVE: _layout(Opcode.SAVE, Unit.SAVE, _TRANSFER),
    Opcode.JUMP: _layout(Opcode.JUMP, Unit.FETCH, _JUMP),
    Opcode.SOFTMAX: _layout(Opcode.SOFTMAX, Unit.MOVE, _SOFTMAX),
}


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
