"""A post-processing lane: requantizer, residual operand and byte table in a row."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.pipeline import Pipeline
from systolith.hw.requant import Requantizer
from systolith.hw.residual import ResidualAdd
from systolith.spec.requant import (
    FULL_WIDTHS,
    PARAMETER_FIELDS,
    ParameterField,
    RequantMode,
    RequantWidths,
)

__all__ = ["LANE_CONTROL", "PostLane"]

LANE_CONTROL = data.StructLayout(
    {
        "mode": unsigned(2),
        "zero": signed(9),
        "low": signed(9),
        "high": signed(9),
        "residual": unsigned(1),
        "r_product": unsigned(1),
        "r_zero_r": signed(9),
        "r_multiplier_y": signed(32),
        "r_multiplier_r": signed(32),
        "r_offset": signed(48),
        "r_shift": unsigned(6),
        "r_rounding": unsigned(2),
        "r_zero": signed(9),
        "r_low": signed(9),
        "r_high": signed(9),
        "table": unsigned(1),
        "table_index": unsigned(4),
    }
)
"""What a STORE command tells its lanes; the names and meanings are those of the command."""

_RESIDUAL_INPUTS = {
    "i_multiplier_y": "r_multiplier_y",
    "i_multiplier_r": "r_multiplier_r",
    "i_offset": "r_offset",
    "i_shift": "r_shift",
    "i_rounding": "r_rounding",
    "i_zero": "r_zero",
    "i_low": "r_low",
    "i_high": "r_high",
    "i_enable": "residual",
    "i_product": "r_product",
    "i_zero_r": "r_zero_r",
}


class PostLane(wiring.Component):
    """Turn one channel's accumulators into output bytes, one a cycle.

    ``z = Requantizer``, then ``z = ResidualAdd(z, i_r)`` if ``residual``, then
    ``o = table[table_index][z & 255]`` if ``table``, else ``o = z & 255``; `latency` cycles later,
    the same for every command. Nothing stalls.

    Defined for control fields that ask only for what is built, and ``table_index < tables``.

    Parameters
    ----------
    modes: formulas of the requantizer to build.
    residual: whether to build the residual add.
    residual_multipliers: whether it has multipliers, see `ResidualAdd`.
    product: whether it can multiply, too.
    tables: 256-byte tables, 0 to 16.
    table_attributes: what synthesis is told about their memory.
    widths: of the requantizer's multiplication.
    late: parameters come when the requantizer uses them (`Requantizer.delays_of`).

    Members
    -------
    i_valid: there is a sample.
    i_acc, i_bias, i_multiplier, i_shift, i_offset: the sample and its channel's parameters.
    i_r: value of the residual operand, with the sample.
    i_control: `LANE_CONTROL`; must hold still from a command's first sample until `latency`
        cycles after its last one.
    i_table_write, i_table_address, i_table_data: write a table byte, at index * 256 + code; a
        byte must not be written while a sample may look it up.
    o_valid, o: the byte.
    """

    i_valid: Signal
    i_acc: Signal
    i_bias: Signal
    i_multiplier: Signal
    i_shift: Signal
    i_offset: Signal
    i_r: Signal
    i_control: data.View
    i_table_write: Signal
    i_table_address: Signal
    i_table_data: Signal
    o_valid: Signal
    o: Signal

    def __init__(
        self,
        modes: frozenset[RequantMode],
        *,
        residual: bool,
        tables: int,
        product: bool = False,
        residual_multipliers: bool = True,
        table_attributes: Mapping[str, str] | None = None,
        widths: RequantWidths = FULL_WIDTHS,
        late: bool = False,
    ) -> None:
        if not 0 <= tables <= 16:
            raise ValueError(f"tables must be 0 to 16, not {tables!r}")
        self.residual = residual
        self.product = product
        self.residual_multipliers = residual_multipliers
        self.tables, self.table_attributes = tables, dict(table_attributes or {})
        self.modes = modes
        self.widths, self.late = widths, late
        super().__init__(
            {
                "i_valid": In(1, init=1),  # type: ignore[call-arg]  # stubs lack init
                "i_acc": In(signed(32)),
                **{f"i_{f.name}": In(_shape(f)) for f in PARAMETER_FIELDS},
                "i_r": In(signed(9)),
                "i_control": In(LANE_CONTROL),
                "i_table_write": In(1),
                "i_table_address": In(12),
                "i_table_data": In(8),
                "o_valid": Out(1),
                "o": Out(8),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a sample to its byte; depends on what is built, not on the command."""
        latency = Requantizer.latency_of(self.modes, self.widths)
        latency += ResidualAdd.latency if self.residual else 0
        return latency + (1 if self.tables else 0)

    def elaborate(self, platform: object) -> Module:
        """Put what is built in a row."""
        m = Module()
        m.submodules.requantizer = requantizer = Requantizer(
            self.modes, self.widths, late=self.late
        )
        for name in ("valid", "acc", "bias", "multiplier", "shift", "offset"):
            m.d.comb += getattr(requantizer, f"i_{name}").eq(getattr(self, f"i_{name}"))
        for name in ("mode", "zero", "low", "high"):
            m.d.comb += getattr(requantizer, f"i_{name}").eq(getattr(self.i_control, name))
        valid, value = requantizer.o_valid, requantizer.o
        if self.residual:
            valid, value = self._add_residual(m, valid, value)
        if self.tables:
            self._look_up(m, valid, value)
        else:
            m.d.comb += [self.o_valid.eq(valid), self.o.eq(value[:8])]
        return m

    def _add_residual(self, m: Module, valid: Signal, value: Signal) -> tuple[Signal, Signal]:
        """Append the residual add, whose operand waits as long as the requantizer takes."""
        m.submodules.residual_add = residual_add = ResidualAdd(
            product=self.product, multipliers=self.residual_multipliers
        )
        p = Pipeline(m, self.i_valid)
        p["residual"] = self.i_r
        p.advance(Requantizer.latency_of(self.modes, self.widths))
        m.d.comb += [
            residual_add.i_valid.eq(valid),
            residual_add.i_y.eq(value),
            residual_add.i_r.eq(p["residual"]),
        ]
        for port, field in _RESIDUAL_INPUTS.items():
            m.d.comb += getattr(residual_add, port).eq(self.i_control[field])
        return residual_add.o_valid, residual_add.o

    def _look_up(self, m: Module, valid: Signal, value: Signal) -> None:
        """Append the tables: a memory of their bytes, read in one cycle."""
        m.submodules.tables = memory = Memory(
            shape=8, depth=256 * self.tables, init=[], attrs=self.table_attributes
        )
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.i_table_write),
            write.addr.eq(self.i_table_address),
            write.data.eq(self.i_table_data),
            read.en.eq(valid),
            read.addr.eq(Cat(value[:8], self.i_control.table_index)),
        ]
        p = Pipeline(m, valid)
        p["code"] = value[:8]
        p.advance()
        m.d.comb += [
            self.o_valid.eq(p.valid),
            self.o.eq(Mux(self.i_control.table, read.data, p["code"])),
        ]


def _shape(field: ParameterField) -> Shape:
    return Shape(field.bits, field.signed)
