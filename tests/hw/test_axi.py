"""The AXI4 port: its signals, its limits, and the way through the hierarchy."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import SimulatorContext

from systolith.hw.axi import axi4, axi4_read, axi4_write, burst_limit, forward
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import ExternalSpec


@pytest.mark.parametrize(
    ("data_bytes", "beats", "limit"),
    [(4, 1, 1), (4, 256, 256), (16, 256, 256), (32, 256, 128), (32, 128, 128), (8, 16, 16)],
)
def test_bursts_fit_a_page(data_bytes: int, beats: int, limit: int) -> None:
    assert burst_limit(ExternalSpec(data_bytes=data_bytes, burst_beats=beats)) == limit


@pytest.mark.parametrize(("data_bytes", "bits"), [(4, 32), (32, 64)])
def test_widths(data_bytes: int, bits: int) -> None:
    external = ExternalSpec(data_bytes=data_bytes, address_bits=bits)
    members = {name: len(wiring.Signature({name: m}).create().__dict__[name]) for name, m in
               axi4(external).members.items()}  # fmt: skip
    assert members["araddr"] == members["awaddr"] == bits
    assert members["wdata"] == members["rdata"] == 8 * members["wstrb"] == 8 * data_bytes
    parts = set(axi4_read(external).members) | set(axi4_write(external).members)
    assert parts == set(members) and len(parts) == 33


def test_forward() -> None:
    """Every signal arrives, in its direction."""
    signature = axi4(ExternalSpec(data_bytes=4))

    class Shell(wiring.Component):
        """A port inside of a port."""

        outer: Out(signature)
        inner: Out(signature)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            forward(m, self.outer, self.inner, signature)
            return m

    shell = Shell()

    async def bench(ctx: SimulatorContext) -> None:
        for name, member in signature.members.items():
            ends = [getattr(shell.inner, name), getattr(shell.outer, name)]
            source, target = ends if member.flow is Out else reversed(ends)
            assert not ctx.get(target)
            ctx.set(source, 1)
            assert ctx.get(target), name

    simulate(shell, bench)
