"""Compare requantizers over millions of adversarial values: formula, golden, Verilator and pysim.

`python scripts/requant_sweep.py` prints one row per mode and pair: values compared, mismatches.
The formulas here are written in other terms than golden's: M1 as its runtimes write it (a nudge
and a truncation), M2 by the machine's float32 multiplier, M3 in Python's unbounded integers.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from amaranth.hdl import Cat, Elaboratable, Module, Signal, signed
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator, SimulatorContext
from numpy.typing import NDArray
from requant_samples import Chunk, Columns, Ints, chunks, saturated, wrap

from systolith.hw.requant import Requantizer
from systolith.sim.binding import Model
from systolith.sim.emit import simulation_verilog
from systolith.sim.verilator import build_model
from systolith.spec.requant import RequantMode, RequantWidths


def double_formula(a: Ints, p: Columns, widths: RequantWidths) -> Ints:
    """Nudge and truncate towards zero, then round the shift half away from zero."""
    x = a.astype(np.int32) << np.maximum(p["shift"], 0).astype(np.int32)
    product = x.astype(np.int64) * p["multiplier"]
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(nudged) * (np.abs(nudged) >> np.int64(31))
    right = np.maximum(-p["shift"], 0)
    half = (np.int64(1) << right) >> np.int64(1)
    return np.sign(high) * ((np.abs(high) + half) >> right)


def float32_formula(a: Ints, p: Columns, widths: RequantWidths) -> Ints:
    """Multiply in float32; 0 * infinity counts as 0."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        scale = np.ldexp(p["multiplier"].astype(np.float64), p["shift"]).astype(np.float32)
        value = np.rint(a.astype(np.float32) * scale)
    return np.clip(np.nan_to_num(value, nan=0.0), -(1 << 20), 1 << 20).astype(np.int64)


def fixed_formula(
    a: Ints, p: Columns, widths: RequantWidths, mode: RequantMode = RequantMode.FIXED
) -> Ints:
    """Compute in unbounded integers; the sum's wrap is a remainder."""
    columns = (saturated(a, mode, widths), p["multiplier"], p["offset"], p["shift"])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    wide = 1 << (widths.sum - 1)
    exact = [((x * m + c + wide) % (2 * wide) - wide) // (1 << s) for x, m, c, s in rows]
    return np.array(exact, np.int64)


def magnitude_formula(a: Ints, p: Columns, widths: RequantWidths) -> Ints:
    """FIXED's formula of the magnitude, with the sign; far beyond every clamp it may saturate."""
    y = fixed_formula(a, p, widths, RequantMode.MAGNITUDE)
    return np.where(a < 0, -np.maximum(y, -(1 << 40)), y)


FORMULAS: Mapping[RequantMode, Callable[[Ints, Columns, RequantWidths], Ints]] = {
    RequantMode.DOUBLE: double_formula,
    RequantMode.FLOAT32: float32_formula,
    RequantMode.FIXED: fixed_formula,
    RequantMode.MAGNITUDE: magnitude_formula,
}


def by_formula(chunk: Chunk) -> Ints:
    """Codes by the mode's formula."""
    zero, low, high = chunk.clamp
    a = wrap(chunk.columns["acc"] + chunk.columns["bias"], 32)
    y = np.clip(FORMULAS[chunk.mode](a, chunk.columns, chunk.widths), -(1 << 20), 1 << 20)
    return np.clip(y + zero, low, high)


class VerilatorGates:
    """The requantizer with ``built`` modes, in Verilator."""

    def __init__(self, built: frozenset[RequantMode], widths: RequantWidths) -> None:
        dut = Requantizer(built, widths)
        self._latency = dut.latency
        self._model = Model(build_model(simulation_verilog(dut), jobs=1))

    def __call__(self, chunk: Chunk) -> Ints:
        """Codes of a chunk, its samples back to back."""
        count = len(chunk.codes) + self._latency
        control = zip(("zero", "low", "high"), chunk.clamp, strict=True)
        inputs = {"i_mode": np.full(count, chunk.mode, np.uint8)}
        inputs["i_valid"] = np.ones(count, np.uint8)
        for name, value in control:
            inputs[f"i_{name}"] = self._raw(name, np.full(count, value))
        for name, column in chunk.columns.items():
            inputs[f"i_{name}"] = self._raw(name, np.pad(column, (0, self._latency)))
        output = np.empty(count, np.uint16)
        self._model.drive(count, inputs, {"o": output})
        return wrap(output[self._latency :].astype(np.int64), 9)

    def _raw(self, name: str, column: Ints) -> NDArray[np.unsignedinteger]:
        variable = self._model.variables[f"i_{name}"]
        mask = (1 << variable.width) - 1 if variable.width < 64 else -1
        return (column & np.int64(mask)).astype(variable.storage.dtype)


class _SelfFed(Elaboratable):
    """The requantizer between two memories: samples in, codes out, one a cycle.

    No testbench touches a sample, which makes Amaranth's simulator several times as fast.
    """

    def __init__(self, chunk: Chunk, built: frozenset[RequantMode]) -> None:
        self.chunk, self.count = chunk, len(chunk.codes)
        self.dut = Requantizer(built, chunk.widths)
        self.ports = [getattr(self.dut, f"i_{name}") for name in chunk.columns]
        self.codes = Memory(shape=signed(9), depth=self.count + self.dut.latency + 1, init=[])

    def _rows(self) -> list[int]:
        """Samples as memory words, first column in the low bits."""
        words = [0] * self.count
        place = 0
        for port, column in zip(self.ports, self.chunk.columns.values(), strict=True):
            mask = (1 << len(port)) - 1
            words = [w | (v & mask) << place for w, v in zip(words, column.tolist(), strict=True)]
            place += len(port)
        return words

    def elaborate(self, platform: object) -> Module:
        """Count cycles: sample k is read in cycle k and its code written `latency` cycles on."""
        m = Module()
        dut, control = self.dut, (self.chunk.mode, *self.chunk.clamp)
        width = sum(len(port) for port in self.ports)
        m.submodules.samples = samples = Memory(shape=width, depth=self.count, init=self._rows())
        m.submodules.dut, m.submodules.codes = dut, self.codes
        read, write = samples.read_port(), self.codes.write_port()
        cycle = Signal(range(self.codes.depth + 1))
        m.d.sync += cycle.eq(cycle + 1)
        m.d.comb += [
            read.addr.eq(cycle), read.en.eq(1), Cat(self.ports).eq(read.data), dut.i_valid.eq(1),
            write.addr.eq(cycle), write.en.eq(cycle < self.codes.depth), write.data.eq(dut.o),
        ]  # fmt: skip
        ports = (dut.i_mode, dut.i_zero, dut.i_low, dut.i_high)
        m.d.comb += [port.eq(value) for port, value in zip(ports, control, strict=True)]
        return m


class PysimGates:
    """The requantizer with ``built`` modes, in Amaranth's simulator."""

    def __init__(self, built: frozenset[RequantMode]) -> None:
        self.built = built

    def __call__(self, chunk: Chunk) -> Ints:
        """Codes of a chunk, its samples back to back."""
        design = _SelfFed(chunk, self.built)
        first = design.dut.latency + 1
        codes: list[int] = []

        async def bench(ctx: SimulatorContext) -> None:
            await ctx.tick().repeat(design.codes.depth + 1)
            codes.extend(ctx.get(design.codes.data[first + k]) for k in range(design.count))

        simulator = Simulator(design)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        return np.array(codes, np.int64)


def sweep(
    name: str,
    codes: Callable[[Chunk], Ints],
    modes: Sequence[RequantMode],
    values: int,
    seed: int,
    widths: RequantWidths,
) -> int:
    """Compare ``codes`` with golden in ``modes``, print a row for each; return the mismatches."""
    total = 0
    for mode in modes:
        start = time.monotonic()
        compared = wrong = inside = 0
        for chunk in chunks(mode, values, seed, widths):
            differs = codes(chunk) != chunk.codes
            compared += len(differs)
            wrong += int(differs.sum())
            _, low, high = chunk.clamp
            inside += int(((chunk.codes > low) & (chunk.codes < high)).sum())
            if differs.any() and total + wrong == int(differs.sum()):
                at = int(np.argmax(differs))
                sample = {key: int(column[at]) for key, column in chunk.columns.items()}
                print(f"first mismatch: {mode.name} clamp {chunk.clamp} {sample}", file=sys.stderr)
        total += wrong
        print(
            f"{mode.name:<8} {name:<22} {compared:>11} {wrong:>10}"
            f" {100 * inside / compared:>8.1f} % {time.monotonic() - start:>7.1f} s",
            flush=True,
        )
    return total


def main() -> int:
    """Run the sweep; the exit status tells whether there were mismatches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=int, default=10_000_000, help="values per mode")
    parser.add_argument("--pysim", type=int, default=200_000, help="values per mode in pysim")
    names = [mode.name.lower() for mode in RequantMode]
    parser.add_argument("--modes", nargs="+", choices=names, default=names)
    parser.add_argument("--build", nargs="+", choices=names, default=names, help="modes in gates")
    parser.add_argument("--multiplier-bits", type=int, default=32, help="of FIXED and MAGNITUDE")
    parser.add_argument("--accumulator-bits", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for name in ("values", "pysim"):
        if getattr(arguments, name) < 0:
            parser.error(f"--{name} must be at least 0, not {getattr(arguments, name)!r}")
    print(f"seed {arguments.seed}")
    print(f"{'mode':<8} {'golden against':<22} {'values':>11} {'mismatches':>10} {'unclamped':>10}")
    modes = [RequantMode[name.upper()] for name in arguments.modes]
    built = frozenset(RequantMode[name.upper()] for name in arguments.build)
    if not built.issuperset(modes):
        parser.error(f"--build must have all of --modes {arguments.modes}, not {arguments.build}")
    widths = RequantWidths(
        multiplier=arguments.multiplier_bits, accumulator=arguments.accumulator_bits
    )
    try:
        gates = VerilatorGates(built, widths) if arguments.values else by_formula
    except ValueError as error:
        parser.error(str(error))
    many = modes, arguments.values, arguments.seed, widths
    wrong = 0
    if arguments.values:
        wrong += sweep("formula", by_formula, *many)
        wrong += sweep("gates, Verilator", gates, *many)
    if arguments.pysim:
        few = modes, arguments.pysim, arguments.seed, widths
        wrong += sweep("gates, pysim", PysimGates(built), *few)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
