"""Checks that the specifications share; each error says the rule, then the value."""

from enum import IntEnum

__all__ = ["check", "check_members"]


def check(name: str, value: object, low: int, high: int) -> None:
    """Require an int in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value!r}")


def check_members(
    name: str, value: object, kind: type[IntEnum], needed: IntEnum | None = None
) -> None:
    """Require a frozenset of members of ``kind`` that has ``needed``, or any."""
    if not isinstance(value, frozenset) or not all(isinstance(v, kind) for v in value):
        raise TypeError(f"{name} must be a frozenset of {kind.__name__}, not {value!r}")
    if not value:
        raise ValueError(f"{name} must name at least one {kind.__name__}")
    if needed is not None and needed not in value:
        raise ValueError(
            f"{name} must name {needed.name.lower()}, "
            f"not only {sorted(v.name.lower() for v in value)}"
        )
