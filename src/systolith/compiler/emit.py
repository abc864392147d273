"""From streams over an output region to MATMUL and STORE commands."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from systolith.compiler.ir import Pair, Storage, SymbolicCommand, View
from systolith.compiler.tiling import COMMAND_CYCLES, Load, Region, Tiles, cut_region
from systolith.compiler.two_of_four import dense_rows
from systolith.spec.commands import Opcode

__all__ = ["Job", "Stream", "emit_pairs", "emit_tiles", "is_linear", "job_cycles", "store_stream"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """One vector of bytes for every output pixel.

    Parameters
    ----------
    storage, offset: the first byte for output pixel (0, 0), which may lie outside the region.
    row, pixel: bytes from output row to row and from output pixel to pixel.
    """

    storage: Storage
    offset: int
    row: int
    pixel: int

    def base(self, y: int, x: int) -> tuple[Storage, int]:
        """The vector of output pixel (y, x)."""
        return self.storage, self.offset + y * self.row + x * self.pixel

    def packed(self, count: int) -> "Stream":
        """Vectors of ``count`` neighbouring pixels."""
        return replace(self, pixel=count * self.pixel)


def store_stream(view: View, channel: int = 0) -> Stream:
    """The stream over a view's own pixels."""
    return Stream(
        storage=view.storage, offset=view.at(0, 0, channel), row=view.row, pixel=view.pixel
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A loop nest over an output region, still to be cut into tiles.

    Parameters
    ----------
    layer: name for error messages.
    x, y, r: streams of the array's input, the output and the residual operand.
    channels, tile_channels: output channels, and those of a full tile.
    x_tile: bytes from one channel tile's input to the next.
    counts, strides: of the loops ky, kx, kc.
    load: cost of a tile.
    matmul, store: the fields that do not depend on the tiling.
    """

    layer: str
    x: Stream
    y: Stream
    r: Stream | None
    channels: int
    tile_channels: int
    x_tile: int
    counts: tuple[int, int, int]
    strides: tuple[int, int, int]
    load: Load
    matmul: dict[str, int] = field(default_factory=dict)
    store: dict[str, int] = field(default_factory=dict)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All streams."""
        return (self.x, self.y) + ((self.r,) if self.r else ())

    @property
    def channel_tiles(self) -> int:
        """Iterations of loop n."""
        return -(-self.channels // self.tile_channels)

    def on(self, x: Stream) -> "Job":
        """The same job with another input stream."""
        return replace(self, x=x)


def is_linear(job: Job, region: Region) -> bool:
    """Whether the region's pixels are one line in every stream."""
    return all(s.row == region.width * s.pixel for s in job.streams)


def job_cycles(job: Job, region: Region) -> int:
    """What a region of a job costs, roughly."""
    tiles = cut_region(region, job.load, linear=is_linear(job, region))
    steady = sum(t.count * job.load.cycles(t.height * t.width) for t in tiles)
    return steady + COMMAND_CYCLES * len(tiles)


def _tile_strides(stream: Stream, tiles: Tiles, prefix: str, n_stride: int) -> dict[str, int]:
    """Strides of the loops t, n, my, mx; those of loops with one iteration are 0."""
    step = tiles.step_y * stream.row + tiles.step_x * stream.pixel
    return {
        f"{prefix}_t_stride": step if tiles.count > 1 else 0,
        f"{prefix}_n_stride": n_stride,
        f"{prefix}_my_stride": stream.row if tiles.height > 1 else 0,
        f"{prefix}_mx_stride": stream.pixel if tiles.width > 1 else 0,
    }


def _matmul(job: Job, tiles: Tiles, loops: dict[str, int], several: bool) -> SymbolicCommand:
    values = job.matmul | loops
    for name, count, stride in zip(("ky", "kx", "kc"), job.counts, job.strides, strict=True):
        values[f"{name}_count"] = count
        values[f"x_{name}_stride"] = stride if count > 1 else 0
    values |= _tile_strides(job.x, tiles, "x", job.x_tile if several else 0)
    return SymbolicCommand(
        opcode=Opcode.MATMUL,
        layer=job.layer,
        values=values,
        bases={"x_base": job.x.base(tiles.y, tiles.x)},
    )


def _store(job: Job, tiles: Tiles, loops: dict[str, int], several: bool) -> SymbolicCommand:
    n_stride = job.tile_channels if several else 0
    values = job.store | loops
    values |= {"channels": job.channels, "tile_channels": job.tile_channels}
    values |= _tile_strides(job.y, tiles, "y", n_stride >> values.get("packed", 0))
    bases = {"y_base": job.y.base(tiles.y, tiles.x)}
    if job.r is not None:
        values |= _tile_strides(job.r, tiles, "r", n_stride)
        bases["r_base"] = job.r.base(tiles.y, tiles.x)
    return SymbolicCommand(opcode=Opcode.STORE, layer=job.layer, values=values, bases=bases)


def emit_tiles(job: Job, tiles: Tiles) -> Pair:
    """Return the command pair that computes equal tiles."""
    several = job.channel_tiles > 1
    loops = {
        "t_count": tiles.count,
        "n_count": job.channel_tiles,
        "my_count": tiles.height,
        "mx_count": tiles.width,
    }
    return Pair(
        matmul=_matmul(job, tiles, loops, several), store=_store(job, tiles, loops, several)
    )


def emit_pairs(job: Job, regions: Sequence[Region]) -> list[Pair]:
    """Return the command pairs that compute the regions, in order."""
    return [
        emit_tiles(job, tiles)
        for region in regions
        for tiles in cut_region(region, job.load, linear=is_linear(job, region))
    ]


def _split(pair: Pair, tiles: int, rows: int) -> tuple[Pair, Pair]:
    m, s = pair.matmul.values, pair.store.values
    channels, rest = tiles * s["tile_channels"], m["n_count"] - tiles
    weights = tiles * m["ky_count"] * m["kx_count"] * m["kc_count"]
    weights *= dense_rows(m, rows)
    bases = [*pair.matmul.bases, *pair.store.bases]
    beyond = {name: tiles * (m | s)[f"{name[0]}_n_stride"] for name in bases}
    behind = {"n_count": rest, "channels": s["channels"] - channels}
    return (
        Pair(
            matmul=pair.matmul.moved({}, {"n_count": tiles}),
            store=pair.store.moved({}, {"n_count": tiles, "channels": channels}),
            before=pair.before,
        ),
        Pair(
            matmul=pair.matmul.moved(beyond, {"n_count": rest, "w_base": m["w_base"] + weights}),
            store=pair.store.moved(
                beyond, {**behind, "p_base": s["p_base"] + tiles * s["p_stride"]}
            ),
        ),
    )


def split_channels(pairs: Sequence[Pair], tiles: int, rows: int) -> list[Pair]:
    """Return commands that compute the first channel tiles of all pairs, then the others.

    Parameters
    ----------
    pairs: of one layer, each with more than ``tiles`` channel tiles and weights for each.
    tiles: how many come first.
    rows: of the array.
    """
    parts = [_split(pair, tiles, rows) for pair in pairs]
    return [first for first, _ in parts] + [rest for _, rest in parts]
