"""External memory: what is loaded is followed, and its model is that of the simulation."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from systolith.cycles import MemoryModel, predict
from systolith.cycles.external import Bandwidth
from systolith.sim import stress
from systolith.spec.commands import Opcode, Target, Unit, encode


def test_loaded_commands_are_followed(agree: Callable, programs: ModuleType) -> None:
    """A LOAD brings the words that a JUMP goes to once they are there."""
    spec = programs.SPECS["3x4"]
    rng = np.random.default_rng(1)
    program = stress.random_program(rng, spec, layers=2)
    rest = program.commands.astype("<u4").view(np.uint8)
    words = encode(
        Opcode.LOAD, target=Target.COMMANDS, length=len(rest), m_base=100, signal=1 << Unit.FETCH
    )
    words += encode(Opcode.JUMP, address=100, wait=1 << Unit.LOAD)
    loaded = replace(
        program, commands=np.array(words, np.uint32), external=rest, external_bytes=len(rest)
    )
    result = agree(loaded, stress.random_inputs(rng, program), "loaded commands")
    assert result.counters["load_beats"] == len(program.commands)
    assert len(predict(loaded).commands) == 2 + len(predict(program).commands)


@pytest.mark.parametrize("bandwidth", [0.1, 0.3, 0.5, 0.99])
def test_bandwidth_is_that_of_the_memory(bandwidth: float) -> None:
    """Against a credit that is refilled cycle by cycle."""
    rng = np.random.default_rng(0)
    rate = round(bandwidth * 65536)
    memory = MemoryModel(bandwidth=bandwidth)
    model, credit, cycle = Bandwidth(memory, "r"), -(-65536 // rate) * rate, 0
    for _ in range(300):
        asked = cycle + int(rng.integers(1, 9))
        while cycle < asked or credit < 65536:
            cycle += 1
            credit += rate if credit < 65536 else 0
        credit -= 65536
        assert model.take(asked) == cycle


@pytest.mark.parametrize(("field", "value"), [("latency", 0), ("bandwidth", 0), ("bandwidth", 2)])
def test_memory_model_is_checked(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{field} must be .*, not {value}"):
        MemoryModel(**{field: value})
