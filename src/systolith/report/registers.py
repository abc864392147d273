"""Register map and command reference of one accelerator, from the tables of the spec."""

from collections.abc import Iterable, Sequence

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.bus import HostBus
from systolith.spec.commands import COMMANDS, HEADER, CommandLayout
from systolith.spec.registers import ERRORS, REGISTERS, Window, window_stride
from systolith.spec.requant import PARAMETER_FIELDS
from systolith.spec.stream import STREAM_BASE, STREAM_REGISTERS

__all__ = ["command_reference", "register_map", "window_bytes"]

_WINDOW_BITS = 24
_HOSTS = {
    HostBus.AXI4_LITE: "AXI4-Lite slave",
    HostBus.WISHBONE: "Wishbone slave (addresses of words are these divided by four)",
    HostBus.UART: "Behind a UART (docs/uart-protocol.md)",
}


def window_bytes(spec: AcceleratorSpec, window: Window) -> int:
    """Bytes of address space that a window's memory takes."""
    memory = spec.memory
    words = {
        Window.REGISTERS: len(REGISTERS),
        Window.ACTIVATIONS: spec.region_stride * memory.activation_regions,
        Window.WEIGHTS: spec.weight_words,
        Window.PARAMETERS: spec.lane_words,
        Window.TABLES: memory.tables,
        Window.COMMANDS: memory.command_words,
        Window.STAMPS: memory.stamps,
        Window.EXPONENTS: 256 * spec.post.softmax_tables,
    }
    if window is Window.REGISTERS:
        return max(register.offset for register in REGISTERS) + 4
    return words[window] * window_stride(spec, window)


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [list(headings), ["---"] * len(headings), *([str(c) for c in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def _stream_registers(spec: AcceleratorSpec) -> list[str]:
    """The section on the streams' registers, of an accelerator that has streams."""
    if not spec.bus.stream_bytes:
        return []
    rows = (
        (f"`0x{STREAM_BASE + r.offset:07X}`", f"`{r.name}`", r.access, r.doc)
        for r in STREAM_REGISTERS
    )
    return [
        "## Registers of the streams",
        "",
        *_table(("address", "register", "access", "meaning"), rows),
    ]


def register_map(spec: AcceleratorSpec) -> str:
    """Return the address map of one accelerator as Markdown."""
    windows = (
        (
            f"`0x{window << _WINDOW_BITS:07X}`",
            window.name.lower(),
            f"{window_bytes(spec, window):,}",
            window_stride(spec, window),
        )
        for window in Window
    )
    registers = ((f"`0x{r.offset:02X}`", f"`{r.name}`", r.access, r.doc) for r in REGISTERS)
    parameters = (
        (f"`{f.name}`", f.word, f.bits, "signed" if f.signed else "unsigned")
        for f in PARAMETER_FIELDS
    )
    lines = [
        f"# Register map of {spec.name}",
        "",
        (
            f"{_HOSTS[spec.bus.host]}, 32-bit words, little-endian. Array {spec.array.rows}x"
            f"{spec.array.columns}, {spec.post.lanes} lanes, {spec.memory.activation_regions}"
            f" activation regions of {spec.memory.activation_bytes:,} bytes,"
            f" {spec.region_stride:,} bytes apart."
        ),
        "",
        "## Windows",
        "",
        *_table(("address", "window", "bytes", "bytes a memory word"), windows),
        "## Registers",
        "",
        *_table(("offset", "register", "access", "meaning"), registers),
        *_stream_registers(spec),
        "## Error codes",
        "",
        *_table(("code", "meaning"), ((int(code), text) for code, text in ERRORS.items())),
        "## Requantizer parameters of one channel, 32 bytes",
        "",
        *_table(("field", "first 32-bit word", "bits", "type"), parameters),
    ]
    return "\n".join(lines)


def _command(layout: CommandLayout) -> list[str]:
    rows = []
    for item in layout.fields[len(HEADER) :]:
        word, bit = divmod(layout.offsets[item.name], 32)
        kind = "signed" if item.signed else "unsigned"
        rows.append((f"`{item.name}`", word, bit, item.bits, kind, item.doc))
    unit = layout.unit.name if layout.unit is not None else "fetch"
    title = f"## {layout.opcode.name}: opcode {layout.opcode.value}, {layout.words} words, {unit}"
    if not rows:
        return [title, "", "No fields beyond the header.", ""]
    return [title, "", *_table(("field", "word", "bit", "bits", "type", "meaning"), rows)]


def command_reference(spec: AcceleratorSpec) -> str:
    """Return the encoding of every command as Markdown."""
    end = next(iter(COMMANDS.values()))
    header = ((f"`{f.name}`", end.offsets[f.name], f.bits, f.doc) for f in HEADER)
    lines = [
        f"# Commands of {spec.name}",
        "",
        "Word 0 of every command:",
        "",
        *_table(("field", "bit", "bits", "meaning"), header),
    ]
    for layout in COMMANDS.values():
        lines += _command(layout)
    return "\n".join(lines)
