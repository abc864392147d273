"""Values of a model's ports and signals: checked against their width, signed where declared so."""

import operator
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.errors import InputError
from systolith.sim.binding import Model, Variable

__all__ = ["Variables", "as_signed", "fit", "pack", "unpack"]


def as_signed(value: int, width: int) -> int:
    """Return the two's complement reading of the low `width` bits of a value."""
    sign = 1 << (width - 1)
    return ((value & ((1 << width) - 1)) ^ sign) - sign


def _limits(variable: Variable) -> tuple[int, int]:
    if variable.signed:
        return -(1 << (variable.width - 1)), (1 << (variable.width - 1)) - 1
    return 0, (1 << variable.width) - 1


def _kind(variable: Variable) -> str:
    return "signal" if variable.direction == "internal" else "port"


def fit(variable: Variable, value: int) -> int:
    """Return the storage bits of a value, or say why it does not fit."""
    low, high = _limits(variable)
    if not low <= value <= high:
        bits = f"{variable.width} {'signed ' if variable.signed else ''}bits"
        raise InputError(
            f"value of {_kind(variable)} {variable.name} must fit in {bits}, not {value}"
        )
    return value & ((1 << variable.width) - 1)


class Variables:
    """Named values of a model, by attribute or by item: `io.start = 1`, `io["o__valid"]`.

    Reading settles the logic first. Values are checked against the width; signed ports take and
    give negative numbers.
    """

    _model: Model
    _kinds: tuple[str, ...]

    def __init__(self, model: Model, kinds: tuple[str, ...]) -> None:
        object.__setattr__(self, "_model", model)
        object.__setattr__(self, "_kinds", kinds)

    def _find(self, name: str) -> Variable:
        found = self._model.variables.get(name)
        if found is None or found.direction not in self._kinds or found.depth:
            what = "signal" if "internal" in self._kinds else "port"
            names = ", ".join(self) or "none"
            hint = ", or ask for it by `public=[...]` at the build" if what == "signal" else ""
            raise InputError(f"{what} must be one of {names}, not {name!r}{hint}")
        return found

    def __iter__(self) -> Iterator[str]:
        for name, variable in self._model.variables.items():
            if variable.direction in self._kinds and not variable.depth:
                yield name

    def __dir__(self) -> list[str]:
        return list(self)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __getitem__(self, name: str) -> int:
        variable = self._find(name)
        self._model.eval()
        value = int.from_bytes(variable.storage.tobytes(), "little")
        return as_signed(value, variable.width) if variable.signed else value

    def __setitem__(self, name: str, value: int) -> None:
        variable = self._find(name)
        if variable.direction == "out":
            raise InputError(f"port {name} must be an input to be set, not an output")
        raw = fit(variable, operator.index(value)).to_bytes(variable.word_bytes, "little")
        variable.storage.view(np.uint8).reshape(-1)[...] = np.frombuffer(raw, np.uint8)

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except InputError as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: int) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name}={self[name]}" for name in self) + "}"


def pack(variable: Variable, values: ArrayLike | Sequence[int]) -> NDArray[np.unsignedinteger]:
    """Return the storage words of a sequence of values, one per cycle."""
    if variable.width > 64:
        size = variable.word_bytes
        words = [operator.index(v) for v in cast(Sequence[int], values)]
        raw = b"".join(fit(variable, word).to_bytes(size, "little") for word in words)
        return np.frombuffer(raw, np.uint32).reshape(len(words), -1)
    array = np.asarray(values)
    if array.dtype == object:
        array = np.array([fit(variable, operator.index(value)) for value in array], np.uint64)
    elif array.size:
        fit(variable, int(array.min()))
        fit(variable, int(array.max()))
    mask = np.uint64((1 << variable.width) - 1)
    return np.ascontiguousarray((array.astype(np.uint64) & mask).astype(variable.storage.dtype))


def unpack(variable: Variable, words: NDArray[np.unsignedinteger]) -> NDArray[np.generic]:
    """Return values of storage words: int64 if signed, uint64, or Python integers over 64 bits."""
    if variable.width > 64:
        integers = [int.from_bytes(row.tobytes(), "little") for row in words]
        if variable.signed:
            integers = [as_signed(value, variable.width) for value in integers]
        return np.array(integers, object)
    if not variable.signed:
        return words.astype(np.uint64)
    free = np.int64(64 - variable.width)
    return words.astype(np.uint64).view(np.int64) << free >> free
