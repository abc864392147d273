"""The files with which a compiled model goes to hardware: container, C source, drivers."""

from collections.abc import Iterable
from importlib.resources import files

import numpy as np

from systolith.arithmetic import QuantizeArithmetic
from systolith.compiler.compile import CompiledModel
from systolith.drivers.c_text import c_driver, c_identifier, c_network
from systolith.drivers.manifest import network_files
from systolith.drivers.network import HostStep, Network, Place, network_of
from systolith.graph import Graph, Node, Op
from systolith.profiles.reference import evaluate_node

__all__ = ["deployed_network", "driver_files", "model_files"]

_FORMULAS = frozenset({"onnxruntime", "tflite_reference", "xnnpack", "torch"})
"""Ways to quantize that both drivers know."""


def _is_order_kept(graph: Graph, node: Node) -> bool:
    """Whether a RESHAPE leaves the canonical order of elements as it is."""
    tensor = graph.tensor(node.inputs[0])
    places = np.arange(tensor.size, dtype=np.int64).reshape(tensor.shape)
    moved = evaluate_node(graph, node, [places])
    return bool(np.array_equal(np.asarray(moved).ravel(), places.ravel()))


def _is_native(graph: Graph, node: Node, before: bool) -> bool:
    """Whether the drivers compute a node of the host's on the accelerator's inputs or outputs."""
    if node.op is Op.RESHAPE:
        return _is_order_kept(graph, node)
    if node.op is Op.DEQUANTIZE and not before:
        return True
    return (
        before
        and isinstance(node.arithmetic, QuantizeArithmetic)
        and node.arithmetic.formula in _FORMULAS
    )


def _steps(graph: Graph, nodes: Iterable[Node], before: bool) -> Iterable[HostStep]:
    for node in nodes:
        yield HostStep(
            name=node.name,
            op=str(node.op),
            when="before" if before else "after",
            tensor=node.outputs[0] if before else node.inputs[0],
            native=_is_native(graph, node, before),
        )


def _place(compiled: CompiledModel, name: str) -> Place:
    tensor, buffer = compiled.graph.tensor(name), compiled.program.buffers[name]
    scale = zero = None
    if tensor.quantization is not None and tensor.quantization.scale.size == 1:
        scale = float(tensor.quantization.scale.reshape(-1)[0])
        zero = int(tensor.quantization.zero_point.reshape(-1)[0])
    formula, limits = "", tensor.limits
    for node in compiled.prologue:
        arithmetic = node.arithmetic
        if name in node.outputs and isinstance(arithmetic, QuantizeArithmetic):
            codes = arithmetic.out
            scale, zero, formula = codes.scale, codes.zero_point, arithmetic.formula
            limits = (codes.low, codes.high)
    return Place(
        name=name, buffer=buffer, scale=scale, zero_point=zero, limits=limits, formula=formula
    )


def deployed_network(compiled: CompiledModel) -> Network:
    """Return what drivers need of a compiled model."""
    graph, program = compiled.graph, compiled.program
    return network_of(
        program,
        c_identifier(graph.name),
        places={name: _place(compiled, name) for name in (*program.inputs, *program.outputs)},
        steps=[
            *_steps(graph, compiled.prologue, before=True),
            *_steps(graph, compiled.epilogue, before=False),
        ],
    )


def model_files(compiled: CompiledModel) -> dict[str, bytes]:
    """Return the container of a compiled model and its C source, by name."""
    network = deployed_network(compiled)
    texts = c_network(network)
    return {**network_files(network), **{name: text.encode() for name, text in texts.items()}}


def driver_files() -> dict[str, bytes]:
    """Return the drivers in C and Python, by path."""
    texts = {f"c/{name}": text.encode() for name, text in c_driver().items()}
    folder = files("systolith.drivers") / "host"
    python = {
        f"python/systolith_host/{item.name}": item.read_bytes()
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".py")
    }
    return {**texts, **python}
