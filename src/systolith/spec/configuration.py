"""AcceleratorSpec as plain mappings and TOML files, and the named presets."""

import json
import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    BusSpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.bus import BusClock, HostBus, MemoryBus, WishboneMode
from systolith.spec.precision import MultiplierForm, Precision, WeightFormat
from systolith.spec.presets import PRESETS
from systolith.spec.quantize import QuantizeForm
from systolith.spec.requant import RequantMode

__all__ = [
    "PRESETS",
    "load_spec",
    "preset_for_array",
    "spec_fingerprint",
    "spec_from_mapping",
    "spec_from_toml",
    "spec_to_mapping",
    "spec_to_toml",
]

_PLAIN = ("name", "queue_depth", "count_bits", "token_bits", "moves", "event_counters")
_SECTIONS = {
    "array": ArraySpec,
    "memory": MemorySpec,
    "post": PostSpec,
    "external": ExternalSpec,
    "bus": BusSpec,
}
_MEMBERS: Mapping[tuple[str, str], type[IntEnum]] = {
    ("post", "modes"): RequantMode,
    ("post", "quantize_forms"): QuantizeForm,
    ("array", "precisions"): Precision,
    ("array", "weight_formats"): WeightFormat,
}
"""Fields that are sets: lists of names in TOML."""
_CHOICES: Mapping[tuple[str, str], type[StrEnum]] = {
    ("array", "multiplier"): MultiplierForm,
    ("bus", "host"): HostBus,
    ("bus", "memory"): MemoryBus,
    ("bus", "wishbone"): WishboneMode,
    ("bus", "bus_clock"): BusClock,
}
"""Fields that are one of several names."""


def spec_to_mapping(spec: AcceleratorSpec) -> dict[str, Any]:
    """Nested plain values (JSON and TOML types) of ``spec``."""
    result: dict[str, Any] = {name: getattr(spec, name) for name in _PLAIN}
    for section, kind in _SECTIONS.items():
        part = getattr(spec, section)
        result[section] = {f.name: getattr(part, f.name) for f in fields(kind)}
    for section, key in _MEMBERS:
        result[section][key] = [m.name.lower() for m in sorted(result[section][key])]
    for section, key in _CHOICES:
        result[section][key] = str(result[section][key])
    return result


def spec_fingerprint(spec: AcceleratorSpec) -> int:
    """CRC-32 by which a host tells whether hardware and a program have the same specification.

    Of the compact JSON, keys sorted, of all fields that a program depends on: not of the name and
    of the buses at the ports.
    """
    values = spec_to_mapping(spec)
    del values["name"], values["bus"]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return zlib.crc32(text.encode())


def _members(section: str, key: str, names: object) -> frozenset[IntEnum]:
    """Members of the field's enumeration from a list of their names."""
    if not isinstance(names, list):
        raise TypeError(f"{section}.{key} must be a list, not {names!r}")
    kind = _MEMBERS[section, key]
    try:
        return frozenset(kind[str(name).upper()] for name in names)
    except KeyError as error:
        known = ", ".join(m.name.lower() for m in kind)
        wrong = str(error.args[0]).lower()
        raise ValueError(f"{section}.{key} must be among {known}, not {wrong!r}") from None


def _choice(section: str, key: str, name: object) -> StrEnum:
    """The member of the field's enumeration that has this name."""
    kind = _CHOICES[section, key]
    try:
        return kind(str(name))
    except ValueError:
        known = ", ".join(kind)
        raise ValueError(f"{section}.{key} must be one of {known}, not {name!r}") from None


def spec_from_mapping(values: Mapping[str, Any]) -> AcceleratorSpec:
    """Build a spec; missing fields take their defaults.

    Raises
    ------
    TypeError, ValueError: unknown section or field, or a value out of range.
    """
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in {*_PLAIN, *_SECTIONS}:
            raise ValueError(f"unknown section or field {key!r} in the specification")
        if key not in _SECTIONS:
            arguments[key] = value
            continue
        if not isinstance(value, Mapping):
            raise TypeError(f"[{key}] must be a table, not {value!r}")
        known = {f.name for f in fields(_SECTIONS[key])}
        unknown = sorted(set(value) - known)
        if unknown:
            raise ValueError(
                f"unknown field {unknown[0]!r} in [{key}]; known: {', '.join(sorted(known))}"
            )
        part = dict(value)
        for name in part:
            if (key, name) in _MEMBERS:
                part[name] = _members(key, name, part[name])
            if (key, name) in _CHOICES:
                part[name] = _choice(key, name, part[name])
        arguments[key] = _SECTIONS[key](**part)
    return AcceleratorSpec(**arguments)


def spec_from_toml(text: str) -> AcceleratorSpec:
    """Parse a TOML specification.

    Raises
    ------
    ValueError: not TOML, or not a valid specification.
    """
    try:
        return spec_from_mapping(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"specification must be TOML: {error}") from None


def spec_to_toml(spec: AcceleratorSpec) -> str:
    """The TOML text that `spec_from_toml` reads back to an equal spec."""

    def show(value: object) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, list):
            return "[" + ", ".join(show(v) for v in value) + "]"
        return f'"{value}"' if isinstance(value, str) else str(value)

    mapping = spec_to_mapping(spec)
    lines = [f"{k} = {show(v)}" for k, v in mapping.items() if not isinstance(v, dict)]
    for section in _SECTIONS:
        lines += ["", f"[{section}]"] + [f"{k} = {show(v)}" for k, v in mapping[section].items()]
    return "\n".join(lines) + "\n"


def preset_for_array(rows: int, columns: int) -> AcceleratorSpec:
    """The base preset with another array and the fewest lanes that take at most two beats."""
    array = ArraySpec(rows=rows, columns=columns, depthwise_lines=min(3, rows))
    lanes = min(n for n in range(1, columns + 1) if columns % n == 0 and 2 * n >= columns)
    base = PRESETS["base"]
    unit = -(-base.memory.weight_bytes // columns) * columns
    channels = -(-base.memory.parameter_channels // lanes) * lanes
    return replace(
        base,
        array=array,
        memory=replace(base.memory, weight_bytes=unit, parameter_channels=channels),
        post=replace(base.post, lanes=lanes),
    )


def load_spec(name_or_path: str) -> AcceleratorSpec:
    """A preset by name, an array such as ``8x16``, or a TOML file by path.

    Raises
    ------
    ValueError: none of these, or a bad specification.
    """
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    rows, cross, columns = name_or_path.partition("x")
    if cross and rows.isdigit() and columns.isdigit():
        return preset_for_array(int(rows), int(columns))
    path = Path(name_or_path)
    if not path.is_file():
        raise ValueError(
            f"accelerator must be one of {', '.join(PRESETS)}, ROWSxCOLUMNS or a TOML file,"
            f" not {name_or_path!r}"
        )
    return spec_from_toml(path.read_text())
