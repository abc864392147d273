"""ctypes binding of a built model: variables as numpy arrays on the model's own storage."""

import ctypes
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systolith.errors import SystolithError
from systolith.sim.external import MemoryTiming

__all__ = ["Model", "SimulationError", "Variable"]

_STORAGE = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_NOWHERE = (1 << 64) - 1
_DIRECTIONS = ("internal", "in", "out")


class SimulationError(SystolithError):
    """An assertion of the design failed, or the simulator cannot go on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A port, register or memory of a model, with a view of its storage.

    Members
    -------
    name: hierarchical name with dots, without the top.
    width: bits of a word.
    depth: words of a memory, 0 for anything else.
    signed: whether the design reads a word as two's complement.
    direction: "in", "out" or "internal".
    storage: uint8/16/32/64, shape (1,) or (depth,); wider than 64 bits uint32, shape (.., words),
        least significant word first.
    """

    name: str
    width: int
    depth: int
    signed: bool
    direction: str
    storage: NDArray[np.unsignedinteger]

    @property
    def address(self) -> int:
        """Address of the storage in memory."""
        return int(self.storage.ctypes.data)

    @property
    def word_bytes(self) -> int:
        """Bytes of the storage of one word."""
        return self.storage.nbytes // max(self.depth, 1)


@functools.lru_cache(maxsize=64)
def _load(path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    handle, pointer, u64, u32 = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
    flag, text = ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("new", handle, []),
        ("delete", None, [handle]),
        ("trace_kind", flag, []),
        ("has_clock", flag, []),
        ("variable_count", u32, [handle]),
        ("variable", text, [handle, u32, pointer, pointer]),
        ("eval", None, [handle]),
        ("cycles", u64, [handle]),
        ("status", flag, [handle]),
        ("failure", text, [handle]),
        ("log_text", text, [handle]),
        ("log_clear", None, [handle]),
        ("tick", u64, [handle, u64]),
        ("run_until", u64, [handle, pointer, u32, u64, u64, u64, pointer]),
        ("drive", u64, [handle, u64, u32, *[pointer] * 3, u32, *[pointer] * 3]),
        ("connect_memory", flag, [handle, text, pointer, u64, pointer]),
        ("trace_open", flag, [handle, text]),
        ("trace_close", None, [handle]),
    ):
        function = getattr(library, f"sl_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class Model:
    """One instance of a built model; several of one library live side by side.

    Values set by `Variable.storage` are seen by the next `eval`, `tick` or `run_until`. Not calling
    any of them pauses the model without disturbing it.

    Parameters
    ----------
    library: path that `build_model` returned.
    """

    def __init__(self, library: Path) -> None:
        self._library = _load(str(library))
        self._handle: int | None = self._library.sl_new()
        if self._handle is None:
            raise SimulationError(f"the model {library} cannot be instantiated")
        self._memory: NDArray[np.uint8] | None = None  # kept alive while it is connected
        self.variables: dict[str, Variable] = {}
        for index in range(self._library.sl_variable_count(self._handle)):
            variable = self._variable(index)
            self.variables.setdefault(variable.name, variable)

    def _variable(self, index: int) -> Variable:
        data, numbers = ctypes.c_void_p(), (ctypes.c_uint32 * 5)()
        raw = self._library.sl_variable(self._handle, index, ctypes.byref(data), numbers).decode()
        width, depth, word_bytes, direction, sign = numbers
        # "TOP.top.sub/\\a.b " is the variable `a.b` in the scope `sub` of the top: sub.a.b.
        scope, _, own = raw.rpartition("/")
        path = ".".join(scope.split(".")[2:]).replace("\\", "").replace(" ", "")
        name = ".".join(part for part in (path, own.strip().lstrip("\\")) if part)
        words = (word_bytes // 4,) if width > 64 else ()
        dtype = np.dtype(_STORAGE[4 if width > 64 else word_bytes])
        shape = (max(depth, 1), *words)
        # A variable of the model is never at address 0, which ctypes would show as None.
        buffer = (ctypes.c_uint8 * (word_bytes * max(depth, 1))).from_address(data.value or 0)
        return Variable(
            name=name,
            width=width,
            depth=depth,
            signed=bool(sign),
            direction=_DIRECTIONS[direction],
            storage=np.frombuffer(memoryview(buffer), dtype).reshape(shape),
        )

    @property
    def _live(self) -> int:
        if self._handle is None:
            raise SimulationError("the model is closed: build or open it again")
        return self._handle

    def _checked(self) -> None:
        if self._library.sl_status(self._live) != 2:
            return
        log = self._library.sl_log_text(self._live).decode(errors="replace")
        failure = self._library.sl_failure(self._live).decode(errors="replace")
        raise SimulationError(f"the simulation stopped at cycle {self.cycles}: {failure} {log}")

    @property
    def has_clock(self) -> bool:
        """Whether the top has a port `clk`."""
        return bool(self._library.sl_has_clock())

    @property
    def trace_kind(self) -> str:
        """Kind of trace the library was built with: "", "vcd" or "fst"."""
        return ("", "vcd", "fst")[self._library.sl_trace_kind()]

    @property
    def cycles(self) -> int:
        """Clock cycles since the instance was made."""
        return int(self._library.sl_cycles(self._live))

    @property
    def finished(self) -> bool:
        """Whether the design executed `$finish` or failed."""
        return bool(self._library.sl_status(self._live))

    @property
    def log(self) -> str:
        """What the design printed by `$display` and alike."""
        return str(self._library.sl_log_text(self._live).decode(errors="replace"))

    def eval(self) -> None:
        """Settle combinational logic after a change of inputs or storage."""
        self._library.sl_eval(self._live)
        self._checked()

    def tick(self, count: int = 1) -> int:
        """Run clock cycles; return how many were run (fewer after `$finish`)."""
        done = int(self._library.sl_tick(self._live, count))
        self._checked()
        return done

    def run_until(self, flag: Variable, mask: int, value: int, limit: int) -> tuple[int, bool]:
        """Run until (flag & mask) == value, at most `limit` cycles, without leaving C++.

        Returns the number of cycles run and whether the condition was reached.
        """
        if flag.width > 64 or flag.depth:
            raise ValueError(f"flag must be a signal of at most 64 bits, not {flag.name!r}")
        reached = ctypes.c_int()
        done = self._library.sl_run_until(
            self._live, flag.address, flag.word_bytes, mask, value, limit, ctypes.byref(reached)
        )
        self._checked()
        return int(done), bool(reached.value)

    def drive(
        self,
        count: int,
        inputs: Mapping[str, NDArray[np.unsignedinteger]],
        outputs: Mapping[str, NDArray[np.unsignedinteger]],
    ) -> int:
        """Run cycles from arrays of raw storage words: set inputs, settle, sample outputs, tick."""

        def table(arrays: Mapping[str, NDArray[np.unsignedinteger]]) -> tuple[object, ...]:
            variables = [self.variables[name] for name in arrays]
            pointers = ctypes.c_void_p * len(arrays)
            return (
                len(arrays),
                pointers(*[variable.address for variable in variables]),
                (ctypes.c_uint32 * len(arrays))(*[variable.word_bytes for variable in variables]),
                pointers(*[array.ctypes.data for array in arrays.values()]),
            )

        done = self._library.sl_drive(self._live, count, *table(inputs), *table(outputs))
        self._checked()
        return int(done)

    def connect_memory(
        self, prefix: str, data: NDArray[np.uint8] | None, timing: MemoryTiming
    ) -> None:
        """Let every cycle from now on serve the AXI4 master whose ports begin with ``prefix``.

        The bytes are shared, not copied. None disconnects.

        Raises
        ------
        ValueError: there is no such master.
        """
        self._memory = data
        if data is None:
            self._library.sl_connect_memory(self._live, b"", None, 0, None)
            return
        names = [f"{prefix}araddr", f"{prefix}wstrb"]
        if any(name not in self.variables for name in names):
            raise ValueError(f"prefix must be of an AXI4 master's ports, not {prefix!r}")
        address, strobe = (self.variables[name] for name in names)
        error = _NOWHERE if timing.error_address is None else timing.error_address
        stalls = 0 if timing.stalls is None else 2 * timing.stalls + 1 & 0xFFFFFFFF
        numbers = (ctypes.c_uint64 * 7)(
            timing.base,
            timing.latency,
            timing.rate,
            stalls,
            error,
            address.word_bytes,
            strobe.width,
        )
        if not self._library.sl_connect_memory(
            self._live, prefix.encode(), data.ctypes.data, len(data), numbers
        ):
            raise ValueError(f"prefix must be of an AXI4 master's ports, not {prefix!r}")

    def open_trace(self, path: Path) -> None:
        """Begin to record all signals to a file of `trace_kind`."""
        if not self._library.sl_trace_open(self._live, str(path).encode()):
            raise SimulationError(f"{path} cannot be opened as a trace, or one is open already")

    def close_trace(self) -> None:
        """End the recording, if any."""
        self._library.sl_trace_close(self._live)

    def close(self) -> None:
        """Free the instance; views of its storage must not be used any more."""
        if self._handle is not None:
            self._library.sl_delete(self._handle)
            self._handle = None
            self.variables = {}
