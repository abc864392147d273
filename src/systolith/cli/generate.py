"""``systolith generate``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.guard import MISMATCH
from systolith.cli.options import (
    Array,
    Preset,
    Quiet,
    SpecFile,
    choose_spec,
    stdout,
    write_files,
)
from systolith.cli.progress import reporting
from systolith.cli.units import UNITS, UnitOptions, make_unit
from systolith.errors import SpecError
from systolith.report.c_header import c_header
from systolith.report.registers import command_reference, register_map
from systolith.report.tables import make_table
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_to_toml

__all__ = ["generate", "waiver_file"]


def waiver_file(waivers: dict[str, str]) -> str:
    """Return Verilator's configuration file that waives rules, each with its reason."""
    lines = ["`verilator_config"]
    for rule, reason in waivers.items():
        lines += [f"// {reason}.", f"lint_off -rule {rule}"]
    return "\n".join(lines) + "\n"


def _texts(
    spec: AcceleratorSpec, verilog: str, constraints: str, waivers: dict[str, str]
) -> dict[str, str]:
    return {
        f"{spec.name}.sv": verilog,
        f"{spec.name}.sdc": constraints,
        "spec.toml": spec_to_toml(spec),
        "registers.md": register_map(spec),
        f"{spec.name}_registers.h": c_header(spec),
        "commands.md": command_reference(spec),
        "lint_waivers.vlt": waiver_file(waivers),
    }


def _report(output: Path, files: Mapping[str, bytes], findings: Sequence[str], check: bool) -> None:
    """Print what was written and what the linter found.

    Raises
    ------
    typer.Exit: it found something.
    """
    console = stdout()
    rows = [[str(output / name), f"{len(data):,}"] for name, data in files.items()]
    console.print(make_table([("file", False), ("bytes", True)], rows))
    for line in findings:
        console.print(line, markup=False)
    if check and not findings:
        console.print("lint: clean (verilator --lint-only -Wall, waivers in lint_waivers.vlt)")
    if findings:
        raise typer.Exit(MISMATCH)


def _generate_unit(options: UnitOptions, output: Path, check: bool, quiet: bool) -> None:
    """Write a unit's Verilog alone."""
    from systolith.sim.emit import LINT_WAIVERS, lint, readable_verilog

    unit = make_unit(options)
    with reporting(quiet) as progress:
        progress("writing Verilog", 0, 0)
        verilog = readable_verilog(unit, options.unit)
        waivers = waiver_file(LINT_WAIVERS).encode()
        files = {f"{options.unit}.sv": verilog.encode(), "lint_waivers.vlt": waivers}
        write_files((output / name, data) for name, data in files.items())
        findings = lint(verilog, options.unit) if check else []
    _report(output, files, findings, check)


def generate(
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the files.")] = Path(
        "generated"
    ),
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Write this network's program, and its files for drivers."),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Runtime whose arithmetic the program has.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", help=f"A unit alone: {', '.join(UNITS)}.")
    ] = None,
    code_format: Annotated[
        str, typer.Option("--format", help="Unit: int8, uint8, int4 or uint4.")
    ] = "int8",
    form: Annotated[str, typer.Option("--form", help="Unit quantize: a QuantizeForm.")] = (
        "divide_even"
    ),
    lanes: Annotated[int, typer.Option("--lanes", help="Unit: numbers a cycle.")] = 1,
    channels: Annotated[
        int, typer.Option("--channels", help="Unit: channels with a scale each.")
    ] = 1,
    depth: Annotated[
        int, typer.Option("--depth", help="Unit dynamic_quantize: numbers of a packet.")
    ] = 1024,
    check: Annotated[
        bool, typer.Option("--lint/--no-lint", help="Check the Verilog with Verilator's -Wall.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Write an accelerator's Verilog, constraints, specification, register map and drivers.

    With --unit: the Verilog of a quantize or dequantize unit between AXI4-Streams instead.
    """
    if unit is not None:
        if any(value is not None for value in (array, spec, preset, model)):
            raise SpecError("--unit cannot be given with --array, --spec, --preset or --model")
        options = UnitOptions(
            unit=unit, format=code_format, form=form, lanes=lanes, channels=channels, depth=depth
        )
        _generate_unit(options, output, check, quiet)
        return
    _generate_accelerator(choose_spec(array, spec, preset), output, model, against, check, quiet)


def _generate_accelerator(
    chosen: AcceleratorSpec,
    output: Path,
    model: Path | None,
    against: str | None,
    check: bool,
    quiet: bool,
) -> None:
    """Write an accelerator's files, and a network's program."""
    from systolith.hw.board import BoardTop
    from systolith.report.deploy import driver_files, model_files
    from systolith.report.sdc import clock_constraints
    from systolith.sim.emit import LINT_WAIVERS, lint, readable_verilog

    files: dict[str, bytes] = {}
    findings: list[str] = []
    with reporting(quiet) as progress:
        if model is not None:
            from systolith.compiler.compile import compile_graph
            from systolith.importers import load_model

            progress(f"compiling {model.name}", 0, 0)
            compiled = compile_graph(load_model(model, against), chosen)
            files["program.bin"] = compiled.program.to_bytes()
            files |= {f"network/{n}": data for n, data in model_files(compiled).items()}
        progress("writing Verilog", 0, 0)
        top = BoardTop(chosen)
        verilog = readable_verilog(top, chosen.name)
        texts = _texts(chosen, verilog, clock_constraints(chosen, top.signature), LINT_WAIVERS)
        files |= {name: text.encode() for name, text in texts.items()}
        files |= {f"drivers/{name}": data for name, data in driver_files().items()}
        write_files((output / name, data) for name, data in files.items())
        if check:
            progress("checking the Verilog", 0, 0)
            findings = lint(verilog, chosen.name)
    _report(output, files, findings, check)
