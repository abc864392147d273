"""Move combinational logic into the clocked blocks that alone use it, under their enables.

Yosys prints one assignment a wire, and a simulator evaluates each in every cycle, though most
registers of an accelerator load seldom, and those of idle units never. Logic that feeds only
registers with one and the same enable becomes local to one clocked block, which does not evaluate
it while the enable is low. What the design does in a cycle does not change; its inner wires go.

Like `systolith.sim.verilog_text`, this relies on the layout of Yosys 0.70's `write_verilog`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

__all__ = ["GATE", "gate_logic"]

GATE = "systolith_gate_"
"""Beginning of the names of the blocks, whose variables are always written before they are read."""

_NAME = r"(?:\\\S+ |[A-Za-z_][\w$]*)"
_WORD = re.compile(rf"\d*'s?[bodh][0-9a-fA-FxXzZ?_]+|\$\w+|({_NAME})")
_WIRE = re.compile(rf"^  wire ((?:signed )?(?:\[\d+:\d+\] )?)({_NAME});$")
_STATEMENT = r"(?:[^;]* <= [^;]*;)"
_CLOCKED = "  always_ff @(posedge clk)"
_RESET_ENABLE = re.compile(rf"^if \(([^;]*?)\) ({_STATEMENT}) else if \(([^;]*?)\) ({_STATEMENT})$")
_ENABLE_RESET = re.compile(rf"^if \(([^;]*?)\) (if \([^;]*?\) {_STATEMENT} else {_STATEMENT})$")
_ENABLE = re.compile(rf"^if \(([^;]*?)\) ({_STATEMENT})$")
_SELECT = re.compile(rf"^({_NAME}) ?\? .* : \d+'h0+$")
_AND = re.compile(rf"^({_NAME}) ?& ({_NAME}) ?$|^& \{{ (.*) \}}$")
_BITS = rf"{_NAME}(?: ?\[[\d:]+\])? ?"
_POSITIVE = re.compile(rf"^(?:{_BITS}|\{{{_BITS}(?:, {_BITS})*\}} != 0)$")
_DEEPEST = 4  # conjunctions looked into for a register
_ALWAYS = ""  # in place of an enable: used by something that is evaluated in every cycle


@dataclass(slots=True)
class _Register:
    """One clocked assignment: `if (reset) cleared else if (enable) loaded`."""

    enable: str  # or a register that is set whenever it is, if `loaded` asks for the rest
    loaded: str
    reset: str = ""
    cleared: str = ""


@dataclass(slots=True)
class _Logic:
    """Assignments that together drive some wires, and who uses those."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    drives: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    enables: set[str] = field(default_factory=set)

    @property
    def enable(self) -> str | None:
        """The enable of all its users; None if there is no such thing."""
        return next(iter(self.enables)) if len(self.enables) == 1 else None


@dataclass(slots=True)
class _Design:
    """A module's text, taken apart."""

    other: list[str] = field(default_factory=list)  # all that is not below
    wires: dict[str, str] = field(default_factory=dict)  # name: sign and range
    assigns: list[tuple[str, str]] = field(default_factory=list)  # left and right sides
    registers: dict[str, list[_Register]] = field(default_factory=lambda: defaultdict(list))


def gate_logic(text: str) -> str:
    """Return the same module with logic moved into clocked blocks, one for each enable.

    Parameters
    ----------
    text: flat SystemVerilog with one module, whose only clock is `clk`.
    """
    design = _parse(text)
    logic = _collect(design)
    design.registers = _nest_enables(design.registers, logic)
    _find_enables(design, logic)
    groups: dict[str, list[_Logic]] = defaultdict(list)
    unused: set[str] = set()
    moved: set[str] = set()
    for part in {id(part): part for part in logic.values()}.values():
        enable = part.enable
        if not part.enables:
            unused |= part.drives
        elif enable:
            groups[enable].append(part)
            moved |= part.drives
    gone = unused | moved
    gone_lines = {f"  wire {design.wires[name]}{name};" for name in gone}
    lines = [f"  assign {a} = {b};" for a, b in design.assigns if not _names(a) <= gone]
    for number, (enable, registers) in enumerate(design.registers.items()):
        lines += _block(number, enable, registers, groups[enable], design.wires)
    end = design.other.index("endmodule")
    kept = [line for line in design.other[:end] if line not in gone_lines]
    return "\n".join([*kept, *lines, *design.other[end:]])


def _names(text: str) -> set[str]:
    return {match[1] for match in _WORD.finditer(text) if match[1]}


def _statements(text: str) -> Iterator[list[str]]:
    """Lines that belong together: a clocked block, or anything else by itself."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        end = at + 1
        if lines[at] == f"{_CLOCKED} begin":
            end = lines.index("  end", at) + 1
        elif lines[at] == _CLOCKED:
            while not lines[end].endswith(";") or lines[end + 1].lstrip().startswith("else"):
                end += 1
            end += 1
        yield lines[at:end]
        at = end


def _parse(text: str) -> _Design:
    design = _Design()
    for lines in _statements(text):
        first = lines[0]
        wire = _WIRE.match(first)
        register = _register(lines) if first.startswith(_CLOCKED) else None
        if wire:
            design.wires[wire[2]] = wire[1]
            design.other.append(first)
        elif register:
            design.registers[register.enable].append(register)
        elif first.startswith("  assign ") and first.endswith(";"):
            left, _, right = first[len("  assign ") : -1].partition(" = ")
            design.assigns.append((left, right))
        else:
            design.other += lines
    return design


def _register(lines: list[str]) -> _Register | None:
    """The register that a clocked block describes, if it has an enable and nothing else."""
    body = " ".join(line.strip() for line in lines[1:] if line.strip() != "end")
    body = body.replace(") begin ", ") ")
    if match := _RESET_ENABLE.match(body):
        reset, cleared, enable, loaded = match.groups()
        return _Register(enable, loaded, reset, cleared)
    if match := _ENABLE_RESET.match(body) or _ENABLE.match(body):
        return _Register(match[1], match[2])
    return None


def _collect(design: _Design) -> dict[str, _Logic]:
    """Logic by the wires it drives; assignments to parts of one wire belong together."""
    logic: dict[str, _Logic] = {}
    for left, right in design.assigns:
        drives = _names(left)
        part = _Logic()
        for other in {id(logic[name]): logic[name] for name in drives if name in logic}.values():
            part.lines += other.lines
            part.drives |= other.drives
            part.reads |= other.reads
        part.lines.append((left, right))
        part.drives |= drives
        part.reads |= _names(right)
        logic |= dict.fromkeys(part.drives, part)
    return logic


def _nest_enables(
    registers: dict[str, list[_Register]], logic: dict[str, _Logic]
) -> dict[str, list[_Register]]:
    """Put a register before enables that need it, so that their own logic may be skipped too."""
    nested: dict[str, list[_Register]] = defaultdict(list)
    for enable, group in registers.items():
        names = _names(enable) if _POSITIVE.match(enable) else set()
        outer = _conjunct(names.pop(), logic, _DEEPEST) if len(names) == 1 else None
        for register in group:
            if outer is None or outer == enable.strip():
                nested[enable].append(register)
            else:
                loaded = f"if ({enable}) begin {register.loaded} end"
                nested[outer].append(_Register(outer, loaded, register.reset, register.cleared))
    return nested


def _conjunct(name: str, logic: dict[str, _Logic], depth: int) -> str | None:
    """A register or port, at worst a selecting wire, without which the wire is zero."""
    if name not in logic:
        return name
    part = logic[name]
    if not depth or len(part.lines) != 1 or part.lines[0][0].strip() != name.strip():
        return None
    right = part.lines[0][1]
    select = _SELECT.match(right)
    if select:
        names = [select[1]]
    elif match := _AND.match(right):
        terms = [match[1], match[2]] if match[1] else match[3].split(",")
        names = [found[0] for found in map(_whole_names, terms) if found]
    else:
        return None
    names.sort(key=lambda term: term in logic)
    found = (_conjunct(term, logic, depth - 1) for term in names)
    return next((term for term in found if term), select[1] if select else None)


def _whole_names(term: str) -> list[str]:
    """The name that a term consists of; none for anything else, such as a bit of a vector."""
    match = re.fullmatch(rf" *({_NAME}) *", term)
    return [match[1]] if match else []


def _find_enables(design: _Design, logic: dict[str, _Logic]) -> None:
    """Follow every use of a wire back to the logic that drives it."""
    others = [line for line in design.other if not _WIRE.match(line)]
    uses = [(name, _ALWAYS) for line in others for name in _names(line)]
    for enable, registers in design.registers.items():
        uses += [(name, _ALWAYS) for name in _names(enable)]
        for register in registers:
            uses += [(name, _ALWAYS) for name in _names(f"{register.reset} {register.cleared}")]
            uses += [(name, enable) for name in _names(register.loaded)]
    for part in _circular(logic):
        uses += [(name, _ALWAYS) for name in part.drives]
    for part in logic.values():
        port = not part.drives <= design.wires.keys()
        # Written part by part, a wide variable would need to be cleared first.
        if port or (len(part.lines) > 1 and any(_is_wide(design.wires[n]) for n in part.drives)):
            uses += [(name, _ALWAYS) for name in part.drives]
    while uses:
        name, enable = uses.pop()
        used = logic.get(name)
        if used is None or enable in used.enables or _ALWAYS in used.enables:
            continue
        used.enables = {_ALWAYS} if enable == _ALWAYS else used.enables | {enable}
        uses += [(read, enable) for read in used.reads]


def _block(
    number: int, enable: str, registers: list[_Register], parts: list[_Logic], wires: dict[str, str]
) -> list[str]:
    """The clocked block of one enable."""
    lines = [f"{_CLOCKED} begin : {GATE}{number}"]
    for part in parts:
        lines += [f"    automatic logic {wires[name]}{name};" for name in sorted(part.drives)]
    lines.append(f"    if ({enable}) begin")
    by_identity = {id(part): part for part in parts}
    for identity in _order(parts).static_order():
        lines += [f"      {a} = {b};" for a, b in by_identity[identity].lines]
    lines += [f"      {register.loaded}" for register in registers]
    lines.append("    end")
    lines += [f"    if ({r.reset}) {r.cleared}" for r in registers if r.reset]
    return [*lines, "  end"]


def _is_wide(kind: str) -> bool:
    """Whether a wire of this sign and range has more than 64 bits."""
    bits = re.search(r"\[(\d+):(\d+)\]", kind)
    return bits is not None and int(bits[1]) - int(bits[2]) >= 64


def _order(parts: Iterable[_Logic]) -> TopologicalSorter[int]:
    """Logic, by its identity, after what it reads."""
    owners = {name: id(part) for part in parts for name in part.drives}
    return TopologicalSorter(
        {id(part): {owners[name] for name in part.reads if name in owners} for part in parts}
    )


def _circular(logic: dict[str, _Logic]) -> list[_Logic]:
    """Logic that, part of a wire by part, reads what it drives: it cannot be put into an order."""
    parts = {id(part): part for part in logic.values()}
    found: list[_Logic] = []
    while True:
        try:
            _order(parts.values()).prepare()
        except CycleError as error:
            found += [parts.pop(identity) for identity in set(error.args[1])]
        else:
            return found
