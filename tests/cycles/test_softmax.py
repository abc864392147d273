"""SOFTMAX in the cycle model: nearly what the hardware takes, and stamps of both units."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.cycles import predict
from systolith.sim.stress import random_program
from systolith.spec.accelerator import AcceleratorSpec, PostSpec
from systolith.spec.commands import Opcode, encode
from systolith.spec.softmax import SoftmaxForm


@pytest.mark.parametrize(
    ("form", "cycles"),
    [(SoftmaxForm.FIXED, 89), (SoftmaxForm.INVERSE, 103), (SoftmaxForm.QUOTIENT, 282)],
)
def test_rows(form: SoftmaxForm, cycles: int) -> None:
    """Rows of ten codes, as tests of the unit count them."""
    spec = AcceleratorSpec(post=PostSpec(softmax_tables=2))
    command = encode(Opcode.SOFTMAX, form=form, length=10, row_count=3, d_base=500, stamp=1)
    program = random_program(np.random.default_rng(0), spec, layers=0)
    words = np.array([*command, *command, *encode(Opcode.END)], np.uint32)
    first, second = predict(replace(program, commands=words)).stamps
    assert 0 <= second - first - 3 * cycles <= 5
