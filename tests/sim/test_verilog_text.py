"""Rewrites of Yosys' text for simulators."""

from systolith.sim.verilog_text import repeat_elements, skip_case_checks


def test_runs_of_an_element_become_a_repetition() -> None:
    """Names, escaped names and single bits; runs of at least three, neighbours untouched."""
    text = "  assign y = { a, \\b.c [7], \\b.c [7], \\b.c [7], \\b.c [7], d, d, e };"
    assert repeat_elements(text) == "  assign y = { a, {4{\\b.c [7]}} , d, d, e };"
    assert repeat_elements("{ s, s, s }") == "{ {3{s}} }"


def test_other_elements_are_not_taken_for_equal() -> None:
    """Names that begin alike, other bits, and ranges are not repetitions."""
    for text in ("{ a, ab, abc }", "{ a[1], a[2], a[3] }", "{ a[3:0], a[3:0], a[3:0] }"):
        assert repeat_elements(text) == text


def test_pragmas_of_selections_go() -> None:
    assert skip_case_checks("    casez (s) // synopsys parallel_case\n") == "    casez (s)\n"
