"""Compare golden's quantization of float32 numbers with the runtimes', over all 2**32 if asked to.

    python scripts/quantize_sweep.py                                     # every 4096th number
    python scripts/quantize_sweep.py --every 1 --case onnxruntime-int8   # all of them

Prints a row a case: values compared and mismatches; the exit status is 1 if there is one. `--part`
takes a share of the range, so that a sweep can be made in pieces.
"""

import argparse
import sys
import time

import numpy as np
from quantize_oracles import CASES, Case, dequantize_session

from systolith.golden.quantize import dequantize_codes, quantize_codes

_CHUNK = 1 << 14
_ALL = 1 << 32


def quantized(case: Case, first: int, last: int, every: int) -> tuple[int, int]:
    """Return (values, mismatches) for numbers with bits from ``first`` up to ``last``."""
    oracle = case.oracle()
    values = wrong = 0
    shown = time.monotonic()
    for start in range(first, last, _CHUNK * every):
        bits = np.arange(start, min(start + _CHUNK * every, last), every, dtype=np.int64)
        want = oracle(bits.astype(np.uint32).view(np.float32))
        got = quantize_codes(
            bits, case.form, case.bits, case.zero, low=case.format.low, high=case.format.high
        )
        differs = got != want
        if differs.any() and not wrong:
            k = int(np.flatnonzero(differs)[0])
            print(f"  {case.name}: {bits[k]:#010x} gives {got[k]}, not {want[k]}", file=sys.stderr)
        values, wrong = values + bits.size, wrong + int(differs.sum())
        if time.monotonic() - shown > 60:
            shown = time.monotonic()
            print(
                f"  {case.name}: {values} values, {wrong} mismatches", file=sys.stderr, flush=True
            )
    return values, wrong


def dequantized(case: Case, seed: int, scales: int) -> tuple[int, int]:
    """Return (values, mismatches) for all codes, with random scales and zero points."""
    rng = np.random.default_rng(seed)
    values = wrong = 0
    for _ in range(scales):
        scale = np.uint32(rng.integers(1 << 23, 0xFF << 23)).view(np.float32)
        zero = int(rng.integers(case.format.low, case.format.high + 1))
        codes = np.arange(case.format.low, case.format.high + 1)
        changed = Case(case.runtime, case.format, case.form, float(scale), zero)
        kind = np.uint8 if case.format == "uint8" else np.int8
        want = dequantize_session(changed)(codes.astype(kind)).view(np.uint32)
        got = dequantize_codes(codes, changed.bits, zero)
        values, wrong = values + codes.size, wrong + int((got != want).sum())
    return values, wrong


def _part(text: str) -> tuple[int, int]:
    """Read `i/n`; (0, 0) if it is something else."""
    part, slash, parts = text.partition("/")
    return (int(part), int(parts)) if slash and (part + parts).isdecimal() else (0, 0)


def main() -> int:
    """Parse the options, run the cases, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=4096, help="distance of the numbers' bits")
    parser.add_argument("--offset", type=int, default=1, help="first number's bits")
    parser.add_argument("--part", default="1/1", help="i/n: the i-th of n parts of the range")
    parser.add_argument("--case", action="append", choices=[c.name for c in CASES])
    parser.add_argument("--scales", type=int, default=20, help="random scales for dequantize")
    options = parser.parse_args()
    part, parts = _part(options.part)
    if options.every < 1:
        parser.error(f"--every must be at least 1, not {options.every}")
    if not 1 <= part <= parts:
        parser.error(f"--part must be i/n with i from 1 to n, not {options.part}")
    first, last = (_ALL * n // parts for n in (part - 1, part))
    offset = options.offset % options.every
    failed = False
    print(f"{'case':24} {'form':14} {'scale':>12} {'zero':>5} {'values':>11} {'mismatches':>10}")
    for case in CASES:
        if options.case and case.name not in options.case:
            continue
        begin = time.monotonic()
        begins = first + (offset - first) % options.every
        values, wrong = quantized(case, begins, last, options.every)
        print(
            f"{case.name:24} {case.form.name.lower():14} {case.scale:12.9g} {case.zero:5} "
            f"{values:11} {wrong:10}  {time.monotonic() - begin:.0f} s",
            flush=True,
        )
        failed |= wrong > 0
        if case.runtime == "onnxruntime" and options.scales:
            values, wrong = dequantized(case, 7, options.scales)
            print(f"{case.name:24} {'dequantize':14} {'random':>12} {'':5} {values:11} {wrong:10}")
            failed |= wrong > 0
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
