"""External memory: the load and the save unit with the AXI4 master between them and the bus."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.axi import axi4, axi4_read, axi4_write, forward
from systolith.hw.dma_read import ReadMaster
from systolith.hw.dma_write import WriteMaster
from systolith.hw.load import LoadUnit
from systolith.hw.save import SaveUnit
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.registers import ErrorCode, Window

__all__ = ["ExternalMemory", "connect_constants", "load_windows"]


class ExternalMemory(wiring.Component):
    """Both transfer units and both sides of the master.

    The units are reset while no program runs. The master is not: bursts that are under way when a
    run stops end as the bus protocol demands, their data discarded, writes without strobes.

    Parameters
    ----------
    spec: everything.

    Attributes
    ----------
    load, save: the units; whoever instantiates this connects their queues, tokens and memories.

    Members
    -------
    bus: AXI4 master.
    base: bus address of external byte 0.
    running: a program runs.  stopping: it had an error and needs no more bursts.
    failure: `ErrorCode` of a transfer, until the run has stopped.
    quiet: no burst is under way.
    load_beat, save_beat: a beat of a command moves on the bus.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        external = spec.external
        super().__init__(
            {
                "bus": Out(axi4(external)), "base": In(external.address_bits),
                "running": In(1), "stopping": In(1), "failure": Out(8), "quiet": Out(1),
                "load_beat": Out(1), "save_beat": Out(1),
            }
        )  # fmt: skip
        self.load, self.save = LoadUnit(spec), SaveUnit(spec)
        self.read, self.write = ReadMaster(external), WriteMaster(external)

    @property
    def events(self) -> dict[str, Signal]:
        """What the counters of transfers count, by their names."""
        return {
            "load_beats": self.load_beat, "save_beats": self.save_beat,
            "load_busy": self.load.running, "save_busy": self.save.running,
        }  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Bursts and beats between units and masters."""
        m = Module()
        load, save, read, write = self.load, self.save, self.read, self.write
        m.submodules.load = ResetInserter(~self.running)(load)
        m.submodules.save = ResetInserter(~self.running)(save)
        m.submodules.read, m.submodules.write = read, write
        forward(m, self.bus, read.bus, axi4_read(self.spec.external))
        forward(m, self.bus, write.bus, axi4_write(self.spec.external))
        pairs: tuple[tuple[Any, Any], ...] = ((load, read), (save, write))
        for unit, master in pairs:
            m.d.comb += [
                master.b_valid.eq(unit.b_valid), unit.b_ready.eq(master.b_ready),
                master.b_address.eq(unit.b_address), master.b_len.eq(unit.b_len),
                master.base.eq(self.base), master.stop.eq(self.stopping | ~self.running),
            ]  # fmt: skip
        m.d.comb += [
            load.i_valid.eq(read.o_valid), load.i_data.eq(read.o_data),
            read.o_ready.eq(load.i_ready),
            write.i_valid.eq(save.o_valid), write.i_data.eq(save.o_data),
            write.i_strobe.eq(save.o_strobe), save.o_ready.eq(write.i_ready),
            save.written.eq(write.idle & ~write.failed),
            self.load_beat.eq(load.i_valid & load.i_ready),
            self.save_beat.eq(save.o_valid & save.o_ready),
            self.quiet.eq(read.idle & write.idle),
            self.failure.eq(
                Mux(read.failed, ErrorCode.READ,
                    Mux(write.failed, ErrorCode.WRITE,
                        Mux(load.misaligned, ErrorCode.ALIGNMENT, ErrorCode.NONE)))
            ),
        ]  # fmt: skip
        return m


def connect_constants(
    m: Module,
    load: LoadUnit,
    store: wiring.Component,
    others: Mapping[str, wiring.Component | None],
) -> None:
    """Let LOAD write parameters, tables, and the memories of other units before the host does.

    Parameters
    ----------
    store: the store unit.
    others: by the letter of the port of `LoadUnit` that writes them; None if there is none.
    """
    with m.If(load.p_valid):
        m.d.comb += [
            store.hp_valid.eq(1), store.hp_address.eq(load.p_address),
            store.hp_lanes.eq(load.p_lanes), store.hp_enable.eq(load.p_enable),
            store.hp_data.eq(load.p_data),
        ]  # fmt: skip
    with m.If(load.t_valid):
        m.d.comb += [store.t_write.eq(1), store.t_address.eq(load.t_address)]
        m.d.comb += store.t_data.eq(load.t_data)
    for letter, unit in others.items():
        if unit is not None:
            with m.If(getattr(load, f"{letter}_valid")):
                for port in ("valid", "address", "data"):
                    m.d.comb += getattr(unit, f"h_{port}").eq(getattr(load, f"{letter}_{port}"))


def load_windows(load: LoadUnit) -> dict[Window, Value]:
    """Whether LOAD writes the memory of a window in this cycle: the host's write has to wait."""
    return {
        Window.WEIGHTS: load.w_valid, Window.PARAMETERS: load.p_valid,
        Window.TABLES: load.t_valid, Window.COMMANDS: load.c_valid,
        Window.EXPONENTS: load.e_valid,
    }  # fmt: skip
