"""The specification of buses: what is rejected, and how; the way through TOML."""

from dataclasses import replace

import pytest

from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec
from systolith.spec.bus import (
    BAUD_FRACTION,
    BusClock,
    BusSpec,
    HostBus,
    MemoryBus,
    WishboneMode,
    baud_period,
)
from systolith.spec.configuration import spec_from_toml, spec_to_toml


def test_defaults_are_the_buses_of_socs() -> None:
    bus = AcceleratorSpec().bus
    assert (bus.host, bus.memory, bus.bus_clock) == ("axi4-lite", "axi4", "same")


def test_through_toml() -> None:
    bus = BusSpec(
        host=HostBus.WISHBONE, memory=MemoryBus.WISHBONE, wishbone=WishboneMode.PIPELINED,
        bus_clock=BusClock.SEPARATE, stream_bytes=2, clock_hz=27_000_000, uart_baud=3_000_000,
    )  # fmt: skip
    spec = replace(AcceleratorSpec(), bus=bus)
    assert spec_from_toml(spec_to_toml(spec)) == spec
    assert spec_from_toml('[bus]\nhost = "uart"\n').bus == BusSpec(host=HostBus.UART)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('host = "axi"', "bus.host must be one of axi4-lite, wishbone, uart, not 'axi'"),
        ("wishbone = 3", "bus.wishbone must be one of classic, pipelined, not 3"),
        ("stream_bytes = 3", "bus.stream_bytes must be 0, 1, 2 or 4, not 3"),
        ("stream_bytes = true", "bus.stream_bytes must be an integer, not True"),
        ("clock_hz = 5", "bus.clock_hz must be between 1000000 and 1000000000, not 5"),
        (
            'host = "uart"\nclock_hz = 10_000_000\nuart_baud = 3_000_000',
            "bus.uart_baud must be at most a quarter of bus.clock_hz (10000000), not 3000000",
        ),
        (
            'host = "uart"\nbus_clock = "separate"',
            "bus.bus_clock must be 'same' where a UART is the only bus, not 'separate'",
        ),
        ("stream_bytes = 5", "bus.stream_bytes must be between 0 and 4, not 5"),
    ],
)  # fmt: skip
def test_what_is_rejected(text: str, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        spec_from_toml(f"[bus]\n{text}\n")
    assert str(caught.value) == message


def test_types() -> None:
    with pytest.raises(TypeError, match="bus.host must be a HostBus, not 'uart'"):
        BusSpec(host="uart")  # type: ignore[arg-type]  # a name alone, as in TOML


def test_a_clock_for_streams_beside_a_uart() -> None:
    bus = BusSpec(host=HostBus.UART, bus_clock=BusClock.SEPARATE, stream_bytes=1)
    assert replace(AcceleratorSpec(), bus=bus).bus is bus
    plain = replace(bus, stream_bytes=0)
    assert replace(AcceleratorSpec(), bus=plain, external=ExternalSpec(data_bytes=4)).bus is plain


@pytest.mark.parametrize(
    ("clock", "baud"), [(12_000_000, 3_000_000), (48_000_000, 115_200), (27_000_000, 1_000_000)]
)
def test_bit_times_are_within_a_512th_of_a_cycle(clock: int, baud: int) -> None:
    error = baud_period(clock, baud) / (1 << BAUD_FRACTION) - clock / baud
    assert abs(error) <= 1 / 512
