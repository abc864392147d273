"""What the float32 values of an exported program stand for.

Between dequantize and quantize everything is float32: a function of the codes of one tensor
(`Real`), or what a layer makes of codes until it is quantized (`Pending`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Codes
from systolith.graph import Tensor
from systolith.importers.torch_context import TorchContext

__all__ = ["ExportContext", "Pending", "Real", "Weights"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Real:
    """A float32 value that is a function of the codes of a tensor.

    Parameters
    ----------
    source: the tensor of codes.
    values: of each stored byte.
    exact: whether the function is dequantization alone.
    """

    source: Tensor
    values: Floats
    exact: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Pending:
    """What a layer computes, until it is quantized.

    Parameters
    ----------
    finish: appends the layer for the output's codes and clamp, under a name.
    low, high: bounds in float32 of a fused activation.
    layer: what error messages call it.
    source_op: its operator.
    shape: of the value.
    """

    finish: Callable[[Codes, tuple[int, int], str], None]
    layer: str
    source_op: str
    shape: tuple[int, ...]
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Dequantized weights: codes and scales."""

    codes: NDArray[Any]
    scales: Floats


Symbol: TypeAlias = Real | Pending | Weights | Tensor


class ExportContext(TorchContext):
    """A `TorchContext` with what every value of the program stands for."""

    symbols: dict[str, Symbol]

    def symbol(self, position: int) -> Symbol:
        """Return what an argument stands for."""
        name = self.name(position)
        if name not in self.symbols:
            self.unsupported(f"its input {name!r} is float32 that does not come from codes")
        return self.symbols[name]

    def real(self, position: int, *, exact: bool = True) -> Real:
        """Return an argument that must be a function of codes."""
        value = self.symbol(position)
        if not isinstance(value, Real) or (exact and not value.exact):
            self.unsupported("its input must be quantized and dequantized before it")
        return value

    def pend(self, finish: Callable[[Codes, tuple[int, int], str], None]) -> None:
        """Keep the current layer until its output is quantized."""
        shape = self.program.values[self.call.output].shape
        self.symbols[self.call.output] = Pending(
            finish=finish, layer=self.layer, source_op=self.source_op, shape=shape
        )
