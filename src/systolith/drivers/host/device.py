"""The accelerator with one network: load, run, counters; over any `Mmio`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .container import Array, DeviceError, Mmio, Network, Place
from .tensors import byte_offsets, dequantize, quantize, unpack

__all__ = ["Device"]

_PAGE = 4096
"""What the bus address of external memory must be a multiple of, bytes."""
_ANOTHER = (
    "the network was compiled for another specification: compile it for the spec.toml that is "
    "beside the bitstream"
)


class Device:
    """An accelerator with one network.

    Parameters
    ----------
    mmio: its control slave, see `Mmio`.
    network: what it runs.
    allocate: for networks that use external memory: `pynq.allocate`, or a function of the same
        arguments whose arrays have `device_address`, `flush()` and `invalidate()`.
    timeout: seconds after which a run has failed.
    watchdog: cycles after which the accelerator itself stops a run; 0 for never.
    mapped: copy blocks through `mmio.array`, the mapped words. Faster, but numpy's accesses may be
        wider than a word and not aligned to that, which many processors refuse for devices.

    Raises
    ------
    DeviceError: no accelerator answers, or it is another one than the network was compiled for.
    """

    def __init__(
        self,
        mmio: Mmio,
        network: Network,
        *,
        allocate: Callable[..., Any] | None = None,
        timeout: float = 10.0,
        watchdog: int = 0,
        mapped: bool = False,
    ) -> None:
        self.mmio, self.network, self.timeout = mmio, network, timeout
        self._map = network.accelerator
        self._activations = self._map["windows"]["activations"]
        self._watchdog = watchdog
        self._allocate = allocate
        self._buffer: Any = None
        self._memory: Any = None
        self._mapped = mapped
        self._check()
        self.load()

    def register(self, name: str) -> int:
        """Read a register by name."""
        return int(self.mmio.read(self._map["registers"][name]))

    def set_register(self, name: str, value: int) -> None:
        """Write one."""
        self.mmio.write(self._map["registers"][name], value)

    def _check(self) -> None:
        for name, what in (
            ("identifier", "no accelerator is at this address"),
            ("version", "the accelerator has another register map"),
            ("fingerprint", _ANOTHER),
        ):
            found, wanted = self.register(name), self._map[name]
            if found != wanted:
                raise DeviceError(
                    f"register {name} must read 0x{wanted:08X}, not 0x{found:08X}: {what}"
                )

    def load(self) -> None:
        """Write the network's constants; needed again only after a reset or another network."""
        for item in self.network.manifest["segments"]:
            self._load_segment(item)
        self._load_external()
        self._used = False
        self.set_register("watchdog", self._watchdog)
        self.set_register("entry", self.network.manifest["entry"])

    def _load_segment(self, item: Mapping[str, Any]) -> None:
        words = self.network.words(item)
        count, size = words.shape
        step = item["stride"] // 4
        # Short words lie apart: what is between them is ignored, so that one block is enough.
        spread = np.zeros((count, step), np.uint32)
        spread[:, :size] = words
        self._write_block(item["address"], spread.ravel()[: (count - 1) * step + size])

    def _restore(self) -> None:
        """Write again what the run before has overwritten; the inputs are not among it."""
        for item in self.network.manifest["segments"]:
            if item["restore"]:
                self._load_segment(item)
        if self._memory is not None:
            image = self.network.image()
            for first, end in self.network.manifest["external"]["restore"]:
                self._memory[first:end] = image[first:end]

    def _load_external(self) -> None:
        external = self.network.manifest["external"]
        if not external or not external["memory_bytes"]:
            return
        if self._memory is None:
            if self._allocate is None:
                raise DeviceError(
                    f"the network needs {external['memory_bytes']} bytes of external memory: give"
                    " `allocate`"
                )
            self._buffer = self._allocate(shape=(external["memory_bytes"] + _PAGE,), dtype="u1")
            start = -self._address(self._buffer) % _PAGE
            self._memory = self._buffer[start : start + external["memory_bytes"]]
            self._base = self._address(self._buffer) + start
        self._memory[: external["bytes"]] = self.network.image()
        self._buffer.flush()
        self.set_register("memory_low", self._base & 0xFFFFFFFF)
        self.set_register("memory_high", self._base >> 32)

    @staticmethod
    def _address(buffer: Any) -> int:
        address = getattr(buffer, "device_address", None)
        return int(buffer.physical_address if address is None else address)

    def run(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        """Run the network once, with the host's steps before and after.

        Parameters
        ----------
        inputs: canonical [H, W, C] arrays by name, or one array if there is one input: floats
            where the network begins with floats, else codes.

        Raises
        ------
        DeviceError: an input does not fit, a step is not for this driver, or the run failed.
        """
        for step in self.network.manifest["host_steps"]:
            if not step["native"]:
                raise DeviceError(
                    f"host step {step['op']} {step['name']!r} is not for this driver: "
                    "call run_codes and compute it"
                )
        given = self._named(inputs)
        codes = {}
        for name, value in given.items():
            place = self.network.inputs[name]
            quantized = place["quantize"] and np.asarray(value).dtype.kind == "f"
            codes[name] = quantize(place, value) if quantized else value
        outputs = self.run_codes(codes)
        after = {
            s["tensor"] for s in self.network.manifest["host_steps"] if s["op"] == "dequantize"
        }
        for name in after & set(outputs):
            outputs[name] = dequantize(self.network.outputs[name], outputs[name])
        return outputs

    def _named(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        places = self.network.inputs
        given = dict(inputs) if isinstance(inputs, Mapping) else {next(iter(places)): inputs}
        if set(given) != set(places):
            raise DeviceError(
                f"inputs must be {', '.join(places)}, not {', '.join(map(str, given))}"
            )
        return given

    def run_codes(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        """Run the accelerator once on codes; return its outputs as codes.

        Raises
        ------
        DeviceError: a run that did not end in time still runs, an input does not fit, or the run
            failed.
        """
        if self.register("status") & self._map["bits"]["status.busy"]:
            raise DeviceError("the accelerator must be idle before a run, but one has not ended")
        for name, value in self._named(inputs).items():
            self._write_tensor(self.network.inputs[name], value)
        if self._used:
            self._restore()
        self._used = True
        if self._buffer is not None:
            self._buffer.flush()
        self.set_register("control", self._map["bits"]["control.start"])
        self.wait()
        if self._buffer is not None:
            self._buffer.invalidate()
        return {name: self._read_tensor(place) for name, place in self.network.outputs.items()}

    def wait(self) -> None:
        """Return when the run has ended.

        Raises
        ------
        DeviceError: it ended with an error, or did not end in time.
        """
        bits = self._map["bits"]
        deadline = time.monotonic() + self.timeout
        idle, pause = getattr(self.mmio, "idle", time.sleep), 0.0
        while not (status := self.register("status")) & bits["status.done"]:
            if time.monotonic() > deadline:
                raise DeviceError(f"the run must end within {self.timeout:g} s, but has not")
            idle(pause)
            pause = min(1e-3, pause + 1e-5)
        if status & bits["status.error"]:
            code = self.register("error")
            name, text = self._map["errors"].get(str(code), (str(code), "An unknown error."))
            raise DeviceError(f"the accelerator stopped with error {name}: {text}")

    def counters(self) -> dict[str, int]:
        """Read the counters of the last run by name."""
        names = list(self._map["counters"])
        places = [self._map["registers"][name] for name in names]
        if not places or places != list(range(places[0], places[0] + 4 * len(places), 4)):
            return {name: self.register(name) for name in names}
        words = self._read_block(places[0], len(places))  # one request on a line
        return {name: int(words[index]) for index, name in enumerate(names)}

    def stamps(self) -> list[int]:
        """Read the cycles at which the layers were complete."""
        count = min(self.register("stamps"), self._map["stamps"])
        return [int(word) for word in self._read_block(self._map["windows"]["stamps"], count)]

    def _write_tensor(self, place: Place, value: Array) -> None:
        array = np.asarray(value)
        if array.shape != tuple(place["shape"]) or array.dtype != np.dtype(place["dtype"]):
            raise DeviceError(
                f"input {place['name']!r} must be {place['dtype']} of shape "
                f"{tuple(place['shape'])}, not {array.dtype} of shape {array.shape}"
            )
        data = np.ascontiguousarray(array).view(np.uint8)
        addresses = byte_offsets(place)
        if place["memory"] == "external":
            self._memory[addresses] = data
            return
        first, last = int(addresses.min()) & ~3, int(addresses.max()) | 3
        # Neighbours in the first, the last or any other word keep what they have.
        whole = addresses.size == last + 1 - first
        image = (
            np.zeros(last + 1 - first, np.uint8)
            if whole
            else self._read_block(self._activations + first, (last + 1 - first) // 4).view(np.uint8)
        )
        image[addresses - first] = data
        self._write_block(self._activations + first, image.view("<u4"))

    def _read_tensor(self, place: Place) -> Array:
        addresses = byte_offsets(place)
        if place["memory"] == "external":
            stored = np.asarray(self._memory)[addresses]
        else:
            first, last = int(addresses.min()) & ~3, int(addresses.max()) | 3
            words = self._read_block(self._activations + first, (last + 1 - first) // 4)
            stored = words.view(np.uint8)[addresses - first]
        return np.ascontiguousarray(unpack(place, stored)).view(place["dtype"])

    def _read_block(self, offset: int, words: int) -> Array:
        mmio: Any = self.mmio
        if hasattr(mmio, "read_block"):
            return np.array(mmio.read_block(offset, words), "<u4")
        if self._mapped:
            return np.array(mmio.array[offset // 4 : offset // 4 + words], "<u4")
        return np.array([mmio.read(offset + 4 * i) for i in range(words)], "<u4")

    def _write_block(self, offset: int, words: Array) -> None:
        mmio: Any = self.mmio
        if hasattr(mmio, "write_block"):
            mmio.write_block(offset, words)
        elif self._mapped:
            mmio.array[offset // 4 : offset // 4 + len(words)] = words
        else:
            for index, word in enumerate(words.tolist()):
                mmio.write(offset + 4 * index, word)
