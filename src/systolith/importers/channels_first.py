"""Building graphs from files whose images are NCHW: ONNX, PyTorch."""

import numpy as np

from systolith.arithmetic import Codes
from systolith.graph import Op, Quantization, Tensor
from systolith.importers.builder import GraphBuilder, canonical_shape
from systolith.profiles.table import Profile
from systolith.strides import Int64Array

__all__ = [
    "ChannelsFirst",
    "append_move",
    "codes_quantization",
    "default_order",
    "layout",
    "moved",
    "order_of",
]


def default_order(shape: tuple[int, ...]) -> Int64Array | None:
    """Return the canonical order of a tensor: NCHW to HWC for rank 4, else as it is."""
    if len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1:
        return None
    places = np.arange(int(np.prod(shape)), dtype=np.int64)
    return places.reshape(shape).transpose(0, 2, 3, 1).ravel()


def layout(shape: tuple[int, ...], what: str) -> tuple[int, int, int]:
    """Return the canonical shape of a tensor in its default layout (rank 4 is NCHW)."""
    if len(shape) == 4:
        return canonical_shape((shape[0], shape[2], shape[3], shape[1]), what)
    return canonical_shape(shape, what)


class ChannelsFirst(GraphBuilder):
    """A graph builder whose tensors of four sides are NCHW in the file, NHWC in the graph.

    Parameters
    ----------
    profile: gives the arithmetic.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.known: dict[str, Codes] = {}

    def plain_image(self, tensor: Tensor) -> Tensor:
        """Return a tensor that must be NCHW of rank 4, in the default layout."""
        if len(tensor.source_shape) != 4:
            self.unsupported(f"its input must have rank 4, not {list(tensor.source_shape)}")
        return self.plain(tensor)

    def plain(self, tensor: Tensor) -> Tensor:
        """Return a tensor in the default canonical layout, moved there if need be."""
        shape, wanted = layout(tensor.source_shape, tensor.name), _shape_order(tensor.source_shape)
        same = np.array_equal(order_of(tensor), wanted)
        if tensor.shape == shape and same:
            return tensor
        name = f"{tensor.name}/plain"
        if name not in self.tensors:
            inverse = np.empty(tensor.size, np.int64)
            inverse[order_of(tensor)] = np.arange(tensor.size)
            self.tensor(name, tensor.source_shape, tensor, None)
            self.add_choice(tensor.name, name, inverse[wanted], f"/{tensor.name}")
        return self.tensors[name]

    def tensor(
        self, name: str, shape: tuple[int, ...], source: Tensor, like: Tensor | None
    ) -> Tensor:
        """Make a tensor of a source's codes (or floats) under another shape.

        Parameters
        ----------
        like: tensor whose canonical layout it shares; the default layout if None.
        """
        if name in self.tensors:
            self.fail(f"output {name!r} must be written once")
        if source.name in self.known:
            self.known[name] = self.known[source.name]
        return self.add_tensor(
            Tensor(
                name=name,
                shape=like.shape if like else layout(shape, f"tensor {name!r}"),
                dtype=source.dtype,
                quantization=source.quantization,
                source_name=name,
                source_shape=shape,
                order=like.order if like else default_order(shape),
                limits=source.limits,
            )
        )

    def quantized(self, name: str, shape: tuple[int, ...], codes: Codes) -> Tensor:
        """Make a tensor of codes in the default layout."""
        self.known[name] = codes
        return self.add_tensor(
            Tensor(
                name=name,
                shape=layout(shape, f"tensor {name!r}"),
                dtype=codes.dtype,
                quantization=codes_quantization(codes),
                source_name=name,
                source_shape=shape,
                order=default_order(shape),
                limits=codes.limits,
            )
        )


def codes_quantization(codes: Codes) -> Quantization:
    """Return what a tensor of such codes carries."""
    return Quantization(
        scale=np.array([codes.scale], np.float32),
        zero_point=np.array([codes.zero_point], np.int64),
    )


def _shape_order(shape: tuple[int, ...]) -> Int64Array:
    order = default_order(shape)
    return np.arange(int(np.prod(shape)), dtype=np.int64) if order is None else order


def order_of(tensor: Tensor) -> Int64Array:
    """Return a tensor's order, the identity if it has none."""
    return np.arange(tensor.size, dtype=np.int64) if tensor.order is None else tensor.order


def append_move(
    ctx: ChannelsFirst, source: Tensor, target: Tensor, index: Int64Array | None, suffix: str
) -> None:
    """Append the node that makes what `moved` returned."""
    if index is None:
        ctx.add_node(Op.RESHAPE, (source.name,), (target.name,), suffix=suffix)
    else:
        ctx.add_choice(source.name, target.name, index, suffix)


def moved(
    ctx: ChannelsFirst, source: Tensor, places: Int64Array, name: str
) -> tuple[Tensor, Int64Array | None]:
    """Make the tensor of some places of a source.

    All elements stay where they lie, and the runtime's order is tracked; fewer, or repeated ones,
    get the default layout.

    Returns
    -------
    The tensor, and which of the source's elements its are, in canonical order; None for all.
    """
    flat, size = places.ravel(), source.size
    inverse = np.empty(size, np.int64)
    inverse[order_of(source)] = np.arange(size)
    seen = np.zeros(size, bool)
    seen[flat] = True
    if flat.size == size and seen.all():
        after = np.empty(size, np.int64)
        after[flat] = np.arange(size)
        return _renamed(ctx, source, places.shape, after[order_of(source)], name), None
    wanted = default_order(places.shape)
    chosen = inverse[flat if wanted is None else flat[wanted]]
    return ctx.tensor(name, places.shape, source, None), chosen


def _renamed(
    ctx: ChannelsFirst, source: Tensor, shape: tuple[int, ...], order: Int64Array, name: str
) -> Tensor:
    """Make the output: in the default layout where the bytes lie so, else as the source lies."""
    identity = np.arange(source.size, dtype=np.int64)
    wanted = default_order(shape)
    if len(shape) <= 4 and np.array_equal(order, identity if wanted is None else wanted):
        return ctx.tensor(name, shape, source, None)
    flat = len(shape) <= 2 and int(np.prod(shape[:-1])) == 1
    like = Tensor(
        name="",
        shape=(1, 1, source.size) if flat else source.shape,
        dtype=source.dtype,
        order=order,
    )
    return ctx.tensor(name, shape, source, like)
