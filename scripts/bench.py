"""Benchmarks, measured as ratios against a bound or a peer in the same run.

``scripts/bench cycles`` compares cycles with the floor of any array of that size, and says why;
``scripts/bench sim`` measures the speed of simulation and compares it with onnxruntime.
"""

import statistics
import sys
import timeit
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime
import typer
from rich.console import Console
from rich.table import Table

from systolith.bounds import graph_floor, layer_floors
from systolith.compiler.compile import compile_graph
from systolith.compiler.model import CompiledModel
from systolith.cycles import explain
from systolith.cycles import predict as predict_cycles
from systolith.errors import SystolithError
from systolith.graph import Graph
from systolith.importers import load_model
from systolith.runtimes import run_runtime
from systolith.sim.backend import Result
from systolith.sim.backends import get_backend
from systolith.spec.configuration import load_spec

app = typer.Typer(add_completion=False, help=__doc__)
_SIMULATORS = ("verilator", "verilator-fast")

Model = Annotated[Path, typer.Argument(help="quantized network, .tflite or .onnx")]
Array = Annotated[str, typer.Option("--array", help="preset, ROWSxCOLUMNS or TOML file")]


def _random_inputs(compiled: CompiledModel) -> dict[str, np.ndarray]:
    """Inputs of the hardware program, over the whole range of their dtypes."""
    rng = np.random.default_rng(0)
    inputs = {}
    for name in compiled.program.inputs:
        buffer = compiled.program.buffers[name]
        limits = np.iinfo(buffer.dtype)
        inputs[name] = rng.integers(
            limits.min, limits.max, buffer.shape, dtype=buffer.dtype, endpoint=True
        )
    return inputs


def _run(
    model: Path, array: str, ways: Sequence[str], repeat: int
) -> tuple[Graph, CompiledModel, dict[str, list[Result]]]:
    """Compile, simulate ``repeat`` times on each backend, in turn; builds and loads come before."""
    graph = load_model(model)
    compiled = compile_graph(graph, load_spec(array))
    backends = {name: get_backend(name) for name in ways}
    inputs = _random_inputs(compiled)
    for backend in backends.values():
        backend.run(compiled.program, inputs)
    results: dict[str, list[Result]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, backend in backends.items():
            results[name].append(backend.run(compiled.program, inputs))
    return graph, compiled, results


@app.command()
def cycles(
    model: Model,
    array: Array = "base",
    predict: Annotated[bool, typer.Option(help="only predict, do not simulate")] = False,
) -> None:
    """Print cycles, floor, ratio and the greatest stall per layer and for the network."""
    graph = load_model(model)
    compiled = compile_graph(graph, load_spec(array))
    program = compiled.program
    spec, prediction = program.spec, predict_cycles(program)
    counters = dict(prediction.counters)
    if not predict:
        result = get_backend("verilator").run(program, _random_inputs(compiled))
        counters = dict(result.counters)
        if (prediction.counters, prediction.stamps) != (result.counters, result.stamps):
            print("the cycle model differs from the simulation", file=sys.stderr)
    rows, columns = spec.array.rows, spec.array.columns
    width = spec.external.data_bytes or 16
    built, sparse = spec.array.precisions, spec.array.sparse
    found = layer_floors(
        graph, rows, columns, bytes_per_cycle=width, precisions=built, sparse=sparse
    )
    floors = {floor.name: floor for floor in found}
    mapping = {name: float(floor.mapping) for name, floor in floors.items()}
    table = Table(title=f"{graph.name} on {rows}x{columns}, {spec.post.lanes} lanes")
    headings = ("layer", "MACs", "in", "ideal", "floor", "cycles", "cycles / floor", "most of it")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for layer in explain(program, prediction, mapping):
        known, ratio = ("", "", "", ""), ""
        if layer.name in floors:
            floor = floors[layer.name]
            name = "2:4" if floor.sparse else floor.precision.name.lower()
            known = (f"{floor.macs:,}", name, f"{floor.ideal:.0f}", f"{layer.floor:.0f}")
            ratio = f"{layer.cycles / layer.floor:.3f}"
        table.add_row(layer.name or "(end)", *known, f"{layer.cycles:,}", ratio, layer.reason)
    bound = graph_floor(
        graph, rows, columns, bytes_per_cycle=width, precisions=built, sparse=sparse
    )
    ideal = graph.macs() / (rows * columns)
    table.add_section()
    table.add_row(
        "network", f"{graph.macs():,}", "", f"{ideal:.0f}", f"{bound:.0f}",
        f"{counters['cycles']:,}", f"{counters['cycles'] / bound:.3f}",
    )  # fmt: skip
    console = Console(width=110)
    console.print(table)
    console.print("predicted, not simulated" if predict else "simulated in Verilator")
    console.print("  ".join(f"{name} {value}" for name, value in counters.items() if value))


@app.command()
def sim(model: Model, array: Array = "base", repeat: int = 5) -> None:
    """Print simulated cycles/s and MAC/s on one core, and the time beside the runtime's own."""
    graph, _, results = _run(model, array, _SIMULATORS, repeat)
    runtime, host = _runtime_seconds(graph)
    table = Table(title=f"{graph.name} on {array}: {host * 1e3:.3f} ms in {runtime}, one thread")
    for heading in ("backend", "cycles", "ms an inference", "cycles/s", "MAC/s", "times runtime"):
        table.add_column(heading, justify="left" if heading == "backend" else "right")
    for name, runs in results.items():
        seconds = statistics.median(r.seconds for r in runs)
        table.add_row(
            name, f"{runs[0].cycles:,}", f"{seconds * 1e3:.1f}", f"{runs[0].cycles / seconds:,.0f}",
            f"{graph.macs() / seconds:,.0f}", f"{seconds / host:,.0f}",
        )  # fmt: skip
    Console(width=110).print(table)


def _samples(graph: Graph, count: int) -> np.ndarray:
    """Random inputs in the runtime's layout: integers over the whole range, or normal floats."""
    rng = np.random.default_rng(0)
    tensor = graph.tensor(graph.inputs[0])
    shape = (count, *tensor.source_shape[1:])
    if np.dtype(tensor.dtype).kind == "f":
        return rng.standard_normal(shape).astype(np.float32)
    limits = np.iinfo(tensor.dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=tensor.dtype, endpoint=True)


def _runtime_seconds(graph: Graph) -> tuple[str, float]:
    """Seconds of one inference in the network's own runtime, on one thread, without set-up."""
    if graph.profile == "onnxruntime":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            graph.model_bytes, options, providers=["CPUExecutionProvider"]
        )
        feed = {session.get_inputs()[0].name: _samples(graph, 1)}
        times = timeit.repeat(lambda: session.run(None, feed), number=20, repeat=7)
        return "onnxruntime", min(times) / 20
    one, many = _samples(graph, 1), _samples(graph, 101)

    def seconds(samples: np.ndarray) -> float:
        return min(timeit.repeat(lambda: run_runtime(graph, samples, "tflite-xnnpack"), number=1))

    return "LiteRT (XNNPACK)", (seconds(many) - seconds(one)) / 100


if __name__ == "__main__":
    try:
        app()
    except (SystolithError, ValueError) as error:  # a bad specification is a ValueError
        raise SystemExit(f"error: {error}") from None
