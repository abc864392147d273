"""Float tensors of a QONNX import that await their quantizer: what they are functions of."""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.arithmetic import Codes
from systolith.float_steps import FloatStep, FloatSums
from systolith.importers.geometry import Window

__all__ = ["CodesBase", "InputBase", "MacBase", "PairBase", "Pending", "PoolBase"]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class MacBase:
    """Sums of products of codes and weights.

    Parameters
    ----------
    source: name of the tensor of codes, as the layer reads it.
    weights: int64 [Cout, kh, kw, Cin / groups], zero point taken off.
    window: None for a fully connected layer.
    groups: of a convolution.
    sums: what they are worth.
    lo, hi: reachable sums of each channel.
    output: the runtime's tensor of these sums, or empty where it has none.
    """

    source: str
    weights: Int64Array
    window: Window | None
    groups: int
    sums: FloatSums
    lo: Int64Array
    hi: Int64Array
    output: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolBase:
    """Sums of the codes of windows, zero point taken off.

    Parameters
    ----------
    source: name of the tensor of codes; codes: its codes.
    window: of the pool; all of it lies inside of the image.
    """

    source: str
    codes: Codes
    window: Window
    sums: FloatSums


@dataclass(frozen=True, kw_only=True, eq=False)
class CodesBase:
    """The values of a tensor of codes."""

    source: str
    codes: Codes


@dataclass(frozen=True, kw_only=True, eq=False)
class PairBase:
    """The float32 sum (difference, product) of the values of two tensors of codes."""

    op: str
    first: CodesBase
    second: CodesBase


@dataclass(frozen=True, kw_only=True, eq=False)
class InputBase:
    """A float32 input of the network."""

    source: str


Base: TypeAlias = MacBase | PoolBase | CodesBase | PairBase | InputBase


@dataclass(frozen=True, kw_only=True, eq=False)
class Pending:
    """A float tensor: a base, elementwise steps, and what only moves or chooses its elements.

    Parameters
    ----------
    base: where it begins.
    layer, source_op: of the base.
    shape: the runtime's shape of the base, which all `steps` have.
    current: the runtime's shape after `later`.
    steps: elementwise, in order.
    later: moves and maxima, which the codes go through instead: each commutes with all steps that
        follow it.
    maximum: whether `later` has a maximum: steps behind it must not fall.
    """

    base: Base
    layer: str
    source_op: str
    shape: tuple[int, ...]
    current: tuple[int, ...]
    steps: tuple[FloatStep, ...] = ()
    later: tuple[onnx.NodeProto, ...] = ()
    maximum: bool = False

    def then(self, step: FloatStep) -> "Pending":
        """Return the tensor after one more step."""
        return replace(self, steps=(*self.steps, step))
