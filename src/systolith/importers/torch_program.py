"""PyTorch files as straight lines of calls, which PyTorch itself can run in whole or in part."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.errors import ModelError, ToolError
from systolith.importers.chatter import without_chatter

__all__ = ["Call", "Ref", "TorchProgram", "Value", "import_torch", "one_line"]

Arrays = dict[str, NDArray[Any]]


def import_torch() -> Any:
    """Return the package torch.

    Raises
    ------
    ToolError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
    except ImportError as error:
        raise ToolError(
            "PyTorch is not installed; install it with: pip install systolith[torch]"
        ) from error
    return torch


def one_line(error: Exception) -> str:
    """Return the first line of what PyTorch says, or the exception's name."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__


@dataclass(frozen=True, kw_only=True, slots=True)
class Ref:
    """A computed value among the arguments of a call."""

    name: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One operator.

    Parameters
    ----------
    op: its name, ``namespace::operator``.
    output: name of its result.
    arguments: constants, `Ref`, and lists of both.
    layer: for error messages and reports.
    function: what PyTorch calls.
    keywords: constants given by name.
    """

    op: str
    output: str
    arguments: tuple[Any, ...]
    layer: str
    function: Any
    keywords: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Value:
    """What a value of the network is, seen in a run on zeros.

    Parameters
    ----------
    shape: with batch 1.
    dtype: numpy name of what is stored.
    scale, zero_point: of PyTorch's quantized tensor, None for plain ones.
    channels_last: whether the channels of an image lie beside each other in memory.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    channels_last: bool


def references(argument: Any) -> Iterator[str]:
    """Yield the names of computed values in an argument."""
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, (list, tuple)):
        for each in argument:
            yield from references(each)


class TorchProgram:
    """Calls in order of execution.

    Parameters
    ----------
    calls: the operators.
    inputs: names and shapes (batch 1) of the float32 inputs.
    outputs: names.
    engine: of PyTorch's quantized kernels, empty if it does not matter.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        inputs: Mapping[str, tuple[int, ...]],
        outputs: Sequence[str],
        engine: str = "",
    ) -> None:
        self.calls, self.inputs = tuple(calls), dict(inputs)
        self.outputs, self.engine = tuple(outputs), engine
        self.values: dict[str, Value] = {}
        self._makers = {call.output: call for call in self.calls}

    def probe(self) -> None:
        """Run the network on zeros and note what every value is.

        Raises
        ------
        ModelError: PyTorch cannot run it.
        """
        torch = import_torch()
        with running(self.engine):
            env = {name: torch.zeros(shape) for name, shape in self.inputs.items()}
            for name in env:
                self.values[name] = describe(env[name])
            for call in self.calls:
                try:
                    env[call.output] = self._run(call, env)
                except Exception as error:
                    raise ModelError(
                        f"{call.op} cannot be run by PyTorch: {one_line(error)}",
                        layer=call.layer,
                        op=call.op,
                    ) from error
                if isinstance(env[call.output], torch.Tensor):
                    self.values[call.output] = describe(env[call.output])

    def evaluate(self, given: Arrays, wanted: Sequence[str]) -> Arrays:
        """Return values that PyTorch computes from given ones (codes of quantized tensors).

        Parameters
        ----------
        given: by name, in the runtime's shape; calls before them are not run.
        wanted: names; those that nothing given leads to are left out.

        Raises
        ------
        ToolError: PyTorch fails.
        """
        torch = import_torch()
        with running(self.engine):
            env = {name: self._tensor(torch, name, value) for name, value in given.items()}
            try:
                for call in self._needed(set(env), wanted):
                    env[call.output] = self._run(call, env)
            except Exception as error:
                raise ToolError(f"PyTorch cannot run the model: {one_line(error)}") from error
            return {name: stored(env[name]) for name in wanted if name in env}

    def live_calls(self) -> list[Call]:
        """Return the calls that lead to the outputs."""
        return self._needed(set(self.inputs), self.outputs)

    def running(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which PyTorch runs this program."""
        return running(self.engine)

    def _needed(self, known: set[str], wanted: Sequence[str]) -> list[Call]:
        """Return, in order, the calls that lead from known values to the wanted ones."""
        needed, stack = set(), [name for name in wanted if name not in known]
        while stack:
            call = self._makers.get(stack.pop())
            if call is None or call.output in needed:
                continue
            needed.add(call.output)
            stack += [n for a in call.arguments for n in references(a) if n not in known]
        available, chosen = set(known), []
        for call in self.calls:
            reads = {name for a in call.arguments for name in references(a)}
            if call.output in needed and reads <= available:
                available.add(call.output)
                chosen.append(call)
        return chosen

    def _run(self, call: Call, env: Mapping[str, Any]) -> Any:
        arguments = [_resolve(argument, env) for argument in call.arguments]
        return call.function(*arguments, **call.keywords)

    def _tensor(self, torch: Any, name: str, value: NDArray[Any]) -> Any:
        """Return PyTorch's tensor as the network itself has it, strides included."""
        known = self.values[name]
        tensor = torch.from_numpy(np.ascontiguousarray(value).copy())
        if known.scale is not None:
            tensor = torch._make_per_tensor_quantized_tensor(tensor, known.scale, known.zero_point)
        if known.channels_last:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor


def _resolve(argument: Any, env: Mapping[str, Any]) -> Any:
    if isinstance(argument, Ref):
        return env[argument.name]
    if isinstance(argument, (list, tuple)):
        return [_resolve(each, env) for each in argument]
    return argument


def stored(tensor: Any) -> NDArray[Any]:
    """Return the codes of a quantized tensor, or a plain one's values."""
    plain = tensor.int_repr() if tensor.is_quantized else tensor.detach()
    return np.ascontiguousarray(plain.contiguous().numpy())


def describe(tensor: Any) -> Value:
    """Return what a tensor is."""
    torch = import_torch()
    quantized = tensor.is_quantized
    if quantized and tensor.qscheme() not in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        raise ModelError("activations must be quantized per tensor")
    plain = tensor.int_repr() if quantized else tensor
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return Value(
        shape=tuple(tensor.shape),
        dtype=str(plain.dtype).removeprefix("torch."),
        scale=float(tensor.q_scale()) if quantized else None,
        zero_point=int(tensor.q_zero_point()) if quantized else None,
        channels_last=last and not (tensor.is_contiguous() and min(tensor.shape[1:]) > 1),
    )


@contextlib.contextmanager
def running(engine: str) -> Iterator[None]:
    """Run PyTorch without gradients, silently, on one thread and with an engine.

    Raises
    ------
    ToolError: this PyTorch has no such engine.
    """
    torch = import_torch()
    kept, threads = torch.backends.quantized.engine, torch.get_num_threads()
    if engine and engine not in torch.backends.quantized.supported_engines:
        raise ToolError(f"this PyTorch has no quantized engine {engine!r}; use a build for x86-64")
    try:
        torch.backends.quantized.engine = engine or kept
        torch.set_num_threads(1)
        with torch.no_grad(), warnings.catch_warnings(), without_chatter():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.quantized.engine = kept
        torch.set_num_threads(threads)
