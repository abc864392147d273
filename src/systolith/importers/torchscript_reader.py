"""TorchScript files (``torch.jit.save``) of quantized modules, as programs."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from systolith.errors import ModelError
from systolith.importers.torch_program import (
    Call,
    Ref,
    TorchProgram,
    import_torch,
    one_line,
    running,
)

__all__ = ["ENGINES", "SHAPE_KEY", "read_torchscript", "stated_shape"]

ENGINES = {"torch-x86": "fbgemm", "torch-qnnpack": "qnnpack"}
"""PyTorch's engine of each profile. The engine x86 takes FBGEMM's kernels, but for convolutions on
processors with VNNI, where oneDNN's round otherwise: FBGEMM's are the same on every processor."""

SHAPE_KEY = "input_shape"
"""Extra file of the archive that states the inputs' shapes, as ``1,3,32,32`` (``;`` between)."""

_CONSTANTS = ("prim::Constant", "prim::GetAttr", "prim::ListConstruct", "prim::TupleConstruct")


def stated_shape(data: bytes, path: str) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs, which TorchScript itself does not have.

    They are in the archive's extra file `SHAPE_KEY`, or those of the arrays in the .npz file beside
    the model.

    Raises
    ------
    ModelError: neither is there, or it is not a list of positive numbers.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = [n for n in archive.namelist() if n.endswith(f"/extra/{SHAPE_KEY}")]
        text = archive.read(found[0]).decode("ascii", "replace") if found else ""
    if text:
        try:
            shapes = [tuple(int(side) for side in part.split(",")) for part in text.split(";")]
        except ValueError:
            shapes = [(0,)]
        if any(side < 1 for shape in shapes for side in shape):
            raise ModelError(f"{SHAPE_KEY} must be numbers such as 1,3,32,32, not {text[:60]!r}")
        return [(1, *shape[1:]) for shape in shapes]
    beside = Path(path).with_suffix(".npz") if path else Path()
    if beside.is_file():
        with np.load(beside, allow_pickle=False) as arrays:
            if "inputs" in arrays.files:
                return [(1, *arrays["inputs"].shape[1:])]
    raise ModelError(
        "TorchScript does not state the shape of its input; save it with "
        f"torch.jit.save(model, path, _extra_files={{'{SHAPE_KEY}': '1,3,32,32'}}), or put an .npz "
        "of inputs beside the model"
    )


def read_torchscript(data: bytes, profile: str, path: str = "") -> TorchProgram:
    """Return the program of a traced module, its packed weights made for the profile's engine.

    Raises
    ------
    ModelError: the file is damaged, is not straight-line code or PyTorch cannot run it.
    ToolError: PyTorch is not installed.
    """
    torch = import_torch()
    engine = ENGINES[profile]
    shapes = stated_shape(data, path)
    with running(engine):
        try:
            module = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
            graph = module.inlined_graph
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"PyTorch cannot load the file: {one_line(error)}") from error
        kinds = [node.kind() for node in graph.nodes()]
        if not any(kind.startswith("quantized::") for kind in kinds):
            raise ModelError("model must be quantized: convert it with torch.ao.quantization")
        program = _Reader(torch, module, graph, shapes, engine).program()
    program.probe()
    return program


class _Reader:
    """Walks a TorchScript graph once."""

    def __init__(
        self, torch: Any, module: Any, graph: Any, shapes: Sequence[tuple[int, ...]], engine: str
    ) -> None:
        self.torch, self.graph, self.engine = torch, graph, engine
        own, *inputs = graph.inputs()
        self.known: dict[str, Any] = {own.debugName(): module}
        self.paths: dict[str, str] = {own.debugName(): ""}
        if len(inputs) != len(shapes):
            raise ModelError(f"{SHAPE_KEY} must have {len(inputs)} shapes, not {len(shapes)}")
        names = [value.debugName() for value in inputs]
        self.inputs = dict(zip(names, shapes, strict=True))
        self.calls: list[Call] = []

    def program(self) -> TorchProgram:
        """Return the calls of the graph."""
        for node in self.graph.nodes():
            if any(True for _ in node.blocks()):
                raise ModelError(
                    f"{node.kind()} is control flow: save a traced module, "
                    "torch.jit.trace(model, example), not a scripted one"
                )
            if node.kind() in _CONSTANTS and self._constant(node):
                continue
            self._call(node)
        outputs = [value.debugName() for value in self.graph.outputs()]
        made = {call.output for call in self.calls}
        if not outputs or not set(outputs) <= made:
            raise ModelError("every output must be a tensor that the network computes")
        return TorchProgram(self.calls, self.inputs, outputs, self.engine)

    def _constant(self, node: Any) -> bool:
        """Note a constant, an attribute of the module, or a list of constants."""
        name, kind = node.output().debugName(), node.kind()
        operands = [value.debugName() for value in node.inputs()]
        if kind == "prim::Constant":
            self.known[name] = node.output().toIValue()
            return True
        if kind == "prim::GetAttr":
            owner, attribute = operands[0], node.s("name")
            self.known[name] = getattr(self.known[owner], attribute)
            self.paths[name] = f"{self.paths[owner]}.{attribute}".lstrip(".")
            return True
        self.known[name] = [self.known.get(each, Ref(name=each)) for each in operands]
        return True

    def _call(self, node: Any) -> None:
        op, outputs = node.kind(), [value.debugName() for value in node.outputs()]
        operands = [value.debugName() for value in node.inputs()]
        space, _, short = op.partition("::")
        layer = self._layer(operands, short, outputs)
        if space not in ("aten", "quantized") or len(outputs) != 1:
            raise ModelError(f"{op} is not supported: the network must be quantized", layer=layer)
        self.calls.append(
            Call(
                op=op,
                output=outputs[0],
                arguments=tuple(self.known.get(each, Ref(name=each)) for each in operands),
                layer=layer,
                function=getattr(getattr(self.torch.ops, space), short),
            )
        )

    def _layer(self, operands: Sequence[str], short: str, outputs: Sequence[str]) -> str:
        """Name a layer by the module that has its weights, else by what it does."""
        for name in operands:
            path = self.paths.get(name, "")
            if path.endswith("_packed_params"):
                return path.replace("._packed_params", "")
        return f"{short}_{outputs[0]}" if outputs else short
