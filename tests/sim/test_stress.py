"""The generator of random programs draws every case."""

import numpy as np

from systolith.sim.stress import random_program
from systolith.sim.stress_specs import random_spec
from systolith.spec.commands import Opcode, Unit, decode


def test_random_programs_meet_every_case() -> None:
    """What the tests of the whole accelerator are meant to cover."""
    met: set[object] = set()
    for seed in range(100):
        rng = np.random.default_rng(seed)
        spec = random_spec(rng)
        met |= {("modes", len(spec.post.modes)), ("regions", spec.memory.activation_regions)}
        met |= {("registers", spec.array.latency - spec.array.rows), ("queue", spec.queue_depth)}
        met |= {("depth", spec.memory.accumulator_depth), ("tables", spec.memory.tables)}
        for c in decode(random_program(rng, spec).commands.tolist()):
            flags = ("x_signed", "w_hold", "maximum", "partial", "residual", "table", "stamp")
            met |= {(f, c[f]) for f in flags if f in c.values}
            met |= {("wait", c.opcode, u) for u in Unit if c.opcode and c["wait"] >> u & 1}
            if c.opcode is Opcode.MATMUL:
                met.add(("vectors", c["my_count"] * c["mx_count"]))
            if c.opcode is Opcode.STORE:
                met |= {("mode", c["mode"]), ("rounding", c["residual"] and c["r_rounding"])}
                met |= {("product", c["residual"] and c["r_product"])}
    wanted = {("registers", n) for n in range(4)}
    wanted |= {("modes", n) for n in (1, 2, 3)} | {("regions", n) for n in (1, 2, 3, 4)}
    wanted |= {("queue", n) for n in (1, 16)} | {("depth", n) for n in (4, 5, 7, 21)}
    flags = ("w_hold", "maximum", "partial", "residual", "table", "stamp")
    wanted |= {(f, v) for f in flags for v in (0, 1)}
    wanted |= {("vectors", n) for n in (1, 2, 3, 6)} | {("rounding", n) for n in (0, 1, 2, 3)}
    wanted |= {("product", v) for v in (0, 1)}
    wanted |= {("wait", Opcode.MATMUL, u) for u in (Unit.MOVE, Unit.STORE)}
    wanted |= {("wait", Opcode.STORE, u) for u in (Unit.MOVE, Unit.COMPUTE)}
    wanted |= {
        ("wait", o, u) for o in (Opcode.FILL, Opcode.COPY) for u in (Unit.COMPUTE, Unit.STORE)
    }
    assert wanted <= met
