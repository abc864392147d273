"""The Python driver: containers on disk, buses of every kind, refusals, Python 3.8's grammar."""

import ast
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driver_networks import compiled_digits, digits

from systolith.compiler.compile import CompiledModel
from systolith.drivers import host
from systolith.drivers.host import Device, DeviceError, Network
from systolith.host import run_model
from systolith.sim.device_backend import RegistersBackend
from systolith.spec.registers import REGISTERS

OFFSET = {register.name: register.offset for register in REGISTERS}


@pytest.fixture(scope="module")
def folder(deploy: Callable[[CompiledModel], Path]) -> Path:
    return deploy(compiled_digits("external"))


class Words:
    """A slave made of ordinary memory, which ends every run at once."""

    def __init__(self, network: Network) -> None:
        self.array = np.zeros(0x7000400 // 4, np.uint32)
        for name in ("identifier", "version", "fingerprint"):
            self.array[OFFSET[name] // 4] = network.accelerator[name]
        self.array[OFFSET["status"] // 4] = 2

    def read(self, offset: int) -> int:
        return int(self.array[offset // 4])

    def write(self, offset: int, value: int) -> None:
        self.array[offset // 4] = value


class Buffer(np.ndarray[Any, np.dtype[np.uint8]]):
    """What `pynq.allocate` gives, at an address that is no multiple of a page."""

    device_address = 0x1_2345_6780
    calls: list[str] = []

    def flush(self) -> None:
        self.calls.append("flush")

    def invalidate(self) -> None:
        self.calls.append("invalidate")


def allocate(shape: tuple[int, ...], dtype: str) -> Buffer:
    return np.zeros(shape, dtype).view(Buffer)


@pytest.mark.parametrize("name", ["on-chip", "external"])
def test_a_host_with_registers_alone_gets_the_same(name: str) -> None:
    """Through the Verilated control slave: outputs, cycles, and several runs of one load."""
    compiled = compiled_digits(name)
    images, codes = digits(6)
    backend = RegistersBackend()
    (given,) = compiled.graph.inputs
    cycles = set()
    for image, wanted in zip(images, codes, strict=True):
        run = run_model(compiled, backend, {given: image})
        np.testing.assert_array_equal(run.tensors[compiled.program.outputs[0]].ravel(), wanted)
        assert len(run.result.stamps) == len(compiled.program.layers)
        cycles.add(run.result.cycles)
    assert len(cycles) == 1


def test_buses_see_the_same(folder: Path) -> None:
    """Words one by one, or mapped: the same memory afterwards."""
    network = Network.load(folder)
    image = np.arange(64, dtype=np.int8).reshape(8, 8, 1)
    seen = []
    for mapped in (True, False):
        words = Words(network)
        Buffer.calls.clear()
        device = Device(words, network, allocate=allocate, watchdog=9, mapped=mapped)
        device.run_codes(image)
        assert Buffer.calls == ["flush", "flush", "invalidate"]
        assert words.read(OFFSET["memory_low"]) == 0x2345_7000
        assert words.read(OFFSET["memory_high"]) == 1 and words.read(OFFSET["watchdog"]) == 9
        seen.append(words.array.copy())
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.count_nonzero(seen[0]) > 60


def test_floats_in_and_out(folder: Path) -> None:
    """The host's conversions are around the codes, by name or alone."""
    network = Network.load(folder)
    device = Device(Words(network), network, allocate=allocate)
    image = np.full((8, 8, 1), 0.5, np.float32)
    (name,), (out,) = network.inputs, network.outputs
    result = device.run({name: image})[out]
    place = network.outputs[out]
    raw = device.run_codes({name: np.full((8, 8, 1), 0, np.int8)})[out]
    assert result.dtype == np.float32 and raw.dtype == np.int8 and result.shape == (1, 1, 10)
    scale = np.float32(place["scale"])
    np.testing.assert_array_equal(result, (raw.astype(np.float32) - place["zero_point"]) * scale)


@pytest.mark.parametrize(
    ("register", "text"),
    [
        ("identifier", "register identifier must read 0x53595354, not 0x00000063: no accelerator"),
        ("version", "not 0x00000063: the accelerator has another register map"),
        ("fingerprint", "0x00000063: the network was compiled for another specification"),
    ],
)
def test_other_hardware_is_refused(folder: Path, register: str, text: str) -> None:
    network = Network.load(folder)
    words = Words(network)
    words.write(OFFSET[register], 0x63)
    with pytest.raises(DeviceError) as caught:
        Device(words, network, allocate=allocate)
    assert text in str(caught.value)


def test_runs_that_fail(folder: Path) -> None:
    network = Network.load(folder)
    words = Words(network)
    with pytest.raises(DeviceError, match="needs 30208 bytes of external memory: give `allocate`"):
        Device(words, network)
    device = Device(words, network, allocate=allocate, timeout=0.01)
    image = np.zeros((8, 8, 1), np.int8)
    words.write(OFFSET["status"], 0)
    with pytest.raises(DeviceError, match=r"the run must end within 0.01 s, but has not"):
        device.run_codes(image)
    words.write(OFFSET["status"], 1)  # else the end of that run would be taken for this one's
    with pytest.raises(DeviceError, match="must be idle before a run, but one has not ended"):
        device.run_codes(image)
    words.write(OFFSET["status"], 6)
    words.write(OFFSET["error"], 4)
    with pytest.raises(DeviceError, match="stopped with error timeout: The run took more than"):
        device.run_codes(image)
    with pytest.raises(DeviceError, match="must be int8 of shape .8, 8, 1., not int16 of shape"):
        device.run_codes(image.astype(np.int16))
    with pytest.raises(DeviceError, match="inputs must be image_quantized, not other"):
        device.run_codes({"other": image})


def test_damaged_containers(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot read .*none: No such file"):
        Network.load(tmp_path / "none")
    shutil.copytree(folder, tmp_path / "n")
    path = tmp_path / "n" / "commands.bin"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DeviceError, match=r"commands.bin is damaged .* bytes\): its checksum"):
        Network.load(tmp_path / "n")
    path.unlink()
    with pytest.raises(DeviceError, match=r"commands.bin is missing beside network.json"):
        Network.load(tmp_path / "n")
    text = tmp_path / "n" / "network.json"
    values = json.loads(text.read_text())
    text.write_text(json.dumps({**values, "format_version": 9}))
    with pytest.raises(DeviceError, match="systolith-network of version 1, not .* of version 9"):
        Network.load(tmp_path / "n")
    for whole in ([], 5, None):
        text.write_text(json.dumps(whole))
        with pytest.raises(DeviceError, match=r"^network.json is damaged: it must be a mapping$"):
            Network.load(tmp_path / "n")
    text.write_text("{")
    with pytest.raises(DeviceError, match=r"network.json is damaged"):
        Network.load(tmp_path / "n")


def keys_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every key of a container that a driver reads."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, inner in items:
        if isinstance(value, dict):
            yield (*path, key)
        if isinstance(inner, dict | list):
            yield from keys_of(inner, (*path, key))


def test_containers_without_a_key(folder: Path) -> None:
    """Each key in turn: an error in one line, or one that no driver reads."""
    files = {path.name: path.read_bytes() for path in folder.glob("*.bin")}
    text = (folder / "network.json").read_text()
    refused = 0
    for path in keys_of(json.loads(text)):
        values = json.loads(text)
        *before, last = path
        inner = values
        for key in before:
            inner = inner[key]
        del inner[last]
        try:
            Network(values, files)
        except DeviceError as error:
            assert "network.json" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 30
    values = json.loads(text)
    values["segments"][0]["words"] += 1
    with pytest.raises(DeviceError, match=r"network.json is damaged: .*bin must be \d+ words of"):
        Network(values, files)


def test_the_copy_beside_the_network_works_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `systolith generate` writes: no import of ours, and the grammar of Python 3.8."""
    sources = sorted((folder / "python" / "systolith_host").glob("*.py"))
    assert len(sources) == len(list(Path(host.__file__).parent.glob("*.py"))) >= 5
    for source in sources:
        tree = ast.parse(source.read_text(), feature_version=(3, 8))
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            assert not any(name.startswith("systolith") for name in names), source
    monkeypatch.syspath_prepend(str(folder / "python"))
    module = importlib.import_module("systolith_host")
    network = module.Network.load(folder)
    device = module.Device(Words(network), network, allocate=allocate)
    assert device.register("identifier") == 0x53595354
    for name in [name for name in sys.modules if name.startswith("systolith_host")]:
        del sys.modules[name]
