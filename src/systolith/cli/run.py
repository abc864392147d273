"""``systolith run``."""

from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.inference import Job, infer
from systolith.cli.options import (
    Against,
    Array,
    BackendName,
    Count,
    Inputs,
    OptionalModel,
    Precisions,
    Preset,
    Quiet,
    SpecFile,
    WeightFormats,
    choose_spec,
)
from systolith.constraints import load_board
from systolith.errors import SpecError
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["run"]

_Choice = tuple[AcceleratorSpec, str]
"""An accelerator, and the technology it is made for."""


def _of_board(name: str, chosen: AcceleratorSpec | None, frequency: float | None) -> _Choice:
    """Return what `systolith build` puts on a board."""
    from systolith.build.accelerator import TECHNOLOGIES, board_spec

    board = load_board(name)
    spec = board_spec(board, chosen or board.spec, frequency)
    return spec, str(TECHNOLOGIES[board.family])


def run(
    model: OptionalModel = None,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    inputs: Inputs = None,
    against: Against = None,
    backend: BackendName = "uart-sim",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the outputs as .npz.")
    ] = None,
    board: Annotated[
        str | None,
        typer.Option("--board", help="The specification that `systolith build` gives this board."),
    ] = None,
    frequency: Annotated[
        float | None, typer.Option("--frequency", help="With --board: as given to `build`.")
    ] = None,
    count: Count = None,
    precision: Precisions = None,
    weights: WeightFormats = None,
    quiet: Quiet = False,
) -> None:
    """Run a network on a board, or on any other backend, as a host does: load once, run each input.

    The specification must be that of the board's bitstream; the accelerator is asked for its own.
    """
    if board is None and frequency is not None:
        raise SpecError("--frequency can be given with --board only")
    named = any(value is not None for value in (array, spec, preset))
    accelerator, technology = choose_spec(array, spec, preset), "generic"
    if board is not None:
        accelerator, technology = _of_board(board, accelerator if named else None, frequency)
    job = Job(
        model=model,
        spec=accelerator,
        inputs=inputs,
        against=against,
        backend=backend,
        technology=technology,
        output=output,
        count=count,
        precision=precision,
        weights=weights,
        quiet=quiet,
    )
    infer(job, "ran")
