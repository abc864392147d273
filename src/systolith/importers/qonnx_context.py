"""The state of a QONNX import: codes, floats that await a quantizer, and quantized constants."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.arithmetic import Codes
from systolith.float_steps import FloatStep
from systolith.graph import Tensor
from systolith.importers.onnx_context import OnnxContext
from systolith.importers.qonnx_constants import QuantizedConstant, fold
from systolith.importers.qonnx_pending import CodesBase, InputBase, MacBase, Pending
from systolith.profiles.table import Profile

__all__ = ["QonnxContext", "channel_axis"]

_TINY = float(np.finfo(np.float32).tiny)


def channel_axis(rank: int) -> int:
    """Return the axis of the channels: NCHW for rank 4, else the last."""
    return 1 if rank == 4 else rank - 1


class QonnxContext(OnnxContext):
    """A graph builder that reads one node of a QONNX graph at a time.

    Parameters
    ----------
    constants: float values by name.
    profile: gives the arithmetic.
    """

    def __init__(self, constants: dict[str, NDArray[Any]], profile: Profile) -> None:
        super().__init__(constants, profile)
        self.quantized_constants: dict[str, QuantizedConstant] = {}
        self.pending: dict[str, Pending] = {}

    @property
    def opset(self) -> int:
        """Version of the model's standard operators."""
        return next((e.version for e in self.opsets if e.domain in ("", "ai.onnx")), 13)

    def fold_standard(self, node: onnx.NodeProto) -> bool:
        """Compute a standard operator on constants; say whether it was one."""
        names = [name for name in node.input if name]
        if not names or not all(name in self.constants for name in names):
            return False
        results = fold(node, [self.constants[name] for name in names], self.opset)
        if results is None:
            return False
        for name, value in zip([n for n in node.output if n], results, strict=True):
            self.constants[name] = value
        first = self.quantized_constants.get(node.input[0])
        if first is not None and node.op_type in _MOVERS:
            rest = [self.constants[name] for name in names[1:]]

            def rule(array: NDArray[Any]) -> NDArray[Any]:
                moved = fold(node, [array.astype(np.float32), *rest], self.opset)
                assert moved is not None
                return np.asarray(moved[0]).astype(array.dtype)

            self.quantized_constants[node.output[0]] = first.moved(rule)
        return True

    def positive(self, position: int, what: str) -> NDArray[np.float32]:
        """Return a constant that must be float32, finite, positive and no subnormal."""
        value = self.constant(position, what)
        if value.dtype != np.float32 or not value.size:
            self.fail(f"{what} must be float32, not {value.dtype}")
        wrong = ~(np.isfinite(value) & (value >= _TINY))
        if np.any(wrong):
            self.fail(
                f"{what} must be finite, positive and no subnormal, not {value[wrong].flat[0]!r}"
            )
        return value

    def whole(self, position: int, what: str) -> NDArray[np.int64]:
        """Return a constant whose numbers must be integers."""
        value = self.constant(position, what)
        number = value.astype(np.float64)
        if not value.size or not np.all(np.isfinite(number) & (number == np.rint(number))):
            self.fail(f"{what} must be an integer, not {value.reshape(-1)[:4].tolist()}")
        return np.clip(number, -(2.0**40), 2.0**40).astype(np.int64)

    def value(self, position: int) -> Pending:
        """Return a computed input as a float tensor."""
        name = self.node.input[position] if position < len(self.node.input) else ""
        if name in self.pending:
            return self.pending[name]
        if name in self.constants:
            self.unsupported(f"its input {name!r} is a constant")
        if name not in self.tensors:
            self.fail(f"input {name!r} must be computed by the model before it is read")
        tensor = self.tensors[name]
        base = (
            InputBase(source=name)
            if tensor.dtype == "float32"
            else CodesBase(source=name, codes=self.codes_of(name))
        )
        shape = tensor.source_shape
        return Pending(
            base=base, layer=self.layer, source_op=self.source_op, shape=shape, current=shape
        )

    def value_shape(self, name: str) -> tuple[int, ...]:
        """Return the runtime's shape of a computed tensor, () if there is none."""
        if name in self.pending:
            return self.pending[name].current
        return self.tensors[name].source_shape if name in self.tensors else ()

    def codes_of(self, name: str) -> Codes:
        """Return the codes of a tensor that a quantizer has made."""
        if name not in self.known:
            self.fail(f"input {name!r} must be quantized: put a Quant before it")
        return self.known[name]

    def quantized_input(self, position: int) -> tuple[Tensor, Codes]:
        """Return an input that must be codes, and what they are."""
        name = self.node.input[position]
        if name in self.pending:
            before = self.pending[name].layer
            self.unsupported(
                f"its input {name!r} (of layer {before!r}) is not quantized; put a Quant before it"
            )
        if name in self.tensors and self.tensors[name].dtype == "float32":
            self.unsupported(f"the network's input {name!r} must go through a Quant first")
        return self.input(position), self.codes_of(name)

    def operand(self, value: NDArray[Any], pending: Pending) -> NDArray[np.float32]:
        """Return a step's constant as one value, or one for each channel of the base.

        Raises
        ------
        ModelError: it varies along other sides.
        """
        if value.dtype != np.float32:
            self.fail(f"its constant must be float32, not {value.dtype}")
        if not np.all(np.isfinite(value)):
            self.fail("its constant must be finite")
        shape = pending.current
        if value.size == 1 and value.ndim <= len(shape):
            return value.reshape(())
        axis = channel_axis(len(shape))
        sides = (1,) * (len(shape) - value.ndim) + value.shape
        wanted = [shape[axis] if i == axis else 1 for i in range(len(shape))]
        if len(sides) != len(shape) or list(sides) != wanted:
            self.unsupported(f"its constant {list(value.shape)} must be one value a channel")
        if pending.later and not self._same_channels(pending):
            self.unsupported("its constant must be one value: a move lies before it")
        return value.reshape(-1)

    def _same_channels(self, pending: Pending) -> bool:
        """Whether what is pending has the base's channels, each in its place."""
        before, after = pending.shape, pending.current
        same = before[channel_axis(len(before))] == after[channel_axis(len(after))]
        only = all(node.op_type in _MOVERS for node in pending.later)
        return same and (not only or int(np.prod(after)) == after[channel_axis(len(after))])

    def append_step(self, pending: Pending, op: str, operand: NDArray[Any] | float = 0.0) -> None:
        """Make the current node's output: what is pending, and one more step."""
        value = self.operand(np.asarray(operand, np.float32), pending)
        falls = op == "rsub" or op in ("mul", "div") and bool(np.any(value < 0))
        if pending.maximum and falls:
            self.unsupported("its values fall behind a maximum; negate before the maximum")
        if op == "div" and np.any(value == 0):
            self.fail("must not divide by 0")
        after = pending.then(FloatStep(op=op, operand=value))
        self.pending[self.node.output[0]] = after

    def postpone(self, pending: Pending, shape: tuple[int, ...], *, maximum: bool = False) -> None:
        """Make the current node's output: a move or maximum, done on the codes later."""
        node = onnx.NodeProto()
        node.CopyFrom(self.node)
        node.name = self.layer
        if isinstance(pending.base, MacBase | CodesBase) or not maximum:
            self.pending[self.node.output[0]] = replace(
                pending,
                current=shape,
                later=(*pending.later, node),
                maximum=pending.maximum or maximum,
            )
            return
        self.unsupported("its input is not quantized; put a Quant before it")


_MOVERS = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
"""Operators that keep all elements."""
