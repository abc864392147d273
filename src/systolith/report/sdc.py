"""Clock constraints of a generated accelerator: SDC, which FPGA and ASIC tools read alike."""

from amaranth.hdl import Shape
from amaranth.lib.wiring import In, Member, Signature

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.bus import BusClock

__all__ = ["clock_constraints"]

_LINE = ("uart_rx", "uart_tx")
"""A serial line has no clock: what comes in is synchronised."""


def clock_constraints(spec: AcceleratorSpec, signature: Signature) -> str:
    """Return clocks, delays at the ports, and what needs no timing.

    Periods are variables at the beginning; a quarter of each is left to what is outside, at either
    side. Between the clock of the buses and that of the core are only Gray-coded pointers, data
    that waits for them, and resets.

    Parameters
    ----------
    signature: of the top module.
    """
    separate = spec.bus.bus_clock is BusClock.SEPARATE
    period = f"{1e9 / spec.bus.clock_hz:.3f}"
    lines = [
        f"# {spec.name}: clocks of the core and of the buses, in ns.",
        f"set core_period {period}",
        *([f"set bus_period {period}"] if separate else []),
        "create_clock -name clk -period $core_period [get_ports clk]",
    ]
    if separate:
        lines += [
            "create_clock -name bus_clk -period $bus_period [get_ports bus_clk]",
            "set_clock_groups -asynchronous -group clk -group bus_clk",
        ]
    resets = ["rst", "bus_rst"] if separate else []
    asynchronous = [name for name in (*resets, *_LINE) if name in {*resets, *signature.members}]
    for name in asynchronous:
        side = "to" if name == "uart_tx" else "from"
        lines.append(f"set_false_path -{side} [get_ports {name}]")
    clock, variable = ("bus_clk", "$bus_period") if separate else ("clk", "$core_period")
    lines.append(f"set outside [expr {{{variable} / 4.0}}]")
    ports = {} if separate else {"rst": ("input", 1)}
    ports |= {name: _port(member) for name, member in signature.members.items()}
    for name, (direction, width) in ports.items():
        if name not in asynchronous:
            bits = f"{{{name}[*]}}" if width > 1 else name
            lines.append(f"set_{direction}_delay $outside -clock {clock} [get_ports {bits}]")
    return "\n".join(lines) + "\n"


def _port(member: Member) -> tuple[str, int]:
    """Direction and width in bits."""
    return "input" if member.flow is In else "output", Shape.cast(member.shape).width
