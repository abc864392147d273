"""Progress on stderr: a bar on terminals, nothing in pipes."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["loading", "reporting"]


@contextlib.contextmanager
def reporting(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress while the body runs.

    Yields a function of (what is being done, steps finished, steps in all); 0 in all means that
    the number of steps is unknown.

    Parameters
    ----------
    quiet: show nothing.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda stage, done, total: None
        return
    bar = Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("starting", total=None)

        def report(stage: str, done: int, total: int) -> None:
            bar.update(task, description=escape(stage), completed=done, total=total or None)

        yield report


def loading(progress: Callable[[str, int, int], None]) -> Callable[[int, int], None]:
    """Return what a backend is to call while it loads a network: (bytes loaded, bytes in all)."""

    def report(done: int, total: int) -> None:
        progress(f"loading the network, {done:,} of {total:,} bytes", done, total)

    return report
