"""AcceleratorSpec: every bound, every disagreement between fields, and what follows from them."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.requant import RequantMode

BOUNDS = {
    ("array", "rows"): (1, 64),
    ("array", "columns"): (1, 64),
    ("memory", "activation_regions"): (1, 8),
    ("memory", "activation_bytes"): (64, 1 << 21),
    ("memory", "weight_bytes"): (16, 1 << 24),
    ("memory", "accumulator_depth"): (4, 4096),
    ("memory", "parameter_channels"): (4, 65536),
    ("memory", "command_words"): (64, 65536),
    ("memory", "tables"): (0, 16),
    ("memory", "stamps"): (2, 4096),
    ("post", "lanes"): (1, 64),
    ("post", "softmax_tables"): (0, 4),
    ("post", "multiplier_bits"): (16, 32),
    ("post", "accumulator_bits"): (16, 32),
    ("post", "quantize_lanes"): (0, 16),
    ("array", "depthwise_lines"): (0, 8),
    ("array", "depthwise_width"): (4, 4096),
    ("array", "multiplier_stages"): (0, 2),
    ("external", "data_bytes"): (0, 32),
    ("external", "address_bits"): (32, 64),
    ("external", "burst_beats"): (1, 256),
    ("external", "outstanding"): (1, 16),
}
OTHERS = {"array": {"pipelined": True}, "post": {"modes": frozenset({RequantMode.FIXED})}}
"""What other fields must be for the least values."""
PARTS = {"array": ArraySpec, "memory": MemorySpec, "post": PostSpec, "external": ExternalSpec}


def test_every_integer_has_its_bounds_here() -> None:
    integers = {
        (name, f.name)
        for name, kind in PARTS.items()
        for f in fields(kind)
        if isinstance(getattr(kind(), f.name), int)
        and not isinstance(getattr(kind(), f.name), bool)
    }
    assert integers == set(BOUNDS)


@pytest.mark.parametrize(("part", "field"), BOUNDS)
def test_bounds(part: str, field: str) -> None:
    low, high = BOUNDS[part, field]
    for value in (low, high):
        assert getattr(PARTS[part](**OTHERS.get(part, {}), **{field: value}), field) == value
    for value in (low - 1, high + 1):
        text = f"^{part}.{field} must be between {low} and {high}, not {value}$"
        with pytest.raises(ValueError, match=text):
            PARTS[part](**{field: value})


@pytest.mark.parametrize("value", [True, 4.0, "4", None])
@pytest.mark.parametrize(("part", "field"), BOUNDS)
def test_types(part: str, field: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"^{part}.{field} must be an integer, not {value!r}$"):
        PARTS[part](**{field: value})


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: ArraySpec(multiplier_stages=1),
            ValueError,
            "array.multiplier_stages must be 0 unless array.pipelined is true, not 1",
        ),
        (lambda: ArraySpec(pipelined=1), TypeError, "array.pipelined must be true or false, not 1"),
        (lambda: PostSpec(residual=0), TypeError, "post.residual must be true or false, not 0"),
        (lambda: PostSpec(product=1), TypeError, "post.product must be true or false, not 1"),
        (
            lambda: PostSpec(residual_multipliers=1),
            TypeError,
            "post.residual_multipliers must be true or false, not 1",
        ),
        (
            lambda: MemorySpec(small_distributed=0),
            TypeError,
            "memory.small_distributed must be true or false, not 0",
        ),
        (
            lambda: PostSpec(residual=False, product=True),
            ValueError,
            "post.residual must be true for post.product, not False",
        ),
        (
            lambda: PostSpec(modes=frozenset()),
            ValueError,
            "post.modes must name at least one requantizer mode",
        ),
        (
            lambda: PostSpec(modes={RequantMode.FIXED}),
            TypeError,
            "post.modes must be a frozenset of RequantMode, not {<RequantMode.FIXED: 2>}",
        ),
        (
            lambda: PostSpec(multiplier_bits=31),
            ValueError,
            "post.multiplier_bits must be at least 32 for the mode 'double', not 31",
        ),
        (
            lambda: PostSpec(modes=frozenset({RequantMode.FLOAT32}), multiplier_bits=24),
            ValueError,
            "post.multiplier_bits must be at least 25 for the mode 'float32', not 24",
        ),
        (
            lambda: PostSpec(modes=frozenset({RequantMode.FLOAT32}), accumulator_bits=31),
            ValueError,
            "post.accumulator_bits must be at least 32 for the mode 'float32', not 31",
        ),
        (
            lambda: AcceleratorSpec(name="a-b"),
            ValueError,
            "name must be a Verilog identifier, not 'a-b'",
        ),
        (
            lambda: AcceleratorSpec(queue_depth=-1),
            ValueError,
            "queue_depth must be between 0 and 16, not -1",
        ),
        (
            lambda: AcceleratorSpec(count_bits=17),
            ValueError,
            "count_bits must be between 6 and 16, not 17",
        ),
        (
            lambda: AcceleratorSpec(moves=0),  # type: ignore[arg-type]  # the point of the test
            TypeError,
            "moves must be true or false, not 0",
        ),
        (
            lambda: AcceleratorSpec(moves=False, post=PostSpec(softmax_tables=1)),
            ValueError,
            "moves must be true for post.softmax_tables and post.quantize_lanes, not False",
        ),
        (
            lambda: AcceleratorSpec(event_counters=1),  # type: ignore[arg-type]  # the point of the test
            TypeError,
            "event_counters must be true or false, not 1",
        ),
        (
            lambda: AcceleratorSpec(post=PostSpec(lanes=5)),
            ValueError,
            "post.lanes must divide array.columns (16), not 5",
        ),
        (
            lambda: AcceleratorSpec(memory=MemorySpec(activation_bytes=100)),
            ValueError,
            "memory.activation_bytes must be a multiple of 32, not 100",
        ),
        (
            lambda: AcceleratorSpec(memory=MemorySpec(weight_bytes=1000)),
            ValueError,
            "memory.weight_bytes must be a multiple of 16, not 1000",
        ),
        (
            lambda: AcceleratorSpec(memory=MemorySpec(parameter_channels=100)),
            ValueError,
            "memory.parameter_channels must be a multiple of 8, not 100",
        ),
    ],
)
def test_other_errors(make, error, text) -> None:
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text


def test_specifications_cannot_be_changed() -> None:
    spec = AcceleratorSpec()
    with pytest.raises(FrozenInstanceError):
        spec.queue_depth = 3  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("rows", "lanes", "line"), [(1, 1, 4), (4, 4, 4), (5, 4, 8), (13, 8, 16), (16, 8, 16)]
)
def test_lines_hold_what_is_read_at_once(rows: int, lanes: int, line: int) -> None:
    spec = AcceleratorSpec(array=ArraySpec(rows=rows), post=PostSpec(lanes=lanes))
    assert spec.line_bytes == line


def test_derived_sizes() -> None:
    memory = MemorySpec(activation_regions=3, activation_bytes=96 * 1024)
    spec = replace(AcceleratorSpec(), memory=memory)
    assert spec.region_stride == 128 * 1024
    assert spec.activation_address_bits == 19  # four regions of 128 KiB, the last one empty
    assert spec.activation_total == 3 * 96 * 1024
    assert spec.weight_words == memory.weight_bytes // 16
    assert spec.lane_words == memory.parameter_channels // 8
    assert (spec.beats, spec.macs_per_cycle) == (2, 256)
