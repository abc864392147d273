"""``systolith inspect``."""

from rich.text import Text

from systolith.cli.options import Against, Array, Model, Preset, SpecFile, choose_spec, stdout
from systolith.errors import CompileError
from systolith.graph import Graph
from systolith.report.inspection import NodeFacts, inspect_graph
from systolith.report.tables import clip, make_table, number, shape_text
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["inspect"]


def _places(graph: Graph, spec: AcceleratorSpec) -> tuple[dict[str, str], str, str]:
    """Return where each layer would run, the memory it takes, and what prevents it or nothing."""
    from systolith.compiler.compile import compile_graph

    try:
        compiled = compile_graph(graph, spec)
    except CompileError as error:
        return {}, "", str(error)
    memory = compiled.memory
    text = (
        f"activations: peak {number(memory.peak)} of {number(memory.available)} bytes on chip, "
        f"lower bound {number(memory.bound)}"
    )
    return {note.name: note.where for note in compiled.notes}, text, ""


def _inputs_text(shapes: list[str]) -> str:
    """The shapes, or how often and which if they are all the same."""
    if len(shapes) > 1 and len(set(shapes)) == 1:
        return f"{len(shapes)} of {shapes[0]}"
    return " ".join(shapes)


def _row(fact: NodeFacts, where: str) -> list[str]:
    return [
        clip(fact.name, 24),
        fact.op.replace("fully_connected", "fully_conn"),
        clip(_inputs_text([shape_text(shape) for shape in fact.inputs]), 17),
        shape_text(fact.output),
        number(fact.macs or None),
        number(fact.parameters or None),
        number(fact.accumulator_bits),
        where,
    ]


def inspect(
    model: Model,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    against: Against = None,
) -> None:
    """Show a network's layers, what they cost and where each would run."""
    chosen = choose_spec(array, spec, preset)
    from systolith.importers import load_model

    graph = load_model(model, against)
    facts = inspect_graph(graph)
    places, memory, problem = _places(graph, chosen)
    columns = [
        ("layer", False),
        ("op", False),
        ("inputs", False),
        ("output", False),
        ("MACs", True),
        ("params", True),
        ("acc", True),
        ("where", False),
    ]
    rows = [_row(fact, places.get(fact.name, "?")) for fact in facts]
    total = ["total", "", "", "", number(sum(f.macs for f in facts))]
    total += [number(sum(f.parameters for f in facts)), "", ""]
    console = stdout()
    console.print(Text(f"{model.name}: {len(facts)} layers, profile {graph.profile}"))
    for kind, names in (("input", graph.inputs), ("output", graph.outputs)):
        for name in names:
            tensor = graph.tensors[name]
            text = f"{kind:6} {name} {tensor.dtype} {list(tensor.source_shape)}"
            console.print(Text(text))
    console.print(make_table(columns, [*rows, [], total]))
    if memory:
        console.print(Text(memory))
    if problem:
        console.print(Text(f"cannot run on {chosen.array.rows}x{chosen.array.columns}: {problem}"))
