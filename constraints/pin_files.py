"""Ports and places in pin files: LPF, PCF, CST and XDC."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass

__all__ = ["PIN_FORMATS", "PinFormat", "keep_ports"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PinFormat:
    """A format of constraints.

    Parameters
    ----------
    place: a line that gives a port (group `port`) its place (group `pin`).
    about: a line that says anything of a port.
    """

    place: re.Pattern[str]
    about: re.Pattern[str]

    def pins(self, text: str) -> dict[str, str]:
        """Return the place of every port."""
        return {found["port"]: found["pin"] for found in self.place.finditer(text)}


def _format(place: str, about: str) -> PinFormat:
    return PinFormat(place=re.compile(place, re.MULTILINE), about=re.compile(about))


PIN_FORMATS: Mapping[str, PinFormat] = {
    ".lpf": _format(
        r'^LOCATE COMP "(?P<port>[^"]+)" SITE "(?P<pin>\w+)";', r'(?:COMP|PORT) "(?P<port>[^"]+)"'
    ),
    ".pcf": _format(
        r"^set_io (?:-\S+(?: (?:yes|no))? )*(?P<port>[\w\[\]]+) (?P<pin>\w+)",
        r"^set_io (?:-\S+(?: (?:yes|no))? )*(?P<port>[\w\[\]]+) ",
    ),
    ".cst": _format(
        r'^IO_LOC "(?P<port>[^"]+)" (?P<pin>\w+);', r'^IO_(?:LOC|PORT) "(?P<port>[^"]+)"'
    ),
    ".xdc": _format(
        r"PACKAGE_PIN (?P<pin>\w+).*\[get_ports \{? ?(?P<port>\w+) ?\}?\]",
        r"\[get_ports \{? ?(?P<port>\w+) ?\}?\]",
    ),
    ".sdc": _format(r"(?!)", r"(?!)"),
}
"""By the ending of the file's name."""


def keep_ports(text: str, kind: PinFormat, ports: Container[str]) -> str:
    """Return the constraints without the lines about ports that the design does not have."""

    def wanted(line: str) -> bool:
        found = kind.about.search(line)
        return found is None or found["port"] in ports

    return "\n".join(line for line in text.splitlines() if wanted(line)) + "\n"
