"""ArraySpec: the parameters of the systolic array."""

from dataclasses import dataclass

from systolith.spec.checks import check, check_members
from systolith.spec.precision import MultiplierForm, Precision, WeightFormat

__all__ = ["ArraySpec"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArraySpec:
    """The systolic array.

    Parameters
    ----------
    rows: reduction dimension, 1 to 64.
    columns: output channels side by side, 1 to 64.
    pipelined: a register between multiplier and adder in every PE (one more cycle of latency).
    multiplier_stages: with `pipelined`, 1: registers at a multiplier's operands, 2: and inside it.
    depthwise_lines: kernel rows that one depthwise pass covers, 1 to 8, at most `rows`; every line
        gets ``rows // depthwise_lines`` array rows for its taps. 0 leaves the depthwise mode out.
    depthwise_width: pixels of an image row that the line buffers hold (a wider row is cut).
    precisions: what the elements can multiply (`Precision`), w8a8 at least.
    multiplier: how they do it (`MultiplierForm`).
    weight_formats: formats that the weights' decoder knows (`WeightFormat`), dense at least; with
        two_of_four `rows` must be even.
    """

    rows: int = 16
    columns: int = 16
    pipelined: bool = False
    multiplier_stages: int = 0
    depthwise_lines: int = 0
    depthwise_width: int = 256
    precisions: frozenset[Precision] = frozenset({Precision.W8A8})
    multiplier: MultiplierForm = MultiplierForm.GENERIC
    weight_formats: frozenset[WeightFormat] = frozenset({WeightFormat.DENSE})

    def __post_init__(self) -> None:
        check("array.rows", self.rows, 1, 64)
        check("array.columns", self.columns, 1, 64)
        check("array.depthwise_lines", self.depthwise_lines, 0, min(8, self.rows))
        check("array.depthwise_width", self.depthwise_width, 4, 4096)
        if not isinstance(self.pipelined, bool):
            raise TypeError(f"array.pipelined must be true or false, not {self.pipelined!r}")
        check("array.multiplier_stages", self.multiplier_stages, 0, 2)
        if self.multiplier_stages and not self.pipelined:
            raise ValueError(
                "array.multiplier_stages must be 0 unless array.pipelined is true, not "
                f"{self.multiplier_stages!r}"
            )
        check_members("array.precisions", self.precisions, Precision, Precision.W8A8)
        check_members("array.weight_formats", self.weight_formats, WeightFormat, WeightFormat.DENSE)
        if self.sparse and self.rows % 2:
            raise ValueError(
                f"array.rows must be even for the weight format two_of_four, not {self.rows!r}"
            )
        if not isinstance(self.multiplier, MultiplierForm):
            raise TypeError(f"array.multiplier must be a MultiplierForm, not {self.multiplier!r}")

    @property
    def latency(self) -> int:
        """Cycles from a vector's arrival at the array to its sum in column 0."""
        return self.rows + int(self.pipelined) + self.multiplier_stages

    @property
    def nibbles(self) -> bool:
        """Whether there is a precision whose weights have 4 bits."""
        return len(self.precisions) > 1

    @property
    def sparse(self) -> bool:
        """Whether elements choose their activation: with `WeightFormat.TWO_OF_FOUR`."""
        return WeightFormat.TWO_OF_FOUR in self.weight_formats

    @property
    def column_sums(self) -> int:
        """Sums that a column makes at a time: 2 with `Precision.W4A8`, else 1."""
        return 2 if Precision.W4A8 in self.precisions else 1

    @property
    def packs(self) -> bool:
        """Whether STORE can pack two codes into a byte: where `Precision.W4A4` can read them."""
        return Precision.W4A4 in self.precisions

    @property
    def columns_together(self) -> int:
        """Neighbouring columns that work on the same activation in the same cycle, because they
        share a multiplier: 2 with `MultiplierForm.PACKED27`, if the array does bytes alone, and no
        column has activations of its own."""
        if self.nibbles or self.depthwise_lines or self.sparse or self.columns == 1:
            return 1
        return 2 if self.multiplier is MultiplierForm.PACKED27 else 1

    def column_delay(self, column: int) -> int:
        """Cycles from a vector's sum in column 0 to the one in this column."""
        return column // self.columns_together

    @property
    def depthwise_taps(self) -> int:
        """Taps of a kernel row that one depthwise pass covers; 0 without the depthwise mode."""
        return self.rows // self.depthwise_lines if self.depthwise_lines else 0
