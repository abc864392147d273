"""What a reader of the activation memory gets: any bytes of two lines that were read together."""

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.lines import read_window, swapped_bytes
from systolith.hw.pipeline import Pipeline
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["ReadWindow"]


class ReadWindow(wiring.Component):
    """Choose the region, then the bytes of a line's length from any place on.

    Latency: `latency` cycles from a request to `o`, which holds until the next one is as far.

    Parameters
    ----------
    spec: regions and the line width.
    late: lines arrive two cycles after their request and are used at once; else they arrive one
        cycle after it, and a register follows.

    Members
    -------
    i_valid, i_place, i_region: a request: its address modulo two lines, its region.
    even{g}, odd{g}: what the banks of region g read.
    o: a line of bytes.
    o_other: the line of the pair in which the first byte is not.
    """

    latency = 3

    def __init__(self, spec: AcceleratorSpec, *, late: bool = False):
        self.spec, self.late = spec, late
        line, regions = spec.line_bytes, spec.memory.activation_regions
        super().__init__(
            {
                "i_valid": In(1), "i_place": In(range(2 * line)), "i_region": In(range(regions)),
                **{f"{bank}{g}": In(8 * line) for g in range(regions) for bank in ("even", "odd")},
                "o": Out(8 * line), "o_other": Out(8 * line),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """The choice of bytes is made a cycle before there are any."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        p["place"], p["region"] = self.i_place, self.i_region
        p.advance()
        p["swapped"] = swapped_bytes(p["place"], self.spec.line_bytes)
        if self.late:
            p.advance()
        for bank in ("even", "odd"):
            p[bank] = self._chosen(bank, p["region"])
        if not self.late:
            p.advance()
        place = p["place"]
        p["window"] = read_window(m, p["even"], p["odd"], p["swapped"], place[:-1])
        p["other"] = Mux(place[-1], p["even"], p["odd"])
        p.advance()
        assert p.stage == self.latency
        m.d.comb += [self.o.eq(p["window"]), self.o_other.eq(p["other"])]
        return m

    def _chosen(self, bank: str, region: Value) -> Value:
        """The line of a bank in the region of the request."""
        chosen: Value = getattr(self, f"{bank}0")
        for g in range(1, self.spec.memory.activation_regions):
            chosen = Mux(region == g, getattr(self, f"{bank}{g}"), chosen)
        return chosen
