"""The parameter memory: requantizer parameters of `lanes` channels a word."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.pipeline import Pipeline
from systolith.hw.words import parameter_data_bits
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.requant import PARAMETER_FIELDS

__all__ = ["ParameterMemory"]


class ParameterMemory(wiring.Component):
    """One memory per parameter field, all read at one address.

    Latency: 1 cycle from `r_address` to the fields, and as many more as `delays` says.

    Parameters
    ----------
    spec: lanes and depth.
    delays: cycles by which a field is read later than the others, 0 if not given: an address that
        waits is shorter than a field.

    Members
    -------
    r_valid, r_address: read a lane word; the fields hold it until the next read.
    bias, multiplier, offset, shift: the fields of all lanes, lane 0 in the low bits.
    h_valid, h_address, h_lanes, h_enable, h_data: host or LOAD write the enabled ones of the eight
        32-bit words of the chosen lanes. The data is `bias_lanes` words 0, of which lane l takes
        number l modulo `bias_lanes`, then words 1 to 7, the same for all lanes.
    """

    def __init__(self, spec: AcceleratorSpec, delays: Mapping[str, int] | None = None):
        self.spec, self.delays = spec, delays or {}
        lanes = spec.post.lanes
        self.address_bits = max(1, (spec.lane_words - 1).bit_length())
        super().__init__(
            {
                "r_valid": In(1, init=1),  # type: ignore[call-arg]  # stubs lack init
                "r_address": In(self.address_bits),
                **{f.name: Out(f.bits * lanes) for f in PARAMETER_FIELDS},
                "h_valid": In(1), "h_address": In(self.address_bits),
                "h_lanes": In(lanes), "h_enable": In(8), "h_data": In(parameter_data_bits(spec)),
            }
        )  # fmt: skip
        self.memories = {
            f.name: Memory(shape=f.bits * lanes, depth=spec.lane_words, init=[])
            for f in PARAMETER_FIELDS
        }

    def elaborate(self, platform: object) -> Module:
        """Fields wider than a bus word are written in 32-bit parts."""
        m = Module()
        lanes, biases = self.spec.post.lanes, self.spec.bias_lanes
        p = Pipeline(m, self.r_valid)
        p["address"] = self.r_address
        asked = [(p.valid, p["address"])]  # by cycles behind the ports
        while len(asked) <= max(self.delays.values(), default=0):
            p.advance()
            asked.append((p.valid, p["address"]))
        for field in PARAMETER_FIELDS:
            part = min(32, field.bits)
            parts = field.bits // part
            m.submodules[f"{field.name}_memory"] = memory = self.memories[field.name]
            read, write = memory.read_port(), memory.write_port(granularity=part)
            late = self.delays.get(field.name, 0)
            enables = Signal(lanes * parts, name=f"{field.name}_enables")
            first = field.word + biases - 1 if field.word else 0
            words = [
                self.h_data.word_select(first + i, 32)[:part]
                for i in range(parts if field.word else biases)
            ]
            chosen = [
                self.h_lanes[lane] & self.h_enable[field.word + i]
                for lane in range(lanes)
                for i in range(parts)
            ]
            with m.If(self.h_valid):
                m.d.comb += enables.eq(Cat(*chosen))
            m.d.comb += [
                read.en.eq(asked[late][0]), read.addr.eq(asked[late][1]),
                getattr(self, field.name).eq(read.data),
                write.addr.eq(self.h_address), write.en.eq(enables),
                write.data.eq(Cat(*words).replicate(lanes * parts // len(words))),
            ]  # fmt: skip
        return m
