"""PostSpec: the parameters of the post-processing lanes."""

from dataclasses import dataclass, field

from systolith.spec.checks import check, check_members
from systolith.spec.quantize import QuantizeForm
from systolith.spec.requant import RequantMode, RequantWidths

__all__ = ["PostSpec"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PostSpec:
    """The post-processing lanes.

    Parameters
    ----------
    lanes: output channels requantized a cycle; must divide the array's columns.
    modes: requantizer modes built into every lane (`RequantMode`), at least one.
    multiplier_bits: signed width of a requantizer's multiplier, 16 to 32 (FLOAT32: 25, DOUBLE: 32).
    accumulator_bits: what accumulators saturate to first, 16 to 32 (FLOAT32 and DOUBLE: 32).
    residual: whether the lanes can add a second operand.
    residual_multipliers: whether that takes four multipliers a lane, or look-up tables.
    product: whether they can multiply by it, too; needs `residual`.
    softmax_tables: tables of 256 exponentials for SOFTMAX, 0 to 4 (0 leaves its unit out).
    quantize_lanes: float32 numbers converted a cycle: 0, or a power of two that fits a line.
    quantize_forms: what QUANTIZE can compute (`QuantizeForm`), one at least.
    """

    lanes: int = 8
    modes: frozenset[RequantMode] = field(
        default_factory=lambda: frozenset(RequantMode) - {RequantMode.MAGNITUDE}
    )
    multiplier_bits: int = 32
    accumulator_bits: int = 32
    residual: bool = True
    residual_multipliers: bool = True
    product: bool = False
    softmax_tables: int = 0
    quantize_lanes: int = 0
    quantize_forms: frozenset[QuantizeForm] = field(default_factory=lambda: frozenset(QuantizeForm))

    def __post_init__(self) -> None:
        check("post.lanes", self.lanes, 1, 64)
        check("post.softmax_tables", self.softmax_tables, 0, 4)
        check("post.quantize_lanes", self.quantize_lanes, 0, 16)
        if self.quantize_lanes & (self.quantize_lanes - 1):
            raise ValueError(
                f"post.quantize_lanes must be a power of two, not {self.quantize_lanes!r}"
            )
        check_members("post.quantize_forms", self.quantize_forms, QuantizeForm)
        if not isinstance(self.modes, frozenset) or not all(
            isinstance(m, RequantMode) for m in self.modes
        ):
            raise TypeError(f"post.modes must be a frozenset of RequantMode, not {self.modes!r}")
        if not self.modes:
            raise ValueError("post.modes must name at least one requantizer mode")
        self._check_widths()
        if not isinstance(self.residual, bool):
            raise TypeError(f"post.residual must be true or false, not {self.residual!r}")
        if not isinstance(self.residual_multipliers, bool):
            raise TypeError(
                "post.residual_multipliers must be true or false, not "
                f"{self.residual_multipliers!r}"
            )
        if not isinstance(self.product, bool):
            raise TypeError(f"post.product must be true or false, not {self.product!r}")
        if self.product and not self.residual:
            raise ValueError("post.residual must be true for post.product, not False")

    def _check_widths(self) -> None:
        """Require widths with which every mode can compute what its definition says."""
        for name in ("multiplier_bits", "accumulator_bits"):
            check(f"post.{name}", getattr(self, name), 16, 32)
        for mode in sorted(self.modes):
            multiplier, accumulator = self.widths.least(mode)
            for name, value, least in (
                ("multiplier_bits", self.multiplier_bits, multiplier),
                ("accumulator_bits", self.accumulator_bits, accumulator),
            ):
                if value < least:
                    raise ValueError(
                        f"post.{name} must be at least {least} for the mode {mode.name.lower()!r},"
                        f" not {value!r}"
                    )

    @property
    def widths(self) -> RequantWidths:
        """The widths of the requantizer's multiplication."""
        return RequantWidths(multiplier=self.multiplier_bits, accumulator=self.accumulator_bits)
