"""What qualifies a verification, in sentences."""

from typing import TYPE_CHECKING

from systolith.profiles.table import get_profile
from systolith.verify.references import FORMULAS
from systolith.verify.results import LayerReport

if TYPE_CHECKING:
    from systolith.verify.flow import _Verification as Verification

__all__ = ["remarks_of"]


def _bounded(layers: tuple[LayerReport, ...]) -> list[str]:
    """Say how near float outputs came whose last bits the runtime's order of additions decides."""
    found = [layer for layer in layers if layer.bounded is not None]
    texts = [
        f"{layer.tensor} (differs by {b.gap:.1e} at most, {b.bound:.1e} allowed; values up to"
        f" {b.peak:.3g})"
        for layer in found
        if (b := layer.bounded) is not None
    ]
    if not texts:
        return []
    many = "compared with the bounds that any order of the runtime's float additions keeps: "
    return [many + ", ".join(texts)]


def _allowed(work: "Verification") -> list[str]:
    """Say what may differ, where the profile has a bound."""
    if not work.bound:
        return []
    runtime, tally = get_profile(work.graph.profile).runtime, work.tally
    text = (
        f"{runtime} itself is not exactly reproducible: each layer was compared on its own inputs,"
        f" and one value in {round(1 / work.bound):,} may differ by 1; end to end"
        f" {tally.changed:,} of {tally.outputs:,} output values differ"
    )
    return [text]


def remarks_of(work: "Verification", layers: tuple[LayerReport, ...]) -> tuple[str, ...]:
    """Return sentences that qualify the result of a verification."""
    remarks = [work.fused.weights_note] if work.fused.weights else []
    host = [layer.name for layer in layers if layer.where == "host"]
    if host:
        remarks.append(f"computed on the host: {', '.join(host)}")
    hidden = [layer.tensor for layer in layers if layer.hidden]
    if hidden and work.outputs_only:
        remarks.append(
            f"backend {work.backend.name} shows a program's inputs and outputs alone: what is"
            f" between was not compared by itself: {', '.join(hidden)}"
        )
    elif hidden and work.unfused is None:
        remarks.append(
            f"hidden by fusion and not compared: {', '.join(hidden)}; the program without fusion"
            f" cannot be compiled: {work.obstacle}"
        )
    elif hidden:
        remarks.append(
            f"hidden by fusion, read from a second program without it: {', '.join(hidden)}"
        )
    formulas = [layer.tensor for layer in layers if FORMULAS in layer.against]
    if formulas:
        remarks.append(
            f"{len(formulas)} tensors that the runtime does not give were compared with the"
            f" formulas of profile {work.graph.profile}"
        )
    remarks += _allowed(work)
    remarks += _bounded(layers)
    if any(layer.utilisation and layer.utilisation > 1 for layer in layers):
        remarks.append(
            "a layer's cycles count from the completion of the one before: what it did under"
            " that one's last tiles is not in them, so that a layer can exceed 100 %"
        )
    moved = [layer.name for layer in layers if layer.where == "alias"]
    if moved:
        remarks.append(f"no commands, the same bytes under another shape: {', '.join(moved)}")
    return tuple(remarks)
