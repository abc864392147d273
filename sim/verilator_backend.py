"""Run programs on the Verilated accelerator."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systolith.sim.accelerator import accelerator_model, axi_read, axi_write
from systolith.sim.backend import (
    Progress,
    Result,
    RunError,
    external_image,
    read_buffer,
    write_inputs,
)
from systolith.sim.dut import CycleLimitError, Dut
from systolith.sim.external import DEFAULT_TIMING, MemoryTiming
from systolith.sim.images import (
    activation_names,
    join_activations,
    program_words,
    split_activations,
)
from systolith.sim.limits import cycle_limit
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.program import Program
from systolith.spec.registers import COUNTERS, REGISTERS, ErrorCode

__all__ = ["VerilatorBackend"]

_OFFSETS = {register.name: register.offset for register in REGISTERS}


class VerilatorBackend:
    """Cycle-accurate runs of the generated Verilog, no Python in the loop.

    Memories are loaded and read in bulk between clock cycles, which the hardware does not notice:
    captured tensors are those of the program as deployed, at full speed.

    Parameters
    ----------
    trace: record waveforms of every run to this file (.fst, or .vcd), overwritten by each run.
    structural: the array as it is shipped; False: as an equal, faster model (`accelerator_model`).
    memory: timing of external memory: by default a latency of 16 cycles and no stalls.
    watchdog: cycles after which the accelerator itself stops a run with an error; 0 for never.
    """

    def __init__(
        self,
        *,
        trace: Path | None = None,
        structural: bool = True,
        memory: MemoryTiming = DEFAULT_TIMING,
        watchdog: int = 0,
    ):
        self._memory, self._watchdog = memory, watchdog
        self._external = np.zeros(0, np.uint8)
        self._trace = trace
        self._structural = structural
        self.name = "verilator" if structural else "verilator-fast"
        self._duts: dict[AcceleratorSpec, Dut] = {}
        self._loaded: tuple[Dut, Program] | None = None

    def dut(self, spec: AcceleratorSpec) -> Dut:
        """The model of ``spec``, built and loaded at the first call."""
        if spec not in self._duts:
            self._duts[spec] = Dut(self._library(spec), name=spec.name)
        return self._duts[spec]

    def _library(self, spec: AcceleratorSpec) -> Path:
        kind = self._trace.suffix[1:] if self._trace else False
        return accelerator_model(spec, trace=kind, structural=self._structural)

    def run(
        self,
        program: Program,
        inputs: Mapping[str, NDArray[np.generic]],
        *,
        capture: Collection[str] = (),
        progress: Progress | None = None,
    ) -> Result:
        """Run ``program`` once; see `Backend.run`."""
        dut = self.dut(program.spec)
        dut.reset()
        self._load(dut, program)
        image = np.zeros(program.spec.region_stride * program.spec.memory.activation_regions, "u1")
        self._external = external_image(program)
        write_inputs(program, inputs, image, self._external)
        if program.spec.external.data_bytes:
            dut.connect_memory("memory__", self._external, self._memory)
        self._write_activations(dut, program.spec, image)
        if self._trace:
            dut.start_trace(self._trace)
        start = time.perf_counter()
        tensors = self._execute(dut, program, capture, progress)
        seconds = time.perf_counter() - start
        if self._trace:
            dut.stop_trace()
        counters = {c.name: axi_read(dut, _OFFSETS[c.name]) for c in COUNTERS}
        return Result(
            tensors=tensors,
            counters=counters,
            stamps=self._stamps(dut),
            seconds=seconds,
        )

    def _load(self, dut: Dut, program: Program) -> None:
        # What LOAD commands have written must not be left to the next run.
        whole = bool(program.spec.external.data_bytes)
        if not whole and self._loaded is not None and self._loaded == (dut, program):
            return
        present = set(dut.names())
        for name, words in program_words(program).items():
            # Optimization removes the parameter memories of fields that no built mode reads.
            if name in present or not name.startswith("store.parameters."):
                memory = dut.memory(name).bytes
                memory[: len(words)] = words
                if whole:
                    memory[len(words) :] = 0
        self._loaded = (dut, program)

    def _write_activations(self, dut: Dut, spec: AcceleratorSpec, image: NDArray[np.uint8]) -> None:
        for name, words in split_activations(spec, image).items():
            dut.memory(name).bytes[...] = words

    def _activations(self, dut: Dut, spec: AcceleratorSpec) -> NDArray[np.uint8]:
        banks = [name for pair in activation_names(spec) for name in pair]
        return join_activations(spec, {b: dut.memory(b).bytes for b in banks})

    def _stamps(self, dut: Dut) -> tuple[int, ...]:
        stamps = dut.memory("control.stamp_memory").array[: dut.io["stamps"]]
        return tuple(int(s) for s in stamps.ravel())

    def _execute(
        self, dut: Dut, program: Program, capture: Collection[str], progress: Progress | None
    ) -> dict[str, NDArray[np.generic]]:
        """Start, pause at the layers that complete a wanted tensor, stop; collect the tensors."""
        wanted = set(capture) - set(program.outputs)
        limit = cycle_limit(program, self._memory)
        tensors = {}
        for name in sorted(wanted & set(program.inputs)):
            tensors[name] = self._read(dut, program, name)
        if program.spec.external.data_bytes:
            axi_write(dut, _OFFSETS["memory_low"], self._memory.base & 0xFFFFFFFF)
            axi_write(dut, _OFFSETS["memory_high"], self._memory.base >> 32)
        axi_write(dut, _OFFSETS["watchdog"], self._watchdog)
        axi_write(dut, _OFFSETS["entry"], 0)
        axi_write(dut, _OFFSETS["control"], 1)
        try:
            for number, layer in enumerate(program.layers):
                if progress is None and layer.tensor not in wanted:
                    continue
                dut.run(limit, until="stamps", value=layer.stamp + 1)
                if layer.tensor in wanted and not program.buffers[layer.tensor].external:
                    tensors[layer.tensor] = self._read(dut, program, layer.tensor)
                if progress is not None:
                    progress(number + 1, len(program.layers))
            dut.run(limit, until="busy", value=0)
        except CycleLimitError:
            raise RunError(self._diagnosis(dut, program, limit)) from None
        dut.clock.tick(2)
        error = ErrorCode(axi_read(dut, _OFFSETS["error"]))
        if error is not ErrorCode.NONE:
            raise RunError(f"the accelerator stopped with error {error.name.lower()}")
        # What lies in external memory is saved after its stamp, and stays.
        late = wanted.intersection(layer.tensor for layer in program.layers) - set(tensors)
        for name in (*program.outputs, *sorted(late)):
            tensors[name] = self._read(dut, program, name)
        return tensors

    def _read(self, dut: Dut, program: Program, name: str) -> NDArray[np.generic]:
        if program.buffers[name].external:
            return read_buffer(self._external, program.buffers[name])
        return read_buffer(self._activations(dut, program.spec), program.buffers[name])

    @staticmethod
    def _diagnosis(dut: Dut, program: Program, limit: int) -> str:
        done = dut.io["stamps"]
        layers = [layer.name for layer in program.layers if layer.stamp >= done]
        where = f"layer {layers[0]!r}" if layers else "the end of the program"
        return f"the accelerator must finish within {limit} cycles, but is stuck before {where}"
