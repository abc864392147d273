"""Inputs of a verification: from files, from the package, or random; with their references."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import FloatQuantizeArithmetic, QuantizeArithmetic
from systolith.errors import InputError
from systolith.graph import Graph
from systolith.profiles.steps import affine
from systolith.profiles.table import get_profile

__all__ = [
    "Samples",
    "choose_samples",
    "default_model",
    "default_samples",
    "file_samples",
    "load_arrays",
    "random_samples",
]

Arrays = dict[str, NDArray[Any]]
SEED = 1
_RANDOM = 2
_DEFAULT = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Inputs of N inferences.

    Parameters
    ----------
    inputs: by input name, each [N, ...] in the runtime's layout.
    labels: N integers, or empty.
    origin: where they came from, for people.
    """

    inputs: Mapping[str, NDArray[Any]]
    labels: tuple[int, ...] = ()
    origin: str = field(default="")

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))

    def limited(self, count: int | None) -> "Samples":
        """Return the first `count` samples.

        Raises
        ------
        InputError: `count` is not positive, or there are not as many.
        """
        if count is None:
            return self
        if not 1 <= count <= self.count:
            raise InputError(f"count must be between 1 and {self.count}, not {count}")
        inputs = {name: value[:count] for name, value in self.inputs.items()}
        return Samples(inputs=inputs, labels=self.labels[:count], origin=self.origin)


def default_model() -> Path:
    """Return the path of the embedded network."""
    return Path(str(files("systolith") / "data" / "digits_int8.onnx"))


def default_samples(graph: Graph) -> Samples:
    """Return the embedded network's test images."""
    path = default_model().with_name("digits_samples.npz")
    return file_samples(graph, path, origin="embedded test images")


def load_arrays(path: str | Path) -> Arrays:
    """Return the arrays of an .npz file, or ``{"inputs": array}`` of an .npy file.

    Raises
    ------
    InputError: the file cannot be read or holds something else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.ndarray):
                return {"inputs": data}
            return {key: data[key] for key in data.files}
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise InputError(f"{path.name} must be a .npy or .npz file of numbers: {error}") from error


def _fit(graph: Graph, name: str, array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return the array as [N, ...source shape without batch], or say what is wrong."""
    tensor = graph.tensors[name]
    shape = tensor.source_shape
    sample = shape[1:] if shape[:1] == (1,) else shape
    if array.shape == sample:
        array = array[None]
    elif array.shape[1:] == (1, *sample):
        array = array[:, 0]
    if array.shape[1:] != sample or not len(array):
        raise InputError(
            f"{path.name}: input {name!r} must have shape {('N', *sample)}, not {array.shape}"
        )
    if array.dtype != np.dtype(tensor.dtype):
        raise InputError(f"{path.name}: input {name!r} must be {tensor.dtype}, not {array.dtype}")
    return array


def _labels(arrays: Arrays, count: int) -> tuple[int, ...]:
    labels = arrays.get("labels")
    if labels is None or labels.shape != (count,) or labels.dtype.kind not in "iu":
        return ()
    return tuple(int(value) for value in labels)


def file_samples(graph: Graph, path: str | Path, *, origin: str = "") -> Samples:
    """Return the inputs stored in a file under their names (one input also as ``inputs``).

    Raises
    ------
    InputError: the file or an array does not fit the model.
    """
    path = Path(path)
    arrays = load_arrays(path)
    inputs: Arrays = {}
    for name in graph.inputs:
        keys = [name, graph.tensors[name].source_name]
        keys += ["inputs"] if len(graph.inputs) == 1 else []
        key = next((key for key in keys if key in arrays), None)
        if key is None:
            raise InputError(f"{path.name} must hold an array {keys[-1]!r}, not {sorted(arrays)}")
        inputs[name] = _fit(graph, name, arrays[key], path)
    counts = {name: len(value) for name, value in inputs.items()}
    if len(set(counts.values())) != 1:
        raise InputError(f"{path.name}: inputs must have the same number of samples, not {counts}")
    count = next(iter(counts.values()))
    return Samples(inputs=inputs, labels=_labels(arrays, count), origin=origin or path.name)


def _random(graph: Graph, name: str, count: int, rng: np.random.Generator) -> NDArray[Any]:
    tensor = graph.tensors[name]
    shape = tensor.source_shape[1:] if tensor.source_shape[:1] == (1,) else tensor.source_shape
    if np.dtype(tensor.dtype).kind in "iu":
        limits = np.iinfo(tensor.dtype)
        return rng.integers(limits.min, limits.max, (count, *shape), tensor.dtype, endpoint=True)
    low, high = -1.0, 1.0
    for node in graph.consumers(name):
        if isinstance(node.arithmetic, QuantizeArithmetic):
            # A little beyond the codes' range, so that saturation is exercised as well.
            codes = node.arithmetic.out
            low = codes.scale * (codes.low - 4 - codes.zero_point)
            most = get_profile(graph.profile).input_high
            end = most if most < codes.high else codes.high + 4
            high = codes.scale * (end - codes.zero_point)
        elif isinstance(node.arithmetic, FloatQuantizeArithmetic):
            k = node.arithmetic
            slope, offset = affine((*k.steps, *k.quantizer.steps), np.ones(1))
            ends = [(c - offset) / slope for c in (k.out.low - 4, k.out.high + 4)]
            low, high = float(np.min(ends)), float(np.max(ends))
    return rng.uniform(low, high, (count, *shape)).astype(tensor.dtype)


def random_samples(graph: Graph, count: int) -> Samples:
    """Return seeded random inputs over the whole range of each input.

    Raises
    ------
    InputError: `count` is not positive.
    """
    if count < 1:
        raise InputError(f"count must be at least 1, not {count}")
    rng = np.random.default_rng(SEED)
    inputs = {name: _random(graph, name, count, rng) for name in graph.inputs}
    return Samples(inputs=inputs, origin=f"random over the whole range, seed {SEED}")


def choose_samples(
    graph: Graph, inputs: Path | None, reference: Path | None, count: int | None
) -> tuple[Samples, Path | None]:
    """Return inputs and the file of stored tensors that belongs to them.

    Without a file of inputs they come from the reference, else from an .npz file beside the model
    of the same name, else from the package (embedded network), else they are random.

    Raises
    ------
    InputError: a file does not fit the model.
    """
    source = Path(graph.source_path)
    embedded = source == default_model()
    beside = source.with_suffix(".npz")
    if inputs is not None:
        return file_samples(graph, inputs).limited(count), reference
    if reference is not None:
        return file_samples(graph, reference).limited(count), reference
    if embedded:
        return default_samples(graph).limited(_DEFAULT if count is None else count), None
    if source.name and beside.is_file():
        origin = f"{beside.name} beside the model"
        return file_samples(graph, beside, origin=origin).limited(count), beside
    return random_samples(graph, _RANDOM if count is None else count), None
