"""Two AXI4-Lite masters, host and streams; two slaves, the core and the streams' registers."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.control import AXI_LITE
from systolith.spec.stream import STREAM_WINDOW

__all__ = ["LiteSwitch"]

_WINDOW = slice(24, 28)


class LiteSwitch(wiring.Component):
    """Connect one master at a time to the slave that its address chooses.

    One write and one read at a time, independent of each other; masters take turns. A write begins
    when its address and its data are there.

    Latency: 1 cycle more than the slave's, and 1 between transfers.

    Members
    -------
    host, stream: the masters.
    core: the slave of every window but that of the streams' registers.
    registers: the slave of those.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "host": Out(AXI_LITE), "stream": Out(AXI_LITE),
                "core": In(AXI_LITE), "registers": In(AXI_LITE),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Both directions."""
        m = Module()
        host, stream = self.host, self.stream
        self._path(
            m, "write", ("aw", "w"), "b", host.awvalid & host.wvalid,
            stream.awvalid & stream.wvalid,
        )  # fmt: skip
        self._path(m, "read", ("ar",), "r", host.arvalid, stream.arvalid)
        return m

    def _path(
        self,
        m: Module,
        name: str,
        requests: tuple[str, ...],
        answer: str,
        host_asks: Signal,
        stream_asks: Signal,
    ) -> None:
        """The channels of one direction: choose, hand the request on, hand the answer back."""
        working, by_stream, of_registers = (
            Signal(name=f"{name}_{part}") for part in ("working", "by_stream", "of_registers")
        )
        turn = Signal(name=f"{name}_turn")  # the stream's, if both ask
        chosen = Signal(name=f"{name}_chosen")
        m.d.comb += chosen.eq(stream_asks & (turn | ~host_asks))
        sent = {c: Signal(name=f"{c}_sent") for c in requests}
        with m.If(~working):
            address = [getattr(p, f"{requests[0]}addr") for p in (self.stream, self.host)]
            m.d.sync += [
                working.eq(host_asks | stream_asks), by_stream.eq(chosen),
                of_registers.eq(Mux(chosen, *address)[_WINDOW] == STREAM_WINDOW),
                *(flag.eq(0) for flag in sent.values()),
            ]  # fmt: skip
        for is_stream, master in enumerate((self.host, self.stream)):
            for is_registers, slave in enumerate((self.core, self.registers)):
                for channel in (*requests, answer):
                    self._payload(m, channel, master, slave, is_stream, is_registers, by_stream,
                                  of_registers)  # fmt: skip
                with m.If(working & (by_stream == is_stream) & (of_registers == is_registers)):
                    for channel in requests:
                        asks = getattr(master, f"{channel}valid") & ~sent[channel]
                        takes = getattr(slave, f"{channel}ready") & ~sent[channel]
                        m.d.comb += getattr(slave, f"{channel}valid").eq(asks)
                        m.d.comb += getattr(master, f"{channel}ready").eq(takes)
                        with m.If(asks & takes):
                            m.d.sync += sent[channel].eq(1)
                    valid, ready = (
                        getattr(slave, f"{answer}valid"),
                        getattr(master, f"{answer}ready"),
                    )
                    m.d.comb += getattr(master, f"{answer}valid").eq(valid)
                    m.d.comb += getattr(slave, f"{answer}ready").eq(ready)
                    with m.If(valid & ready):
                        m.d.sync += [working.eq(0), turn.eq(~by_stream)]

    def _payload(
        self,
        m: Module,
        channel: str,
        master: object,
        slave: object,
        is_stream: int,
        is_registers: int,
        by_stream: Signal,
        of_registers: Signal,
    ) -> None:
        """Requests' payload goes to both slaves, answers' to both masters."""
        for name, member in AXI_LITE.members.items():
            rest = name.removeprefix(channel)
            if not name.startswith(channel) or rest in ("valid", "ready"):
                continue
            if member.flow is In:
                with m.If(by_stream == is_stream):
                    m.d.comb += getattr(slave, name).eq(getattr(master, name))
            else:
                with m.If(of_registers == is_registers):
                    m.d.comb += getattr(master, name).eq(getattr(slave, name))
