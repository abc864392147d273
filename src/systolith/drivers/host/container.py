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
        kind, version = manifest.get("format"), manifest.get("format_version")
        if kind != "systolith-network" or version != 1:
            raise DeviceError(
                f"network.json must be a systolith-network of version 1, not {kind!r} of version "
                f"{version!r}: generate it with the Systolith that this driver is from"
            )
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
                raise DeviceError(f"{item['file']} is damaged: its checksum does not match")

    @classmethod
    def load(cls, folder: str | Path) -> Network:
        """Read a container's folder."""
        path = Path(folder)
        try:
            manifest = json.loads((path / "network.json").read_text(encoding="utf-8"))
            return cls(manifest, {p.name: p.read_bytes() for p in path.glob("*.bin")})
        except OSError as error:
            raise DeviceError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise DeviceError(f"{path}/network.json is damaged: {error}") from error

    def words(self, item: Mapping[str, Any]) -> Array:
        """Return a segment's data, uint32 [memory words, 32-bit words of each]."""
        return np.frombuffer(self._files[item["file"]], "<u4").reshape(item["words"], -1)

    def image(self) -> Array:
        """Return what external memory holds before a run, uint8."""
        return np.frombuffer(self._files[self.manifest["external"]["file"]], np.uint8)
