"""The fields of every command: what the encoder, golden, the hardware and the docs read."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "COPY_FIELDS",
    "COPY_LOOPS",
    "COUNT_BITS",
    "DEQUANTIZE_FIELDS",
    "FILL_FIELDS",
    "FILL_LOOPS",
    "HEADER",
    "JUMP_FIELDS",
    "LOAD_FIELDS",
    "MATMUL_FIELDS",
    "MATMUL_LOOPS",
    "QUANTIZE_FIELDS",
    "SAVE_FIELDS",
    "SOFTMAX_FIELDS",
    "SOFTMAX_LOOPS",
    "STORE_FIELDS",
    "STORE_LOOPS",
    "TRANSFER_LOOPS",
    "Field",
]

COUNT_BITS = 16
"""Width of a count in a command."""


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

    @property
    def is_count(self) -> bool:
        """Whether `AcceleratorSpec.count_bits` limits it."""
        counts = self.name.endswith("_count") or self.name in ("length", "channels")
        return counts and self.bits == COUNT_BITS


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
"""Loop nest of COPY, outermost first; each innermost step copies one run;
QUANTIZE and DEQUANTIZE have the same."""
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


MATMUL_FIELDS = (
    Field("x_base", _ADDRESS, doc="Activation byte address of the first row vector."),
    Field("x_signed", 1, doc="Activations are int8 (1) or uint8 (0)."),
    Field("w_signed", 1, doc="Weights are int8 (1) or uint8 (0)."),
    Field(
        "w_hold", 1, doc="1: one weight tile for the whole command; 0: a new one for each (n, k)."
    ),
    Field("precision", 2, doc="`Precision`."),
    Field("w_format", 3, doc="`WeightFormat`."),
    Field("book_hold", 1, doc="Codebook: one for the whole command (1) or for each n (0)."),
    Field("maximum", 1, doc="Passes combine by maximum (1) or sum (0)."),
    Field(
        "accumulate",
        1,
        doc="1: the first pass adds to what the MATMUL before left, of as many pixels.",
    ),
    Field(
        "partial",
        1,
        doc="1: the last pass leaves its sums for the next MATMUL; no results. t and n are 1.",
    ),
    Field(
        "w_zero",
        9,
        True,
        "Weight zero point, subtracted from every weight at the array's edge; a code of weights of "
        "4 bits.",
    ),
    Field("w_base", _ADDRESS, doc="Weight word address; tiles of `rows` words follow each other."),
    Field(
        "depthwise",
        1,
        doc="1: column c filters channel c alone; loops my and mx count the pixels that are read.",
    ),
    Field("expand", 2, doc="Depthwise: column c reads byte c >> expand of a vector."),
    Field(
        "pairs",
        1,
        doc="Depthwise: rows are read in pairs (0, 1), (2, 3), ...; see "
        "`AcceleratorSpec.pair_fault`.",
    ),
    Field("y_first", 8, doc="Depthwise: row of the last pixel that the first output needs."),
    Field("x_first", 16, doc="Depthwise: column of that pixel."),
    Field("y_step", 4, doc="Depthwise: rows between outputs, at least 1."),
    Field("x_step", 4, doc="Depthwise: columns between outputs, at least 1."),
    Field("oy_count", 16, doc="Depthwise: rows of outputs."),
    Field("ox_count", 16, doc="Depthwise: outputs in a row."),
    *_loops(MATMUL_LOOPS, "x"),
)
STORE_FIELDS = (
    Field("y_base", _ADDRESS, doc="Activation byte address of the first output vector."),
    Field("mode", 2, doc="`RequantMode`."),
    Field("residual", 1, doc="Combine the result with the residual stream."),
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
    Field(
        "tile_channels",
        8,
        doc="Output channels of a full tile: at most the array's columns, after W4A8 twice them.",
    ),
    Field("zero", 9, True, "Output zero point of the requantizer."),
    Field("low", 9, True, "Lower clamp of the requantizer."),
    Field("high", 9, True, "Upper clamp of the requantizer."),
    Field(
        "packed",
        1,
        doc="1: byte i is the low 4 bits of a tile's channels 2i and, above them, 2i + 1 (0 if "
        "there is none); residual operands stay bytes. Needs an array with W4A4.",
    ),
    Field("r_product", 1, doc="The residual stream is multiplied (1) or added (0)."),
    Field("r_zero_r", 9, True, "Product: zero point of the residual operand."),
    Field("r_base", _ADDRESS, doc="Activation byte address of the first residual vector."),
    Field("r_shift", 6, doc="Shift of the residual add."),
    Field("r_rounding", 2, doc="`ResidualRounding`."),
    Field("r_zero", 9, True, "Zero point added after the residual shift."),
    Field("r_low", 9, True, "Lower clamp after the residual add."),
    Field("r_high", 9, True, "Upper clamp after the residual add."),
    Field("r_multiplier_y", 32, True, "Factor of the requantized value, or of the product."),
    Field(
        "r_multiplier_r",
        32,
        True,
        "Factor of the residual operand; product: added where the product is negative.",
    ),
    Field("r_offset", 48, True, "Constant of the residual add."),
    *_loops(STORE_LOOPS, "y"),
    *_loops(STORE_LOOPS, "r")[len(STORE_LOOPS) :],
)
FILL_FIELDS = (
    Field("d_base", _ADDRESS, doc="Activation byte address of the first run."),
    Field("value", 8, doc="The byte to write."),
    Field("length", 16, doc="Bytes in a run, at least 1."),
    *_loops(FILL_LOOPS, "d"),
)
COPY_FIELDS = (
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
SOFTMAX_FIELDS = (
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
_SCALE = Field("scale", 32, doc="Bits of the scale, a positive, finite and normal float32 number.")
QUANTIZE_FIELDS = (
    *COPY_FIELDS[:2],
    Field("length", 16, doc="Numbers in a run, at least 1."),
    *COPY_FIELDS[3:],
    Field("form", 2, doc="`QuantizeForm`."),
    Field("zero", 9, True, doc="Zero point, from `low` to `high`."),
    Field("low", 9, True, doc="Least code."),
    Field("high", 9, True, doc="Greatest code."),
    _SCALE,
    Field("inverse", 32, doc="Bits of 1 / scale, rounded to float32."),
)
DEQUANTIZE_FIELDS = (
    *COPY_FIELDS[:2],
    Field("length", 16, doc="Codes in a run, at least 1."),
    *COPY_FIELDS[3:],
    Field("signed", 1, doc="Codes are int8 (1) or uint8 (0)."),
    Field("zero", 9, True, doc="Zero point."),
    _SCALE,
)
SAVE_FIELDS = (
    Field("e_base", 32, doc="External byte address of the first run, from register `memory`."),
    Field("m_base", _ADDRESS, doc="Where the first run lies on chip, in the target's units."),
    Field("length", _ADDRESS, doc="Bytes of external memory in a run, at least 1."),
    *_loops(TRANSFER_LOOPS, "e", bits=32),
    *_loops(TRANSFER_LOOPS, "m")[len(TRANSFER_LOOPS) :],
)
LOAD_FIELDS = (
    Field("target", 3, doc="`Target`."),
    Field("form", 2, doc="`ParameterForm`, of PARAMETERS."),
    *SAVE_FIELDS,
)
JUMP_FIELDS = (Field("address", 16, doc="Word of the command memory to go on at."),)
