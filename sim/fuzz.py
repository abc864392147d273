"""Random programs which no order of the units' overlapping work can make ambiguous.

They are groups of FILL, MATMUL and STORE. MATMUL and the residual stream read region 0, STORE
writes region 1, and tokens make every FILL, which writes region 0, wait for the group before it.
"""

import numpy as np

from systolith.sim.stress_depthwise import DepthwiseDraw, draw_depthwise
from systolith.sim.stress_specs import pick
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import FILL_LOOPS, MATMUL_LOOPS, STORE_LOOPS, Opcode, Unit, encode
from systolith.spec.precision import Precision, nibble_zeros
from systolith.spec.program import Buffer, Program
from systolith.spec.requant import RequantMode, ResidualRounding

__all__ = ["draw_fill", "draw_matmul", "draw_store", "random_memory", "random_program"]

_WEIGHT_TILES = 100
_DEPTHWISE_TILES = 8
_LANE_WORDS = 64


def random_program(rng: np.random.Generator, spec: AcceleratorSpec, *, groups: int = 4) -> Program:
    """Draw a program whose inputs and outputs are both activation regions as a whole."""
    mode = sorted(spec.post.modes)[int(rng.integers(0, len(spec.post.modes)))]
    words: list[int] = []
    array = spec.array
    depthwise: dict[int, DepthwiseDraw] = {}  # by w_base
    for group in range(groups):
        fill = draw_fill(rng, spec)
        fill["wait"] = 1 << Unit.STORE if group else 0
        if array.depthwise_lines and rng.integers(3):
            draw, matmul = _draw_depthwise(rng, spec, group)
            depthwise[matmul["w_base"]] = draw
            results = matmul | {"my_count": matmul["oy_count"], "mx_count": matmul["ox_count"]}
            if draw.shared > 1:
                words += encode(Opcode.FILL, **fill)
                fill = draw.padding(matmul["x_base"], int(rng.integers(256)))
        else:
            results = matmul = draw_matmul(rng, spec)
        words += encode(Opcode.FILL, **fill, signal=1 << Unit.COMPUTE)
        words += encode(Opcode.MATMUL, **matmul, wait=1 << Unit.MOVE)
        words += encode(
            Opcode.STORE, **draw_store(rng, spec, results), mode=int(mode), signal=1 << Unit.MOVE
        )
    weights = rng.integers(0, 256, (_WEIGHT_TILES * array.rows, array.columns), np.uint8)
    for w_base, draw in depthwise.items():
        draw.blank(weights, w_base)
    regions = _regions(spec)
    return Program(
        spec=spec,
        commands=np.array(words + encode(Opcode.END), np.uint32),
        weights=weights,
        parameters=_parameters(rng, spec, mode),
        tables=rng.integers(0, 256, (spec.memory.tables, 256), np.uint8),
        buffers=regions,
        inputs=tuple(regions),
        outputs=tuple(regions),
        layers=(),
    )


def _regions(spec: AcceleratorSpec) -> dict[str, Buffer]:
    """Both regions, each as one buffer."""
    size = spec.memory.activation_bytes
    return {
        f"region{g}": Buffer(
            base=g * spec.region_stride, shape=(1, 1, size), strides=(0, 0, 1), dtype="uint8"
        )
        for g in range(2)
    }


def _draw_depthwise(
    rng: np.random.Generator, spec: AcceleratorSpec, group: int
) -> tuple[DepthwiseDraw, dict[str, int]]:
    """Draw a depthwise MATMUL inside of region 0, with weight tiles of its own; all its fields."""
    rows, room = spec.array.rows, spec.memory.activation_bytes
    results = room // spec.array.columns - 1
    draw = draw_depthwise(rng, spec, results=results, stride=9, tiles=_DEPTHWISE_TILES)
    w_base = (_WEIGHT_TILES - (group + 1) * _DEPTHWISE_TILES) * rows
    x_base = _base(rng, draw.fields, "x", MATMUL_LOOPS, room - rows)
    return draw, draw.fields | {"w_base": w_base, "x_base": x_base}


def random_memory(rng: np.random.Generator, program: Program) -> dict[str, np.ndarray]:
    """Draw the inputs of a random program."""
    shapes = {name: program.buffers[name].shape for name in program.inputs}
    return {name: rng.integers(0, 256, shape, np.uint8) for name, shape in shapes.items()}


def _parameters(rng: np.random.Generator, spec: AcceleratorSpec, mode: RequantMode) -> np.ndarray:
    """Draw parameters for which accumulators of a few tiles mostly do not saturate."""
    shape = (_LANE_WORDS, spec.post.lanes)
    scale = 18 + int(rng.integers(0, 4))
    words = np.zeros((*shape, 8), np.uint32)
    words[..., 0] = rng.integers(-500, 500, shape).astype(np.int32).view(np.uint32)
    widths, fitted = spec.post.widths, mode in (RequantMode.FIXED, RequantMode.MAGNITUDE)
    bits = 24 if mode is RequantMode.FLOAT32 else widths.multiplier - 1
    words[..., 1] = rng.integers(1 << (bits - 1), 1 << bits, shape)
    words[..., 2:4] = rng.integers(0, 1 << 32, (*shape, 2))
    if fitted:
        words[..., 3] = rng.integers(0, min(32, 1 << max(0, widths.sum - 33)), shape)
    right = {RequantMode.DOUBLE: scale - 10, RequantMode.FLOAT32: scale + 13}
    shift = np.full(shape, right.get(mode, 12 - scale - widths.multiplier), np.int32)
    words[..., 4] = (rng.integers(-1, 1, shape).astype(np.int32) - shift).view(np.uint32)
    return words


def _span(values: dict[str, int], stream: str, loops: tuple[str, ...]) -> tuple[int, int]:
    """Return the least and the largest offset of a stream."""
    ends = [(values[f"{n}_count"] - 1) * values.get(f"{stream}_{n}_stride", 0) for n in loops]
    return sum(min(e, 0) for e in ends), sum(max(e, 0) for e in ends)


def _base(
    rng: np.random.Generator, values: dict[str, int], stream: str, loops: tuple[str, ...], room: int
) -> int:
    """Draw a base for which the stream's vectors start inside of [0, room)."""
    least, most = _span(values, stream, loops)
    return int(rng.integers(-least, room - most))


def draw_matmul(rng: np.random.Generator, spec: AcceleratorSpec) -> dict[str, int]:
    """Draw a MATMUL whose vectors start in region 0 (and may wrap around in it)."""
    values = {f"{name}_count": int(rng.integers(1, 4)) for name in MATMUL_LOOPS}
    room = spec.memory.accumulator_depth // values["my_count"]
    values["mx_count"] = min(values["mx_count"], room)
    values |= {f"x_{name}_stride": int(rng.integers(-20, 40)) for name in MATMUL_LOOPS}
    if rng.random() < 0.5:
        values["x_n_stride"] = 0
    flags = ("x_signed", "w_signed", "maximum", "w_hold")
    values |= {name: int(rng.integers(0, 2)) for name in flags}
    values["x_base"] = _base(rng, values, "x", MATMUL_LOOPS, spec.memory.activation_bytes)
    if spec.array.nibbles:
        values["precision"] = int(pick(rng, *sorted(spec.array.precisions)))
    zero = int(rng.integers(-100, 100))
    if values.get("precision"):
        zero = int(pick(rng, *nibble_zeros(values["w_signed"])))
    return values | {"w_base": int(rng.integers(0, 10)), "w_zero": zero}


def draw_store(
    rng: np.random.Generator, spec: AcceleratorSpec, matmul: dict[str, int]
) -> dict[str, int]:
    """Draw a STORE of all results of ``matmul`` to places of region 1 which do not overlap."""
    values = {f"{name}_count": matmul[f"{name}_count"] for name in STORE_LOOPS}
    columns = spec.array.columns
    if matmul.get("precision") == Precision.W4A8:
        columns *= 2
    stride = columns
    for name in reversed(STORE_LOOPS):
        values[f"y_{name}_stride"] = stride
        stride *= values[f"{name}_count"]
    values |= {f"r_{name}_stride": int(rng.integers(-6, 7)) for name in STORE_LOOPS}
    width, tiles = int(rng.integers(1, columns + 1)), values["n_count"]
    room = spec.memory.activation_bytes - columns
    product = int(rng.integers(2)) if spec.post.product else 0
    return values | {
        "y_base": spec.region_stride + _base(rng, values, "y", STORE_LOOPS, room),
        "r_base": _base(rng, values, "r", STORE_LOOPS, room),
        "tile_channels": width,
        "channels": int(rng.integers((tiles - 1) * width + 1, tiles * width + 1)),
        "p_base": int(rng.integers(0, 8)),
        "p_stride": int(rng.integers(1, 4)),
        "zero": int(rng.integers(-128, 128)),
        "low": -128,
        "high": 127,
        "residual": int(rng.integers(0, 2)) if spec.post.residual else 0,
        "r_signed": int(rng.integers(0, 2)),
        "r_product": product,
        "r_zero_r": int(rng.integers(-256, 256)),
        "r_multiplier_y": int(rng.integers(1, 1 << (13 if product else 20))),
        "r_multiplier_r": int(rng.integers(1, 1 << 20)),
        "r_offset": int(rng.integers(-(1 << 24), 1 << 24)),
        "r_shift": 20,
        "r_rounding": int(rng.integers(len(ResidualRounding))),
        "r_zero": int(rng.integers(-9, 9)),
        "r_low": -128,
        "r_high": 127,
        "table": int(rng.integers(0, 2)) if spec.memory.tables else 0,
        "table_index": int(rng.integers(0, max(1, spec.memory.tables))),
        "packed": int(rng.integers(2)) if spec.array.packs else 0,
    }


def draw_fill(rng: np.random.Generator, spec: AcceleratorSpec) -> dict[str, int]:
    """Draw a FILL of runs inside of region 0."""
    values = {f"{name}_count": int(rng.integers(1, 4)) for name in FILL_LOOPS}
    values |= {f"d_{name}_stride": int(rng.integers(-50, 50)) for name in FILL_LOOPS}
    length = int(rng.integers(1, 40))
    base = _base(rng, values, "d", FILL_LOOPS, spec.memory.activation_bytes - length)
    return values | {"d_base": base, "length": length, "value": int(rng.integers(0, 256))}
