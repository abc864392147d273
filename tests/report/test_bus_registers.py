"""What the register map and the C header say of buses."""

from dataclasses import replace

import pytest

from systolith.report.c_header import c_header
from systolith.report.registers import register_map
from systolith.spec.accelerator import AcceleratorSpec, BusSpec
from systolith.spec.bus import HostBus
from systolith.spec.stream import STREAM_REGISTERS


@pytest.mark.parametrize("size", [0, 4])
def test_stream_registers_where_there_are_streams(size: int) -> None:
    spec = replace(AcceleratorSpec(), bus=BusSpec(stream_bytes=size))
    page, header = register_map(spec), c_header(spec)
    for register in STREAM_REGISTERS:
        assert (f"| `0x{0x8000000 + register.offset:07X}` | `{register.name}` |" in page) == (
            size > 0
        )
        assert (f"SYSTOLITH_ADDRESS_{register.name.upper()} " in header) == (size > 0)


def test_every_host_is_named() -> None:
    texts = {
        register_map(replace(AcceleratorSpec(), bus=BusSpec(host=host))).splitlines()[2]
        for host in HostBus
    }
    assert len(texts) == len(HostBus)
    assert any(text.startswith("AXI4-Lite slave, 32-bit words") for text in texts)
