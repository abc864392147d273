"""Estimates that were made before, on disk."""

import hashlib
import json
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from systolith.build import estimate as module
from systolith.build.estimate import Estimate, estimate
from systolith.build.families import FAMILIES, Resources
from systolith.constraints import Family
from systolith.sim.toolchain import cache_folder

__all__ = ["cached_estimate"]


def cached_estimate(rtlil: str, family: Family) -> Estimate:
    """Return `estimate`, from disk if the same design was estimated before.

    Raises
    ------
    ToolError: yosys failed, or the cache cannot be written.
    """
    parts = (version("pyosys"), repr(FAMILIES[family]), Path(module.__file__).read_text(), rtlil)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    path = cache_folder("estimates") / f"{key}.json"
    if path.exists():
        components = json.loads(path.read_text())
        return Estimate(
            family=family,
            components={name: Resources(**values) for name, values in components.items()},
        )
    found = estimate(rtlil, family)
    # Another process may do the same: the file is there as a whole or not at all.
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({name: asdict(r) for name, r in found.components.items()}))
    partial.replace(path)
    return found
