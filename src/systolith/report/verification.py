"""A verification for people: facts, tables, remarks, verdict."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from systolith.report.tables import clip, make_table, number, percent, shape_text
from systolith.verify.results import LayerReport, Mismatch, Proven, VerifyReport

__all__ = ["layer_table", "mismatch_lines", "print_report", "proof_line", "proof_table"]


def _layer_rows(report: VerifyReport) -> list[list[str]]:
    rows = [
        [
            clip(layer.name, 24),
            layer.op.replace("fully_connected", "fully_conn"),
            shape_text(layer.shape),
            number(layer.macs or None),
            number(layer.cycles),
            percent(layer.utilisation),
            layer.where,
            number(layer.compared),
            number(layer.mismatches),
        ]
        for layer in report.layers
    ]
    total = [
        "total",
        "",
        "",
        number(report.macs),
        number(report.cycles),
        percent(report.utilisation),
        "",
        number(report.compared),
        number(report.mismatches),
    ]
    return [*rows, [], total]


def layer_table(report: VerifyReport) -> Table:
    """What was run and compared, layer by layer."""
    columns = [
        ("layer", False),
        ("op", False),
        ("output", False),
        ("MACs", True),
        ("cycles", True),
        ("util", True),
        ("where", False),
        ("compared", True),
        ("wrong", True),
    ]
    return make_table(columns, _layer_rows(report))


def proof_table(layers: Iterable[LayerReport]) -> Table:
    """How each layer's arithmetic is the runtime's, and what its output was compared with."""
    columns = [("layer", False), ("mode", False), ("proof", False), ("compared with", False)]
    rows = [[clip(layer.name, 24), layer.mode, layer.note, layer.against] for layer in layers]
    return make_table(columns, rows, wrap="proof")


def mismatch_lines(first: Mismatch) -> list[str]:
    """The first mismatch, a fact a line."""
    lines = [
        (
            f"first mismatch: layer {first.layer!r} ({first.op}), tensor {first.tensor!r}, "
            f"input {first.sample}"
        ),
        f"  at [y, x, c] = {list(first.index)}, in the runtime's array {list(first.source_index)}",
        f"  hardware {first.got}, {first.against} {first.expected}"
        + (" (second program, without fusion)" if first.program == "unfused" else ""),
    ]
    if first.details:
        facts = [f"{name} {value}" for name, value in first.details.items()]
        for start in range(0, len(facts), 4):
            lines.append("  " + ", ".join(facts[start : start + 4]))
    return lines


def _facts(report: VerifyReport) -> list[str]:
    spec = report.accelerator
    lines = [
        f"model        {report.model}, {report.samples} inputs: {report.inputs_from}",
        (
            f"accelerator  {spec.get('name')}, array {report.rows}x{report.columns}, "
            f"backend {report.backend}"
        ),
        f"against      {report.runtime}, run live (profile {report.profile})",
    ]
    if report.reference_from:
        lines.append(f"             and the tensors stored in {report.reference_from}")
    return lines


def proof_line(proven: Proven) -> str:
    """Totals of the proofs of all requantizers."""
    parts = []
    if proven.layers:
        parts.append(
            f"{number(proven.channels)} channels of {proven.layers} layers equal the runtime's "
            f"formula on {number(proven.accumulators)} accumulators"
        )
    if proven.direct:
        parts.append(f"{proven.direct} layers use the runtime's own formula")
    return f"proven       {'; '.join(parts)}; multipliers of {proven.bits} bits"


def _prediction_lines(report: VerifyReport) -> list[str]:
    if not report.labels:
        return []
    shown = list(zip(report.labels, report.predictions, strict=True))[:20]
    right = sum(a == b for a, b in zip(report.labels, report.predictions, strict=True))
    return [
        "labels       " + " ".join(str(label) for label, _ in shown),
        "predicted    " + " ".join(str(found) for _, found in shown),
        f"accuracy     {right} of {report.samples} ({percent(report.accuracy)})",
    ]


def print_report(report: VerifyReport, console: Console) -> None:
    """Print facts, tables, remarks and the verdict."""

    def say(line: str, style: str = "") -> None:
        console.print(Text(line, style=style))

    for line in _facts(report):
        say(line)
    console.print(layer_table(report))
    console.print(proof_table(report.layers))
    if report.proven.bits:
        say(proof_line(report.proven))
    for remark in report.remarks:
        say(f"note: {remark}")
    for line in _prediction_lines(report):
        say(line)
    times = ", ".join(f"{stage} {value:.1f} s" for stage, value in report.seconds.items())
    say(f"time         {times}")
    if report.first is not None:
        for line in mismatch_lines(report.first):
            say(line, "red")
    if report.ok and report.bound and report.mismatches:
        say(
            f"within the bound: {report.compared:,} values compared, {report.mismatches:,} differ"
            f" by 1, {report.allowed:,} may",
            "bold green",
        )
    elif report.ok:
        exact = f"bit-exact: {report.compared - report.bounded:,} values compared, 0 mismatches"
        floats = f"; {report.bounded:,} floats within their bounds" if report.bounded else ""
        say(f"{exact}{floats}", "bold green")
    elif report.mismatches:
        say(
            f"NOT bit-exact: {report.mismatches:,} of {report.compared:,} values differ", "bold red"
        )
    else:
        missing = ", ".join(report.uncompared)
        say(f"NOT verified: nothing to compare for {missing}", "bold red")
