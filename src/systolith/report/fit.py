"""What a network needs of a requantizer: for people, and as JSON.

JSON, schema ``systolith/fit/1`` (keys are added within a version, never removed or renamed)::

    schema, systolith        "systolith/fit/1", version of this package
    model, profile, channels
    post                     the recommended section of the specification
    provable                 channels by mode (either: FIXED or MAGNITUDE) and multiplier bits
    layers[]                 name, op, formula, channels, direct (mode or null), provable,
                             needs (by mode: multiplier bits of each channel, 0 for none, and
                             accumulator bits), proof (the fields of `Proof`, or null)
    skipped                  reasons by layer
"""

import json
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

import systolith
from systolith.compiler.fit_network import LayerFit, NetworkFit
from systolith.compiler.needs import FITTED
from systolith.report.tables import clip, make_table, number
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_to_mapping
from systolith.spec.requant import RequantMode

__all__ = ["SCHEMA", "WIDTHS", "fit_json", "fit_table", "print_fit"]

SCHEMA = "systolith/fit/1"
WIDTHS = (16, 18, 24, 32)
"""Multiplier widths that tables show."""


def _row(layer: LayerFit) -> list[str]:
    mode = RequantMode[layer.proof.mode.upper()] if layer.proof else None
    least = layer.least(mode) if mode is not None else None
    chosen = f"{mode.name.lower()} {least[0]}" if mode is not None and least else ""
    reach = max(int(need.accumulator.max()) for need in layer.needs.values())
    return [
        clip(layer.node.name, 20),
        layer.formula,
        number(layer.channels),
        *(str(layer.provable(mode, bits)) for mode in FITTED for bits in WIDTHS),
        str(reach),
        chosen,
    ]


def fit_table(fit: NetworkFit) -> Table:
    """Channels that FIXED (F) and MAGNITUDE (M) equal, by the multiplier's width, and the choice.

    `acc` is the width to which the accumulator can be saturated, `chosen` the mode that the
    recommended requantizer computes the layer in and the multiplier's width that it needs.
    """
    columns = [("layer", False), ("formula", False), ("chan", True)]
    columns += [(f"{mode.name[0]}{bits}", True) for mode in FITTED for bits in WIDTHS]
    columns += [("acc", True), ("chosen", False)]
    total = ["total", "", number(fit.channels)]
    total += [str(fit.provable(mode, bits)) for mode in FITTED for bits in WIDTHS]
    return make_table(columns, [*map(_row, fit.layers), [], [*total, "", ""]])


def print_fit(fit: NetworkFit, console: Console) -> None:
    """Print the table, what was left out, and the recommendation."""
    console.print(fit_table(fit))
    console.print(
        Text("F, M: channels that modes fixed and magnitude equal with multipliers of 16 ... bits")
    )
    for name, reason in fit.skipped.items():
        console.print(Text(f"note: not on the array: {name!r}: {reason}"))
    post = fit.post
    modes = ", ".join(f'"{mode.name.lower()}"' for mode in sorted(post.modes))
    proven = sum(layer.proof.accumulators for layer in fit.layers if layer.proof)
    console.print(
        Text(
            f"smallest exact requantizer: modes = [{modes}], multiplier_bits = "
            f"{post.multiplier_bits}, accumulator_bits = {post.accumulator_bits}"
        )
    )
    console.print(Text(f"proven on {number(proven)} accumulators; the others are direct"))


def _layer(layer: LayerFit) -> dict[str, Any]:
    return {
        "name": layer.node.name,
        "op": str(layer.node.op),
        "formula": layer.formula,
        "channels": layer.channels,
        "direct": layer.direct.name.lower() if layer.direct is not None else None,
        "provable": _provable(layer),
        "needs": {
            mode.name.lower(): {
                "multiplier": need.multiplier.tolist(),
                "accumulator": need.accumulator.tolist(),
            }
            for mode, need in layer.needs.items()
        },
        "proof": asdict(layer.proof) if layer.proof else None,
    }


def _provable(item: LayerFit | NetworkFit) -> dict[str, dict[str, int]]:
    return {
        mode.name.lower(): {str(bits): item.provable(mode, bits) for bits in WIDTHS}
        for mode in RequantMode
    }


def fit_json(fit: NetworkFit, spec: AcceleratorSpec, *, model: str, profile: str) -> str:
    """Return the result as indented JSON text, see the module's docstring.

    Parameters
    ----------
    fit: the result.
    spec: the accelerator with the recommended requantizer.
    model, profile: what was fitted.
    """
    either = {str(bits): fit.anyhow(bits) for bits in WIDTHS}
    document = {
        "schema": SCHEMA,
        "systolith": systolith.__version__,
        "model": model,
        "profile": profile,
        "channels": fit.channels,
        "post": spec_to_mapping(spec)["post"],
        "provable": {**_provable(fit), "either": either},
        "layers": [_layer(layer) for layer in fit.layers],
        "skipped": dict(fit.skipped),
    }
    return json.dumps(document, indent=2) + "\n"
