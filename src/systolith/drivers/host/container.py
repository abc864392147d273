"""A network's container, as `systolith generate --model` writes it, and what a bus must offer."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["Array", "DeviceError", "Mmio", "Network", "Place"]

Array = Any
"""A numpy array."""
Place = Any
"""Where a tensor lies: a mapping of the manifest."""


class DeviceError(Exception):
    """The accelerator is not the expected one, failed, or did not finish; one line."""


class Mmio(Protocol):
    """What a bus must offer: `pynq.MMIO` does.

    A bus that has `read_block(offset, words)` and `write_block(offset, words)`, of arrays of uint32
    at ascending addresses, is asked for blocks; otherwise words are read and written one by one
    (but see `Device`, `mapped`). A method `idle(seconds)` is called between polls in place of
    `time.sleep`.
    """

    def read(self, offset: int) -> int:
        """Read the 32-bit word at a byte offset."""
        ...

    def write(self, offset: int, value: int) -> None:
        """Write it."""
        ...


_PLACE = ("name", "memory", "offset", "shape", "strides", "dtype")
_KEYS: Mapping[str, Any] = {
    "accelerator": {
        **dict.fromkeys(("identifier", "version", "fingerprint", "stamps")),
        **dict.fromkeys(("registers", "windows", "bits", "counters", "errors")),
    },
    "entry": None,
    "segments": [
        dict.fromkeys(
            ("address", "words", "word_bytes", "stride", "file", "bytes", "crc32", "restore")
        )
    ],
    "external": None,
    "inputs": [dict.fromkeys(_PLACE)],
    "outputs": [dict.fromkeys(_PLACE)],
    "host_steps": [dict.fromkeys(("name", "op", "when", "tensor", "native"))],
}
"""What `network.json` must have: mappings by key, lists of one kind of item; None for anything."""


_EXTERNAL = dict.fromkeys(("file", "bytes", "crc32", "memory_bytes", "restore"))
"""What `external` must have, unless it is null."""


def _require(value: Any, keys: Any, where: str) -> None:
    """Raise DeviceError if something is missing that must be in `network.json`."""
    kind = "a list" if isinstance(keys, list) else "a mapping"
    if not isinstance(value, type(keys)):
        raise DeviceError(f"network.json is damaged: {where or 'it'} must be {kind}")
    if isinstance(keys, list):
        for index, item in enumerate(value):
            _require(item, keys[0], f"{where}[{index}]")
        return
    for key, inner in keys.items():
        path = f"{where}.{key}" if where else key
        if key not in value:
            raise DeviceError(f"network.json is damaged: {path} is missing")
        if inner is not None:
            _require(value[key], inner, path)


class Network:
    """A network's container in memory.

    Parameters
    ----------
    manifest: the contents of `network.json`.
    files: the binaries it names.

    Raises
    ------
    DeviceError: it is damaged, incomplete or of another version.
    """

    def __init__(self, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        _require(manifest, {}, "")  # a list, a number: not even a container of another version
        kind, version = manifest.get("format"), manifest.get("format_version")
        if kind != "systolith-network" or version != 1:
            raise DeviceError(
                f"network.json must be a systolith-network of version 1, not {kind!r} of version "
                f"{version!r}: generate it with the Systolith that this driver is from"
            )
        _require(manifest, _KEYS, "")
        if manifest["external"]:
            _require(manifest["external"], _EXTERNAL, "external")
        self.manifest = manifest
        self.accelerator: Mapping[str, Any] = manifest["accelerator"]
        self.inputs = {place["name"]: place for place in manifest["inputs"]}
        self.outputs = {place["name"]: place for place in manifest["outputs"]}
        self._files = files
        external = [manifest["external"]] if manifest["external"] else []
        for item in [*manifest["segments"], *external]:
            data = files.get(item["file"])
            if data is None:
                raise DeviceError(f"{item['file']} is missing beside network.json")
            if len(data) != item["bytes"] or zlib.crc32(data) != item["crc32"]:
                raise DeviceError(
                    f"{item['file']} is damaged ({len(data)} of {item['bytes']} bytes): its "
                    "checksum does not match: copy the folder again"
                )
        for item in manifest["segments"]:
            if item["bytes"] != item["words"] * item["word_bytes"] or item["word_bytes"] % 4:
                raise DeviceError(
                    f"network.json is damaged: {item['file']} must be {item['words']} words of "
                    f"{item['word_bytes']} bytes, not {item['bytes']} bytes"
                )

    @classmethod
    def load(cls, folder: str | Path) -> Network:
        """Read a container's folder."""
        path = Path(folder)
        try:
            manifest = json.loads((path / "network.json").read_text(encoding="utf-8"))
            return cls(manifest, {p.name: p.read_bytes() for p in path.glob("*.bin")})
        except OSError as error:
            raise DeviceError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise DeviceError(f"{path}/network.json is damaged: {error}") from error

    def words(self, item: Mapping[str, Any]) -> Array:
        """Return a segment's data, uint32 [memory words, 32-bit words of each]."""
        return np.frombuffer(self._files[item["file"]], "<u4").reshape(item["words"], -1)

    def image(self) -> Array:
        """Return what external memory holds before a run, uint8."""
        return np.frombuffer(self._files[self.manifest["external"]["file"]], np.uint8)
