"""A network's container: `network.json`, and a binary file for every memory that the host fills.

docs/drivers.md describes it.
"""

import json
import zlib
from typing import Any

from systolith.drivers.network import ALIGNMENT, Network, Place, Segment, window_base
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_fingerprint
from systolith.spec.registers import COUNTERS, ERRORS, IDENTIFIER, REGISTERS, VERSION, Window

__all__ = ["manifest", "network_files"]

_FORMAT, _FORMAT_VERSION = "systolith-network", 1


def _place(place: Place) -> dict[str, Any]:
    buffer = place.buffer
    return {
        "name": place.name,
        "memory": "external" if buffer.external else "activations",
        "offset": buffer.base,
        "shape": list(buffer.shape),
        "strides": list(buffer.strides),
        "dtype": buffer.dtype,
        "packed_from": buffer.window,
        "scale": place.scale,
        "zero_point": place.zero_point,
        "limits": list(place.range),
        "quantize": place.formula,
    }


def _accelerator(spec: AcceleratorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "array": [spec.array.rows, spec.array.columns],
        "identifier": IDENTIFIER,
        "version": VERSION,
        "fingerprint": spec_fingerprint(spec),
        "registers": {register.name: register.offset for register in REGISTERS},
        "bits": {f"{r.name}.{b.name}": 1 << b.position for r in REGISTERS for b in r.bits},
        "counters": [counter.name for counter in COUNTERS],
        "errors": {str(int(code)): [code.name.lower(), text] for code, text in ERRORS.items()},
        "windows": {window.name.lower(): window_base(window) for window in Window},
        "stamps": spec.memory.stamps,
    }


def _data(data: bytes, name: str) -> dict[str, Any]:
    return {"file": f"{name}.bin", "bytes": len(data), "crc32": zlib.crc32(data)}


def _segment_bytes(segment: Segment) -> bytes:
    return segment.words.astype("<u4").tobytes()


def _external(network: Network) -> dict[str, Any] | None:
    if not network.spec.external.data_bytes:
        return None
    image = _data(network.external.tobytes(), "external")
    return {
        **image,
        "memory_bytes": network.external_bytes,
        "restore": [list(ends) for ends in network.restore.external],
        "alignment": ALIGNMENT,
        "address_bits": network.spec.external.address_bits,
    }


def manifest(network: Network) -> dict[str, Any]:
    """Return what `network.json` holds: JSON types alone."""
    return {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "name": network.name,
        "accelerator": _accelerator(network.spec),
        "entry": 0,
        "segments": [
            {
                "name": segment.name,
                "address": segment.address,
                "words": segment.words.shape[0],
                "word_bytes": 4 * segment.words.shape[1],
                "stride": segment.stride,
                "restore": segment.restore,
                **_data(_segment_bytes(segment), segment.name),
            }
            for segment in network.segments
        ],
        "external": _external(network),
        "inputs": [_place(place) for place in network.inputs],
        "outputs": [_place(place) for place in network.outputs],
        "layers": [
            {"name": layer.name, "op": str(layer.op), "stamp": layer.stamp, "macs": layer.macs}
            for layer in network.layers
        ],
        "host_steps": [
            {"name": s.name, "op": s.op, "when": s.when, "tensor": s.tensor, "native": s.native}
            for s in network.steps
        ],
    }


def network_files(network: Network) -> dict[str, bytes]:
    """Return the container's files by name: the manifest and the binaries it names."""
    files = {f"{segment.name}.bin": _segment_bytes(segment) for segment in network.segments}
    if network.spec.external.data_bytes:
        files["external.bin"] = network.external.tobytes()
    text = json.dumps(manifest(network), indent=1) + "\n"
    return {"network.json": text.encode(), **files}
