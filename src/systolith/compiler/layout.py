"""Where tensors lie: halos for padded readers, views into concatenated and padded tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from systolith.arithmetic import ConcatArithmetic, MacArithmetic
from systolith.compiler.errors import layer_error
from systolith.compiler.homes import Home, part_of
from systolith.compiler.ir import Storage, View
from systolith.compiler.steps import Step
from systolith.graph import Graph, Node, Op
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Halo", "Layout", "gather_origins", "plan_layout"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Halo:
    """Padding that readers need around a tensor, in rows and pixels, and its code.

    Parameters
    ----------
    top, bottom, left, right, value: the padding.
    line: bytes of an odd number of which a row must take, so that pairs of rows can be read;
        0 if none are.
    """

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    value: int = 0
    line: int = 0

    @property
    def gap(self) -> int:
        """Pixels between rows: the right halo of one row is the left halo of the next."""
        return max(self.left, self.right)

    @property
    def any(self) -> bool:
        """Whether there is padding at all."""
        return bool(self.top or self.bottom or self.left or self.right)


@dataclass(kw_only=True)
class Layout:
    """The result.

    Parameters
    ----------
    views: by tensor.
    halos: root tensors that own a storage, with the halo to fill.
    parents: tensor -> the tensor in whose bytes it lies.
    copies: (node, input index) pairs of moves which need commands.
    paired: tensors whose rows can be read in pairs.
    astray: tensors whose view's offset is not theirs, and theirs is not a whole number of lines.
    """

    views: dict[str, View] = field(default_factory=dict)
    halos: dict[str, Halo] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    copies: set[tuple[str, int]] = field(default_factory=set)
    paired: set[str] = field(default_factory=set)
    astray: set[str] = field(default_factory=set)


class _Planner:
    def __init__(
        self, graph: Graph, steps: Sequence[Step], inputs: Sequence[str], spec: AcceleratorSpec
    ) -> None:
        self.graph, self.steps, self.spec = graph, steps, spec
        self.homes: dict[str, Home] = {}
        self.layout = Layout()
        stored = {step.target for step in steps} | set(inputs) | _constants(graph, steps)
        self.stored = [n for n in graph.tensors if n in stored]
        self.writers = {step.target: step.node for step in steps}
        self.halos = {name: self._halo(name) for name in self.stored}

    def _halo(self, name: str) -> Halo:
        """Join what the convolutions need that read the tensor, or an alias of the same shape."""
        needs: list[Halo] = []
        for step in self.steps:
            if step.source != name:
                continue
            if step.node.op is Op.CONV2D:
                needs.append(_convolution_halo(self.graph, step))
                if self._in_pairs(step.node):
                    # The first output may need one row of a pair only: the other is above it.
                    line, top = self.spec.line_bytes, needs[-1].top + 1
                    needs[-1] = replace(needs[-1], top=top, line=line)
            elif step.node.op is Op.RESHAPE and self._same_shape(step.node):
                needs.append(self._halo(step.target))
        needs = [h for h in needs if h.any]
        if len({h.value for h in needs}) > 1:
            raise layer_error(
                self.graph.consumers(name)[0],
                f"readers of {name!r} pad it with different codes",
                "give them the same zero point",
            )
        if not needs:
            return Halo()
        sides = ("top", "bottom", "left", "right", "line")
        return Halo(value=needs[0].value, **{s: max(getattr(h, s) for h in needs) for s in sides})

    def _in_pairs(self, node: Node) -> bool:
        """Whether a convolution could read its input's rows in pairs."""
        channels = self.graph.tensor(node.inputs[0]).shape[2]
        return (
            self.spec.row_pairs
            and node.attributes["groups"] == channels
            and node.attributes["strides"][0] % 2 == 0
            and node.attributes["dilations"][0] == 1
            and channels % self.spec.line_bytes == 0
        )

    def _same_shape(self, node: Node) -> bool:
        before, after = node.inputs[0], node.outputs[0]
        return self.graph.tensor(before).shape == self.graph.tensor(after).shape

    def place(self) -> Layout:
        """Decide aliases in execution order, then make storages and views."""
        for step in self.steps:
            if step.node.op is Op.RESHAPE:
                self._reshape(step.node)
            elif step.node.op is Op.GATHER:
                self._choose(step.node)
            elif step.node.op in (Op.PAD, Op.CONCAT):
                self._gather(step.node)
        for name in self.stored:
            self._view(name)
        self.layout.parents = {name: home.parent for name, home in self.homes.items()}
        return self.layout

    def _reshape(self, node: Node) -> None:
        before, after = node.inputs[0], node.outputs[0]
        flat = not self.halos[before].any and not self.halos[after].any
        if self._same_shape(node) or (flat and self._dense(before)):
            self.homes[after] = Home(parent=before, origin=None)
        else:
            self.layout.copies.add((node.name, 0))

    def _choose(self, node: Node) -> None:
        """Let a slice lie where it is if rows, pixels and channels are nested as in any tensor."""
        before, after = node.inputs[0], node.outputs[0]
        whole, shape = (self.graph.tensor(name).shape for name in (before, after))
        home = part_of(before, whole, shape, node.attributes["index"])
        if home is None or self.halos[after].any:
            self.layout.copies.add((node.name, 0))
        else:
            self.homes[after] = home

    def _dense(self, name: str) -> bool:
        """Whether the tensor's bytes will follow each other, as far as decided."""
        home = self.homes.get(name)
        if home is None:
            # A later pad or concatenation could still claim it; whoever comes first wins.
            return not self.halos[name].any
        if home.steps is not None:
            _, width, channels = self.graph.tensor(name).shape
            _, columns, depth = self.graph.tensor(home.parent).shape
            row, pixel = (y * columns * depth + x * depth + c for y, x, c in home.steps)
            if (row, pixel) != (width * channels, channels):
                return False
        return (home.origin is None or home.steps is not None) and self._dense(home.parent)

    def _gather(self, node: Node) -> None:
        """Place the inputs of a pad or concatenation inside its output where that is legal."""
        target = node.outputs[0]
        aliased = {h.parent for h in self.homes.values() if h.origin is None or h.steps}
        origins = gather_origins(self.graph, node)
        for index, (name, origin) in enumerate(zip(node.inputs, origins, strict=True)):
            free = name not in self.homes and name not in aliased and name != target
            once = node.inputs.count(name) == 1
            if free and once and not self.halos[name].any and not _mapped(node, index):
                self.homes[name] = Home(parent=target, origin=origin)
            else:
                self.layout.copies.add((node.name, index))

    def _view(self, name: str) -> View:
        if name in self.layout.views:
            return self.layout.views[name]
        home, shape = self.homes.get(name), self.graph.tensor(name).shape
        if home is None:
            view = self._root(name)
        else:
            parent = self._view(home.parent)
            if home.origin is None:
                view = parent if parent.shape == shape else parent.reshaped(shape)
            else:
                row, pixel = home.steps or ((1, 0, 0), (0, 1, 0))
                view = View(
                    storage=parent.storage,
                    offset=parent.at(*home.origin),
                    shape=shape,
                    row=parent.at(*row) - parent.offset,
                    pixel=parent.at(*pixel) - parent.offset,
                )
        self.layout.views[name] = view
        return view

    def _root(self, name: str) -> View:
        height, width, channels = self.graph.tensor(name).shape
        halo = self.halos[name]
        self.layout.halos[name] = halo
        row = (width + halo.gap) * channels
        if halo.line:
            row += (row // halo.line + 1) % 2 * halo.line
            self.layout.paired.add(name)
        head = halo.top * row + halo.left * channels
        tail = halo.gap * channels + halo.bottom * row
        if halo.line:
            # The last pair of rows, and the last window's padding, may lie behind the image.
            tail += row + channels
        if head and tail:
            # Runs of the same length are one FILL command.
            head = tail = max(head, tail)
        writer = self.writers.get(name)
        storage = Storage(
            name=name,
            size=head + (height - 1) * row + width * channels + tail,
            layer=writer.name if writer else name,
            aligned=bool(halo.line),
        )
        return View(
            storage=storage,
            offset=head,
            shape=(height, width, channels),
            row=row,
            pixel=channels,
        )


def _constants(graph: Graph, steps: Sequence[Step]) -> set[str]:
    """Constants that are operands of additions and products."""
    read = {step.source for step in steps}
    read |= {step.addition.other for step in steps if step.addition is not None}
    return {name for name in read if graph.tensor(name).data is not None}


def _convolution_halo(graph: Graph, step: Step) -> Halo:
    """What a convolution reads beyond its input; the unread part of its padding is left out."""
    node = step.node
    assert isinstance(node.arithmetic, MacArithmetic)
    height, width, _ = graph.tensor(node.inputs[0]).shape
    rows, columns, _ = graph.tensor(node.outputs[0]).shape
    a: Mapping[str, Sequence[int]] = node.attributes
    top, _, left, _ = a["pads"]
    zero = node.arithmetic.input_zero_point
    reach = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(
            (rows, columns), a["strides"], a["kernel"], a["dilations"], strict=True
        )
    ]
    return Halo(
        top=top,
        left=left,
        bottom=max(0, reach[0] - top - height),
        right=max(0, reach[1] - left - width),
        value=zero if step.packed_source is None else (zero & 15) * 17,
    )


def gather_origins(graph: Graph, node: Node) -> list[tuple[int, int, int]]:
    """Where each input begins in the output of a pad or concatenation."""
    if node.op is Op.PAD:
        top, _, left, _ = node.attributes["pads"]
        return [(top, left, node.attributes.get("channel_pads", (0, 0))[0])]
    axis, position, origins = node.attributes["axis"], 0, []
    for name in node.inputs:
        origin = [0, 0, 0]
        origin[axis] = position
        origins.append((origin[0], origin[1], origin[2]))
        position += graph.tensor(name).shape[axis]
    return origins


def _mapped(node: Node, index: int) -> bool:
    arithmetic = node.arithmetic
    return isinstance(arithmetic, ConcatArithmetic) and arithmetic.tables[index] is not None


def plan_layout(
    graph: Graph, steps: Sequence[Step], inputs: Sequence[str], spec: AcceleratorSpec
) -> Layout:
    """Give every stored tensor a view; storages get their addresses later.

    Raises
    ------
    CompileError: readers of one tensor need different padding codes.
    """
    return _Planner(graph, steps, inputs, spec).place()
