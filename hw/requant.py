"""The requantizer: int32 accumulators to codes of at most 9 bits, one a cycle."""

from collections.abc import Callable, Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.partial_products import cut_operands, partial_product
from systolith.hw.pipeline import Pipeline
from systolith.hw.rounding import clamp, saturate, shift_coarse, shift_fine, sticky_mask
from systolith.spec.requant import FULL_WIDTHS, RequantMode, RequantWidths

__all__ = ["Requantizer"]

DOUBLE, FLOAT32, FIXED = RequantMode.DOUBLE, RequantMode.FLOAT32, RequantMode.FIXED
MAGNITUDE = RequantMode.MAGNITUDE


class Requantizer(wiring.Component):
    """Turn accumulators into codes by the formula of `RequantMode`.

    ``o = clamp(y(wrap32(i_acc + i_bias), i_multiplier, i_shift, i_offset) + i_zero, i_low,
    i_high)``. One sample a cycle, `latency` cycles later; nothing stalls.

    All modes share one multiplier. An operand too wide for the multipliers of FPGAs is cut in two,
    so that 32x32 bits are four products of 17x17, 32x18 two and 18x18 or 25x18 one. FLOAT32 brings
    ``abs(a)`` to 32 significant bits first, with the shifter that DOUBLE uses for its left shift;
    its product then has 47 or 48 bits, so that of its three roundings only the last has a variable
    position.

    Defined for the domain of each mode, for ``i_low <= i_high`` and for an ``i_mode`` in `modes`.
    Of ``i_multiplier`` and ``i_offset`` the bits beyond their widths are ignored.

    Parameters
    ----------
    modes: formulas to build; the others cost nothing.
    widths: of the multiplication; each mode needs its own (`RequantWidths.least`).
    late: parameters come when they are used, as `delays_of` says, and not with the sample.

    Members
    -------
    i_valid: there is a sample.
    i_acc, i_bias, i_multiplier, i_shift, i_offset: the sample and its channel's parameters.
    i_mode, i_zero, i_low, i_high: must hold still from a command's first sample until its last
        one has left.
    o_valid, o: the code.
    """

    i_valid: Signal
    i_acc: Signal
    i_bias: Signal
    i_multiplier: Signal
    i_shift: Signal
    i_offset: Signal
    i_mode: Signal
    i_zero: Signal
    i_low: Signal
    i_high: Signal
    o_valid: Signal
    o: Signal

    def __init__(
        self,
        modes: frozenset[RequantMode],
        widths: RequantWidths = FULL_WIDTHS,
        *,
        late: bool = False,
    ) -> None:
        if not modes or not all(isinstance(mode, RequantMode) for mode in modes):
            raise ValueError(f"modes must be a non-empty set of RequantMode, not {modes!r}")
        for mode in sorted(modes):
            least, have = widths.least(mode), (widths.multiplier, widths.accumulator)
            if have[0] < least[0] or have[1] < least[1]:
                raise ValueError(f"widths for {mode.name} must be at least {least}, not {have}")
        self.modes = frozenset(modes)
        self.widths, self.late = widths, late
        narrow = modes == {FLOAT32}  # its operands have 25 and 24 bits, and no sign
        self._a_bits = 26 if narrow else widths.accumulator
        self._b_bits = widths.FLOAT32_MULTIPLIER if narrow else widths.multiplier
        super().__init__(
            {
                "i_valid": In(1, init=1),  # type: ignore[call-arg]  # stubs lack init
                "i_acc": In(signed(32)), "i_bias": In(signed(32)), "i_multiplier": In(signed(32)),
                "i_shift": In(signed(8)), "i_offset": In(signed(64)), "i_mode": In(unsigned(2)),
                "i_zero": In(signed(9)), "i_low": In(signed(9)), "i_high": In(signed(9)),
                "o_valid": Out(1), "o": Out(signed(9)),
            }
        )  # fmt: skip

    @staticmethod
    def latency_of(modes: frozenset[RequantMode], widths: RequantWidths = FULL_WIDTHS) -> int:
        """Cycles from a sample to its code in a requantizer of these modes and widths."""
        return len(_stages(modes, widths))

    @staticmethod
    def delays_of(
        modes: frozenset[RequantMode], widths: RequantWidths = FULL_WIDTHS
    ) -> dict[str, int]:
        """Cycles from a sample to the stage that first uses each parameter."""
        names = [name for name, _ in _stages(modes, widths)]
        return {
            parameter: min(names.index(user) for user in users if user in names)
            for parameter, users in _USERS.items()
        }

    @property
    def latency(self) -> int:
        """Cycles from a sample to its code at ``o``; depends on `modes` and `widths` only."""
        return self.latency_of(self.modes, self.widths)

    def elaborate(self, platform: object) -> Module:
        """Build the stages, a register after each."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        self._chosen = {mode: Signal(name=mode.name.lower()) for mode in self.modes}  # from stage 1
        m.d.sync += [chosen.eq(self.i_mode == mode) for mode, chosen in self._chosen.items()]
        late = self.delays_of(self.modes, self.widths)
        delays = late if self.late else dict.fromkeys(_USERS, 0)
        p["acc"] = self.i_acc
        for stage, (_, build) in enumerate(_stages(self.modes, self.widths)):
            for name, delay in delays.items():
                if delay == stage:
                    p[name] = getattr(self, f"i_{name}")
            build(self, p)
            p.advance()
        m.d.comb += [self.o_valid.eq(p.valid), self.o.eq(p["code"])]
        return m

    @property
    def _rounds(self) -> bool:
        """Whether a mode rounds after its last shift."""
        return bool(self.modes & {FLOAT32, DOUBLE})

    def _pick(self, table: Mapping[RequantMode, ValueLike]) -> Value:
        """Row of ``table`` for the present mode; rows of modes that are not built vanish."""
        rows = [(mode, Value.cast(row)) for mode, row in table.items() if mode in self.modes]
        result = rows[-1][1]
        for mode, row in rows[:-1]:
            result = Mux(self._chosen[mode], row, result)
        return result

    def _add_bias(self, p: Pipeline) -> None:
        p["operand"] = (p["acc"] + p["bias"])[:32].as_signed()

    def _magnitude(self, p: Pipeline) -> None:
        a = p["operand"]
        sign = {FLOAT32: a < 0, MAGNITUDE: a < 0, DOUBLE: 0, FIXED: 0}
        negative = p.wire("negative", self._pick(sign))
        p["sign"] = negative
        p["operand"] = ((a ^ negative.replicate(32)) + negative)[:32].as_signed()

    def _saturate(self, p: Pipeline) -> None:
        """Saturate FIXED's operand, and MAGNITUDE's, which is not negative, to their width."""
        a, rest = p["operand"], self.widths.accumulator - 1
        own = a[-1]
        table = {FLOAT32: own, DOUBLE: own, FIXED: own, MAGNITUDE: Const(0, 1)}
        sign = p.wire("side", self._pick(table))
        overflow = p.wire("beyond", (a[rest:] ^ sign.replicate(32 - rest)).any())
        p["operand"] = Mux(overflow, Cat((~sign).replicate(rest), sign), a[: rest + 1]).as_signed()

    def _normalise(self, p: Pipeline, *steps: int) -> None:
        """Shift left: by the leading zeros (FLOAT32), by ``max(shift, 0)`` (DOUBLE) or not."""
        start = value = p["operand"].as_unsigned()
        shift, zeros = p["shift"], list[Value]()
        for i, step in enumerate(steps):
            bit = step.bit_length() - 1
            ends = [32 - sum(s for k, s in enumerate(steps[:i]) if n >> k & 1) for n in range(2**i)]
            clear = [~start[end - step : end].any() for end in ends]
            for zero in zeros:
                clear = [Mux(zero, b, a) for a, b in zip(clear[::2], clear[1::2], strict=True)]
            zeros += clear
            go = {FLOAT32: clear[0], DOUBLE: shift[bit] & ~shift[-1]}
            p[f"leading_{step}"] = self._pick(go | {FIXED: Const(0, 1), MAGNITUDE: Const(0, 1)})
            moved = Mux(p[f"leading_{step}"], Cat(Const(0, step), value[: 32 - step]), value)
            value = p.wire(f"normalised_{step}", moved)
        p["operand"] = value.as_signed()

    def _round_operand(self, p: Pipeline) -> None:
        """Round to 24 significant bits, half to even; may carry to 2**24."""
        value = p["operand"].as_unsigned()
        rounded = Cat((value + 0x7F + value[8])[8:33], Const(0, 7))
        table = {FLOAT32: rounded, DOUBLE: value, FIXED: value, MAGNITUDE: value}
        p["operand"] = self._pick(table).as_signed()
        leading = Cat(*(p[f"leading_{step}"] for step in (1, 2, 4, 8, 16)))
        # The last shift if the product has 47 bits: t = |a| * 2**(leading - 8), p24 = p / 2**23.
        p["exponent"] = leading - p["shift"] - 31

    def _multiply(self, p: Pipeline) -> None:
        a, b = p["operand"][: self._a_bits].as_signed(), p["multiplier"][: self._b_bits].as_signed()
        parts_a, parts_b = cut_operands(a, b)
        for i, part_a in enumerate(parts_a):
            for j, part_b in enumerate(parts_b):
                p[f"product_{i}{j}"] = partial_product(part_a, part_b)
        self._cuts = len(parts_a) - 1, len(parts_b) - 1
        self._part = len((parts_b if len(parts_b) > 1 else parts_a)[0])

    def _combine(self, p: Pipeline) -> None:
        """Add the products of parts; the lowest one's lower half is already right."""
        low, (i, j), part = p["product_00"], self._cuts, self._part
        if i + j == 0:
            p["product"] = low
            return
        high = p[f"product_{i}{j}"]
        if i and j:
            middle = p["product_10"] + p["product_01"]
            upper = Cat(low[part:], high).as_signed() + middle
        else:
            upper = low[part:].as_signed() + high
        width = self._a_bits + self._b_bits
        p["product"] = Cat(low[:part], upper[: width - part]).as_signed()

    def _accumulate(self, p: Pipeline) -> None:
        """Add FIXED's offset, or what rounds DOUBLE's high half and FLOAT32's 24 bits."""
        product, offset = p["product"], p["offset"][: self.widths.sum].as_signed()
        addend: dict[RequantMode, ValueLike] = {DOUBLE: 1 << 30, FIXED: offset, MAGNITUDE: offset}
        if FLOAT32 in self.modes:
            p["big"] = big = product[47]
            # Half a unit less one, plus the bit that makes ties go to even.
            addend[FLOAT32] = Mux(
                big,
                Mux(product[24], 1 << 23, (1 << 23) - 1),
                Mux(product[23], 1 << 22, (1 << 22) - 1),
            )
        p["total"] = (product + self._pick(addend))[: self.widths.sum].as_signed()
        if FLOAT32 in self.modes:
            right = p.wire("right", p["exponent"] - big)
            # Left shifts saturate and shifts of more than 25 give 0: so do 0 and 31.
            p["right"] = Mux(right < 0, 0, Mux(right > 31, 31, right[:5]))

    def _shift(self, p: Pipeline) -> None:
        """Start the last shift; DOUBLE and FLOAT32 get a fraction bit below the unit."""
        total, shift = p["total"], p["shift"]
        value: dict[RequantMode, Value] = {DOUBLE: Cat(Const(0, 1), total[31:]).as_signed()}
        count: dict[RequantMode, Value] = {DOUBLE: Mux(shift < 0, -shift, 0)[:5]}
        if FLOAT32 in self.modes:
            rounded = Mux(p["big"], total[24:49], total[23:48])
            value[FLOAT32] = Cat(Const(0, 1), rounded, Const(0, 1)).as_signed()
            count[FLOAT32] = p["right"]
        for mode in (FIXED, MAGNITUDE):
            value[mode], count[mode] = total, shift[:6]
        moves = p.wire("count", self._pick(count))
        mask = p.wire("mask", sticky_mask(moves, 31)) if self._rounds else None
        shift_coarse(p, p.wire("value", self._pick(value)), moves, mask)

    def _round(self, p: Pipeline) -> None:
        """Round to an integer, give FLOAT32 its sign back and add the zero point."""
        shifted = p["shifted"]
        integer = shifted[1:].as_signed()
        up: dict[RequantMode, Value] = {FIXED: Const(0, 1), MAGNITUDE: Const(0, 1)}
        sign: dict[RequantMode, Value] = {DOUBLE: Const(0, 1), FIXED: Const(0, 1)}
        if self._rounds:
            half, sticky = shifted[0], p["sticky"]
            up[DOUBLE] = half & (sticky | ~shifted[-1])
            up[FLOAT32] = half & (sticky | shifted[1])
        if self.modes & {FLOAT32, MAGNITUDE}:
            sign[FLOAT32] = sign[MAGNITUDE] = p["sign"]
        table = {DOUBLE: integer, FLOAT32: integer, FIXED: shifted, MAGNITUDE: shifted}
        integer = self._pick(table)
        negate = p.wire("negate", self._pick(sign))
        width = len(integer)
        flipped = (integer ^ negate.replicate(width))[:width].as_signed()
        # -(integer + up) is ~integer + ~up in one bit: one adder does both signs.
        p["sum"] = flipped + self.i_zero + (self._pick(up) ^ negate)

    def _clamp(self, p: Pipeline) -> None:
        p["code"] = clamp(p["sum"], self.i_low, self.i_high)


_Stage = Callable[[Requantizer, Pipeline], None]
_USERS = {
    "bias": ("add_bias",),
    "multiplier": ("multiply",),
    "shift": ("normalise", "round_operand", "shift"),
    "offset": ("accumulate",),
}
"""Stages that use a parameter; the first of them is where it is needed."""


def _stages(modes: frozenset[RequantMode], widths: RequantWidths) -> list[tuple[str, _Stage]]:
    """The stages that ``modes`` need, in order, with their names."""
    every = frozenset(RequantMode)
    saturating = every if widths.accumulator < 32 else frozenset({MAGNITUDE})
    table: tuple[tuple[str, _Stage, frozenset[RequantMode]], ...] = (
        ("add_bias", Requantizer._add_bias, every),
        ("magnitude", Requantizer._magnitude, frozenset({FLOAT32, MAGNITUDE})),
        ("saturate_operand", Requantizer._saturate, saturating),
        ("normalise", lambda self, p: self._normalise(p, 16, 8), frozenset({FLOAT32, DOUBLE})),
        ("normalise_on", lambda self, p: self._normalise(p, 4, 2, 1), frozenset({FLOAT32, DOUBLE})),
        ("round_operand", Requantizer._round_operand, frozenset({FLOAT32})),
        ("multiply", Requantizer._multiply, every),
        ("combine", Requantizer._combine, every),
        ("accumulate", Requantizer._accumulate, every),
        ("shift", Requantizer._shift, every),
        ("shift_fine", lambda _, p: shift_fine(p), every),
        ("saturate", lambda _, p: saturate(p), every),
        ("round", Requantizer._round, every),
        ("clamp", Requantizer._clamp, every),
    )
    return [(name, build) for name, build, needed_by in table if needed_by & modes]
