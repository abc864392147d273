"""Estimates that were made before, on disk."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from systolith.build import clock
from systolith.build import estimate as module
from systolith.build.clock import LongestPath
from systolith.build.delays import DELAYS
from systolith.build.estimate import Estimate, estimate
from systolith.build.families import FAMILIES, Resources
from systolith.build.timing import Segment
from systolith.constraints import Family
from systolith.errors import ToolError
from systolith.sim.toolchain import cache_folder

__all__ = ["cached_estimate"]


def cached_estimate(rtlil: str, family: Family) -> Estimate:
    """Return `estimate`, from disk if the same design was estimated before.

    Raises
    ------
    ToolError: yosys failed, or the cache cannot be written.
    """
    code = [Path(str(part.__file__)).read_text() for part in (module, clock)]
    data = repr((FAMILIES[family], DELAYS.get(family)))
    parts = (version("pyosys"), data, *code, rtlil)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    path = cache_folder("estimates") / f"{key}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or damaged
        return _from_json(json.loads(path.read_text()), family)
    found = estimate(rtlil, family)
    # Another process may do the same: the file is there as a whole or not at all.
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        partial.write_text(json.dumps(asdict(found)))
        partial.replace(path)
    except OSError as error:
        raise ToolError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    return found


def _from_json(values: Mapping[str, Any], family: Family) -> Estimate:
    way = values["clock"]
    return Estimate(
        family=family,
        components={name: Resources(**r) for name, r in values["components"].items()},
        clock=way
        and LongestPath(
            delay_ns=way["delay_ns"], path=tuple(Segment(**part) for part in way["path"])
        ),
    )
