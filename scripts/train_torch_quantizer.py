"""A quantizer for torchao's PT2E that leaves no tensor between layers in float32."""

from typing import Any

import torch
from torchao.quantization.pt2e import (
    HistogramObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

ACTIVATION = QuantizationSpec(
    dtype=torch.uint8,
    quant_min=0,
    quant_max=255,
    qscheme=torch.per_tensor_affine,
    is_dynamic=False,
    observer_or_fake_quant_ctr=HistogramObserver.with_args(eps=2**-12),
)
WEIGHT = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
    is_dynamic=False,
    observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=2**-12),
)

ATEN = torch.ops.aten
WEIGHTED = (ATEN.conv2d.default, ATEN.linear.default)
PLAIN = (ATEN.add.Tensor, ATEN.mul.Tensor, ATEN.adaptive_avg_pool2d.default, ATEN.mean.dim)
SHARED = (ATEN.max_pool2d.default, ATEN.flatten.using_ints, ATEN.view.default)
RELU = (ATEN.relu.default, ATEN.relu_.default)


class EveryTensor(Quantizer):
    """Inputs and outputs of every layer are uint8, weights int8 per channel."""

    def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
        """Note on every node how its inputs and output are quantized."""
        for node in model.graph.nodes:
            if node.op != "call_function" or node.target not in (*WEIGHTED, *PLAIN, *SHARED):
                continue
            inputs: dict[Any, Any] = {
                each: ACTIVATION for each in node.args[:2] if isinstance(each, torch.fx.Node)
            }
            if node.target in WEIGHTED:
                inputs[node.args[1]] = WEIGHT
            # A ReLU that follows is fused: the sum before it is not quantized.
            users = list(node.users)
            last = users[0] if len(users) == 1 and users[0].target in RELU else node
            output: Any = ACTIVATION
            if node.target in SHARED:
                output = SharedQuantizationSpec((node.args[0], node))
            self._note(node, inputs, output if last is node else None)
            if last is not node:
                self._note(last, {}, output)
        return model

    def _note(self, node: torch.fx.Node, inputs: dict[Any, Any], output: Any) -> None:
        node.meta["quantization_annotation"] = QuantizationAnnotation(
            input_qspec_map=inputs, output_qspec=output, _annotated=True
        )

    def validate(self, model: torch.fx.GraphModule) -> None:
        """Accept every graph."""
