"""Specifications as TOML, presets and names of arrays."""

from dataclasses import replace
from pathlib import Path

import pytest

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.bus import BusSpec, HostBus
from systolith.spec.configuration import (
    PRESETS,
    load_spec,
    preset_for_array,
    spec_fingerprint,
    spec_from_mapping,
    spec_from_toml,
    spec_to_mapping,
    spec_to_toml,
)
from systolith.spec.requant import RequantMode


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_toml_and_mappings(name: str) -> None:
    spec = load_spec(name)
    assert spec is PRESETS[name]
    assert spec_from_toml(spec_to_toml(spec)) == spec
    assert spec_from_mapping(spec_to_mapping(spec)) == spec


def test_an_empty_file_is_the_default() -> None:
    assert spec_from_toml("") == AcceleratorSpec()


def test_fields_of_a_file() -> None:
    spec = spec_from_toml('[array]\nrows = 9\n[post]\nmodes = ["fixed"]\nresidual = false\n')
    assert spec.array.rows == 9
    assert spec.post.modes == {RequantMode.FIXED}
    assert not spec.post.residual


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("rows", ValueError, "specification must be TOML: "),
        ("rows = 4", ValueError, "unknown section or field 'rows' in the specification"),
        ("array = 4", TypeError, "[array] must be a table, not 4"),
        ("[array]\nrow = 4", ValueError, "unknown field 'row' in [array]; known: "),
        ("[array]\nrows = 4.5", TypeError, "array.rows must be an integer, not 4.5"),
        ("[post]\nmodes = 'fixed'", TypeError, "post.modes must be a list, not 'fixed'"),
        (
            "[post]\nmodes = ['fix']",
            ValueError,
            "post.modes must be among double, float32, fixed, magnitude, not 'fix'",
        ),
    ],
)
def test_bad_files(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        spec_from_toml(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [1, 2, 13, 64])
@pytest.mark.parametrize("columns", range(1, 65))
def test_every_array_has_a_specification(rows: int, columns: int) -> None:
    spec = preset_for_array(rows, columns)
    assert (spec.array.rows, spec.array.columns) == (rows, columns)
    assert 2 * spec.post.lanes >= columns
    assert spec.memory.weight_bytes >= PRESETS["base"].memory.weight_bytes


def test_load_by_size_and_by_file(tmp_path: Path) -> None:
    assert load_spec("8x16") == preset_for_array(8, 16)
    path = tmp_path / "mine.toml"
    path.write_text(spec_to_toml(PRESETS["tiny"]))
    assert load_spec(str(path)) == PRESETS["tiny"]
    with pytest.raises(ValueError, match=r"^accelerator must be one of tiny, .* not 'huge'$"):
        load_spec("huge")


def test_fingerprints_tell_specifications_apart() -> None:
    base = PRESETS["base"]
    assert spec_fingerprint(replace(base, name="another")) == spec_fingerprint(base)
    uart = BusSpec(host=HostBus.UART)
    assert spec_fingerprint(replace(base, bus=uart)) == spec_fingerprint(base)
    assert spec_fingerprint(spec_from_toml(spec_to_toml(base))) == spec_fingerprint(base)
    others = [*PRESETS.values(), replace(base, queue_depth=3), preset_for_array(16, 8)]
    others.append(replace(base, event_counters=False))
    others.append(replace(base, count_bits=12))
    others.append(replace(PRESETS["tiny"], moves=False))
    assert len({spec_fingerprint(spec) for spec in others}) == len(others)
