"""Tables for the terminal, readable at 100 columns."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from systolith.verify.results import LayerReport, Mismatch, VerifyReport

__all__ = ["WIDTH", "clip", "make_table", "number", "percent", "print_report", "shape_text"]

WIDTH = 100
"""Columns that every table fits in."""


def clip(text: str, width: int) -> str:
    """Shorten a long name in its middle, where names of one network differ least."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"


def number(value: int | None) -> str:
    """Digits in groups; empty for None."""
    return "" if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """A share with one decimal; empty for None."""
    return "" if value is None else f"{100 * value:.1f} %"


def shape_text(shape: Sequence[int]) -> str:
    """``HxWxC``."""
    return "x".join(str(side) for side in shape)


def make_table(
    columns: Iterable[tuple[str, bool]], rows: Iterable[Sequence[str]], *, title: str = ""
) -> Table:
    """Return a table of plain text.

    Parameters
    ----------
    columns: heading, and whether the column is flush right.
    rows: cells; a row of no cells draws a line.
    title: above the table.
    """
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=title or None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
    )
    for heading, right in columns:
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        if row:
            table.add_row(*(Text(cell) for cell in row))
        else:
            table.add_section()
    return table


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
        ("use", True),
        ("where", False),
        ("compared", True),
        ("wrong", True),
    ]
    return make_table(columns, _layer_rows(report))


def proof_table(layers: Iterable[LayerReport]) -> Table:
    """How each layer's arithmetic is the runtime's, and what its output was compared with."""
    columns = [("layer", False), ("mode", False), ("proof", False), ("compared with", False)]
    rows = [
        [clip(layer.name, 24), layer.mode, clip(layer.note, 46), layer.against] for layer in layers
    ]
    return make_table(columns, rows)


def mismatch_lines(first: Mismatch) -> list[str]:
    """The first mismatch, a fact a line."""
    lines = [
        f"first mismatch: layer {first.layer!r} ({first.op}), tensor {first.tensor!r}, "
        f"input {first.sample}",
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
        f"accelerator  {spec.get('name')}, array {report.rows}x{report.columns}, "
        f"backend {report.backend}",
        f"against      {report.runtime}, run live (profile {report.profile})",
    ]
    if report.reference_from:
        lines.append(f"             and the tensors stored in {report.reference_from}")
    return lines


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
    for remark in report.remarks:
        say(f"note: {remark}")
    for line in _prediction_lines(report):
        say(line)
    times = ", ".join(f"{stage} {value:.1f} s" for stage, value in report.seconds.items())
    say(f"time         {times}")
    if report.first is not None:
        for line in mismatch_lines(report.first):
            say(line, "red")
    if report.ok:
        say(f"bit-exact: {report.compared:,} values compared, 0 mismatches", "bold green")
    elif report.mismatches:
        say(
            f"NOT bit-exact: {report.mismatches:,} of {report.compared:,} values differ", "bold red"
        )
    else:
        missing = [layer.name for layer in report.layers if not layer.compared]
        say(f"NOT verified: nothing to compare for {', '.join(missing)}", "bold red")
