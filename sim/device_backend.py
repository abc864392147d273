"""Programs on devices that are reached through their registers alone, as hardware is."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from systolith.drivers.host import Device, DeviceError, Mmio
from systolith.drivers.host import Network as Container
from systolith.drivers.manifest import manifest, network_files
from systolith.drivers.network import network_of
from systolith.errors import InputError
from systolith.sim.accelerator import accelerator_model, axi_read, axi_write
from systolith.sim.backend import Progress, Result, RunError, Traffic
from systolith.sim.dut import Dut
from systolith.sim.external import DEFAULT_TIMING, MemoryTiming
from systolith.sim.limits import cycle_limit
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.program import Program

__all__ = ["DeviceBackend", "Host", "RegistersBackend"]

_IDLE = 200
"""Cycles between two polls of a simulated device."""


class Host(Protocol):
    """What reaches a device: its registers, and external memory if the host has a way to it."""

    @property
    def mmio(self) -> Mmio:
        """The control slave."""
        ...

    def allocate(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return memory that the device reaches, as `pynq.allocate` does."""
        ...


def container_of(program: Program) -> Container:
    """Return the program as the drivers' Python side has it, without going through files."""
    network = network_of(program)
    return Container(manifest(network), network_files(network))


class DeviceBackend(ABC):
    """Runs through the driver for hosts (`systolith.drivers.host`).

    Constants are loaded once for runs of the same program. Inputs and outputs can be captured, and
    no tensor between: it may be overwritten when the run has ended.

    Parameters
    ----------
    timeout: seconds of real time after which a run has failed.
    watchdog: cycles after which the accelerator itself stops a run; by default more than any run
        of the program takes.
    """

    name = "device"
    outputs_only = True
    """A host sees what the program leaves in memory at its end."""

    def __init__(self, *, timeout: float = 3600.0, watchdog: int | None = None) -> None:
        self._timeout, self._watchdog = timeout, watchdog
        self._loaded: tuple[Program, Device] | None = None
        self.on_load: Callable[[int, int], None] = lambda done, total: None
        """Told how many bytes of the network have been loaded, and how many there are."""

    @abstractmethod
    def connect(self, spec: AcceleratorSpec) -> Host:
        """Return a way to a device of this specification, the same one at every call."""

    def traffic(self, spec: AcceleratorSpec) -> Traffic | None:
        """Bytes that have gone over the serial line, if the device is at one."""
        return None

    def run(
        self,
        program: Program,
        inputs: Mapping[str, NDArray[np.generic]],
        *,
        capture: Collection[str] = (),
        progress: Progress | None = None,
    ) -> Result:
        """Run ``program`` once; see `Backend.run`."""
        self._check(program, inputs)
        new = self._loaded is None or self._loaded[0] is not program
        try:
            first = self.traffic(program.spec)
            device = self._device(program)
            start, second = time.perf_counter(), self.traffic(program.spec)
            tensors = dict(device.run_codes(dict(inputs)))
            seconds, third = time.perf_counter() - start, self.traffic(program.spec)
            counters, stamps = device.counters(), device.stamps()
        except DeviceError as error:
            self._forget()
            raise RunError(str(error)) from None
        tensors |= {name: np.asarray(inputs[name]) for name in set(capture) & set(program.inputs)}
        if progress is not None:
            progress(len(program.layers), len(program.layers))
        return Result(
            tensors=tensors,
            counters=counters,
            stamps=tuple(stamps),
            seconds=seconds,
            loading=second - first if new and first and second else None,
            traffic=third - second if second and third else None,
        )

    def _forget(self) -> None:
        """After an error: what the device holds is not known."""
        self._loaded = None

    def _device(self, program: Program) -> Device:
        if self._loaded is None or self._loaded[0] is not program:
            self._loaded = None  # should loading fail
            host, container = self.connect(program.spec), container_of(program)
            self._watch(host.mmio, container)
            device = Device(
                host.mmio,
                container,
                allocate=host.allocate,
                timeout=self._timeout,
                watchdog=cycle_limit(program) if self._watchdog is None else self._watchdog,
            )
            self._loaded = program, device
        return self._loaded[1]

    def _watch(self, mmio: Any, container: Container) -> None:
        """Tell `on_load` of the segments' bytes, where a bus says when it has written some."""
        total, done = sum(s["words"] * s["stride"] for s in container.manifest["segments"]), 0

        def written(size: int) -> None:
            nonlocal done
            done += size
            if done <= total:  # what follows is inputs
                self.on_load(done, total)

        mmio.on_write = written

    @staticmethod
    def _check(program: Program, inputs: Mapping[str, NDArray[np.generic]]) -> None:
        """Require the program's inputs.

        Raises
        ------
        InputError: an input is missing, unknown, or has another shape or dtype.
        """
        for name in sorted(set(inputs) ^ set(program.inputs)):
            what = "missing" if name in program.inputs else "not an input of the program"
            raise InputError(f"input {name!r} is {what}")
        for name, value in inputs.items():
            buffer, array = program.buffers[name], np.asarray(value)
            if array.shape != buffer.shape or array.dtype != np.dtype(buffer.dtype):
                raise InputError(
                    f"input {name!r} must be {buffer.dtype} of shape {buffer.shape}, "
                    f"not {array.dtype} of shape {array.shape!r}"
                )


class SimulatedMemory(np.ndarray[Any, np.dtype[np.uint8]]):
    """Memory that the simulated device sees, with the calls of `pynq.allocate`'s buffers."""

    device_address = 0

    def flush(self) -> None:
        """Nothing is cached."""

    def invalidate(self) -> None:
        """Nothing is cached."""


class RegistersHost:
    """A Verilated accelerator's control slave as a host's bus."""

    def __init__(self, dut: Dut, spec: AcceleratorSpec, timing: MemoryTiming) -> None:
        self.mmio = self
        self._dut, self._spec, self._timing = dut, spec, timing

    def read(self, offset: int) -> int:
        """Read a word: a transaction of a few cycles."""
        return axi_read(self._dut, offset)

    def write(self, offset: int, value: int) -> None:
        """Write a word."""
        axi_write(self._dut, offset, value)

    def idle(self, seconds: float) -> None:
        """Let the device go on: simulated time stands still while Python waits."""
        self._dut.clock.tick(_IDLE)

    def allocate(self, shape: tuple[int, ...], dtype: str) -> SimulatedMemory:
        """Return external memory, connected to the accelerator's master."""
        memory = np.zeros(shape, dtype).view(SimulatedMemory)
        memory.device_address = self._timing.base
        self._dut.connect_memory("memory__", memory.view(np.ndarray), self._timing)
        return memory


class RegistersBackend(DeviceBackend):
    """The Verilated accelerator, loaded, run and read through its control slave alone.

    Slower than `VerilatorBackend`, as every word takes a bus transaction that Python drives; it
    shows that a host which has nothing but the bus gets the same results.
    """

    name = "registers"

    def __init__(
        self, *, memory: MemoryTiming = DEFAULT_TIMING, watchdog: int | None = None
    ) -> None:
        super().__init__(watchdog=watchdog)
        self._memory = memory
        self._hosts: dict[AcceleratorSpec, RegistersHost] = {}

    def connect(self, spec: AcceleratorSpec) -> RegistersHost:
        """See `DeviceBackend.connect`; a device is reset when it is connected first."""
        if spec not in self._hosts:
            dut = Dut(accelerator_model(spec), name=spec.name)
            dut.reset()
            self._hosts[spec] = RegistersHost(dut, spec, self._memory)
        return self._hosts[spec]
