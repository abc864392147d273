"""Compare requantizers over millions of adversarial values: formula, golden, Verilator and pysim.

`python scripts/requant_sweep.py` prints one row per mode and pair: values compared, mismatches.
The formulas here are written in other terms than golden's: M1 as its runtimes write it (a nudge
and a truncation), M2 by the machine's float32 multiplier, M3 in Python's unbounded integers.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.sim import Simulator, SimulatorContext
from numpy.typing import NDArray

from systolith.golden.requant import requantize
from systolith.hw.requant import Requantizer
from systolith.sim.binding import Model
from systolith.sim.emit import simulation_verilog
from systolith.sim.verilator import build_model
from systolith.spec.requant import PARAMETER_FIELDS, RequantMode

Ints = NDArray[np.int64]
Columns = dict[str, Ints]
Sampler = Callable[[np.random.Generator, int], tuple[Ints, Columns]]

I32 = (-(1 << 31), (1 << 31) - 1)
CHUNK = 250_000
CLAMPS = (
    (0, -128, 127),
    (-128, -128, 127),
    (127, -128, 127),
    (0, 0, 255),
    (255, 0, 255),
    (-256, -256, 255),
    (255, -256, 255),
    (-7, -100, 60),
)
"""Zero point, low and high: the chunks take turns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Samples of one clamp, and golden's codes for them."""

    mode: RequantMode
    clamp: tuple[int, int, int]
    columns: Columns
    codes: Ints


def wrap(value: Ints, bits: int) -> Ints:
    """Keep the low bits, as two's complement."""
    return (value << np.int64(64 - bits)) >> np.int64(64 - bits)


def mix(rng: np.random.Generator, weights: Sequence[float], rows: Sequence[Ints]) -> Ints:
    """Take every element from one of the rows at random."""
    choice = rng.choice(len(rows), len(rows[0]), p=np.array(weights) / sum(weights))
    return np.choose(choice, rows)


def any_size(rng: np.random.Generator, n: int) -> Ints:
    """int32 with every number of significant bits equally likely."""
    return rng.integers(*I32, n, endpoint=True) >> rng.integers(0, 32, n)


def near(rng: np.random.Generator, value: NDArray[np.longdouble]) -> Ints:
    """int32 within 2 of ``value``, or its rail."""
    limited = np.clip(np.floor(value), *I32).astype(np.int64)
    return np.clip(limited + rng.integers(-1, 3, len(value)), *I32)


def ties(rng: np.random.Generator, n: int) -> NDArray[np.longdouble]:
    """Halves of odd integers, in and just out of the range of codes."""
    return (rng.integers(-300, 301, n).astype(np.longdouble) * 2 + 1) / 2


def rails(rng: np.random.Generator, n: int) -> Ints:
    """int32 at its ends and around 0."""
    return rng.choice(np.array([I32[0], I32[0] + 1, -1, 0, 1, I32[1] - 1, I32[1]]), n)


def double_samples(rng: np.random.Generator, n: int) -> tuple[Ints, Columns]:
    """M1: both roundings tie, shifts of both signs, multipliers down to 0."""
    high = rng.integers(1 << 30, 1 << 31, n)
    ends = rng.choice(np.array([0, 1, 1 << 30, I32[1]]), n)
    multiplier = mix(rng, (6, 1, 3), (high, rng.integers(0, 1 << 31, n), ends))
    shift = rng.integers(-31, 32, n)
    target = np.ldexp(ties(rng, n) / np.maximum(multiplier, 1), 31 - shift)
    a = mix(rng, (6, 3, 1), (near(rng, target), any_size(rng, n), rails(rng, n)))
    return a, {"multiplier": multiplier, "shift": shift, "offset": np.zeros(n, np.int64)}


def float32_samples(rng: np.random.Generator, n: int) -> tuple[Ints, Columns]:
    """M2: ties and carries in the conversion, the product and the last rounding."""
    inner = rng.integers(1 << 23, 1 << 24, n)
    ends = rng.choice(np.array([1 << 23, (1 << 23) + 1, (1 << 24) - 1]), n)
    multiplier = mix(rng, (6, 4), (inner, ends))
    shift = mix(rng, (8, 2), (rng.integers(-60, -15, n), rng.integers(-128, 128, n)))
    target = np.ldexp(ties(rng, n) / multiplier, -shift)
    bits = rng.integers(1, 8, n)
    half = (inner << bits) + (np.int64(1) << (bits - 1)) + rng.integers(-1, 2, n)
    carry = (np.int64(1) << rng.integers(24, 32, n)) - rng.integers(1, 200, n)
    rows = (near(rng, target), half, carry, any_size(rng, n), rails(rng, n))
    return mix(rng, (4, 2, 1, 2, 1), rows) * rng.choice(np.array([-1, 1]), n), {
        "multiplier": multiplier,
        "shift": shift,
        "offset": np.zeros(n, np.int64),
    }


def fixed_samples(rng: np.random.Generator, n: int) -> tuple[Ints, Columns]:
    """M3: sums on and next to multiples of the shift's unit, sums that wrap."""
    multiplier = mix(rng, (8, 2), (any_size(rng, n), rails(rng, n)))
    shift = rng.integers(0, 64, n)
    unit = np.ldexp(np.longdouble(1), shift)
    target = ties(rng, n) * unit / np.where(multiplier == 0, 1, multiplier)
    a = wrap(mix(rng, (4, 4, 2), (near(rng, target), any_size(rng, n), rails(rng, n))), 32)
    half = (np.int64(1) << shift) >> np.int64(1)
    edge = (rng.integers(-300, 301, n) << shift) - a * multiplier + rng.integers(-1, 2, n)
    anything = rng.integers(-(1 << 63), 1 << 63, n)
    far = rng.choice(np.array([-(1 << 63), (1 << 63) - 1]), n)
    offset = mix(rng, (4, 2, 1, 2, 1), (edge, half, half - 1, anything, far))
    return a, {"multiplier": multiplier, "shift": shift, "offset": offset}


def double_formula(a: Ints, p: Columns) -> Ints:
    """Nudge and truncate towards zero, then round the shift half away from zero."""
    x = a.astype(np.int32) << np.maximum(p["shift"], 0).astype(np.int32)
    product = x.astype(np.int64) * p["multiplier"]
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(nudged) * (np.abs(nudged) >> np.int64(31))
    right = np.maximum(-p["shift"], 0)
    half = (np.int64(1) << right) >> np.int64(1)
    return np.sign(high) * ((np.abs(high) + half) >> right)


def float32_formula(a: Ints, p: Columns) -> Ints:
    """Multiply in float32; 0 * infinity counts as 0."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        scale = np.ldexp(p["multiplier"].astype(np.float64), p["shift"]).astype(np.float32)
        value = np.rint(a.astype(np.float32) * scale)
    return np.clip(np.nan_to_num(value, nan=0.0), -(1 << 20), 1 << 20).astype(np.int64)


def fixed_formula(a: Ints, p: Columns) -> Ints:
    """Compute in unbounded integers; the sum's wrap is a remainder."""
    columns = (a, p["multiplier"], p["offset"], p["shift"])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    wide = 1 << 63
    exact = [((x * m + c + wide) % (2 * wide) - wide) // (1 << s) for x, m, c, s in rows]
    return np.array(exact, np.int64)


SAMPLERS: Mapping[RequantMode, Sampler] = {
    RequantMode.DOUBLE: double_samples,
    RequantMode.FLOAT32: float32_samples,
    RequantMode.FIXED: fixed_samples,
}
FORMULAS: Mapping[RequantMode, Callable[[Ints, Columns], Ints]] = {
    RequantMode.DOUBLE: double_formula,
    RequantMode.FLOAT32: float32_formula,
    RequantMode.FIXED: fixed_formula,
}


def chunks(mode: RequantMode, values: int, seed: int) -> Iterator[Chunk]:
    """Samples of ``mode``, at least ``values`` of them in all."""
    rng = np.random.default_rng([seed, mode])
    size = min(CHUNK, -(-values // len(CLAMPS)))
    for number in range(-(-values // size)):
        a, columns = SAMPLERS[mode](rng, size)
        a = wrap(a, 32)
        bias = mix(
            rng, (5, 3, 2), (np.zeros(size, np.int64), any_size(rng, size), rails(rng, size))
        )
        columns |= {"acc": wrap(a - bias, 32), "bias": bias}
        clamp = CLAMPS[number % len(CLAMPS)]
        codes = requantize(
            columns["acc"],
            mode=mode,
            **{field.name: columns[field.name] for field in PARAMETER_FIELDS},
            zero_point=clamp[0],
            low=clamp[1],
            high=clamp[2],
        )
        yield Chunk(mode=mode, clamp=clamp, columns=columns, codes=codes)


def by_formula(chunk: Chunk) -> Ints:
    """Codes by the mode's formula."""
    zero, low, high = chunk.clamp
    a = wrap(chunk.columns["acc"] + chunk.columns["bias"], 32)
    y = np.clip(FORMULAS[chunk.mode](a, chunk.columns), -(1 << 20), 1 << 20)
    return np.clip(y + zero, low, high)


class VerilatorGates:
    """The requantizer with all modes, in Verilator."""

    def __init__(self) -> None:
        dut = Requantizer(frozenset(RequantMode))
        self._latency = dut.latency
        self._model = Model(build_model(simulation_verilog(dut), jobs=1))

    def __call__(self, chunk: Chunk) -> Ints:
        """Codes of a chunk, its samples back to back."""
        count = len(chunk.codes) + self._latency
        control = zip(("zero", "low", "high"), chunk.clamp, strict=True)
        inputs = {"i_mode": np.full(count, chunk.mode, np.uint8)}
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


class PysimGates:
    """The requantizer with all modes, in Amaranth's simulator."""

    def __call__(self, chunk: Chunk) -> Ints:
        """Codes of a chunk, its samples back to back."""
        dut = Requantizer(frozenset(RequantMode))
        names = list(chunk.columns)
        rows = list(zip(*(chunk.columns[name].tolist() for name in names), strict=True))
        ports = [getattr(dut, f"i_{name}") for name in names]
        codes: list[int] = []

        async def bench(ctx: SimulatorContext) -> None:
            controls = (dut.i_mode, dut.i_zero, dut.i_low, dut.i_high)
            for port, value in zip(controls, (chunk.mode, *chunk.clamp), strict=True):
                ctx.set(port, value)
            for row in rows + rows[-1:] * dut.latency:
                for port, value in zip(ports, row, strict=True):
                    ctx.set(port, value)
                codes.append(ctx.get(dut.o))
                await ctx.tick()

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        return np.array(codes[dut.latency :], np.int64)


def sweep(
    name: str, codes: Callable[[Chunk], Ints], modes: Sequence[RequantMode], values: int, seed: int
) -> int:
    """Compare ``codes`` with golden in ``modes``, print a row for each; return the mismatches."""
    total = 0
    for mode in modes:
        start = time.monotonic()
        compared = wrong = inside = 0
        for chunk in chunks(mode, values, seed):
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
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for name in ("values", "pysim"):
        if getattr(arguments, name) < 0:
            parser.error(f"--{name} must be at least 0, not {getattr(arguments, name)!r}")
    print(f"seed {arguments.seed}")
    print(f"{'mode':<8} {'golden against':<22} {'values':>11} {'mismatches':>10} {'unclamped':>10}")
    modes = [RequantMode[name.upper()] for name in arguments.modes]
    wrong = 0
    if arguments.values:
        wrong += sweep("formula", by_formula, modes, arguments.values, arguments.seed)
        wrong += sweep(
            "gates, Verilator", VerilatorGates(), modes, arguments.values, arguments.seed
        )
    if arguments.pysim:
        wrong += sweep("gates, pysim", PysimGates(), modes, arguments.pysim, arguments.seed)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
