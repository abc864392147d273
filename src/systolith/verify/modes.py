"""What a program says of its layers: modes of their arithmetic, cycles between time stamps."""

from collections.abc import Sequence

from systolith.sim.limits import executed
from systolith.spec.commands import Opcode
from systolith.spec.program import Program
from systolith.spec.quantize import QuantizeForm
from systolith.spec.requant import RequantMode
from systolith.spec.softmax import SoftmaxForm

__all__ = ["layer_cycles", "layer_modes"]


def layer_modes(program: Program) -> dict[str, str]:
    """Return modes of each layer's STORE commands, forms of SOFTMAX and QUANTIZE, or copy."""
    modes: dict[str, str] = {}
    seen: list[str] = []
    stamp = 0
    names = {layer.stamp: layer.name for layer in program.layers}
    for command in executed(program):
        if command.opcode is Opcode.STORE:
            mode = RequantMode(command["mode"]).name.lower()
        elif command.opcode is Opcode.SOFTMAX:
            mode = SoftmaxForm(command["form"]).name.lower()
        elif command.opcode is Opcode.QUANTIZE:
            mode = QuantizeForm(command["form"]).name.lower()
        elif command.opcode is Opcode.DEQUANTIZE:
            mode = "dequantize"
        elif command.opcode is Opcode.COPY and command["stamp"]:
            mode = "copy"
        else:
            continue
        if mode not in seen:
            seen.append(mode)
        if command["stamp"]:
            modes[names[stamp]] = "+".join(seen)
            seen, stamp = [], stamp + 1
    return modes


def layer_cycles(program: Program, stamps: Sequence[int]) -> dict[str, int]:
    """Return cycles from the completion of the layer before to each layer's own, by layer name."""
    cycles: dict[str, int] = {}
    previous = 0
    for layer in program.layers:
        if layer.stamp < len(stamps):
            cycles[layer.name] = stamps[layer.stamp] - previous
            previous = stamps[layer.stamp]
    return cycles
