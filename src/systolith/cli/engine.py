"""The backend of a command line, for a board if one is named."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from systolith.cli.build import chosen_spec
from systolith.cli.options import choose_spec
from systolith.constraints import Board, load_board
from systolith.errors import SpecError
from systolith.spec.accelerator import AcceleratorSpec

if TYPE_CHECKING:  # simulators take long to import
    from systolith.sim.backend import Backend

__all__ = ["BoardOption", "Frequency", "choose_board", "engine_of"]

BoardOption = Annotated[
    str | None,
    typer.Option("--board", help="The specification that `systolith build` gives this board."),
]
Frequency = Annotated[
    float | None, typer.Option("--frequency", help="With --board: as given to `build`.")
]


def choose_board(
    board: str | None,
    frequency: float | None,
    array: str | None,
    spec: Path | None,
    preset: str | None,
) -> tuple[Board | None, AcceleratorSpec]:
    """Return the board, if one is named, and the accelerator: what `build` puts on it.

    Raises
    ------
    SpecError: the options do not fit together, or name no valid accelerator.
    BoardError: no such board, or it cannot have the accelerator.
    """
    if board is None:
        if frequency is not None:
            raise SpecError("--frequency can be given with --board only")
        return None, choose_spec(array, spec, preset)
    from systolith.build.accelerator import board_spec

    found = load_board(board)
    return found, board_spec(found, chosen_spec(found, array, spec, preset), frequency)


def engine_of(
    name: str,
    board: Board | None,
    frequency: float | None,
    *,
    trace: Path | None = None,
    on_load: Callable[[int, int], None] | None = None,
) -> "Backend":
    """Return a backend; `uart-sim` of a board simulates the design that its bitstream is made of.

    Parameters
    ----------
    trace: waveform file.
    on_load: told of the network's bytes while it is loaded through a host's way to a device.

    Raises
    ------
    InputError: unknown name, or a trace where none can be made.
    BoardError: the board has no UART.
    """
    from systolith.sim.backends import get_backend
    from systolith.sim.device_backend import DeviceBackend
    from systolith.sim.uart_backend import UartSimBackend

    engine = get_backend(name, trace=trace)
    if board is not None and isinstance(engine, UartSimBackend):
        from systolith.build.shell import check_uart, design_rtlil

        check_uart(board)
        engine = UartSimBackend(engine.baud, lambda spec: design_rtlil(board, spec, frequency))
    if on_load is not None and isinstance(engine, DeviceBackend):
        engine.on_load = on_load
    return engine
