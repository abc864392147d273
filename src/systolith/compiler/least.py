"""The smallest memories with which a network compiles for an array with external memory."""

from collections.abc import Sequence

from systolith.compiler.command_memory import least_words
from systolith.compiler.layout import Layout
from systolith.compiler.shapes import Shapes
from systolith.compiler.steps import Step
from systolith.errors import CompileError
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["check_memories"]


def _parameters(
    layout: Layout, steps: Sequence[Step], shapes: Shapes, spec: AcceleratorSpec
) -> tuple[int, str]:
    """Parameter channels of the widest channel tile, and the layer that has it."""
    lanes, columns = spec.post.lanes, spec.array.columns
    needs = [
        (
            -(-min(max(columns, shapes.tile(s)), layout.views[s.target].shape[2]) // lanes) * lanes,
            s.node.name,
        )
        for s in steps
    ]
    return max(needs, key=lambda n: n[0])


def check_memories(
    layout: Layout, steps: Sequence[Step], shapes: Shapes, spec: AcceleratorSpec
) -> None:
    """Require of every memory that it holds the smallest tile of every layer.

    A network that passes has a program: each layer in its smallest tiles, one after the other.

    Raises
    ------
    CompileError: memories are too small. It names, of each, a layer, the need, and the least that
        would do: an accelerator with all of these suffices.
    """
    if not steps:
        return
    memory, array = spec.memory, spec.array
    region, need, worst = max((*shapes.least(s), i) for i, s in enumerate(steps))
    channels, widest = _parameters(layout, steps, shapes, spec)
    largest, weights = steps[worst].node.name, array.rows * array.columns
    activations = f"layer {largest!r}: its smallest tiles take {need} bytes of activations"
    regions = f"{memory.activation_regions} regions of {memory.activation_bytes}"
    words = f"memory.weight_bytes must hold the array's weights, {weights} bytes"
    tile = f"layer {widest!r}: memory.parameter_channels must hold one channel tile, {channels}"
    needs = (
        ("activation_bytes", region, f"{activations}, the specification has {regions}"),
        ("weight_bytes", weights, f"{words}, not {memory.weight_bytes}"),
        ("parameter_channels", channels, f"{tile}, not {memory.parameter_channels}"),
    )
    missing = [(name, least, text) for name, least, text in needs if getattr(memory, name) < least]
    if not missing:
        return
    if memory.command_words < least_words():
        text = f"memory.command_words must be {least_words()} for any network"
        missing.append(("command_words", least_words(), f"{text}, not {memory.command_words}"))
    remedy = " and ".join(f"memory.{name} to at least {least}" for name, least, _ in missing)
    raise CompileError(f"{'; '.join(text for *_, text in missing)}: raise {remedy}")
