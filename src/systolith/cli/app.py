"""The application: its commands and global options."""

from typing import Annotated

import typer

import systolith
from systolith.cli.build import build
from systolith.cli.compile import compile_model
from systolith.cli.doctor import doctor
from systolith.cli.estimate import estimate
from systolith.cli.fit import fit
from systolith.cli.generate import generate
from systolith.cli.guard import GuardedGroup
from systolith.cli.inspect import inspect
from systolith.cli.run import run
from systolith.cli.simulate import simulate
from systolith.cli.verify import verify

__all__ = ["app", "main"]

app = typer.Typer(
    cls=GuardedGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(verify)
app.command()(simulate)
app.command()(run)
app.command()(generate)
app.command()(inspect)
app.command(name="compile")(compile_model)
app.command()(fit)
app.command()(build)
app.command()(estimate)
app.command()(doctor)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"systolith {systolith.__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of unexpected errors.")
    ] = False,
) -> None:
    """Proven systolic-array accelerators for quantized neural networks."""
    # `debug` is taken off the command line by GuardedGroup; it is here for the help text.
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; exits."""
    app()
