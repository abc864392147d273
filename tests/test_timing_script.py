"""The script that places and routes a whole accelerator: its shell, and its complaints."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.sim.emit import to_rtlil

SCRIPT = Path(__file__).parents[1] / "scripts" / "timing.py"


@pytest.fixture(scope="module")
def timing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("timing", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Adder(wiring.Component):
    """Two inputs and a sum, a register behind it."""

    def __init__(self) -> None:
        super().__init__({"a": In(4), "b": In(4), "o": Out(5)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.a + self.b)
        return m


def test_four_pins_reach_every_port(timing: ModuleType) -> None:
    """No input is constant and no output unread: nothing of the design is optimised away."""
    text = to_rtlil(timing.Shell(Adder()))
    top = text[text.index("module \\top\n") :].split("\nmodule ")[0]
    assert top.count("wire width 1 input") == 3 and top.count("wire width 1 output") == 1
    for port in ("\\a", "\\b", "\\o"):
        assert f"connect {port} " in top


def test_an_unknown_spec_is_an_error(timing: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="accelerator must be one of"):
        timing.main(["nothing", "--folder", str(tmp_path)])
