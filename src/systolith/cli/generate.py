"""``systolith generate``."""

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
from systolith.report.registers import c_header, command_reference, register_map
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


def _texts(spec: AcceleratorSpec, verilog: str, waivers: dict[str, str]) -> dict[str, str]:
    return {
        f"{spec.name}.sv": verilog,
        "spec.toml": spec_to_toml(spec),
        "registers.md": register_map(spec),
        f"{spec.name}_registers.h": c_header(spec),
        "commands.md": command_reference(spec),
        "lint_waivers.vlt": waiver_file(waivers),
    }


def generate(
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the files.")] = Path(
        "generated"
    ),
    model: Annotated[
        Path | None, typer.Option("--model", help="Write this network's program, too.")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Runtime whose arithmetic the program has.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--lint/--no-lint", help="Check the Verilog with Verilator's -Wall.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Write an accelerator's Verilog, its specification, register map and command reference."""
    chosen = choose_spec(array, spec, preset)
    from systolith.hw.top import Accelerator
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
        progress("writing Verilog", 0, 0)
        verilog = readable_verilog(Accelerator(chosen), chosen.name)
        texts = _texts(chosen, verilog, LINT_WAIVERS)
        files |= {name: text.encode() for name, text in texts.items()}
        write_files((output / name, data) for name, data in files.items())
        if check:
            progress("checking the Verilog", 0, 0)
            findings = lint(verilog, chosen.name)
    console = stdout()
    rows = [[str(output / name), f"{len(data):,}"] for name, data in files.items()]
    console.print(make_table([("file", False), ("bytes", True)], rows))
    for line in findings:
        console.print(line, markup=False)
    if check and not findings:
        console.print("lint: clean (verilator --lint-only -Wall, waivers in lint_waivers.vlt)")
    if findings:
        raise typer.Exit(MISMATCH)
