"""The register map of the control slave: windows, registers and counters.

Byte addresses of 28 bits; bits 27:24 choose a window. Registers and memories are read and written
in 32-bit little-endian words. Memories whose words are not 32 bits wide occupy, per memory word,
the next power of two of bytes. Bytes of a memory that are read in the cycle in which they are
written, by the accelerator or by the host itself, read as anything, in many chips: read results and
time stamps when `status` says that the run is over, and what was written after the write's answer.
"""

from dataclasses import dataclass
from enum import IntEnum

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import ParameterForm

__all__ = [
    "ADDRESS_BITS",
    "COUNTERS",
    "ERRORS",
    "IDENTIFIER",
    "REGISTERS",
    "VERSION",
    "Bit",
    "Counter",
    "ErrorCode",
    "Register",
    "Window",
    "lane_word_bytes",
    "parameter_part_bytes",
    "window_stride",
]

ADDRESS_BITS = 28
IDENTIFIER = 0x53595354  # "SYST"
VERSION = 2


class Window(IntEnum):
    """What bits 27:24 of the address select."""

    REGISTERS = 0
    ACTIVATIONS = 1
    WEIGHTS = 2
    PARAMETERS = 3
    TABLES = 4
    COMMANDS = 5
    STAMPS = 6
    EXPONENTS = 7


class ErrorCode(IntEnum):
    """Why a run stopped (register `error`)."""

    NONE = 0
    OPCODE = 1
    READ = 2
    WRITE = 3
    TIMEOUT = 4
    ALIGNMENT = 5


ERRORS = {
    ErrorCode.NONE: "No error.",
    ErrorCode.OPCODE: "The command memory held an opcode that does not exist, or ran off its end.",
    ErrorCode.READ: "External memory answered a read with an error.",
    ErrorCode.WRITE: "External memory answered a write with an error.",
    ErrorCode.TIMEOUT: "The run took more than `watchdog` cycles.",
    ErrorCode.ALIGNMENT: "A LOAD of weights, parameters or commands was not aligned on the bus.",
}
"""What each error means."""


@dataclass(frozen=True, slots=True)
class Bit:
    """One bit of a register."""

    name: str
    position: int
    doc: str


@dataclass(frozen=True, slots=True)
class Register:
    """A 32-bit register: byte offset in the register window, access (`ro`, `rw`, `wo`), meaning.

    One with named bits has no others: those read 0, and are to be written 0.
    """

    name: str
    offset: int
    access: str
    doc: str
    bits: tuple[Bit, ...] = ()


@dataclass(frozen=True, slots=True)
class Counter:
    """A 32-bit event counter: cleared at start, counts cycles in which its event holds."""

    name: str
    doc: str


COUNTERS = (
    Counter("cycles", "Cycles from start to done."),
    Counter("array_busy", "Cycles in which a row vector entered the array."),
    Counter("stall_commands", "Compute unit idle: no command in its queue."),
    Counter("stall_tokens", "Compute unit waited for a token of another unit."),
    Counter("stall_weights", "Compute unit waited for a weight tile."),
    Counter("stall_accumulators", "Compute unit waited for a free accumulator bank."),
    Counter("stall_activations", "Compute unit lost the activation read port to another reader."),
    Counter("post_busy", "Cycles in which a lane vector entered post-processing."),
    Counter("post_wait", "Store unit waited for accumulators."),
    Counter("move_busy", "Cycles in which the move unit wrote up to a line."),
    Counter("load_beats", "Beats read from external memory."),
    Counter("save_beats", "Beats written to external memory."),
    Counter("load_busy", "Cycles in which the load unit ran a command."),
    Counter("save_busy", "Cycles in which the save unit ran a command."),
)

REGISTERS = (
    Register("identifier", 0x00, "ro", "0x53595354, 'SYST'."),
    Register("version", 0x04, "ro", "Version of this register map."),
    Register(
        "control",
        0x08,
        "wo",
        "Bit 0: start the program at `entry`; ignored while busy.",
        (Bit("start", 0, "Start the program."),),
    ),
    Register(
        "status",
        0x0C,
        "ro",
        "Bit 0 busy, bit 1 done, bit 2 error.",
        (
            Bit("busy", 0, "A program runs."),
            Bit("done", 1, "The last run has ended; cleared by a start."),
            Bit("error", 2, "It ended with an error, see `error`."),
        ),
    ),
    Register("entry", 0x10, "rw", "Word address of the first command."),
    Register("error", 0x14, "ro", "`ErrorCode` of the last run."),
    Register("stamps", 0x18, "ro", "Time stamps written since start."),
    Register(
        "interrupt",
        0x1C,
        "rw",
        "Bit 0: raise `irq` while done or error is set.",
        (Bit("enable", 0, "Raise `irq` while done or error is set."),),
    ),
    Register(
        "memory_low", 0x20, "rw", "Bus address of external byte 0, bits 31:12; bits 11:0 are 0."
    ),
    Register("memory_high", 0x24, "rw", "Bus address of external byte 0, bits 63:32."),
    Register(
        "watchdog",
        0x28,
        "rw",
        "Cycles after which a run stops with an error; 0 for never. Set it while no program runs.",
    ),
    Register("fingerprint", 0x2C, "ro", "CRC-32 of the specification, see `spec_fingerprint`."),
    *(Register(c.name, 0x80 + 4 * i, "ro", c.doc) for i, c in enumerate(COUNTERS)),
)


def window_stride(spec: AcceleratorSpec, window: Window) -> int:
    """Bytes of address space one memory word takes in ``window``."""
    return {
        Window.REGISTERS: 4,
        Window.ACTIVATIONS: 1,
        Window.WEIGHTS: max(4, 1 << (spec.array.columns - 1).bit_length()),
        Window.PARAMETERS: 32 * (1 << (spec.post.lanes - 1).bit_length()),
        Window.TABLES: 256,
        Window.COMMANDS: 4,
        Window.STAMPS: 4,
        Window.EXPONENTS: 4,
    }[window]


def lane_word_bytes(spec: AcceleratorSpec, form: ParameterForm) -> int:
    """Bytes of external memory that a word of the parameter memory takes in ``form``."""
    lanes = spec.post.lanes
    return {
        ParameterForm.SHORT: 16 * lanes,
        ParameterForm.WIDE: 32 * lanes,
        ParameterForm.UNIFORM: 16,
        ParameterForm.BIAS: 4 * lanes,
    }[form]


def parameter_part_bytes(spec: AcceleratorSpec, form: ParameterForm) -> int:
    """Bytes of parameters that LOAD writes at once: runs must be aligned on the bus to it."""
    whole = {
        ParameterForm.SHORT: 16,
        ParameterForm.WIDE: 32,
        ParameterForm.UNIFORM: 16,
        ParameterForm.BIAS: 4 * spec.bias_lanes,
    }[form]
    return min(whole, spec.external.data_bytes)
