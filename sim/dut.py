"""A Verilog or Amaranth design as a Python object: ports, clock, internals, memories, traces."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from amaranth.lib.wiring import Component
from numpy.typing import ArrayLike, NDArray

from systolith.errors import InputError
from systolith.sim.binding import Model, SimulationError
from systolith.sim.emit import simulation_verilog
from systolith.sim.external import DEFAULT_TIMING, MemoryTiming
from systolith.sim.memory import Memory
from systolith.sim.values import Variables, as_signed, fit, pack, unpack
from systolith.sim.verilator import build_model

__all__ = ["Clock", "CycleLimitError", "Dut", "Memory", "SimulationError", "Variables", "as_signed"]


class CycleLimitError(SimulationError):
    """A condition was not reached within the cycles allowed; the model can still go on."""


class Clock:
    """The clock `clk` of a model."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def cycles(self) -> int:
        """Cycles run so far, those of reset included."""
        return self._model.cycles

    def tick(self, n: int = 1) -> int:
        """Run n cycles with the inputs as they are; return how many were run."""
        if not self._model.has_clock:
            raise InputError("the top must have a port clk to be ticked: use `io` alone")
        if n < 0:
            raise InputError(f"n must be at least 0, not {n}")
        return self._model.tick(n)


class Dut:
    """A running model of a design.

    >>> with Dut.build(component) as dut:          # doctest: +SKIP
    ...     dut.io.a = -3
    ...     dut.clock.tick(10)
    ...     print(dut.io.y, dut.memory("store.data")[0:4])

    Parameters
    ----------
    library: shared library that `build_model` returned; most users want `Dut.build`.

    Members
    -------
    io: the ports. internals: signals that `public` named. clock: `tick` and `cycles`.
    """

    def __init__(self, library: Path, *, name: str = "top") -> None:
        self.model = Model(library)
        self.library = library
        self._name = name
        self.io = Variables(self.model, ("in", "out"))
        self.internals = Variables(self.model, ("internal",))
        self.clock = Clock(self.model)
        if "rst" in self.io and self.model.has_clock:
            self.reset()
        else:
            self.model.eval()

    @classmethod
    def build(
        cls,
        design: Component | str,
        *,
        top: str = "top",
        trace: bool | str = False,
        public: Iterable[str] = (),
    ) -> Self:
        """Build (or take from the cache) the model of a design, and reset it.

        Parameters
        ----------
        design: Amaranth component, or Verilog text.
        top: name of the top module.
        trace: build with `start_trace` (slower): True, "vcd" or "fst".
        public: internals to access besides memories, with wildcards: "ctrl.state", "*.count".

        Raises
        ------
        ToolError: a tool is missing, or rejects the design.
        """
        verilog = design if isinstance(design, str) else simulation_verilog(design, top)
        return cls(build_model(verilog, top, trace=trace, public=public), name=top)

    def __repr__(self) -> str:
        return f"<Dut {self._name}: {len(list(self.io))} ports, cycle {self.clock.cycles}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def finish(self) -> bool:
        """Whether the design executed `$finish`."""
        return self.model.finished

    @property
    def log(self) -> str:
        """Text that the design printed."""
        return self.model.log

    def names(self) -> list[str]:
        """Return the accessible names: ports, public internals and memories, with dots."""
        return list(self.model.variables)

    def memory(self, name: str) -> Memory:
        """Return a memory by its hierarchical name; the last part suffices if it is unique."""
        memories = {key: item for key, item in self.model.variables.items() if item.depth}
        found = [key for key in memories if key == name]
        found = found or [key for key in memories if key.rpartition(".")[2] == name]
        if len(found) != 1:
            names = ", ".join(memories) or "none"
            raise InputError(f"memory must be one of {names}, not {name!r}")
        return Memory(memories[found[0]])

    def reset(self, cycles: int = 2) -> None:
        """Assert `rst` for some cycles; memories keep their contents."""
        self.io["rst"] = 1
        self.clock.tick(cycles)
        self.io["rst"] = 0
        self.model.eval()

    def run(self, max_cycles: int, *, until: str, value: int = 1, mask: int = -1) -> int:
        """Run until a port or public signal has a value; return the cycles this took.

        Stays in C++. The condition is tested before each cycle, so a call may take 0 cycles.

        Raises
        ------
        CycleLimitError: the value was not reached within `max_cycles`.
        SimulationError: an assertion of the design failed meanwhile.
        """
        variable = self.model.variables.get(until)
        if variable is None or variable.depth or variable.width > 64:
            raise InputError(f"until must name a signal of at most 64 bits, not {until!r}")
        bits = (1 << variable.width) - 1
        wanted = (value if mask != -1 else fit(variable, value)) & bits
        done, reached = self.model.run_until(variable, mask & bits, wanted, max_cycles)
        if not reached:
            raise CycleLimitError(
                f"{until} must become {value} within {max_cycles} cycles, not later"
            )
        return done

    def drive(
        self, inputs: Mapping[str, ArrayLike | Sequence[int]], outputs: Sequence[str]
    ) -> dict[str, NDArray[np.generic]]:
        """Run one cycle per element of the inputs, and return the outputs seen before each edge.

        Stays in C++. Every cycle: set the inputs, settle, sample the outputs, tick.

        Parameters
        ----------
        inputs: port -> values, all of one length.
        outputs: ports or public signals to record.

        Returns
        -------
        name -> int64 (signed), uint64, or Python integers (wider than 64 bits), one per cycle.
        """
        known = self.model.variables
        for name in [*inputs, *outputs]:
            if name not in known or known[name].depth:
                raise InputError(f"name must be one of {', '.join(known)}, not {name!r}")
        packed = {name: pack(known[name], values) for name, values in inputs.items()}
        lengths = {len(words) for words in packed.values()}
        if len(lengths) != 1:
            raise InputError(f"inputs must all have one length, not {sorted(lengths)}")
        (count,) = lengths
        recorded = {
            name: np.zeros((count, *known[name].storage.shape[1:]), known[name].storage.dtype)
            for name in outputs
        }
        done = self.model.drive(count, packed, recorded)
        return {name: unpack(known[name], words[:done]) for name, words in recorded.items()}

    def connect_memory(
        self, prefix: str, data: NDArray[np.uint8] | None, timing: MemoryTiming = DEFAULT_TIMING
    ) -> None:
        """Serve an AXI4 master of the design from an array, in C++, from the next cycle on.

        Parameters
        ----------
        prefix: how the names of the master's ports begin: "memory__".
        data: the memory, shared and not copied: look at it and change it between cycles; None
            disconnects.
        timing: when it answers, and where it fails.
        """
        try:
            self.model.connect_memory(prefix, data, timing)
        except ValueError as error:
            raise InputError(str(error)) from None

    def start_trace(self, path: str | Path) -> None:
        """Begin to record waveforms; the model must have been built with `trace`."""
        kind = self.model.trace_kind
        if not kind:
            raise InputError("the model must be built with trace=True to record waveforms")
        if Path(path).suffix != f".{kind}":
            raise InputError(f"path must end in .{kind}, as the model was built so, not {path}")
        self.model.open_trace(Path(path))

    def stop_trace(self) -> None:
        """End the recording and close its file."""
        self.model.close_trace()

    def close(self) -> None:
        """Free the model."""
        self.model.close()
