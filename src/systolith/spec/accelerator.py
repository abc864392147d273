"""AcceleratorSpec: every parameter of a generated accelerator, frozen and validated."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd

from systolith.spec.array import ArraySpec
from systolith.spec.bus import BusClock, BusSpec, HostBus
from systolith.spec.checks import check
from systolith.spec.fields import MATMUL_LOOPS
from systolith.spec.keywords import KEYWORDS
from systolith.spec.post import PostSpec
from systolith.spec.precision import Precision, WeightFormat

__all__ = ["AcceleratorSpec", "ArraySpec", "BusSpec", "ExternalSpec", "MemorySpec", "PostSpec"]


def _power_of_two(value: int) -> int:
    """Smallest power of two that is at least ``value`` (>= 1)."""
    return 1 << (value - 1).bit_length() if value > 1 else 1


@dataclass(frozen=True, kw_only=True, slots=True)
class MemorySpec:
    """The on-chip memories.

    Parameters
    ----------
    activation_regions: independent activation memories (1 read, 1 write a cycle each), 1 to 8.
    activation_bytes: bytes of one region.
    weight_bytes: bytes of the weight memory.
    accumulator_depth: output vectors of a tile, and finished ones that wait for post-processing.
    parameter_channels: output channels whose requantizer parameters fit.
    command_words: 32-bit words of the command memory.
    tables: 256-byte tables for unary functions, 0 to 16 (0 leaves the table stage out).
    stamps: entries of the time-stamp memory.
    small_distributed: partial sums, results, line buffers and tables in RAM of look-up tables.
    """

    activation_regions: int = 2
    activation_bytes: int = 131072
    weight_bytes: int = 524288
    accumulator_depth: int = 128
    parameter_channels: int = 4096
    command_words: int = 8192
    tables: int = 4
    stamps: int = 256
    small_distributed: bool = False

    def __post_init__(self) -> None:
        check("memory.activation_regions", self.activation_regions, 1, 8)
        check("memory.activation_bytes", self.activation_bytes, 64, 1 << 21)
        check("memory.weight_bytes", self.weight_bytes, 16, 1 << 24)
        check("memory.accumulator_depth", self.accumulator_depth, 4, 4096)
        check("memory.parameter_channels", self.parameter_channels, 4, 65536)
        check("memory.command_words", self.command_words, 64, 65536)
        check("memory.tables", self.tables, 0, 16)
        check("memory.stamps", self.stamps, 2, 4096)
        if not isinstance(small := self.small_distributed, bool):
            raise TypeError(f"memory.small_distributed must be true or false, not {small!r}")

    @property
    def small_attributes(self) -> dict[str, str]:
        """What synthesis is told about the memories that `small_distributed` is about."""
        return {"ram_style": "distributed"} if self.small_distributed else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalSpec:
    """The AXI4 master to external memory.

    Parameters
    ----------
    data_bytes: bytes of a beat: 4, 8, 16 or 32; 0 leaves the master out.
    address_bits: width of a bus address, 32 to 64.
    burst_beats: most beats of a burst, a power of two from 1 to 256.
    outstanding: read bursts that may be under way at once, 1 to 16.
    """

    data_bytes: int = 0
    address_bits: int = 32
    burst_beats: int = 16
    outstanding: int = 4

    def __post_init__(self) -> None:
        check("external.data_bytes", self.data_bytes, 0, 32)
        if (size := self.data_bytes) not in (0, 4, 8, 16, 32):
            raise ValueError(f"external.data_bytes must be 0, 4, 8, 16 or 32, not {size!r}")
        check("external.address_bits", self.address_bits, 32, 64)
        check("external.burst_beats", self.burst_beats, 1, 256)
        if self.burst_beats & (self.burst_beats - 1):
            raise ValueError(
                f"external.burst_beats must be a power of two, not {self.burst_beats!r}"
            )
        check("external.outstanding", self.outstanding, 1, 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceleratorSpec:
    """A whole accelerator.

    Parameters
    ----------
    name: the Verilog top module's name.
    array, memory, post, external, bus: the nested specifications.
    queue_depth: commands waiting in each unit's queue; 0: the fetcher writes the words of a command
        straight to the unit that will run it, once that is free.
    count_bits: width of iteration counts, run lengths and numbers of channels in commands, 6 to 16;
        what is larger does not compile.
    token_bits: width of the counters of tokens, 2 to 8; a program that leaves more open between two
        units does not compile.
    moves: whether there is the unit MOVE, which fills and copies.
    event_counters: whether there are counters besides `cycles`; without them they read 0.

    Raises
    ------
    TypeError, ValueError: a field of the wrong type or out of range, or fields that do not agree.
    """

    name: str = "systolith"
    array: ArraySpec = field(default_factory=ArraySpec)
    memory: MemorySpec = field(default_factory=MemorySpec)
    post: PostSpec = field(default_factory=PostSpec)
    external: ExternalSpec = field(default_factory=ExternalSpec)
    bus: BusSpec = field(default_factory=BusSpec)
    queue_depth: int = 2
    count_bits: int = 16
    token_bits: int = 8
    moves: bool = True
    event_counters: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z_]\w*", self.name, re.ASCII):
            raise ValueError(f"name must be a Verilog identifier, not {self.name!r}")
        if self.name in KEYWORDS:
            raise ValueError(f"name must not be a keyword of Verilog, which {self.name!r} is")
        check("queue_depth", self.queue_depth, 0, 16)
        check("count_bits", self.count_bits, 6, 16)
        check("token_bits", self.token_bits, 2, 8)
        for flag in ("moves", "event_counters"):
            if not isinstance(getattr(self, flag), bool):
                raise TypeError(f"{flag} must be true or false, not {getattr(self, flag)!r}")
        if not self.moves and (self.post.softmax_tables or self.post.quantize_lanes):
            raise ValueError(
                "moves must be true for post.softmax_tables and post.quantize_lanes, not False"
            )
        lanes, memory = self.post.lanes, self.memory
        if self.external.data_bytes > self.line_bytes:
            raise ValueError(
                f"external.data_bytes must be at most an activation line ({self.line_bytes} bytes),"
                f" not {self.external.data_bytes!r}"
            )
        self._check_bus()
        if 4 * self.post.quantize_lanes > self.line_bytes:
            raise ValueError(
                f"post.quantize_lanes must be at most {self.line_bytes // 4}, the float32 numbers "
                f"of an activation line, not {self.post.quantize_lanes!r}"
            )
        if self.array.columns % lanes:
            raise ValueError(
                f"post.lanes must divide array.columns ({self.array.columns}), not {lanes!r}"
            )
        for name, value, unit in (
            ("memory.activation_bytes", memory.activation_bytes, 2 * self.line_bytes),
            ("memory.weight_bytes", memory.weight_bytes, self.array.columns),
            ("memory.parameter_channels", memory.parameter_channels, lanes),
        ):
            if value % unit:
                raise ValueError(f"{name} must be a multiple of {unit}, not {value!r}")

    def _check_bus(self) -> None:
        """Require that a clock of the buses has a bus."""
        bus = self.bus
        only_uart = bus.host is HostBus.UART and not (self.external.data_bytes or bus.stream_bytes)
        if bus.bus_clock is BusClock.SEPARATE and only_uart:
            raise ValueError(
                "bus.bus_clock must be 'same' where a UART is the only bus, not 'separate'"
            )

    @property
    def commands_held(self) -> int:
        """Commands that a unit holds, the running one among them."""
        return max(1, self.queue_depth)

    @property
    def line_bytes(self) -> int:
        """Bytes of an activation line: a power of two that holds a row, lane vector or bus word."""
        return _power_of_two(max(self.array.rows, self.post.lanes, 4))

    @property
    def vector_bytes(self) -> int:
        """Bytes that the array reads a cycle: `rows`, twice as many where weights can be sparse."""
        return 2 * self.array.rows if self.array.sparse else self.array.rows

    @property
    def row_pairs(self) -> bool:
        """Whether a depthwise MATMUL can read two rows at a time: where two lines are beside it."""
        return self.array.depthwise_lines > 1

    def pair_fault(self, command: Mapping[str, int]) -> str | None:
        """Return why a depthwise MATMUL cannot read its rows in pairs, given all its fields.

        A region has one port, which reads one line of each of its two banks. Two pixels, one below
        the other, are there at the same time if both are whole lines of different banks.
        """
        line, strides = self.line_bytes, ("t", "n", "ky", "kx", "kc", "mx")
        last = command["x_first"] + (command["ox_count"] - 1) * command["x_step"]
        aligned = command["x_base"] % line == 0 and not any(
            command[f"x_{name}_stride"] % line for name in strides if command[f"{name}_count"] > 1
        )
        loops = (*strides, "my")
        reach = [(command[f"{n}_count"] - 1) * command[f"x_{n}_stride"] for n in loops]
        ends = [command["x_base"] + sum(f(r, 0) for r in reach) for f in (min, max)]
        rules = (
            (
                ends[0] // self.region_stride != ends[1] // self.region_stride,
                "rows read in pairs must lie in one region",
            ),
            (not self.row_pairs, "pairs must be 0 on an accelerator without two depthwise lines"),
            (not aligned, f"pixels read in pairs must begin at multiples of {line}"),
            (
                command["x_my_stride"] % (2 * line) != line,
                f"rows read in pairs must be an odd number of {line} bytes apart",
            ),
            (
                not command["y_first"] % 2 or command["y_step"] % 2 or command["my_count"] % 2,
                "rows read in pairs must have outputs at odd rows only, and an even number",
            ),
            (last >= command["mx_count"], "rows read in pairs must not end outputs in the next"),
        )
        return next((text for wrong, text in rules if wrong), None)

    def sparse_fault(self, command: Mapping[str, int]) -> str | None:
        """Return why a MATMUL cannot use `WeightFormat.TWO_OF_FOUR`, given all its fields.

        A region has one port, which reads one line of each of its two banks: two lines, one after
        the other, which is what every vector of ``2 * rows`` bytes must be the beginning of.
        """
        line = self.line_bytes
        aligned = command["x_base"] % line == 0 and not any(
            command[f"x_{name}_stride"] % line
            for name in MATMUL_LOOPS
            if command[f"{name}_count"] > 1
        )
        rules = (
            (
                WeightFormat.TWO_OF_FOUR not in self.array.weight_formats,
                "w_format must not be TWO_OF_FOUR on an accelerator without it",
            ),
            (bool(command["depthwise"]), "w_format must not be TWO_OF_FOUR if depthwise is 1"),
            (
                command["precision"] != Precision.W8A8,
                "w_format must be DENSE for weights of 4 bits, not TWO_OF_FOUR",
            ),
            (not aligned, f"vectors of TWO_OF_FOUR must begin at multiples of {line}"),
        )
        return next((text for wrong, text in rules if wrong), None)

    @property
    def region_stride(self) -> int:
        """Address distance between activation regions: their size, rounded up to a power of two."""
        return _power_of_two(self.memory.activation_bytes)

    @property
    def activation_address_bits(self) -> int:
        """Bits of an activation byte address (region number on top)."""
        span = self.region_stride * _power_of_two(self.memory.activation_regions)
        return (span - 1).bit_length()

    @property
    def activation_total(self) -> int:
        """Bytes of all activation regions together."""
        return self.memory.activation_regions * self.memory.activation_bytes

    @property
    def weight_words(self) -> int:
        """Depth of the weight memory in words of ``columns`` bytes."""
        return self.memory.weight_bytes // self.array.columns

    @property
    def lane_words(self) -> int:
        """Depth of the parameter memory in words of ``lanes`` channels."""
        return self.memory.parameter_channels // self.post.lanes

    @property
    def bias_lanes(self) -> int:
        """Biases that LOAD writes at once: those of a beat, if they divide a lane word."""
        return gcd(self.post.lanes, max(1, self.external.data_bytes // 4))

    @property
    def beats(self) -> int:
        """Lane vectors in one full array vector."""
        return self.array.columns // self.post.lanes

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates the array does each cycle."""
        return self.array.rows * self.array.columns
