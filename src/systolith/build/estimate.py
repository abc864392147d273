"""Resources of an accelerator, per component, within seconds.

Every different module is synthesised alone, once, and counted as often as there are instances of
it; what a module takes is kept on disk. Nothing is optimised across the modules' borders, so the
whole takes somewhat less (`MARGIN`).
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from systolith.build.families import FAMILIES, Resources
from systolith.build.modules import Module, instances, read_modules, stub
from systolith.build.synthesis import STAT, stat_cells
from systolith.constraints import Family
from systolith.sim.emit import run_yosys
from systolith.sim.toolchain import cache_folder

__all__ = ["COMPONENTS", "MARGIN", "Estimate", "estimate"]

MARGIN = 0.15
"""How far the total look-up tables and registers may be from those of the whole design synthesised
at once; multipliers and memories are exact (tests/build/test_estimate.py)."""

COMPONENTS: Mapping[tuple[str, ...], str] = {
    ("array",): "array",
    ("inputs",): "array inputs",
    ("accumulators",): "accumulators",
    ("store",): "store unit",
    ("store", "parameters"): "parameter memory",
    ("store", "lane"): "lanes",
    ("activations",): "activation memory",
    ("weights",): "weight loader",
    ("weights", "words"): "weight memory",
    ("feeder",): "feeder",
    ("move",): "move unit",
    ("external",): "DMA",
    ("fetch",): "command fetch",
    ("tokens",): "command fetch",
    ("control",): "control",
}
"""What the accelerator's submodules are called; the longest that fits counts, digits at a name's end
aside. The others are "host": the bridge and the adapters around the accelerator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a design takes.

    Parameters
    ----------
    family: of parts.
    components: by name, the largest first.
    synthesised: modules that were not known from an earlier estimate.
    """

    family: Family
    components: Mapping[str, Resources]
    synthesised: int

    @property
    def total(self) -> Resources:
        """All components together."""
        return sum(self.components.values(), Resources())


def _passes(family: Family) -> list[str]:
    """The family's passes, which keep modules apart, on the module `ALL`."""
    whole = " ".join(FAMILIES[family].passes[-1].replace(" -flatten", "").split()[:-2])
    apart = "" if family in _XILINX else " -noflatten"  # synth_xilinx does not flatten by default
    return [*FAMILIES[family].passes[:-1], f"{whole}{apart} -top {ALL}", STAT]


_XILINX = (Family.XC7, Family.XCUP)
ALL = "all_modules"


def _synthesise(
    unknown: Sequence[Module], modules: Mapping[str, Module], family: Family
) -> dict[str, Resources]:
    """What each module takes itself, its instances left out."""
    names = {module.name for module in unknown}
    boxes = {kind for module in unknown for _, kind in module.children} - names
    instance = "  attribute \\keep 1\n  cell {name} \\each{n}\n  end\n"
    every = "".join(instance.format(name=m.name, n=n) for n, m in enumerate(unknown))
    texts = [module.text() for module in unknown]
    texts += [stub(modules[kind]) for kind in sorted(boxes)]
    rtlil = "".join(texts) + f"attribute \\top 1\nmodule \\{ALL}\n{every}end\n"
    stat = stat_cells(run_yosys(rtlil, _passes(family), outputs=["stat.json"])["stat.json"])
    return {
        module.name: FAMILIES[family].count(stat["modules"][module.name]["num_cells_by_type"])
        for module in unknown
    }


def _cache_path(module: Module, family: Family) -> Path:
    tool = f"pyosys {version('pyosys')} {FAMILIES[family]}"
    key = hashlib.sha256(f"{tool} {module.key}".encode()).hexdigest()
    return cache_folder("estimates") / f"{key}.json"


def _resources_of(
    modules: Mapping[str, Module], family: Family
) -> tuple[dict[str, Resources], int]:
    """What each module takes itself, and how many had to be synthesised for that."""
    paths = {module.name: _cache_path(module, family) for module in modules.values()}
    known = {
        name: Resources(**json.loads(path.read_text()))
        for name, path in paths.items()
        if path.exists()
    }
    unknown = [module for module in modules.values() if module.name not in known]
    found = _synthesise(unknown, modules, family) if unknown else {}
    for name, resources in found.items():
        # Another process may do the same: a file is there as a whole or not at all.
        partial = paths[name].with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(asdict(resources)))
        partial.replace(paths[name])
    return known | found, len(found)


def component_name(path: tuple[str, ...]) -> str:
    """Return what the component of an instance is called."""
    plain = tuple(name.rstrip("0123456789_") for name in path)
    while plain and plain[0] in ("design", "accelerator", "core"):
        plain = plain[1:]
    for length in range(len(plain), 0, -1):
        if plain[:length] in COMPONENTS:
            return COMPONENTS[plain[:length]]
    return "host"


def estimate(rtlil: str, family: Family) -> Estimate:
    """Return what a design takes of a family's resources.

    Parameters
    ----------
    rtlil: the design, not flattened.

    Raises
    ------
    ToolError: yosys failed, or the cache cannot be written.
    """
    modules, top = read_modules(rtlil)
    resources, synthesised = _resources_of(modules, family)
    components: dict[str, Resources] = {}
    for path, module in instances(modules, top):
        name = component_name(path)
        components[name] = components.get(name, Resources()) + resources[module.name]
    largest = sorted(components.items(), key=lambda item: -item[1].luts)
    return Estimate(family=family, components=dict(largest), synthesised=synthesised)
