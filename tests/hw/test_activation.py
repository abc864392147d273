"""The activation memory against a numpy image: all ports at once, arbitration and latency."""

from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.technology import Technology
from systolith.sim.images import join_activations
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.precision import WeightFormat

CYCLES = 500


def spec_of(
    rows: int,
    lanes: int,
    regions: int,
    size: int,
    *more: WeightFormat,
    bus: int = 0,
    lines: int = 0,
) -> AcceleratorSpec:
    formats = frozenset({WeightFormat.DENSE, *more})
    return AcceleratorSpec(
        array=ArraySpec(
            rows=rows, columns=lanes, depthwise_lines=lines, weight_formats=formats
        ),
        memory=MemorySpec(
            activation_regions=regions, activation_bytes=size, weight_bytes=16 * lanes,
            parameter_channels=4 * lanes,
        ),
        post=PostSpec(lanes=lanes),
        external=ExternalSpec(data_bytes=bus),
    )  # fmt: skip


SPECS = [
    spec_of(4, 1, 2, 128),
    spec_of(3, 2, 1, 72),  # a size that is no power of two
    spec_of(1, 1, 3, 64),
    spec_of(7, 4, 8, 160),
    spec_of(2, 12, 2, 96),
    spec_of(32, 5, 2, 64),  # one line in each bank
    spec_of(3, 2, 1, 128, bus=4),
    spec_of(16, 4, 2, 160, bus=8),
    spec_of(6, 6, 3, 80, bus=8),
    spec_of(4, 2, 2, 96, lines=2),
    spec_of(9, 4, 3, 128, bus=8, lines=3),
    spec_of(2, 1, 2, 96, WeightFormat.TWO_OF_FOUR),  # a vector is one line
    spec_of(6, 4, 2, 96, WeightFormat.TWO_OF_FOUR, lines=3),
    spec_of(16, 4, 3, 128, WeightFormat.TWO_OF_FOUR),
    spec_of(6, 3, 1, 96, WeightFormat.TWO_OF_FOUR, lines=3),  # one window for all
]


@dataclass
class Model:
    """The image, and what happens later."""

    spec: AcceleratorSpec
    image: np.ndarray
    late: int  # cycles from a grant until the banks read
    pending: list  # (cycle from which reads see it, address, bytes)
    asked: list  # (cycle in which the banks read, when it is due, port, address, bytes)
    due: list  # (cycle, port, value, its bits)

    def write(self, cycle: int, address: int, data: list[int], mask: int) -> None:
        visible = cycle + ActivationMemory.write_latency
        for i, value in enumerate(data):
            if mask >> i & 1:
                self.pending.append((visible, address + i, value))

    def settle(self, cycle: int) -> None:
        for visible, address, value in self.pending:
            if visible <= cycle:
                self.image[address] = value
        self.pending = [p for p in self.pending if p[0] > cycle]

    def read(self, cycle: int, port: str, address: int, count: int) -> None:
        due = cycle + ActivationMemory.read_latency
        self.asked.append((cycle + self.late, due, port, address, count))

    def look(self, cycle: int) -> None:
        for when, due, port, address, count in self.asked:
            if when == cycle:
                value = int.from_bytes(self.image[address : address + count].tobytes(), "little")
                self.due.append((due, port, value, 8 * count))
        self.asked = [asked for asked in self.asked if asked[0] > cycle]


def address_of(rng: np.random.Generator, spec: AcceleratorSpec, count: int) -> int:
    """Any address with ``count`` bytes in one region; often near those of other draws."""
    region = int(rng.integers(spec.memory.activation_regions))
    top = spec.memory.activation_bytes - count
    offset = int(rng.integers(top + 1)) if rng.integers(2) else int(rng.integers(min(8, top + 1)))
    return region * spec.region_stride + offset


def pair_of(rng: np.random.Generator, spec: AcceleratorSpec) -> tuple[int, int]:
    """Addresses of two lines in one region, of different banks."""
    lines = spec.memory.activation_bytes // spec.line_bytes
    first = int(rng.integers(lines))
    second = int(rng.integers(lines // 2)) * 2 + (first + 1) % 2
    base = int(rng.integers(spec.memory.activation_regions)) * spec.region_stride
    return base + first * spec.line_bytes, base + second * spec.line_bytes


def name_of(case: AcceleratorSpec | Technology) -> str:
    if isinstance(case, Technology):
        return case.value
    return f"line{case.line_bytes}-bus{case.external.data_bytes}" + "-sparse" * case.array.sparse


@pytest.mark.parametrize(
    ("spec", "technology"),
    [(spec, Technology.GENERIC) for spec in SPECS]
    + [(SPECS[i], Technology.ICE40) for i in (0, 1, 9, -1)],
    ids=name_of,
)
def test_random_traffic(spec: AcceleratorSpec, technology: Technology) -> None:
    rng = np.random.default_rng(spec.line_bytes)
    dut = ActivationMemory(spec, technology)
    rows, lanes, line = spec.array.rows, spec.post.lanes, spec.line_bytes
    bus = spec.external.data_bytes
    span = spec.region_stride * spec.memory.activation_regions
    late = int(technology is Technology.ICE40)
    model = Model(spec, np.zeros(span, np.uint8), late, [], [], [])
    refused: set[object] = set()

    def region(address: int) -> int:
        return address // spec.region_stride

    # Ports are set in the order of their priority: `ready` depends only on ports set before.
    def reads(ctx: SimulatorContext, cycle: int) -> None:
        taken = set()
        urgent = bool(rng.integers(2))
        ctx.set(dut.x_urgent, urgent)
        first = [("x", rows), ("r", lanes)] if urgent else [("r", lanes), ("x", rows)]
        for port, _ in first:
            ctx.set(getattr(dut, f"{port}_valid"), 0)
        saves = [("s", bus)] if bus else []
        for port, count in (*first, ("c", line), *saves, ("hr", 4)):
            valid = rng.random() < 0.5
            address = address_of(rng, spec, count)
            address = address & ~3 if port == "hr" else address
            pair = port == "x" and spec.row_pairs and rng.integers(2)
            if port == "x" and spec.array.sparse and not pair and rng.integers(2):
                count = spec.vector_bytes
                address = address_of(rng, spec, count) // line * line
            if pair:
                address, below = pair_of(rng, spec)
                ctx.set(dut.x_below, below)
            if port == "x" and spec.row_pairs:
                ctx.set(dut.x_pair, int(pair))
            ctx.set(getattr(dut, f"{port}_valid"), valid)
            ctx.set(getattr(dut, f"{port}_address"), address)
            granted = region(address) not in taken
            if port == "hr" and len(dut.banks) > 1:  # it shares a window with the copies
                granted &= not ctx.get(dut.c_valid)
            if valid:
                assert ctx.get(getattr(dut, f"{port}_ready")) == granted
                if granted:
                    model.read(cycle, port, address, count)
                    if pair:
                        model.read(cycle, "x_below", below, count)
                else:
                    refused.add((port, urgent) if port in "rx" else port)
                taken.add(region(address))

    def writes(ctx: SimulatorContext, cycle: int) -> None:
        taken = set()
        sizes = {"p": lanes, "f": line} | ({"l": bus} if bus else {}) | {"hw": 4}
        for port, size in sizes.items():
            valid = rng.random() < 0.5
            address = address_of(rng, spec, size)
            address = address & ~3 if port == "hw" else address
            data = rng.integers(0, 256, size).tolist()
            ctx.set(getattr(dut, f"{port}_valid"), valid)
            ctx.set(getattr(dut, f"{port}_address"), address)
            ctx.set(getattr(dut, f"{port}_data"), int.from_bytes(bytes(data), "little"))
            if port == "hw":
                mask = int(rng.integers(16))
                ctx.set(dut.hw_strobe, mask)
            else:
                count = int(rng.integers(size + 1))
                mask = (1 << count) - 1
                ctx.set(getattr(dut, f"{port}_count"), count)
            granted = region(address) not in taken
            if valid:
                if port != "p":
                    assert ctx.get(getattr(dut, f"{port}_ready")) == granted
                if granted:
                    model.write(cycle, address, data, mask)
                else:
                    refused.add(port)
                taken.add(region(address))

    async def bench(ctx: SimulatorContext) -> None:
        for cycle in range(CYCLES):
            model.settle(cycle)
            for when, port, value, bits in model.due:
                if when == cycle:
                    got = ctx.get(getattr(dut, f"{port}_data")) & (1 << bits) - 1
                    assert got == value, (cycle, port)
            model.due = [d for d in model.due if d[0] > cycle]
            reads(ctx, cycle)
            writes(ctx, cycle)
            model.look(cycle)
            await ctx.tick()
        for port in ("p", "f", "hw", *("l" if bus else "")):
            ctx.set(getattr(dut, f"{port}_valid"), 0)
        await ctx.tick().repeat(ActivationMemory.write_latency)
        model.settle(CYCLES + ActivationMemory.write_latency)
        words = {}
        for g, pair in enumerate(dut.banks):
            for name, bank in zip(("even", "odd"), pair, strict=True):
                rows_ = [ctx.get(bank.data[i]).to_bytes(line, "little") for i in range(bank.depth)]
                words[f"activations.region{g}_{name}"] = np.frombuffer(
                    b"".join(rows_), np.uint8
                ).reshape(-1, line)
        np.testing.assert_array_equal(join_activations(spec, words), model.image)

    simulate(dut, bench)
    wanted = {("x", False), ("r", True), "c", "hr", "f", "hw"}
    assert refused == wanted | ({"s", "l"} if bus else set())
