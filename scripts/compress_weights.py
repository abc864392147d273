"""Write a TFLite network whose int8 weights take fewer bits: the same file with other values.

The structure of the file stays, so that LiteRT runs the result and is its oracle:

    python scripts/compress_weights.py MODEL OUTPUT log2
    python scripts/compress_weights.py MODEL OUTPUT codebook [--per tensor|channel]
    python scripts/compress_weights.py MODEL OUTPUT bitmap [--sparsity 0.75]
    python scripts/compress_weights.py MODEL OUTPUT two-of-four

- log2: the nearest of 0, plus or minus powers of two, and -128;
- codebook: 0 and 15 values found by k-means, for a tensor or each output channel;
- bitmap: the smallest weights of every tensor become 0;
- two-of-four: of four neighbouring inputs of an output the two smallest weights become 0.

Weights of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED change, of depthwise ones only their
values' number (log2, codebook). Nothing is trained: the loss is printed, not judged. It is measured
with LiteRT on the inputs of `--inputs` (an .npz with `inputs`, `labels` if known), or random ones.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from systolith.errors import SystolithError
from systolith.importers import load_model
from systolith.runtimes.litert import run_reference

__all__ = ["compress", "loss"]

_CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""Operators with weights, and the axis of the weights' output channels."""
_POWERS = np.array([-128, *(-(1 << e) for e in range(6, -1, -1)), 0, *(1 << e for e in range(7))])
_BOOK, _ROUNDS = 16, 100
_RANDOM = 4

Codes = NDArray[np.int8]


def _nearest(weights: Codes, values: NDArray[np.int64]) -> Codes:
    """Every weight's nearest value, the first of two that are as near."""
    table = values[np.abs(np.arange(-128, 128)[:, None] - values).argmin(axis=1)]
    return table[weights.astype(np.int64) + 128].astype(np.int8)


def _means(weights: Codes) -> NDArray[np.int64]:
    """0 and 15 means of the weights, rounded: Lloyd's algorithm from evenly spaced quantiles."""
    values, counts = np.unique(weights[weights != 0], return_counts=True)
    if len(values) < _BOOK:
        return np.append(values, 0).astype(np.int64)
    spread = np.repeat(values, counts)
    means = np.quantile(spread, (np.arange(_BOOK - 1) + 0.5) / (_BOOK - 1))
    for _ in range(_ROUNDS):
        chosen = np.abs(values[:, None] - means).argmin(axis=1)
        sums = np.bincount(chosen, values * counts.astype(np.float64), _BOOK - 1)
        sizes = np.bincount(chosen, counts, _BOOK - 1)
        moved = np.where(sizes > 0, sums / np.maximum(sizes, 1), means)
        if np.array_equal(moved, means):
            break
        means = moved
    return np.append(np.rint(means), 0).astype(np.int64)


def _log2(weights: Codes, kind: str) -> Codes:
    return _nearest(weights, _POWERS)


def _codebook(weights: Codes, kind: str, *, per: str) -> Codes:
    if per == "tensor":
        return _nearest(weights, _means(weights))
    channels = np.moveaxis(weights, _CHANNELS[kind], 0)
    result = np.stack([_nearest(channel, _means(channel)) for channel in channels])
    return np.moveaxis(result, 0, _CHANNELS[kind])


def _bitmap(weights: Codes, kind: str, *, sparsity: float) -> Codes:
    if kind == "DEPTHWISE_CONV_2D":
        return weights
    order = np.abs(weights.astype(np.int64)).reshape(-1).argsort(kind="stable")
    result = weights.copy().reshape(-1)
    result[order[: round(sparsity * weights.size)]] = 0
    return result.reshape(weights.shape)


def _two_of_four(weights: Codes, kind: str) -> Codes:
    if kind == "DEPTHWISE_CONV_2D" or weights.shape[-1] % 4:
        return weights
    fours = weights.reshape(-1, 4).copy()
    order = np.abs(fours.astype(np.int64)).argsort(axis=1, kind="stable")
    np.put_along_axis(fours, order[:, :2], 0, axis=1)
    return fours.reshape(weights.shape)


def _weights(data: bytearray) -> Iterator[tuple[str, Codes]]:
    """Operator and weights of every layer that has any, as views of the file."""
    model = tflite.Model.GetRootAs(data, 0)
    names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
    graph = model.Subgraphs(0)
    seen: set[int] = set()
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if kind not in _CHANNELS:
            continue
        tensor = graph.Tensors(operator.Inputs(1))
        raw: Any = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if tensor.Type() == tflite.TensorType.INT8 and tensor.Buffer() not in seen:
            seen.add(tensor.Buffer())
            yield kind, raw.view(np.int8).reshape(tensor.ShapeAsNumpy())


def compress(data: bytes, change: Callable[[Codes, str], Codes]) -> tuple[bytes, float, int, int]:
    """Return a network with other weights, their RMSE in codes, how many there are, and zeros."""
    file = bytearray(data)
    error, count, zeros = 0.0, 0, 0
    for kind, weights in _weights(file):
        new = change(weights, kind)
        error += float(((new.astype(np.float64) - weights) ** 2).sum())
        count, zeros = count + weights.size, zeros + int((new == 0).sum())
        weights[...] = new
    return bytes(file), (error / max(count, 1)) ** 0.5, count, zeros


def loss(before: Path, after: Path, inputs: Path | None) -> str:
    """Compare the outputs of two networks in LiteRT: RMSE in codes, and the class if it is one."""
    graphs = [load_model(before), load_model(after)]
    name = graphs[0].inputs[0]
    shape, rng = graphs[0].tensor(name).source_shape, np.random.default_rng(1)
    samples = rng.integers(-128, 128, (_RANDOM, *shape)).astype(np.int8)
    labels = None
    if inputs is not None:
        stored = np.load(inputs)
        samples, labels = stored["inputs"].reshape(-1, *shape), stored.get("labels")
    results = []
    for graph in graphs:
        found = run_reference(graph, [{name: sample} for sample in samples])
        results.append(np.stack([f[graph.outputs[0]].reshape(-1) for f in found]).astype(float))
    rmse = float(np.sqrt(((results[0] - results[1]) ** 2).mean()))
    text = f"outputs of {len(samples)} inputs: RMSE {rmse:.2f} codes"
    tops = [result.argmax(axis=1) for result in results]
    if labels is not None and results[0].shape[1] > int(labels.max()):
        right = [int((top == labels).sum()) for top in tops]
        text += f"; right {right[0]} before, {right[1]} after"
    return text


def main() -> None:
    """Read arguments, write the file, print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("form", choices=["log2", "codebook", "bitmap", "two-of-four"])
    parser.add_argument("--per", choices=["tensor", "channel"], default="channel")
    parser.add_argument("--sparsity", type=float, default=0.75)
    parser.add_argument("--inputs", type=Path)
    arguments = parser.parse_args()
    if not 0 <= arguments.sparsity <= 1:
        parser.error(f"--sparsity must be between 0 and 1, not {arguments.sparsity}")
    change: Callable[[Codes, str], Codes] = {
        "log2": _log2,
        "codebook": partial(_codebook, per=arguments.per),
        "bitmap": partial(_bitmap, sparsity=arguments.sparsity),
        "two-of-four": _two_of_four,
    }[arguments.form]
    try:
        load_model(arguments.model, "tflite-reference")  # says what is wrong with a file
        data, error, count, zeros = compress(arguments.model.read_bytes(), change)
        arguments.output.write_bytes(data)
    except (SystolithError, OSError) as fault:
        parser.error(str(fault))
    print(f"{count} weights, {zeros} of them 0, RMSE {error:.2f} codes")
    print(loss(arguments.model, arguments.output, arguments.inputs))


if __name__ == "__main__":
    main()
