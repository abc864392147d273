"""Run programs on the synthesised netlist of the accelerator, loaded and read over its bus."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systolith.errors import InputError
from systolith.hw.technology import Technology
from systolith.sim.accelerator import axi_read, axi_write, netlist_model
from systolith.sim.backend import Progress, Result
from systolith.sim.dut import Dut
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode, decode, encode
from systolith.spec.program import Program
from systolith.spec.registers import Window, window_stride

__all__ = ["NetlistBackend"]


class NetlistBackend(VerilatorBackend):
    """Gate-level runs: every cell of the netlist that synthesis made, by its model.

    Nothing is known of the netlist but its ports: programs and inputs are written through the
    AXI4-Lite slave, and results read there. A captured tensor is that of a run which ends with the
    layer that completes it. For accelerators without external memory.

    Parameters
    ----------
    technology: whose cells.
    """

    def __init__(self, technology: Technology):
        super().__init__()
        self.technology, self.name = technology, f"netlist-{technology}"
        self._written: dict[AcceleratorSpec, dict[Window, NDArray[np.uint32]]] = {}

    def run(
        self,
        program: Program,
        inputs: Mapping[str, NDArray[np.generic]],
        *,
        capture: Collection[str] = (),
        progress: Progress | None = None,
    ) -> Result:
        """Run ``program``, and before that its beginnings; see `Backend.run`."""
        if program.spec.external.data_bytes:
            raise InputError(
                f"backend {self.name} must have an accelerator without external memory: "
                "set external.data_bytes to 0"
            )
        tensors: dict[str, NDArray[np.generic]] = {}
        wanted = set(capture) - set(program.outputs)
        inner = [layer for layer in program.layers if layer.tensor in wanted]
        for number, layer in enumerate(inner, 1):
            commands = _beginning(program.commands, layer.stamp)
            part = replace(program, commands=commands, outputs=(layer.tensor,))
            tensors |= super().run(part, inputs).tensors
            if progress is not None:
                progress(number, len(inner) + 1)
        result = super().run(program, inputs, capture=wanted & set(program.inputs))
        if progress is not None:
            progress(len(inner) + 1, len(inner) + 1)
        return replace(result, tensors={**tensors, **result.tensors})

    def _library(self, spec: AcceleratorSpec) -> Path:
        return netlist_model(spec, self.technology)

    def _load(self, dut: Dut, program: Program) -> None:
        """Write the windows of constants; memories keep them, so what is there already stays."""
        written = self._written.setdefault(program.spec, {})
        for window, words in _windows(program).items():
            before = written.get(window, np.zeros(0, np.uint32))
            same = np.zeros(len(words), bool)
            common = min(len(words), len(before))
            same[:common] = words[:common] == before[:common]
            for index in np.flatnonzero(~same).tolist():
                axi_write(dut, (window << 24) + 4 * index, int(words[index]))
            written[window] = np.concatenate([words, before[len(words) :]])

    def _write_activations(self, dut: Dut, spec: AcceleratorSpec, image: NDArray[np.uint8]) -> None:
        words = image.view("<u4")
        for address in _places(spec):
            axi_write(dut, (Window.ACTIVATIONS << 24) + address, int(words[address // 4]))

    def _activations(self, dut: Dut, spec: AcceleratorSpec) -> NDArray[np.uint8]:
        words = np.zeros(spec.region_stride * spec.memory.activation_regions // 4, "<u4")
        for address in _places(spec):
            words[address // 4] = axi_read(dut, (Window.ACTIVATIONS << 24) + address)
        return words.view(np.uint8)

    def _stamps(self, dut: Dut) -> tuple[int, ...]:
        count = dut.io["stamps"]
        return tuple(axi_read(dut, (Window.STAMPS << 24) + 4 * i) for i in range(count))


def _places(spec: AcceleratorSpec) -> list[int]:
    """Addresses of all words of the activation memory."""
    memory = spec.memory
    return [
        region * spec.region_stride + offset
        for region in range(memory.activation_regions)
        for offset in range(0, memory.activation_bytes, 4)
    ]


def _windows(program: Program) -> dict[Window, NDArray[np.uint32]]:
    """The words of the windows of constants."""
    spec = program.spec
    weights = np.ascontiguousarray(program.weights, np.uint8)
    parameters = np.ascontiguousarray(program.parameters, "<u4")
    rows = {
        Window.WEIGHTS: weights,
        Window.PARAMETERS: parameters.view(np.uint8).reshape(-1, 32 * spec.post.lanes),
    }
    words = {
        window: np.pad(bytes_, ((0, 0), (0, window_stride(spec, window) - bytes_.shape[1])))
        for window, bytes_ in rows.items()
    }
    words[Window.COMMANDS] = np.ascontiguousarray(program.commands, "<u4")
    if spec.memory.tables:
        words[Window.TABLES] = np.ascontiguousarray(program.tables, np.uint8)
    if spec.post.softmax_tables:
        words[Window.EXPONENTS] = np.ascontiguousarray(program.exponents, "<u4")
    return {window: np.ascontiguousarray(v).view("<u4").ravel() for window, v in words.items()}


def _beginning(commands: NDArray[np.uint32], stamp: int) -> NDArray[np.uint32]:
    """The commands up to the one that writes a time stamp, and an END.

    Units take commands in order, so these do what they do in the whole program.
    """
    position, count = 0, 0
    for command in decode(commands.tolist()):
        position += COMMANDS[command.opcode].words
        count += command.values.get("stamp", 0)
        if count > stamp:
            break
    end = np.array(encode(Opcode.END), np.uint32)
    return np.concatenate([commands[:position], end])
