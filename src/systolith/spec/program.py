"""Program: commands, constants and buffers; golden, simulators and boards run the same bytes."""

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_from_mapping, spec_to_mapping

__all__ = ["Buffer", "Layer", "Program", "ProgramError"]

_MAGIC = b"SYSTOLTH"
_VERSION = 2


class ProgramError(ValueError):
    """A program file that is truncated, corrupt or of another version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Buffer:
    """Where a tensor lies in the activation memory or in external memory.

    Parameters
    ----------
    base: byte address of element [0, 0, 0].
    shape: (height, width, channels).
    strides: bytes between neighbours along each axis of ``shape``.
    dtype: ``int8``, ``uint8`` or ``float32``, whose numbers have four bytes one after the other.
    external: whether it lies in external memory; ``base`` then counts from its byte 0.
    window: None, or that channels 2i and 2i + 1 share byte i, the even one in the low 4 bits: a
        code is the one of the 16 from ``window`` on that has these low bits.
    """

    base: int
    shape: tuple[int, int, int]
    strides: tuple[int, int, int]
    dtype: str
    external: bool = False
    window: int | None = None

    def addresses(self) -> np.ndarray:
        """Address of every byte, int64; the last axis is ``shape``'s times a number's bytes."""
        *grids, channel = np.ogrid[tuple(slice(n) for n in self.shape)]
        total = np.full(self.shape, self.base, dtype=np.int64)
        for grid, stride in zip((*grids, self._byte(channel)), self.strides, strict=True):
            total = total + grid * stride
        height, width, channels = self.shape
        size = np.dtype(self.dtype).itemsize
        return (total[..., None] + np.arange(size)).reshape(height, width, channels * size)

    def _byte(self, channel: np.ndarray) -> np.ndarray:
        return channel if self.window is None else channel >> 1

    def codes(self, image: np.ndarray) -> np.ndarray:
        """The tensor, of ``dtype``, in an image of the memory, uint8."""
        stored = image[self.addresses()]
        if self.window is not None:
            nibbles = np.where(np.arange(self.shape[2]) % 2, stored >> 4, stored & 15)
            codes = self.window + ((nibbles.astype(np.int64) - self.window) & 15)
            stored = codes.astype(np.uint8)
        return stored.view(self.dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A layer that the program computes.

    Parameters
    ----------
    name, op: as in the graph; ``op`` is the graph's operator name.
    tensor: the tensor complete once time stamp number ``stamp`` has been written, or at the end
        of the run if its buffer is external.
    stamp: index of the time stamp of the layer's last STORE (0 is the program's first).
    macs: multiply-accumulates of the operator itself.
    fused: names of further nodes computed by the same commands (their tensors come out of it).
    """

    name: str
    op: str
    tensor: str
    stamp: int
    macs: int
    fused: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Everything the accelerator needs to run a network once.

    Parameters
    ----------
    spec: the accelerator the program was compiled for.
    commands: uint32 words.
    weights: uint8 [words, columns], the weight memory from address 0.
    parameters: uint32 [lane words, lanes, 8], see `spec.requant.PARAMETER_FIELDS`.
    tables: uint8 [tables, 256].
    exponents: uint32 [softmax tables, 256], see `spec.softmax.SoftmaxForm`.
    external: uint8, what external memory holds from its byte 0 before the run; empty if unused.
    external_bytes: external memory the program uses, at least the length of ``external``.
    buffers: every tensor that lies in the activation memory or in external memory at some time.
    inputs, outputs: names of the tensors that the host writes before and reads after the run.
    layers: in order of their stamps.
    """

    spec: AcceleratorSpec
    commands: np.ndarray
    weights: np.ndarray
    parameters: np.ndarray
    tables: np.ndarray
    buffers: Mapping[str, Buffer]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    external: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    external_bytes: int = 0
    exponents: np.ndarray = field(default_factory=lambda: np.zeros((0, 256), np.uint32))

    def to_bytes(self) -> bytes:
        """Serialize: magic, version, JSON header, sections, CRC-32; deterministic."""
        sections = {
            "commands": np.ascontiguousarray(self.commands, "<u4"),
            "weights": np.ascontiguousarray(self.weights, "u1"),
            "parameters": np.ascontiguousarray(self.parameters, "<u4"),
            "tables": np.ascontiguousarray(self.tables, "u1"),
            "external": np.ascontiguousarray(self.external, "u1"),
            "exponents": np.ascontiguousarray(self.exponents, "<u4"),
        }
        header = json.dumps(
            {
                "spec": spec_to_mapping(self.spec),
                "sections": {k: [v.dtype.str, list(v.shape)] for k, v in sections.items()},
                "buffers": {k: asdict(v) for k, v in self.buffers.items()},
                "inputs": self.inputs,
                "outputs": self.outputs,
                "layers": [asdict(layer) for layer in self.layers],
                "external_bytes": self.external_bytes,
            },
            separators=(",", ":"),
        ).encode()
        body = _MAGIC + struct.pack("<II", _VERSION, len(header)) + header
        body += b"".join(v.tobytes() for v in sections.values())
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Program":
        """Read what `to_bytes` wrote.

        Raises
        ------
        ProgramError: not a program, another version, or damaged.
        """
        if len(data) < 20 or data[:8] != _MAGIC:
            raise ProgramError("file must start with 'SYSTOLTH': not a Systolith program")
        version, length = struct.unpack_from("<II", data, 8)
        if version != _VERSION:
            raise ProgramError(f"program version must be {_VERSION}, not {version}")
        if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            raise ProgramError("program is damaged: its checksum does not match")
        header = json.loads(data[16 : 16 + length])
        position = 16 + length
        arrays = {}
        for name, (dtype, shape) in header["sections"].items():
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(data, dtype, count, position).reshape(shape)
            position += arrays[name].nbytes
        return cls(
            spec=spec_from_mapping(header["spec"]),
            buffers={k: _buffer(v) for k, v in header["buffers"].items()},
            inputs=tuple(header["inputs"]),
            outputs=tuple(header["outputs"]),
            layers=tuple(Layer(**{**v, "fused": tuple(v["fused"])}) for v in header["layers"]),
            external_bytes=header["external_bytes"],
            **arrays,
        )


def _buffer(values: dict[str, Any]) -> Buffer:
    return Buffer(
        base=values["base"],
        shape=tuple(values["shape"]),
        strides=tuple(values["strides"]),
        dtype=values["dtype"],
        external=values["external"],
        window=values["window"],
    )
