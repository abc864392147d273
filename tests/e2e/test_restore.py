"""What a run leaves of what was loaded: all but what the container says must be written again.

Golden runs random networks from external memory; then every memory is compared with what was there
before. A failure names the seed.
"""

from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.drivers.network import network_of
from systolith.drivers.restore import restore_of
from systolith.errors import CompileError
from systolith.golden.execute import _Machine, _write_inputs
from systolith.spec.program import Program
from systolith.spec.registers import Window

NAMES = {
    Window.WEIGHTS: "weights",
    Window.PARAMETERS: "parameters",
    Window.TABLES: "tables",
    Window.COMMANDS: "commands",
    Window.EXPONENTS: "exponents",
}


def outputs(machine: _Machine, program: Program, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run on a machine as it is; return the outputs."""
    machine._position, machine.stamps, machine.number, machine.running = 0, 0, 0, True
    _write_inputs(program, inputs, machine)
    while machine.running:
        machine.step()
    return [machine.read(program.buffers[name]).copy() for name in program.outputs]


def check(program: Program, inputs: dict[str, np.ndarray]) -> tuple[int, int]:
    """Compare memories, restore, run again; return bytes of the image written again, windows."""
    restore = restore_of(program)
    machine = _Machine(program)
    first = outputs(machine, program, inputs)
    for window, name in NAMES.items():
        loaded = getattr(program, name)
        if window in restore.windows:
            getattr(machine.chip, name)[: len(loaded)] = loaded
        np.testing.assert_array_equal(getattr(machine.chip, name)[: len(loaded)], loaded, name)
    image = program.external
    for start, end in restore.external:
        machine.external.bytes[start:end] = image[start:end]
    written = np.zeros(len(image), bool)
    for name in program.inputs:
        if program.buffers[name].external:
            places = program.buffers[name].addresses()
            written[places[places < len(image)]] = True
    np.testing.assert_array_equal(machine.external.bytes[: len(image)][~written], image[~written])
    for again, before in zip(outputs(machine, program, inputs), first, strict=True):
        np.testing.assert_array_equal(again, before)
    return sum(b - a for a, b in restore.external), len(restore.windows)


@pytest.mark.parametrize("name", ["3x5", "6x6", "9x4"])
def test_a_second_run_is_the_first(
    random_graphs: ModuleType, random_streams: ModuleType, name: str
) -> None:
    spec = random_streams.STREAMED_SPECS[name]
    seen = []
    for seed in range(300, 318):
        draw = random_streams.random_layer if seed % 2 else random_graphs.random_graph
        try:
            model = compile_graph(draw(seed), spec)
        except CompileError:
            continue
        try:
            seen.append(check(model.program, random_graphs.random_inputs(model.graph, seed)))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert len(seen) >= 6
    assert any(windows for _, windows in seen)


def test_on_chip_programs_need_nothing(random_graphs: ModuleType) -> None:
    model = compile_graph(random_graphs.random_graph(1), random_graphs.SPECS["4x4"])
    assert not restore_of(model.program).windows and not restore_of(model.program).external
    assert not any(segment.restore for segment in network_of(model.program).segments)
    inputs = random_graphs.random_inputs(model.graph, 1)
    assert check(model.program, inputs) == (0, 0)
