"""Errors whose text is one line and meant for the user."""

from typing import ClassVar

__all__ = [
    "BoardError",
    "CapacityError",
    "CompileError",
    "InputError",
    "MissingToolError",
    "ModelError",
    "SpecError",
    "SystolithError",
    "TimingError",
    "ToolError",
    "UnsupportedOperatorError",
]


class SystolithError(Exception):
    """Base of every error that a user can cause and correct; its text is one line.

    Attributes
    ----------
    status: exit status of the command line.
    """

    status: ClassVar[int] = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ModelError(SystolithError):
    """A model file is damaged, inconsistent or outside what can be imported.

    Parameters
    ----------
    message: what is wrong and what to do.
    layer: name of the layer at fault, or empty.
    op: the operator's name in the file, or empty.
    """

    def __init__(self, message: str, *, layer: str = "", op: str = "") -> None:
        super().__init__(f"layer {layer!r}: {message}" if layer else message)
        self.layer = layer
        self.op = op


class UnsupportedOperatorError(ModelError):
    """The model has an operator, or a form of one, that no accelerator of ours computes."""


class SpecError(SystolithError, ValueError):
    """A specification's field has a value outside its domain."""


class CompileError(SystolithError):
    """A graph cannot be mapped onto the given accelerator."""


class ToolError(SystolithError):
    """An external tool or optional package is missing or failed."""


class BoardError(SystolithError, ValueError):
    """There is no such board, its data are wrong, or it cannot do what is asked."""

    status = 4


class CapacityError(SystolithError):
    """A design takes more of a part than there is."""

    status = 5


class TimingError(SystolithError):
    """A design is too slow for the clock."""

    status = 6


class MissingToolError(ToolError):
    """A tool that a build needs is not installed."""

    status = 7


class InputError(SystolithError, ValueError):
    """Input data do not fit the model: shape, type or values."""
