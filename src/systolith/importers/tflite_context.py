"""The state of a TFLite import: the current operator, its tensors and their checks."""

from dataclasses import replace

import tflite

from systolith.arithmetic import Codes, Requant
from systolith.errors import ModelError
from systolith.graph import Quantization, Tensor
from systolith.importers.builder import GraphBuilder, canonical_shape
from systolith.importers.tflite_reader import RawModel, RawOperator, RawTensor
from systolith.profiles.multipliers import activation_limits
from systolith.profiles.table import Profile
from systolith.spec.quantize import scale_fault

__all__ = ["TfliteContext"]

_ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: "none",
    tflite.ActivationFunctionType.RELU: "relu",
    tflite.ActivationFunctionType.RELU6: "relu6",
    tflite.ActivationFunctionType.RELU_N1_TO_1: "relu_n1_to_1",
}
_DTYPES = {"INT8": "int8", "UINT8": "uint8", "FLOAT32": "float32"}


class TfliteContext(GraphBuilder):
    """A graph builder that reads one operator of a TFLite file at a time.

    Parameters
    ----------
    model: the file's records.
    profile: gives the arithmetic.
    """

    def __init__(self, model: RawModel, profile: Profile) -> None:
        super().__init__(profile)
        self.model = model
        self.operator: RawOperator = RawOperator(
            index=-1, kind="", inputs=(), outputs=(), table=None
        )

    def enter(self, operator: RawOperator) -> None:
        """Make `operator` the current layer."""
        self.operator, self.layer, self.source_op = operator, operator.label, operator.kind

    def arity(self, least: int, most: int) -> None:
        """Check the number of inputs and that there is one output."""
        present = len(self.operator.inputs)
        if not least <= present <= most or min((*self.operator.inputs[:least], 0)) < 0:
            self.fail(f"must have {least} to {most} inputs, not {present}")
        if len(self.operator.outputs) != 1:
            self.fail(f"must have 1 output, not {len(self.operator.outputs)}")

    def raw(self, index: int) -> RawTensor:
        """Return the file's record of a tensor."""
        return self.model.tensors[index]

    def tensor(self, index: int) -> Tensor:
        """Return the graph's tensor ``t<index>``, made when first asked for."""
        name = f"t{index}"
        if name in self.tensors:
            return self.tensors[name]
        raw = self.raw(index)
        dtype = _DTYPES.get(raw.dtype)
        if dtype is None:
            raise ModelError(
                f"tensor {raw.name!r} must be int8, uint8 or float32, not {raw.dtype.lower()}",
                layer=self.layer,
                op=self.source_op,
            )
        quantization = None
        if raw.scales.size:
            quantization = Quantization(
                scale=raw.scales,
                zero_point=raw.zero_points,
                axis=raw.axis if raw.scales.size > 1 else None,
            )
        shape = canonical_shape(raw.shape, f"tensor {raw.name!r}")
        return self.add_tensor(
            Tensor(
                name=name,
                shape=shape,
                dtype=dtype,
                quantization=quantization,
                data=None if raw.data is None else raw.data.reshape(shape),
                source_name=raw.name,
                source_shape=raw.shape,
            )
        )

    def input(self, position: int) -> Tensor:
        """Return the current operator's input at `position`."""
        return self.tensor(self.operator.inputs[position])

    def output(self) -> Tensor:
        """Return the current operator's only output."""
        return self.tensor(self.operator.outputs[0])

    def codes(self, index: int, *, unsigned: bool = False) -> Codes:
        """Return the codes of a tensor that must be int8 (or uint8) with one scale."""
        raw = self.raw(index)
        if raw.dtype != "INT8" and not (unsigned and raw.dtype == "UINT8"):
            self.fail(
                f"tensor {raw.name!r} must be int8, not {raw.dtype.lower()}; "
                "quantize the model fully to int8"
            )
        if raw.scales.size != 1:
            self.fail(f"tensor {raw.name!r} must have one scale, not {raw.scales.size}")
        zero = int(raw.zero_points[0])
        codes = Codes(dtype=raw.dtype.lower(), scale=float(raw.scales[0]), zero_point=zero)
        if not codes.low <= zero <= codes.high:
            self.fail(f"tensor {raw.name!r}: zero point must be an {codes.dtype} value, not {zero}")
        fault = scale_fault(int(raw.scales.view("u4")[0]))
        if fault is not None:
            self.fail(f"tensor {raw.name!r}: {fault}")
        return codes

    def same_codes(self, message: str) -> None:
        """Check that the first input and the output mean the same by a code."""
        if self.codes(self.operator.inputs[0]) != self.codes(self.operator.outputs[0]):
            self.fail(message)

    def limits(self, activation: int, out: Codes) -> tuple[int, int]:
        """Return the clamp of the output's codes under a fused activation."""
        name = _ACTIVATIONS.get(activation)
        if name is None:
            known = ", ".join(_ACTIVATIONS.values())
            self.unsupported(f"fused activation must be one of {known}, not {activation}")
        return activation_limits(name, out.scale, out.zero_point, out.low, out.high)

    def clamped(self, requant: Requant, activation: int, out: Codes) -> Requant:
        """Return `requant` with the clamp of a fused activation."""
        low, high = self.limits(activation, out)
        return replace(requant, low=low, high=high)
