"""The backends by name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from systolith.errors import InputError
from systolith.hw.technology import Technology
from systolith.sim.backend import Backend
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.netlist_backend import NetlistBackend
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.verilator_backend import VerilatorBackend

__all__ = ["BACKENDS", "get_backend"]

BACKENDS: Mapping[str, Callable[[], Backend]] = {
    "verilator": VerilatorBackend,
    "verilator-fast": partial(VerilatorBackend, structural=False),
    "pysim": PysimBackend,
    "golden": GoldenBackend,
    "netlist-ecp5": partial(NetlistBackend, Technology.ECP5),
    "netlist-xilinx7": partial(NetlistBackend, Technology.XILINX7),
}
"""Every way to run a program, the default first.

``verilator`` simulates every gate as it is shipped; ``verilator-fast`` has a model in place of the
array's grid of processing elements (`systolith.sim.array`), equal in every cycle, which builds and
runs faster: for large arrays and long runs. The ``netlist`` ones simulate the cells that synthesis
makes of small accelerators.
"""


def get_backend(name: str, *, trace: Path | None = None) -> Backend:
    """A new backend.

    Parameters
    ----------
    name: a key of `BACKENDS`.
    trace: waveform file, Verilator only.

    Raises
    ------
    InputError: unknown name, or a trace where none can be made.
    """
    if name not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, not {name!r}")
    if trace is not None:
        if name != "verilator":
            raise InputError(f"waveforms can be traced with backend verilator only, not {name!r}")
        return VerilatorBackend(trace=trace)
    return BACKENDS[name]()
