"""The generator of random programs draws every case of nibbles, and none without them."""

import numpy as np

from systolith.golden.execute import execute
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_nibbles import draw_precision, with_nibbles
from systolith.sim.stress_specs import random_spec
from systolith.spec.commands import Opcode, decode
from systolith.spec.precision import Precision


def test_random_programs_meet_every_case() -> None:
    """What the tests of the whole accelerator are meant to cover; golden runs all of them."""
    met: set[object] = set()
    for seed in range(100):
        rng = np.random.default_rng(seed)
        spec = with_nibbles(rng, random_spec(rng, depthwise=seed % 3 == 0))
        program = random_program(rng, spec)
        execute(program, random_inputs(rng, program))
        met |= {("built", spec.array.precisions), ("odd lanes", spec.post.lanes % 2)}
        left = Precision.W8A8
        for c in decode(program.commands.tolist()):
            if c.opcode is Opcode.MATMUL:
                precision = Precision(c["precision"])
                met |= {(precision, flag, c[flag]) for flag in ("x_signed", "w_signed", "w_hold")}
                met |= {(precision, flag, c[flag]) for flag in ("maximum", "partial", "accumulate")}
                met |= {("rail", c["w_signed"], c["w_zero"])} if precision else set()
                if c["accumulate"]:
                    met.add(("chain", left, precision))
                left = precision
            elif c.opcode is Opcode.STORE:
                met.add(("wide", c["tile_channels"] > spec.array.columns))
                met |= {("packed", flag, c[flag], c["packed"]) for flag in ("residual", "table")}
                met.add(("odd channels", c["packed"] and c["tile_channels"] % 2))
    flags = ("x_signed", "w_signed", "w_hold", "maximum", "partial", "accumulate")
    wanted = {(p, flag, v) for p in Precision for flag in flags for v in (0, 1)}
    wanted |= {("rail", signed, zero) for signed, zero in ((1, -8), (1, 7), (0, 0), (0, 15))}
    wanted |= {("chain", a, b) for a in (0, 2) for b in (0, 2)} | {("chain", 1, 1)}
    wanted |= {(name, v) for name in ("wide", "odd channels", "odd lanes") for v in (0, 1)}
    wanted |= {("packed", f, a, b) for f in ("residual", "table") for a in (0, 1) for b in (0, 1)}
    assert wanted <= met, wanted - met
    assert len({key[1] for key in met if isinstance(key, tuple) and key[0] == "built"}) == 3


def test_nothing_is_drawn_without_nibbles() -> None:
    """Programs of other accelerators stay what they were."""
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert draw_precision(rng, random_spec(np.random.default_rng(1)), 1) == {}
    assert rng.bit_generator.state == before
