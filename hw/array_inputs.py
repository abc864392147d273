"""What stands between the activation memory and the array: bytes become operands."""

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.activation import ActivationMemory
from systolith.hw.delay import delay
from systolith.hw.line_buffer import LineBuffer
from systolith.hw.multiplier import OPERAND_BITS, activation_bits
from systolith.hw.pe import CHOICES
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import Precision

__all__ = ["ArrayInputs"]


class ArrayInputs(wiring.Component):
    """Operands of the array's rows, and of its columns in the depthwise mode, from bytes.

    A byte is an int8 or uint8 code, or, of a W4A4 vector, two int4 or uint4 codes. If the array is
    sparse a pair of its rows has 4 operands: of a sparse vector 4 bytes, else 2 bytes, then 0.

    Latency: the activation memory's ``read_latency`` from the issue of a vector to `o_x` and what
    is beside it, one less to `o_switch`; 0 from `i_x`. Of `o_lane` and `o_d` as of `LineBuffer`.

    Parameters
    ----------
    spec: array.

    Members
    -------
    i_x: `rows` bytes of the activation memory; if the array is sparse twice as many.
    i_signed, i_switch: of the vector that is issued: its codes are signed; it is the first to use
        the loaded weight tile.
    i_precision, o_precision: its `Precision`. Only with precisions of nibbles.
    i_sparse: it is a vector of `WeightFormat.TWO_OF_FOUR`. Only if the array is sparse.
    i_depthwise, i_column, i_expand: it is a pixel of a depthwise stream, see `LineBuffer`. Only
        with a depthwise mode.
    i_pairs, i_below: as of `LineBuffer`. Only with `AcceleratorSpec.row_pairs`.
    o_x, o_switch, o_lane, o_d: to the array, as it wants them.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        array = spec.array
        self.x_bits = activation_bits(array.precisions)
        nibbles = {"i_precision": In(2), "o_precision": Out(2)}
        depthwise = {
            "i_depthwise": In(1), "i_column": In(range(array.depthwise_width)), "i_expand": In(2),
            "o_lane": Out(1), "o_d": Out(OPERAND_BITS * array.depthwise_lines * array.columns),
        }  # fmt: skip
        pairs = {"i_pairs": In(1), "i_below": In(8 * array.rows)}
        super().__init__(
            (nibbles if array.nibbles else {})
            | (depthwise if array.depthwise_lines else {})
            | (pairs if spec.row_pairs else {})
            | ({"i_sparse": In(1)} if array.sparse else {})
            | {
                "i_x": In(8 * spec.vector_bytes), "i_signed": In(1), "i_switch": In(1),
                "o_x": Out(self.x_bits * spec.vector_bytes), "o_switch": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Signs by the delayed control; line buffers beside, if there are any."""
        m = Module()
        latency = ActivationMemory.read_latency
        is_signed = delay(m, self.i_signed, latency, "signed")
        precision: Value = Const(Precision.W8A8, 2)
        if self.spec.array.nibbles:
            precision = delay(m, self.i_precision, latency, "precision")
            m.d.comb += self.o_precision.eq(precision)
        operands = [
            self._operand(byte, is_signed, precision == Precision.W4A4) for byte in self._bytes(m)
        ]
        m.d.comb += [
            self.o_x.eq(Cat(*operands)),
            self.o_switch.eq(delay(m, self.i_switch, latency - 1, "switch", reset=True)),
        ]
        if self.spec.array.depthwise_lines:
            self._lines(m)
        return m

    def _bytes(self, m: Module) -> list[Value]:
        """A byte for every operand."""
        count = self.spec.vector_bytes
        read: list[Value] = [self.i_x.word_select(k, 8) for k in range(count)]
        if not self.spec.array.sparse:
            return read
        sparse = delay(m, self.i_sparse, ActivationMemory.read_latency, "sparse")
        half = CHOICES // 2
        pairs = [
            read[half * (k // CHOICES) + k % CHOICES] if k % CHOICES < half else Const(0, 8)
            for k in range(count)
        ]
        return [Mux(sparse, whole, pair) for whole, pair in zip(read, pairs, strict=True)]

    def _operand(self, byte: Value, is_signed: Value, is_pair: Value) -> Value:
        """One operand, or two of half the width."""
        whole = Cat(byte, byte[7] & is_signed)
        if self.x_bits == OPERAND_BITS:
            return whole
        pair = Cat(byte[:4], byte[3] & is_signed, byte[4:], byte[7] & is_signed)
        return Mux(is_pair, pair, Cat(whole, Const(0, self.x_bits - OPERAND_BITS)))

    def _lines(self, m: Module) -> None:
        """The pixels above a pixel beside it."""
        m.submodules.lines = lines = LineBuffer(self.spec)
        m.d.comb += [
            lines.i_valid.eq(self.i_depthwise), lines.i_column.eq(self.i_column),
            lines.i_expand.eq(self.i_expand), lines.i_signed.eq(self.i_signed),
            lines.i_x.eq(self.i_x[: len(lines.i_x)]),
            self.o_lane.eq(lines.o_lane), self.o_d.eq(lines.o),
        ]  # fmt: skip
        if self.spec.row_pairs:
            m.d.comb += [lines.i_pairs.eq(self.i_pairs), lines.i_below.eq(self.i_below)]
