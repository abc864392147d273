"""Resources of an accelerator, per component, and its clock, without placing it.

A module with several equal instances (elements of the array, lanes) is synthesised once, apart from
the rest, and counted as often as it is there: the time does not grow with the array. The rest is
flattened, as in a build: its components are told by the names of the cells. Synthesising every
component apart would be wrong by 85 % (decision 30): constants cross their borders.
"""

import json
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from systolith.build.clock import LongestPath, longest_path
from systolith.build.families import FAMILIES, Resources
from systolith.build.modules import Module, instances, read_modules
from systolith.build.timing import TOP, component_of
from systolith.constraints import Family
from systolith.sim.emit import run_yosys
from systolith.sim.netlist import reads_apart

__all__ = ["COMPONENTS", "Estimate", "component_name", "estimate"]

REPEATED = 3
"""Equal instances from which on a module is kept apart."""

COMPONENTS: Mapping[tuple[str, ...], str] = {
    ("array",): "array",
    ("inputs",): "array inputs",
    ("accumulators",): "accumulators",
    ("store",): "store unit",
    ("store", "parameters"): "parameter memory",
    ("store", "lane"): "lanes",
    ("activations",): "activation memory",
    ("weights",): "weight loader",
    ("weights", "memory"): "weight memory",
    ("feeder",): "feeder",
    ("move",): "move unit",
    ("external",): "DMA",
    ("fetch",): "command fetch",
    ("tokens",): "command fetch",
    ("control",): "control",
    ("bridge",): "host bridge",
}
"""What the accelerator's submodules are called; the longest that fits counts, but for digits at a
name's end. The others are "between": what joins the components, such as their delay lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a design takes.

    Parameters
    ----------
    family: of parts.
    components: by name, the largest first.
    clock: the longest path by typical delays; None for a family whose delays are not known.
    """

    family: Family
    components: Mapping[str, Resources]
    clock: LongestPath | None = None

    @property
    def total(self) -> Resources:
        """All components together."""
        return sum(self.components.values(), Resources())


def component_name(path: tuple[str, ...]) -> str:
    """Return what the component of an instance is called."""
    plain = tuple(name.rstrip("0123456789_") for name in path)
    while plain and plain[0] in ("design", "accelerator", "core"):
        plain = plain[1:]
    for length in range(len(plain), 0, -1):
        if plain[:length] in COMPONENTS:
            return COMPONENTS[plain[:length]]
    return "between"


def _marked(modules: Mapping[str, Module], repeated: Container[str], top: str) -> str:
    """RTLIL of all modules, the repeated ones kept from flattening, the top module named `top`."""
    texts = []
    for module in modules.values():
        text = module.text()
        if module.name == top:
            text = "attribute \\top 1\n" + text.replace(module.name, "\\top", 1)
        elif module.name in repeated:
            text = "attribute \\keep_hierarchy 1\n" + text
        texts.append(text)
    return "".join(texts)


def _count(
    netlist: Mapping[str, Any], modules: Mapping[str, Module], top: str, family: Family
) -> dict[str, Resources]:
    """Add up the cells of every component, in all instances of the modules that are left."""
    left = {("\\" + name if name != "top" else top): name for name in netlist["modules"]}
    components: dict[str, Resources] = {}
    for path, module in instances(modules, top):
        if module.name not in left:
            continue  # flattened into the one above
        for name, cell in netlist["modules"][left[module.name]]["cells"].items():
            takes = FAMILIES[family].cells.get(cell["type"])
            if takes is not None:
                inside = component_of(name)
                below = () if inside == TOP else tuple(inside.split("."))
                component = component_name((*path, *below))
                components[component] = components.get(component, Resources()) + takes
    return components


def estimate(rtlil: str, family: Family) -> Estimate:
    """Return what a design takes of a family's resources.

    Parameters
    ----------
    rtlil: the design, not flattened.

    Raises
    ------
    ToolError: yosys failed.
    """
    modules, top = read_modules(rtlil)
    times = Counter(module.name for _, module in instances(modules, top))
    repeated = {name for name, number in times.items() if number >= REPEATED}
    target, text = FAMILIES[family], _marked(modules, repeated, top)
    if target.undefined_reads:
        text = reads_apart(text)
    passes = [*target.passes, "autoname", "write_json netlist.json"]
    files = run_yosys(text, passes, outputs=["netlist.json"])
    netlist = json.loads(files["netlist.json"])
    components = _count(netlist, modules, top, family)
    largest = sorted(components.items(), key=lambda item: -item[1].luts)
    clock = longest_path(netlist["modules"], "top", family)
    return Estimate(family=family, components=dict(largest), clock=clock)
