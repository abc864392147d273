"""Reports of nextpnr in terms of our components."""

import pytest

from systolith.build.flow import check_timing
from systolith.build.timing import Segment, component_of, read_timing
from systolith.constraints import load_board
from systolith.errors import TimingError


def step(delay: float, cell: str, kind: str = "logic") -> dict[str, object]:
    """A step of a path."""
    ends = {"cell": cell, "port": "A", "loc": [1, 1]}
    return {"delay": delay, "type": kind, "from": ends, "to": ends}


REPORT = {
    "fmax": {
        "design.clk": {"achieved": 40.0, "constraint": 50.0},
        "other": {"achieved": 90.0, "constraint": 50.0},
    },
    "critical_paths": [
        {
            "from": "posedge design.clk",
            "to": "posedge design.clk",
            "path": [
                step(0.5, "design.accelerator.feeder.nest.end_TRELLIS_FF_Q", "clk-to-q"),
                step(4.0, "design.accelerator.feeder.nest.end_LUT4_Z", "routing"),
                step(0.25, "design.accelerator.feeder.nest.end_LUT4_Z"),
                step(20.0, "design.accelerator.activations.address_LUT4_C", "routing"),
                step(0.25, "design.accelerator.activations.address_LUT4_C", "setup"),
            ],
        },
        {"from": "async", "to": "posedge design.clk", "path": [step(99.0, "x")]},
    ],
}


@pytest.mark.parametrize(
    ("cell", "component"),
    [
        ("design.accelerator.store.lane0.product_LUT4_Z", "accelerator.store.lane0"),
        ("design.ready_TRELLIS_FF_Q", "design"),
        ("\\design.accelerator.busy", "accelerator"),
        ("$abc$1234$auto$blifparse.cc:397:parse_blif$9", "design"),
        ("pll", "design"),
    ],
)  # fmt: skip
def test_component_of_a_cell(cell: str, component: str) -> None:
    assert component_of(cell) == component


def test_clocks_and_paths() -> None:
    timing = read_timing(REPORT)
    assert not timing.met
    worst, other = timing.clocks
    assert timing.worst is worst
    assert worst.name == "design.clk"
    assert worst.slack_ns == pytest.approx(-5)
    assert worst.path == (
        Segment(component="accelerator.feeder.nest", delay_ns=4.75, cells=2),
        Segment(component="accelerator.activations", delay_ns=20.25, cells=1),
    )
    assert other.path == ()


def test_timing_that_is_not_met() -> None:
    message = (
        r"^timing is not met on icebreaker: 40.0 of 50.0 MHz, slack -5.00 ns; critical path "
        r"accelerator.feeder.nest 4.8 ns -> accelerator.activations 20.2 ns: "
        r"ask for --frequency 40 or less, or try another --seed$"
    )
    with pytest.raises(TimingError, match=message):
        check_timing(load_board("icebreaker"), read_timing(REPORT))


def test_a_design_without_registers_has_met_timing() -> None:
    check_timing(load_board("icebreaker"), read_timing({"fmax": {}, "critical_paths": []}))
