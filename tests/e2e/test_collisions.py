"""What a memory gives for a word that is written in the same cycle is never used.

So block RAMs that give nothing to rely on need no logic around them (`sim.netlist.READS_APART`).
"""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.hw.technology import Technology
from systolith.hw.top import Accelerator
from systolith.sim.accelerator import TOP
from systolith.sim.emit import run_yosys, to_rtlil
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.netlist import READS_APART
from systolith.sim.netlist_backend import NetlistBackend
from systolith.sim.verilator import build_model
from systolith.spec.accelerator import AcceleratorSpec

pytestmark = pytest.mark.usefixtures("compiler")
PASSES = [READS_APART, "proc", "flatten", "opt_expr", "opt_clean", "opt_dff", "opt_clean"]


class Colliding(NetlistBackend):
    """The design with memories whose reads give ones for what is written in the same cycle."""

    def _library(self, spec: AcceleratorSpec) -> Path:
        passes = [*PASSES, "write_verilog -noattr -norename -sv design.v"]
        rtlil = to_rtlil(Accelerator(spec), TOP)
        text = run_yosys(rtlil, passes, outputs=["design.v"])["design.v"]
        ones, found = re.subn(r"'hx+\b", lambda m: f"'h{'f' * (len(m[0]) - 2)}", text)
        assert found > 20
        return build_model(ones, TOP, jobs=1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("SPECS", "3x5"), ("DEPTHWISE_SPECS", "5x3")])
def test_random_graphs(random_graphs: ModuleType, kind: str, name: str) -> None:
    """Every tensor is golden's."""
    spec = getattr(random_graphs, kind)[name]
    backend, compared = Colliding(Technology.GENERIC), 0
    for seed in range(6):
        graph = random_graphs.random_graph(seed)
        program = compile_graph(graph, spec).program
        wanted = {layer.tensor for layer in program.layers}
        inputs = random_graphs.random_inputs(graph, seed)
        right = GoldenBackend().run(program, inputs, capture=wanted).tensors
        found = backend.run(program, inputs, capture=wanted).tensors
        for tensor, values in right.items():
            np.testing.assert_array_equal(found[tensor], values, err_msg=f"{seed}: {tensor}")
            compared += values.size
    assert compared > 1000
