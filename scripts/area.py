"""Multipliers, LUTs and flip-flops of parts of the accelerator, as yosys synthesises them.

`scripts/area array` prints a row per precisions and form of the array, and a column per target;
`scripts/area quantize` those of the lanes that convert float32 numbers.
Nothing is placed or routed. A table of subjects says what can be measured: `SUBJECTS`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from amaranth.lib.wiring import Component
from rich.console import Console
from rich.table import Table

from systolith.hw.array import WeightStationaryArray
from systolith.hw.dequantize import DequantizeLane
from systolith.hw.dynamic_quantize import DynamicQuantizeStream
from systolith.hw.float32 import Float32Divider
from systolith.hw.quantize import QuantizeLane
from systolith.hw.requant import Requantizer
from systolith.sim.emit import run_yosys, to_rtlil
from systolith.spec.precision import MultiplierForm, Precision
from systolith.spec.quantize import QuantizeForm
from systolith.spec.requant import RequantMode, RequantWidths


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """What a design takes of a target.

    Parameters
    ----------
    dsp: multiplier blocks.
    lut: look-up tables, those of adders (two a CCU2C) and of shift registers included.
    ff: flip-flops.
    transistors: of static CMOS gates, by yosys' estimate; of the target `gates` alone.
    """

    dsp: int = 0
    lut: int = 0
    ff: int = 0
    transistors: int = 0

    def text(self) -> str:
        """Of a cell of the table."""
        if self.transistors:
            return f"{self.transistors:,} T"
        return f"{self.dsp} DSP, {self.lut:,} LUT, {self.ff:,} FF"


@dataclass(frozen=True, slots=True)
class Target:
    """A family of chips.

    Parameters
    ----------
    title: heading of its column.
    passes: of yosys, to synthesise the module `top`.
    dsp, lut, ff: cells of each kind, and how many of it each is.
    """

    title: str
    passes: Sequence[str]
    dsp: Mapping[str, int]
    lut: Mapping[str, int]
    ff: Mapping[str, int]

    def count(self, cells: Mapping[str, int]) -> Area:
        """Add up the cells of a design."""
        return Area(
            **{
                name: sum(cells.get(cell, 0) * n for cell, n in kinds.items())
                for name, kinds in (("dsp", self.dsp), ("lut", self.lut), ("ff", self.ff))
            }
        )


def _xilinx(family: str, title: str, dsp: str) -> Target:
    # A CARRY4 adds nothing: the look-up tables before it are cells of their own.
    luts = {f"LUT{n}": 1 for n in range(1, 7)} | {"SRL16E": 1, "SRLC32E": 1}
    registers = dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), 1)
    command = f"synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top top"
    return Target(title, (command,), {dsp: 1}, luts, registers)


TARGETS = {
    "ecp5": Target(
        "ECP5",
        ("synth_ecp5 -top top",),
        {"MULT18X18D": 1},
        {"LUT4": 1, "CCU2C": 2},
        {"TRELLIS_FF": 1},
    ),
    "xc7": _xilinx("xc7", "Xilinx 7-series", "DSP48E1"),
    "xcup": _xilinx("xcup", "UltraScale+", "DSP48E2"),
    "gates": Target("gates", ("synth -flatten -booth -top top", "abc -g cmos2,MUX"), {}, {}, {}),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A design to measure.

    Parameters
    ----------
    labels: its cells of the table's first columns, by heading.
    build: makes it.
    """

    labels: Mapping[str, str]
    build: Callable[[], Component]


PRECISIONS = (
    (Precision.W8A8,),
    (Precision.W8A8, Precision.W4A8),
    (Precision.W8A8, Precision.W4A4),
    tuple(Precision),
)


def arrays(size: tuple[int, int]) -> Iterator[Subject]:
    """Every option of precisions in every form that differs."""
    rows, columns = size
    for precisions, form in product(PRECISIONS, MultiplierForm):
        if len(precisions) == 1 and form is MultiplierForm.PACKED18:
            continue  # the same as the generic form

        def build(
            precisions: Sequence[Precision] = precisions, form: MultiplierForm = form
        ) -> Component:
            return WeightStationaryArray(
                rows, columns, pipelined=True, precisions=frozenset(precisions), form=form
            )

        names = ", ".join(p.name for p in precisions)
        labels = {"array": f"{rows}x{columns}", "precisions": names, "form": str(form)}
        yield Subject(labels=labels, build=build)


def sparse_arrays(size: tuple[int, int]) -> Iterator[Subject]:
    """Arrays without and with weights of two of four, in the forms that go with them."""
    rows, columns = size
    generic, packed = MultiplierForm.GENERIC, MultiplierForm.PACKED18
    for precisions, form in ((PRECISIONS[0], generic), (PRECISIONS[-1], packed)):
        for sparse in (False, True):

            def build(
                precisions: Sequence[Precision] = precisions,
                form: MultiplierForm = form,
                sparse: bool = sparse,
            ) -> Component:
                return WeightStationaryArray(
                    rows,
                    columns,
                    pipelined=True,
                    precisions=frozenset(precisions),
                    form=form,
                    sparse=sparse,
                )

            names = ", ".join(p.name for p in precisions)
            weights = "two of four" if sparse else "dense"
            labels = {"array": f"{rows}x{columns}", "precisions": names, "form": str(form)}
            yield Subject(labels={**labels, "weights": weights}, build=build)


def requantizers(size: tuple[int, int]) -> Iterator[Subject]:
    """One lane's requantizer: what presets have, and what `systolith fit` finds for networks."""
    double, float32 = RequantMode.DOUBLE, RequantMode.FLOAT32
    fixed, magnitude = RequantMode.FIXED, RequantMode.MAGNITUDE
    rows = (
        ((double, float32, fixed), 32, 32),
        ((double,), 32, 32),
        ((float32,), 25, 32),
        ((float32, fixed), 25, 32),
        ((fixed,), 32, 32),
        ((magnitude,), 32, 32),
        ((magnitude,), 25, 19),
        ((fixed,), 24, 19),
        ((fixed,), 24, 18),
        ((fixed,), 18, 32),
        ((fixed,), 18, 18),
        ((fixed,), 16, 16),
    )
    for modes, multiplier, accumulator in rows:
        widths = RequantWidths(multiplier=multiplier, accumulator=accumulator)

        def build(
            modes: frozenset[RequantMode] = frozenset(modes), widths: RequantWidths = widths
        ) -> Component:
            return Requantizer(modes, widths)

        names = ", ".join(mode.name for mode in modes)
        yield Subject(
            labels={"requantizer": names, "bits": f"{multiplier} x {accumulator}"}, build=build
        )


def quantizers(size: tuple[int, int]) -> Iterator[Subject]:
    """Lanes that quantize, by their forms; one that dequantizes; a divider, as they have none."""
    even, away, multiply, fused = QuantizeForm
    for forms in ((even,), (even, away), (multiply,), (fused,), tuple(QuantizeForm)):
        names = ", ".join(form.name.lower() for form in forms)
        yield Subject(
            labels={"unit": "quantize lane", "forms": names},
            build=lambda forms=forms: QuantizeLane(forms, held=True),
        )
    yield Subject(
        labels={"unit": "dequantize lane", "forms": ""}, build=lambda: DequantizeLane(held=True)
    )
    yield Subject(
        labels={"unit": "divider, 19 cycles a quotient", "forms": ""}, build=Float32Divider
    )
    yield Subject(labels={"unit": "dynamic quantize", "forms": ""}, build=DynamicQuantizeStream)


SUBJECTS: Mapping[str, Callable[[tuple[int, int]], Iterator[Subject]]] = {
    "array": arrays,
    "sparse": sparse_arrays,
    "requantizer": requantizers,
    "quantize": quantizers,
}
"""What can be measured, given the size of an array."""


def measure(component: Component, target: Target) -> Area:
    """Synthesise a component.

    Raises
    ------
    ToolError: yosys failed.
    """
    transistors = target is TARGETS["gates"]
    stat = f"tee -q -o stat.json stat -json{' -tech cmos' if transistors else ''}"
    text = run_yosys(to_rtlil(component), [*target.passes, stat], outputs=["stat.json"])
    total = json.loads(text["stat.json"][text["stat.json"].index("{") :])["design"]
    if transistors:
        return Area(transistors=int(str(total["estimated_num_transistors"]).rstrip("+")))
    return target.count(total["num_cells_by_type"])


def _size(text: str) -> tuple[int, int]:
    try:
        rows, columns = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be ROWSxCOLUMNS, not {text!r}") from None
    return rows, columns


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("subject", choices=sorted(SUBJECTS))
    parser.add_argument("--size", type=_size, default=(4, 4), help="ROWSxCOLUMNS; default 4x4")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=["ecp5", "xc7"])
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    subjects = list(SUBJECTS[options.subject](options.size))
    table = Table(*subjects[0].labels, *(TARGETS[name].title for name in options.targets))
    records = []
    for done, subject in enumerate(subjects, 1):
        design = subject.build()
        found = {name: measure(design, TARGETS[name]) for name in options.targets}
        texts = [*subject.labels.values(), *(area.text() for area in found.values())]
        print(f"{done} of {len(subjects)}:", *texts, sep="  ", file=sys.stderr, flush=True)
        table.add_row(*texts)
        records.append({**subject.labels, **{name: asdict(area) for name, area in found.items()}})
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if options.json:
        options.json.write_text(json.dumps(records, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
