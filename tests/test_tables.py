"""Tables keyed by the same enumeration have the same keys: a row that is missing fails by name."""

from systolith.golden.requant import _DOMAINS, MODES
from systolith.golden.rounding import ROUNDINGS
from systolith.hw.lane import LANE_CONTROL
from systolith.hw.requant import Requantizer
from systolith.profiles.table import PROFILES
from systolith.runtimes.run import RUNTIMES
from systolith.sim.backends import BACKENDS
from systolith.spec.commands import COMMANDS, Opcode
from systolith.spec.requant import PARAMETER_FIELDS, RequantMode, ResidualRounding


def test_modes() -> None:
    assert set(MODES) == set(_DOMAINS) == set(RequantMode)
    assert all(Requantizer.latency_of(frozenset({mode})) > 0 for mode in RequantMode)


def test_roundings() -> None:
    assert set(ROUNDINGS) == set(ResidualRounding)


def test_commands() -> None:
    assert set(COMMANDS) == set(Opcode)
    assert all(layout.opcode is opcode for opcode, layout in COMMANDS.items())


def test_lanes_are_told_what_the_command_says() -> None:
    store = {f.name: f for f in COMMANDS[Opcode.STORE].fields}
    for name, member in LANE_CONTROL.members.items():
        assert (member.width, member.signed) == (store[name].bits, store[name].signed), name


def test_parameters_have_room() -> None:
    ends = [32 * f.word + f.bits for f in PARAMETER_FIELDS]
    starts = [32 * f.word for f in PARAMETER_FIELDS]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert ends[-1] <= 8 * 32


def test_every_profile_has_its_runtime() -> None:
    assert set(RUNTIMES) == set(PROFILES)


def test_names_of_backends() -> None:
    assert all(name == kind().name for name, kind in BACKENDS.items())
