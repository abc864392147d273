"""Tables for the terminal, readable at 100 columns."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

__all__ = ["WIDTH", "clip", "make_table", "number", "percent", "shape_text"]

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
    columns: Iterable[tuple[str, bool]], rows: Iterable[Sequence[str]], *, wrap: str = ""
) -> Table:
    """Return a table of plain text.

    Where it is too narrow, the first column is cut short: a number never is.

    Parameters
    ----------
    columns: heading, and whether the column is flush right.
    rows: cells; a row of no cells draws a line.
    wrap: heading of the column whose cells may take several lines.
    """
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    cells = list(rows)
    for index, (heading, right) in enumerate(columns):
        justify: JustifyMethod = "right" if right else "left"
        if heading == wrap:
            table.add_column(heading, justify=justify, overflow="fold")
            continue
        width = max([len(heading), *(len(row[index]) for row in cells if row)])
        table.add_column(
            heading,
            justify=justify,
            overflow="ellipsis",
            no_wrap=index > 0,
            min_width=width if index else None,
        )
    for row in cells:
        if row:
            table.add_row(*(Text(cell) for cell in row))
        else:
            table.add_section()
    return table
