"""Exported programs (``torch.export.save``) of PT2E-quantized modules."""

import importlib
import io
import operator
from typing import Any

from systolith.errors import ModelError
from systolith.importers.torch_program import (
    Call,
    Ref,
    TorchProgram,
    import_torch,
    one_line,
    running,
)

__all__ = ["read_export"]


def read_export(data: bytes) -> TorchProgram:
    """Return the program of an exported graph.

    Raises
    ------
    ModelError: the file is damaged, has no fixed shapes or PyTorch cannot run it.
    ToolError: PyTorch is not installed.
    """
    torch = import_torch()
    # The operators that PT2E leaves in the graph exist once this has been imported.
    importlib.import_module("torch.ao.quantization.fx._decomposed")

    with running(""):
        try:
            exported = torch.export.load(io.BytesIO(data))
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelError(f"PyTorch cannot load the file: {one_line(error)}") from error
        program = _program(torch, exported)
    program.probe()
    return program


def _program(torch: Any, exported: Any) -> TorchProgram:
    signature = exported.graph_signature
    state = {**exported.state_dict, **exported.constants}
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **getattr(signature, "inputs_to_lifted_tensor_constants", {}),
    }
    known: dict[str, Any] = {name: state[target] for name, target in targets.items()}
    inputs: dict[str, tuple[int, ...]] = {}
    calls: list[Call] = []
    outputs: list[str] = []
    for node in exported.graph_module.graph.nodes:
        if node.op == "placeholder" and node.name not in known:
            inputs[node.name] = _shape(node)
        elif node.op == "output":
            outputs = [each.name for each in node.args[0]]
        elif node.op == "call_function":
            calls.append(_call(torch, node, known))
    return TorchProgram(calls, inputs, outputs)


def _shape(node: Any) -> tuple[int, ...]:
    sides = tuple(node.meta["val"].shape)
    if not all(isinstance(side, int) for side in sides):
        raise ModelError(f"input {node.name!r} must have a fixed shape, not {list(sides)}")
    if sides[:1] != (1,):
        raise ModelError(f"input {node.name!r} must have batch 1, not shape {list(sides)}")
    return sides


def _call(torch: Any, node: Any, known: dict[str, Any]) -> Call:
    def argument(value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return known[value.name] if value.name in known else Ref(name=value.name)
        if isinstance(value, (list, tuple)):
            return [argument(each) for each in value]
        return value

    target = node.target
    op = target.__name__ if target is operator.getitem else target.name()
    return Call(
        op=op,
        output=node.name,
        arguments=tuple(argument(value) for value in node.args),
        layer=_layer(node),
        function=target,
        keywords={key: argument(value) for key, value in node.kwargs.items()},
    )


def _layer(node: Any) -> str:
    """Name a layer by the module it was written in where that has weights, else by its node."""
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    short = path.rpartition("L__self__")[2].strip(".") if isinstance(path, str) else ""
    return (
        short
        if short and node.target.name().startswith(("aten::conv", "aten::linear"))
        else node.name
    )
