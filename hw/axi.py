"""The buses: AXI4-Lite, and the AXI4 master port with what its read and write side share."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.spec.accelerator import ExternalSpec
from systolith.spec.registers import ADDRESS_BITS

__all__ = [
    "AXI_LITE",
    "INCREMENT",
    "MODIFIABLE",
    "axi4",
    "axi4_read",
    "axi4_write",
    "burst_limit",
    "forward",
]

INCREMENT = 1
"""AxBURST: addresses count up."""
MODIFIABLE = 0b0011
"""AxCACHE: normal memory, non-cacheable, bufferable."""

_PAGE = 4096
"""Bytes of the aligned blocks that no burst may leave."""


AXI_LITE = wiring.Signature(
    {
        "awaddr": In(ADDRESS_BITS), "awprot": In(3), "awvalid": In(1), "awready": Out(1),
        "wdata": In(32), "wstrb": In(4), "wvalid": In(1), "wready": Out(1),
        "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
        "araddr": In(ADDRESS_BITS), "arprot": In(3), "arvalid": In(1), "arready": Out(1),
        "rdata": Out(32), "rresp": Out(2), "rvalid": Out(1), "rready": In(1),
    }
)  # fmt: skip
"""AXI4-Lite, seen from the slave; 32-bit data, byte addresses of `ADDRESS_BITS` bits."""


def burst_limit(external: ExternalSpec) -> int:
    """Most beats of a burst, a power of two: those asked for, but never more than a page."""
    return min(external.burst_beats, _PAGE // external.data_bytes)


def _address_channel(prefix: str, external: ExternalSpec) -> dict[str, wiring.Member]:
    """Address, length and the constants of a burst."""
    widths = {
        "id": 1, "addr": external.address_bits, "len": 8, "size": 3, "burst": 2, "cache": 4,
        "prot": 3, "valid": 1,
    }  # fmt: skip
    members = {f"{prefix}{name}": Out(bits) for name, bits in widths.items()}
    return members | {f"{prefix}ready": In(1)}


def axi4_read(external: ExternalSpec) -> wiring.Signature:
    """The channels AR and R, seen from the master."""
    members = {"rid": In(1), "rdata": In(8 * external.data_bytes), "rresp": In(2)}
    members |= {"rlast": In(1), "rvalid": In(1), "rready": Out(1)}
    return wiring.Signature(_address_channel("ar", external) | members)


def axi4_write(external: ExternalSpec) -> wiring.Signature:
    """The channels AW, W and B, seen from the master."""
    size = external.data_bytes
    members = {"wdata": Out(8 * size), "wstrb": Out(size), "wlast": Out(1), "wvalid": Out(1)}
    members |= {"wready": In(1), "bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1)}
    return wiring.Signature(_address_channel("aw", external) | members)


def axi4(external: ExternalSpec) -> wiring.Signature:
    """All five channels, seen from the master; every transaction has ID 0."""
    return wiring.Signature({**axi4_read(external).members, **axi4_write(external).members})


def forward(m: Module, outer: object, inner: object, signature: wiring.Signature) -> None:
    """Connect the signals of ``signature`` of a block's port to those of the port around it."""
    for name, member in signature.members.items():
        outside, inside = getattr(outer, name), getattr(inner, name)
        m.d.comb += outside.eq(inside) if member.flow is Out else inside.eq(outside)
