"""Convolutions and fully connected layers, dense, grouped and depthwise."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from systolith.compiler.emit import (
    Job,
    Stream,
    emit_pairs,
    job_cycles,
    split_channels,
    store_stream,
)
from systolith.compiler.ir import Pair
from systolith.compiler.lower_depthwise import depthwise_layer, lower_depthwise, plan_depthwise
from systolith.compiler.lower_im2col import lower_gathered, plan_gather
from systolith.compiler.lowering import Lowering
from systolith.compiler.mac import (
    MacLayer,
    mac_layer,
    mac_requantizer,
    packings,
    part_of,
    precisions,
)
from systolith.compiler.mac_parts import MacPart, channel_parts, dense_part
from systolith.compiler.mac_sparse import (
    is_two_of_four,
    is_wanted,
    may_be_sparse,
    on_lines,
    sparse_error,
    sparse_parts,
)
from systolith.compiler.precision import codes_a_byte
from systolith.compiler.problem import Requantizer
from systolith.compiler.reduction import Kernel, pack_tiles
from systolith.compiler.steps import Step
from systolith.compiler.tiling import Region
from systolith.graph import Op
from systolith.spec.precision import Precision, WeightFormat

__all__ = [
    "add_constants",
    "add_weights",
    "lower_mac",
    "part_job",
    "sparse_jobs",
]


def part_job(low: Lowering, layer: MacLayer, part: MacPart) -> Job:
    """The job of one part, but for its weights."""
    step, window, view = layer.step, layer.window, low.view(layer.step.source)
    residual = low.residual_stream(step, part.first_out)
    return Job(
        layer=step.node.name,
        x=Stream(
            storage=view.storage,
            offset=view.at(-window.pads[0], -window.pads[2], part.first_in),
            row=window.strides[0] * view.row,
            pixel=window.strides[1] * view.pixel,
        ),
        y=store_stream(low.view(step.target), low.bytes_of(step, part.first_out)).packed(
            layer.packed
        ),
        r=residual.packed(layer.packed) if residual else None,
        channels=part.channels,
        tile_channels=part.tile,
        x_tile=part.x_tile,
        counts=part.reduction.counts,
        strides=part.reduction.strides,
        load=low.load(part.reduction.passes, part.channels, part.tile, sparse=layer.sparse),
    )


def add_weights(low: Lowering, layer: MacLayer, part: MacPart, job: Job) -> None:
    """Store the weights of one part and complete the MATMUL of its job."""
    tiles = pack_tiles(part.reduction, part.blocks, layer.zero, low.spec, layer.precision)
    job.matmul.update(
        layer.fields,
        x_signed=int(low.signed_codes(layer.step)),
        w_base=low.constants.weights(tiles),
    )
    if layer.sparse:
        job.matmul["w_format"] = int(WeightFormat.TWO_OF_FOUR)


def add_constants(
    low: Lowering, layer: MacLayer, part: MacPart, job: Job, requantizer: Requantizer
) -> None:
    """Store the weights and parameters of one part and complete its job."""
    channels = part_of(requantizer.channels, part.first_out, part.channels, layer.packed)
    parameters = low.constants.parameters(channels, part.tile)
    add_weights(low, layer, part, job)
    job.store.update(low.store_fields(layer.step, requantizer, parameters))
    if layer.precision is not Precision.W8A8:
        low.notes[layer.step.node.name] += f"; {layer.precision.name.lower()}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Option:
    """A way to compute a layer.

    Parameters
    ----------
    cycles: estimate.
    passes: of the array, as many as weight tiles.
    lower: makes its commands.
    depthwise: whether the array streams all pixels of a channel tile before the next tile.
    sparse: whether its weights are two of four.
    """

    cycles: int
    passes: int
    lower: Callable[[Requantizer], list[Pair]]
    depthwise: bool = False
    sparse: bool = False


def _kernel(low: Lowering, layer: MacLayer) -> Kernel:
    """The layer's window where its input lies."""
    window, view, codes = layer.window, low.view(layer.step.source), codes_a_byte(layer.precision)
    return Kernel(
        height=window.kernel[0],
        width=window.kernel[1],
        row=view.row * window.dilations[0] * codes,
        pixel=view.pixel * window.dilations[1] * codes,
        channels=layer.codes.shape[3],
    )


def _ordinary(low: Lowering, layer: MacLayer) -> _Option:
    """Every channel tile reads the window where it lies."""
    parts = list(channel_parts(layer, _kernel(low, layer), low.spec.array))
    return _direct(low, layer, parts, [part_job(low, layer, part) for part in parts])


def sparse_jobs(
    low: Lowering, layer: MacLayer, kernel: Kernel, region: Region
) -> tuple[Sequence[MacPart], Sequence[Job]] | None:
    """Return parts and jobs with two of four weights, if they are, and vectors begin with lines.

    Parameters
    ----------
    layer: see `may_be_sparse`.
    kernel: its window.
    region: outputs, in vectors.
    """
    source = layer.step.source
    parts = sparse_parts(low, layer, kernel, low.view(source).pixel)
    if parts is None or source in low.layout.astray:
        return None
    jobs = [part_job(low, layer, part) for part in parts]
    return (parts, jobs) if all(on_lines(low, job, region) for job in jobs) else None


def _sparse(low: Lowering, layer: MacLayer) -> _Option | None:
    """As `_ordinary`, with two of four weights."""
    found = sparse_jobs(low, layer, _kernel(low, layer), low.region(layer.step, layer.packed))
    return _direct(low, layer, *found) if found else None


def _direct(
    low: Lowering, layer: MacLayer, parts: Sequence[MacPart], jobs: Sequence[Job]
) -> _Option:
    """All parts of a layer, one after the other."""
    region = low.region(layer.step, layer.packed)

    def lower(requantizer: Requantizer) -> list[Pair]:
        pairs, alone = [], len(parts) == 1
        by_tile = _is_depthwise(low, low.splitter.after(layer.step), layer.step.target)
        for part, job in zip(parts, jobs, strict=True):
            regions = [region]
            if alone:
                regions = low.regions(layer.step, job, layer.packed, ahead=not by_tile)
            add_constants(low, layer, part, job, requantizer)
            pairs += emit_pairs(job, regions)
        return _by_tile(low, layer.step, pairs) if by_tile and alone else pairs

    cycles = sum(job_cycles(job, region) for job in jobs)
    passes = sum(part.passes for part in parts)
    return _Option(cycles=cycles, passes=passes, lower=lower, sparse=layer.sparse)


def _gathered(low: Lowering, layer: MacLayer, direct: int) -> _Option | None:
    """COPY gathers the windows first, if that takes fewer cycles than ``direct``."""
    size, row = layer.codes[0].size, layer.codes[0, 0].size
    kernel = Kernel(height=1, width=1, row=0, pixel=0, channels=size)
    flat = replace(layer, codes=layer.codes.reshape(-1, 1, 1, size))
    if layer.sparse:
        parts = None if row % low.spec.line_bytes else sparse_parts(low, flat, kernel, row)
        if parts is None:
            return None
        part = parts[0]
    else:
        part = dense_part(flat.codes, layer, kernel, (0, 0), low.spec.array)
    job = part_job(low, layer, part)
    plan = plan_gather(low, layer, job, direct)
    if plan is None:
        return None

    def lower(requantizer: Requantizer) -> list[Pair]:
        add_constants(low, layer, part, job, requantizer)
        pairs = lower_gathered(plan, job)
        by_tile = _is_depthwise(low, low.splitter.after(layer.step), layer.step.target)
        return _by_tile(low, layer.step, pairs) if by_tile and plan.resident else pairs

    return _Option(cycles=plan.cycles, passes=part.passes, lower=lower, sparse=layer.sparse)


def _depthwise(low: Lowering, layer: MacLayer) -> _Option | None:
    """The array's depthwise mode, where it can hold the layer."""
    filters = depthwise_layer(low, layer)
    plan = plan_depthwise(low, filters) if filters else None
    if filters is None or plan is None:
        return None

    def lower(requantizer: Requantizer) -> list[Pair]:
        return lower_depthwise(low, filters, plan[0], requantizer)

    return _Option(cycles=plan[1], passes=0, lower=lower, depthwise=True)


def _by_tile(low: Lowering, step: Step, pairs: list[Pair]) -> list[Pair]:
    """Compute the last channel tile last, for a layer that reads tile by tile."""
    store = pairs[0].store.values
    first = store["n_count"] - 1
    if not first:
        return pairs
    low.early[step.target] = first * store["tile_channels"]
    return split_channels(pairs, first, low.spec.array.rows)


def _options(low: Lowering, layer: MacLayer) -> Iterator[_Option | None]:
    """Ways to compute a layer in its precision; None for one that there is not."""
    whole = layer.window.dilations[0] == 1 or layer.window.kernel[0] == 1
    windows = layer.window.groups == 1 and layer.window.kernel != (1, 1) and whole
    if layer.precision is Precision.W8A8 and not is_wanted(layer):
        yield _depthwise(low, layer)
    for variant in packings(low, layer):
        ways = []
        if not is_wanted(layer):
            ways.append((variant, _ordinary(low, variant)))
        if may_be_sparse(low, layer):
            sparse = replace(variant, sparse=True)
            found = _sparse(low, sparse)
            ways += [(sparse, found)] if found else []
        for way, direct in ways:
            yield direct
            if windows and layer.precision is not Precision.W4A4:
                yield _gathered(low, way, direct.cycles)


def _ways(low: Lowering, step: Step) -> list[_Option]:
    """All ways to compute a layer, in all precisions that are exact for it."""
    layers = list(precisions(low, mac_layer(low, step)))
    options = [o for own in layers for o in _options(low, own) if o is not None]
    if not options:  # only of a layer that asks for two of four weights
        raise sparse_error(low, layers[0])
    return options


def _cheapest(ways: Sequence[_Option]) -> _Option:
    """The way that takes fewest cycles."""
    return min(ways, key=lambda o: (o.cycles, o.passes))


def _is_depthwise(low: Lowering, step: Step | None, source: str) -> bool:
    """Whether a step reads a tensor channel tile by channel tile."""
    if step is None or step.source != source or step.node.op is not Op.CONV2D:
        return False
    return step.node.attributes["groups"] > 1 and _cheapest(_ways(low, step)).depthwise


def lower_mac(low: Lowering, step: Step) -> list[Pair]:
    """Return the command pairs of a convolution or fully connected layer, the cheapest found."""
    ways = _ways(low, step)
    best = _cheapest(ways)
    pairs = best.lower(mac_requantizer(low, step))
    if low.spec.array.sparse and not best.sparse and is_two_of_four(mac_layer(low, step)):
        some = any(way.sparse for way in ways)
        reason = "takes no fewer cycles" if some else "needs vectors that begin with lines"
        low.notes[step.node.name] += f"; two_of_four {reason}"
    return pairs
