"""Errors become one line on stderr and an exit status; never a traceback unless asked for."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from systolith.errors import SystolithError
from systolith.spec.program import ProgramError

__all__ = ["BUG", "ERROR", "INTERRUPTED", "MISMATCH", "GuardedGroup"]

MISMATCH = 1
"""Exit status: values differ, or something needed is missing."""
ERROR = 2
"""Exit status: the user's files, options or tools are at fault."""
BUG = 3
"""Exit status: the program is at fault."""
INTERRUPTED = 130
"""Exit status: stopped by the user."""

# typer carries click within itself or not, by version: this is the base of its usage errors.
_UsageBase: type[Exception] = next(
    kind
    for kind in typer.BadParameter.__mro__
    if kind.__name__ == "ClickException" and issubclass(kind, Exception)
)


def _say(text: str) -> None:
    print("error: " + " ".join(text.split()), file=sys.stderr)


def _usage(error: Any) -> str:
    command = getattr(getattr(error, "ctx", None), "command_path", "systolith")
    return f"{error.format_message()} (see `{command} --help`)"


class GuardedGroup(TyperGroup):
    """A command group that reports every error in one line.

    Exit status 2 for errors a user can correct (of a build: 4 board, 5 capacity, 6 timing, 7 tool
    missing), 3 for ours, 130 when interrupted. ``--debug``,
    anywhere on the line, shows the traceback of an unexpected error.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command line and exit."""
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in words
        if debug:
            words.remove("--debug")
        extra |= {"standalone_mode": False, "prog_name": "systolith"}
        sys.exit(self._guarded(words, debug, *rest, **extra))

    def _guarded(self, words: list[str], debug: bool, *rest: Any, **extra: Any) -> int:
        try:
            status = super().main(words, *rest, **extra)
            if sys.stdout is not None:
                sys.stdout.flush()
        except SystolithError as error:
            _say(str(error))
            return error.status
        except ProgramError as error:
            _say(str(error))
            return ERROR
        except _UsageBase as error:
            _say(_usage(error))
            return ERROR
        except (KeyboardInterrupt, typer.Abort):
            _say("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            # The reader of a pipe has gone; nothing may be written at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return MISMATCH
        except Exception as error:
            if isinstance(error, OSError) and error.strerror:
                # A full disk, a closed stream, a file in the way: not ours to mend.
                _say(": ".join(str(part) for part in (error.filename, error.strerror) if part))
                return ERROR
            return _bug(error, debug)
        if status == INTERRUPTED:  # typer catches the interrupt itself
            _say("interrupted")
        return status if isinstance(status, int) else 0


def _bug(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    hint = "" if debug else " with what `--debug` prints"
    _say(f"unexpected {what}; this is a bug in systolith: please report the command line{hint}")
    return BUG
