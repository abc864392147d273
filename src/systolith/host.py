"""Run a compiled model: the host's nodes before and after, the accelerator between."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.compile import CompiledModel
from systolith.errors import InputError
from systolith.graph import Node
from systolith.profiles.reference import evaluate_node
from systolith.sim.backend import Backend, Progress, Result

__all__ = ["ModelRun", "run_model"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelRun:
    """One inference.

    Parameters
    ----------
    tensors: canonical arrays by name: inputs, outputs, and all that could be read if captured.
    result: what the accelerator left behind.
    """

    tensors: Mapping[str, NDArray[Any]]
    result: Result


def _evaluate(compiled: CompiledModel, nodes: tuple[Node, ...], values: Arrays) -> None:
    """Compute nodes on the host, by the profile's formulas, where their inputs are known."""
    for node in nodes:
        name = node.outputs[0]
        if name not in values and all(each in values for each in node.inputs):
            operands = [values[each] for each in node.inputs]
            values[name] = evaluate_node(compiled.graph, node, operands)


def run_model(
    compiled: CompiledModel,
    backend: Backend,
    inputs: Mapping[str, NDArray[Any]],
    *,
    capture: bool = False,
    progress: Progress | None = None,
) -> ModelRun:
    """Run one inference.

    Parameters
    ----------
    compiled: the model.
    backend: runs the program.
    inputs: canonical arrays of the graph's inputs.
    capture: return every tensor that the program completes, too; tensors which are other tensors'
        bytes under another shape (reshape, concatenation) are formed from the bytes read.

    Raises
    ------
    InputError: an input is missing.
    RunError: the hardware failed.
    """
    graph, program = compiled.graph, compiled.program
    for name in graph.inputs:
        if name not in inputs:
            raise InputError(f"input {name!r} is missing")
    values: Arrays = {n: t.data for n, t in graph.tensors.items() if t.data is not None}
    values.update(inputs)
    _evaluate(compiled, compiled.prologue, values)
    wanted = {layer.tensor for layer in program.layers} if capture else set()
    result = backend.run(
        program,
        {name: np.ascontiguousarray(values[name]) for name in program.inputs},
        capture=wanted,
        progress=progress,
    )
    values.update(result.tensors)
    if capture:
        aliases = {note.name for note in compiled.notes if note.where == "alias"}
        _evaluate(compiled, tuple(node for node in graph if node.name in aliases), values)
    _evaluate(compiled, compiled.epilogue, values)
    return ModelRun(tensors=values, result=result)
