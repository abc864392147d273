"""Board files: `boards/NAME.toml` and the pin file it names."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from systolith.constraints.board import Board, Capacity, Family, HostPath, Part
from systolith.constraints.pin_files import PIN_FORMATS
from systolith.errors import BoardError
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import PRESETS, spec_from_mapping

__all__ = ["board_from_toml", "board_names", "load_board"]

FOLDER = Path(__file__).parent / "boards"
_SECTIONS = {"part", "capacity", "vendor", "accelerator"}
_FIELDS = {
    "title", "sources", "family", "clock_mhz", "core_mhz", "host", "pin_file", "led_active_low",
    "program", "preset",
}  # fmt: skip


def board_names() -> list[str]:
    """Return the names of all boards."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_board(name: str) -> Board:
    """Return a board by its name.

    Raises
    ------
    BoardError: there is no such board, or its data file is wrong.
    """
    names = board_names()
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise BoardError(f"board must be one of {', '.join(names)}, not {name!r}{hint}")
    path = FOLDER / f"{name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BoardError(f"board {name}: the file must be text in UTF-8") from None
    return board_from_toml(name, text, path.parent)


def board_from_toml(name: str, text: str, folder: Path) -> Board:
    """Return the board that a data file describes.

    Parameters
    ----------
    folder: of the data file; the pin file's path begins there.

    Raises
    ------
    BoardError: not TOML, a field that is missing, unknown or out of its domain, or no pin file.
    """
    try:
        return _board(name, tomllib.loads(text), folder)
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"board {name}: the file must be TOML: {error}") from None
    except (BoardError, TypeError, ValueError) as error:
        raise BoardError(f"board {name}: {error}") from None


def _board(name: str, values: Mapping[str, Any], folder: Path) -> Board:
    _check_keys("field or section", values, _FIELDS | _SECTIONS)
    missing = {"title", "sources", "family", "clock_mhz", "core_mhz", "host", "pin_file", "part"}
    missing -= set(values)
    if missing:
        raise BoardError(f"the field {min(missing)!r} is missing")
    for field, kind, what in (
        ("pin_file", str, "the name of a file"),
        ("sources", list, "a list of texts"),
        ("vendor", dict, "a table"),
    ):
        if not isinstance(values.get(field, kind()), kind):
            raise BoardError(f"{field} must be {what}, not {values[field]!r}")
    pin_file = folder / values["pin_file"]
    return Board(
        name=name,
        title=values["title"],
        sources=tuple(values["sources"]),
        family=_member("family", Family, values["family"]),
        part=Part(**_section("part", Part, values["part"])),
        capacity=Capacity(**_section("capacity", Capacity, values.get("capacity", {}))),
        clock_mhz=values["clock_mhz"],
        core_mhz=values["core_mhz"],
        host=_member("host", HostPath, values["host"]),
        pin_file=pin_file,
        pins=_pins(pin_file),
        spec=_spec(values),
        led_active_low=values.get("led_active_low", False),
        vendor=dict(values.get("vendor", {})),
        program=values.get("program", ""),
    )


def _check_keys(what: str, values: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise BoardError(f"unknown {what} {unknown[0]!r}; known: {', '.join(sorted(known))}")


def _section(name: str, kind: type, values: object) -> dict[str, Any]:
    """The arguments of a section's class."""
    if not isinstance(values, dict):
        raise BoardError(f"[{name}] must be a table, not {values!r}")
    _check_keys(f"field of [{name}]:", values, set(kind.__dataclass_fields__))  # type: ignore[attr-defined]  # only dataclasses come here
    return values


def _member(field: str, kind: Any, value: object) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise BoardError(f"{field} must be one of {', '.join(kind)}, not {value!r}") from None


def _pins(path: Path) -> dict[str, str]:
    if path.suffix not in PIN_FORMATS:
        raise BoardError(f"pin_file must end in one of {', '.join(PIN_FORMATS)}, not {path.name!r}")
    try:
        return PIN_FORMATS[path.suffix].pins(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BoardError(f"cannot read {path.name!r}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise BoardError(f"{path.name} must be text in UTF-8") from None


def _spec(values: Mapping[str, Any]) -> AcceleratorSpec:
    """The board's accelerator: a preset's name, or the tables of a specification."""
    if ("preset" in values) == ("accelerator" in values):
        raise BoardError("either preset or [accelerator] must be given, not both or neither")
    if "preset" in values:
        if values["preset"] not in tuple(PRESETS):
            raise BoardError(
                f"preset must be one of {', '.join(PRESETS)}, not {values['preset']!r}"
            )
        return PRESETS[values["preset"]]
    if not isinstance(values["accelerator"], dict):
        raise BoardError(f"[accelerator] must be a table, not {values['accelerator']!r}")
    return spec_from_mapping(values["accelerator"])
