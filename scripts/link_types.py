#!/usr/bin/env python3
"""Show static tools the package as one tree: build/types/systolith, made of links.

`pyproject.toml` maps `hw/`, `golden/`, ... to `systolith.hw`, `systolith.golden`, ...; setuptools
follows that table, mypy and import-linter do not. Prints the number of Python files linked.
"""

import contextlib
import tomllib
from pathlib import Path

__all__ = ["link_types", "package_folders"]

ROOT = Path(__file__).resolve().parent.parent


def package_folders() -> dict[str, Path]:
    """Return the mapped packages' folders, parents before children."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        table = tomllib.load(file)["tool"]["setuptools"]["package-dir"]
    return {name: ROOT / folder for name, folder in sorted(table.items())}


def link_types(target: Path) -> int:
    """Make ``target`` show every Python file of ours, and nothing else; return how many.

    Touches only what differs, so that two processes may do it at once.
    """
    wanted = {
        target.joinpath(*package.split("."), source.relative_to(folder)): source
        for package, folder in package_folders().items()
        for source in folder.rglob("*.py")
    }
    for stale in set(target.rglob("*.py")) - set(wanted):
        stale.unlink(missing_ok=True)
    for link, source in wanted.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(source)
    return len(wanted)


if __name__ == "__main__":
    print(link_types(ROOT / "build" / "types"))
