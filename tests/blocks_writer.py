"""Writing small models of MatMulNBits for tests."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx_writer import MICROSOFT, Model

Array = NDArray[Any]


def packed(codes: Array, bits: int = 4) -> NDArray[np.uint8]:
    """Codes in bytes along the last axis, the first one in the lowest bits."""
    count = 8 // bits
    size = -(-codes.shape[-1] // count)
    wide = np.zeros((*codes.shape[:-1], size * count), np.int64)
    wide[..., : codes.shape[-1]] = codes
    shifted = wide.reshape(*codes.shape[:-1], size, count) << bits * np.arange(count)
    return shifted.sum(axis=-1).astype(np.uint8)


@dataclass(kw_only=True)
class Blocks:
    """A MatMulNBits of random weights; fields may be replaced before `data` is asked for.

    Parameters
    ----------
    rows, depth, channels, block: sides.
    bits: of a weight.
    seed: of the weights.
    zeros: whether there are zero points; `bias` likewise.
    more: attributes that differ.
    values: constants that differ, by name: B, scales, zero_points, bias.
    shape: of the input, if it is not ``[rows, depth]``.
    """

    rows: int = 3
    depth: int = 64
    channels: int = 8
    block: int = 16
    bits: int = 4
    seed: int = 0
    zeros: bool = False
    bias: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, sides: tuple[int, ...], *, zeros: bool, bias: bool = False) -> Self:
        """Weights of sides ``(rows, depth, channels, block, bits)``, drawn by them."""
        names = ("rows", "depth", "channels", "block", "bits")
        given: dict[str, Any] = dict(zip(names, sides, strict=True))
        return cls(zeros=zeros, bias=bias, seed=sum(sides), **given)

    @property
    def blocks(self) -> int:
        """Blocks of a channel."""
        return -(-self.depth // self.block)

    def constants(self) -> dict[str, Array]:
        """Constant operands by name."""
        rng = np.random.default_rng(self.seed)
        shape = (self.channels, self.blocks)
        codes = rng.integers(0, 1 << self.bits, (*shape, self.block))
        signs = rng.choice([-1, 1], shape)
        found: dict[str, Array] = {
            "B": packed(codes, self.bits),
            "scales": (signs * rng.uniform(1e-3, 0.1, shape)).astype(np.float32),
        }
        if self.zeros:
            found["zero_points"] = packed(rng.integers(0, 1 << self.bits, shape), self.bits)
        if self.bias:
            found["bias"] = rng.normal(size=self.channels).astype(np.float32)
        return found | self.values

    def inputs(self, samples: int = 1) -> Array:
        """Rows of different magnitudes, a block of zeros among them."""
        rng = np.random.default_rng(self.seed + 1)
        value = rng.normal(size=(samples * self.rows, self.depth))
        value *= np.exp(rng.normal(size=(samples * self.rows, 1)))
        value[0, : self.block] = 0
        return value.astype(np.float32)

    def model(self) -> Model:
        """The model, output Y, with room for more operators."""
        model, constants = Model(), self.constants()
        names = {name: model.constant(value, value.dtype.name) for name, value in constants.items()}
        order = ("B", "scales", "zero_points", "g_idx", "bias")
        inputs = ["A", *(names.get(name, "") for name in order)]
        while not inputs[-1]:
            inputs.pop()
        sides = {"K": self.depth, "N": self.channels, "block_size": self.block, "bits": self.bits}
        attributes = {**sides, "accuracy_level": 4, **self.more}
        model.add("MatMulNBits", inputs, "Y", MICROSOFT, **attributes)
        return model

    def data(self, model: Model | None = None, output: str = "Y") -> bytes:
        """The file of a model, its own if None."""
        shape = self.shape or (self.rows, self.depth)
        made: bytes = (model or self.model()).bytes({"A": ("float32", shape)}, {output: "float32"})
        return made

    def proto(self) -> onnx.ModelProto:
        """The model as onnx has it."""
        return onnx.ModelProto.FromString(self.data())
