"""Registers of the AXI4-Stream ports: where a frame goes to, and where an answer comes from.

They are in window 8 of the address map, if `bus.stream_bytes` is not 0. A frame is the bytes of a
tensor without what lies between them in memory: its runs one after the other. Run k of row j
begins at ``base + j * row_stride + k * run_stride`` and has `run_bytes` bytes.
"""

from systolith.spec.program import Buffer
from systolith.spec.registers import Register

__all__ = ["STREAM_BASE", "STREAM_LAYOUT", "STREAM_REGISTERS", "STREAM_WINDOW", "stream_layout"]

STREAM_WINDOW = 8
STREAM_BASE = STREAM_WINDOW << 24

STREAM_LAYOUT = ("base", "run_bytes", "runs", "run_stride", "rows", "row_stride")
"""What describes a frame in memory, in the order of its registers."""

_DOCS = {
    "base": "Activation address of the first byte.",
    "run_bytes": "Bytes that lie together, 1 to 65535.",
    "runs": "Runs of a row, 1 to 65535.",
    "run_stride": "Bytes from one run's beginning to the next one's.",
    "rows": "Rows, 1 to 65535.",
    "row_stride": "Bytes from one row's beginning to the next one's.",
}

STREAM_REGISTERS = (
    Register(
        "stream_control", 0x00, "rw",
        "Bit 0 receive frames; bit 1 start the program when one is complete; bit 2 send the "
        "outputs at the program's end; bit 3 invert bit 7 of every input byte (uint8 to int8); "
        "bit 4 ignore TLAST of the input: frames follow one another. Clearing bit 0 drops a frame "
        "that is being received.",
    ),
    Register(
        "stream_status", 0x04, "rw",
        "Bit 0 a frame or its program is under way. Errors, until 1 is written to them: bit 1 a "
        "frame was too short, bit 2 too long (both were dropped), bit 3 a program ended with an "
        "error, bit 4 a frame's addresses have no memory.",
    ),
    Register("stream_received", 0x08, "ro", "Frames received in full."),
    Register("stream_dropped", 0x0C, "ro", "Frames dropped."),
    Register("stream_sent", 0x10, "ro", "Frames sent."),
    *(Register(f"input_{n}", 0x20 + 4 * i, "rw", _DOCS[n]) for i, n in enumerate(STREAM_LAYOUT)),
    *(Register(f"output_{n}", 0x40 + 4 * i, "rw", _DOCS[n]) for i, n in enumerate(STREAM_LAYOUT)),
)  # fmt: skip
"""Offsets from `STREAM_BASE`."""


def stream_layout(buffer: Buffer) -> dict[str, int]:
    """What the registers of one direction hold for a tensor's buffer: `STREAM_LAYOUT`'s names.

    Raises
    ------
    ValueError: the tensor is in external memory.
    """
    if buffer.external:
        raise ValueError("a stream's tensor must be on chip, not in external memory")
    height, width, channels = buffer.shape
    row, pixel, _ = buffer.strides
    packed = -(-channels // 2) if buffer.window is not None else channels
    size = packed * (4 if buffer.dtype == "float32" else 1)
    dense = pixel == size
    return {
        "base": buffer.base,
        "run_bytes": width * size if dense else size,
        "runs": 1 if dense else width,
        "run_stride": 0 if dense else pixel,
        "rows": height,
        "row_stride": row,
    }
