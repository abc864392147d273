"""A compiled network as drivers load it: images of the windows, places of its tensors, a manifest.

The container is a folder: `network.json`, one binary file for each window that the program fills,
one for external memory, and the same as a C source. docs/drivers.md describes it.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_fingerprint
from systolith.spec.program import Buffer, Layer, Program
from systolith.spec.registers import (
    COUNTERS,
    ERRORS,
    IDENTIFIER,
    REGISTERS,
    VERSION,
    Window,
    window_stride,
)

__all__ = [
    "ALIGNMENT",
    "HostStep",
    "Network",
    "Place",
    "Segment",
    "manifest",
    "network_files",
    "network_of",
    "window_base",
]

FORMAT, FORMAT_VERSION = "systolith-network", 1
ALIGNMENT = 4096
"""Of the bus address of external memory's byte 0."""
_WINDOW_BITS = 24


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Segment:
    """What a window holds from its first memory word on.

    Parameters
    ----------
    name: the window's, in lower case.
    address: of its first byte in the slave's address space.
    words: uint32 [memory words, 32-bit words of each], the last one filled up with zeros.
    stride: bytes of address space from one memory word to the next.
    """

    name: str
    address: int
    words: NDArray[np.uint32]
    stride: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A tensor that the host writes or reads.

    Parameters
    ----------
    name: the tensor's.
    buffer: where it lies.
    scale, zero_point: ``real = scale * (code - zero_point)``, or None.
    limits: least and greatest code, or None for those of the dtype.
    formula: how the runtime quantizes floats to its codes, if the host does just that before the
        run: a key of `systolith.profiles.edges.QUANTIZE_FORMULAS`, or empty.
    """

    name: str
    buffer: Buffer
    scale: float | None = None
    zero_point: int | None = None
    limits: tuple[int, int] | None = None
    formula: str = ""

    @property
    def range(self) -> tuple[int, int]:
        """Least and greatest code; zeros for floats."""
        if self.limits is not None:
            return self.limits
        return {"int8": (-128, 127), "uint8": (0, 255)}.get(self.buffer.dtype, (0, 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class HostStep:
    """A node of the network that the host computes.

    Parameters
    ----------
    name, op: the node's.
    when: "before" or "after" the run.
    tensor: the output of the node, or its input if after.
    native: whether the drivers can compute it.
    """

    name: str
    op: str
    when: str
    tensor: str
    native: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A program with what the host must know of the network around it.

    Parameters
    ----------
    name: an identifier of C.
    spec: the accelerator.
    segments: what the windows hold before a run.
    external: what external memory holds before it.
    external_bytes: external memory the program uses.
    inputs, outputs: in the program's order.
    layers: in order of their stamps.
    steps: what the host computes.
    """

    name: str
    spec: AcceleratorSpec
    segments: tuple[Segment, ...]
    external: NDArray[np.uint8]
    external_bytes: int
    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    layers: tuple[Layer, ...]
    steps: tuple[HostStep, ...] = field(default=())


def window_base(window: Window) -> int:
    """Return the address of a window's byte 0."""
    return int(window) << _WINDOW_BITS


def _words(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Fill every row of bytes up to whole 32-bit words."""
    padded = np.zeros((len(rows), -(-rows.shape[1] // 4) * 4), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.view("<u4").astype(np.uint32)


def _segments(program: Program) -> Iterable[Segment]:
    lanes = program.spec.post.lanes
    parts = {
        Window.WEIGHTS: np.asarray(program.weights, np.uint8),
        Window.PARAMETERS: program.parameters.astype("<u4").view(np.uint8).reshape(-1, 32 * lanes),
        Window.TABLES: np.asarray(program.tables, np.uint8).reshape(-1, 256),
        Window.EXPONENTS: program.exponents.astype("<u4").view(np.uint8).reshape(-1, 4),
        Window.COMMANDS: program.commands.astype("<u4").view(np.uint8).reshape(-1, 4),
    }
    for window, rows in parts.items():
        if len(rows):
            yield Segment(
                name=window.name.lower(),
                address=window_base(window),
                words=_words(np.ascontiguousarray(rows)),
                stride=window_stride(program.spec, window),
            )


def network_of(
    program: Program,
    name: str = "network",
    *,
    places: Mapping[str, Place] | None = None,
    steps: Iterable[HostStep] = (),
) -> Network:
    """Return the program as drivers load it.

    Parameters
    ----------
    places: of inputs and outputs whose quantization is known, by the tensor's name.
    """
    known = places or {}

    def place(tensor: str) -> Place:
        return known.get(tensor) or Place(name=tensor, buffer=program.buffers[tensor])

    return Network(
        name=name,
        spec=program.spec,
        segments=tuple(_segments(program)),
        external=program.external,
        external_bytes=max(program.external_bytes, len(program.external)),
        inputs=tuple(place(tensor) for tensor in program.inputs),
        outputs=tuple(place(tensor) for tensor in program.outputs),
        layers=program.layers,
        steps=tuple(steps),
    )


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
        "alignment": ALIGNMENT,
        "address_bits": network.spec.external.address_bits,
    }


def manifest(network: Network) -> dict[str, Any]:
    """Return what `network.json` holds: JSON types alone."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
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
