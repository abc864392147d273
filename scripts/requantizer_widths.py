"""How many channels of networks are provable with narrow multipliers: docs/requantizer-widths.md.

`python scripts/requantizer_widths.py MODEL[=PROFILE] ...` prints a Markdown row for each: channels
that FIXED, and FIXED or MAGNITUDE, equal at 16, 18, 24 and 32 bits, and the smallest requantizer
that is exact for the whole network, as `systolith fit` finds it.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from systolith.compiler.fit_network import NetworkFit, fit_network
from systolith.errors import SystolithError
from systolith.importers import load_model
from systolith.report.fit import WIDTHS
from systolith.spec.accelerator import PostSpec
from systolith.spec.requant import RequantMode


def cells(model: str, profile: str, fit: NetworkFit) -> Iterator[str]:
    """Yield the cells of a network's row."""
    yield model
    yield profile
    yield str(fit.channels)
    yield " ".join(str(fit.provable(RequantMode.FIXED, bits)) for bits in WIDTHS)
    yield " ".join(str(fit.anyhow(bits)) for bits in WIDTHS)
    post = fit.post
    modes = "+".join(mode.name for mode in sorted(post.modes))
    yield f"{modes} {post.multiplier_bits} x {post.accumulator_bits}"
    proven = sum(layer.proof.accumulators for layer in fit.layers if layer.proof)
    yield f"{proven / 1e6:,.0f} M"


def main() -> int:
    """Print a row for every model; the exit status tells whether one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL[=PROFILE]")
    arguments = parser.parse_args()
    widths = " ".join(map(str, WIDTHS))
    heads = [
        "network",
        "profile",
        "channels",
        f"FIXED at {widths}",
        f"FIXED or MAGNITUDE at {widths}",
    ]
    heads += ["smallest exact requantizer", "accumulators proven"]
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    failed = 0
    for text in arguments.models:
        path, _, profile = text.partition("=")
        start = time.monotonic()
        try:
            graph = load_model(path, profile or None)
            row = list(cells(Path(path).stem, graph.profile, fit_network(graph, PostSpec())))
        except SystolithError as error:
            print(f"{text}: {error}", file=sys.stderr)
            failed += 1
            continue
        print("| " + " | ".join(row) + " |", flush=True)
        print(f"{text}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
