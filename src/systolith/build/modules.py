"""Modules of RTLIL text: equal ones found, instances counted."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Module", "instances", "read_modules"]

_MODULE = re.compile(
    r"^((?:attribute [^\n]*\n)*)module (\\\S+)\n(.*?)^end$", re.MULTILINE | re.DOTALL
)
_CELL = re.compile(r"^  cell (\\\S+) (\S+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """A module, of all that are equal to it the first.

    Parameters
    ----------
    name: with its backslash.
    body: lines between `module` and `end`, in which equal modules have one name.
    children: instance name (without backslash) and module of every instance within.
    key: hash of the body and of those of all modules below.
    """

    name: str
    body: str
    children: tuple[tuple[str, str], ...]
    key: str

    def text(self) -> str:
        """The module in RTLIL."""
        return f"module {self.name}\n{self.body}end\n"


def read_modules(rtlil: str) -> tuple[dict[str, Module], str]:
    """Return the different modules by name, and the top module's name.

    The modules come with those that they instantiate before them.
    """
    texts = {found[2]: found[3] for found in _MODULE.finditer(rtlil)}
    top = next(found[2] for found in _MODULE.finditer(rtlil) if "\\top 1" in found[1])
    same: dict[str, str] = {}  # the first equal one of every module
    seen: dict[str, str] = {}  # by hash
    modules: dict[str, Module] = {}

    def visit(name: str) -> None:
        if name in same:
            return
        inner = [kind for kind, _ in _CELL.findall(texts[name]) if kind in texts]
        for kind in dict.fromkeys(inner):
            visit(kind)
        body = _CELL.sub(lambda c: f"  cell {same.get(c[1], c[1])} {c[2]}", texts[name])
        below = "".join(modules[same[kind]].key for kind in dict.fromkeys(inner))
        # Module names are where a module was first seen: they are no part of what it does.
        neutral = _CELL.sub(lambda c: f"  cell {c[2]}" if c[1] in texts else c[0], body)
        key = hashlib.sha256((neutral + below).encode()).hexdigest()
        same[name] = seen.setdefault(key, name)
        if same[name] == name:
            children = tuple(
                (instance.lstrip("\\"), kind)
                for kind, instance in _CELL.findall(body)
                if kind in modules
            )
            modules[name] = Module(name=name, body=body, children=children, key=key)

    visit(top)
    return modules, top


def instances(
    modules: Mapping[str, Module], top: str, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Module]]:
    """Yield every instance below and including a module, with the names that lead to it."""
    yield path, modules[top]
    for name, kind in modules[top].children:
        yield from instances(modules, kind, (*path, name))
