"""SOFTMAX in the cycle model by itself: the latencies that the hardware states."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.cycles import predict
from systolith.cycles.softmax import FORMS
from systolith.hw.float32 import Float32Adder, Float32Divider, Float32Multiplier, Float32Rounder
from systolith.hw.reciprocal import HighMultiplier, Reciprocal
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
    assert second - first == 3 * cycles + 3  # start, and the last byte's way to memory


def test_latencies_are_those_of_the_units() -> None:
    """Sums of what the hardware states of its parts, and the registers between them."""
    look_up, code = 2, 2
    product, rounded = Float32Multiplier.latency, Float32Rounder.latency + code
    quotient = Float32Divider.latency
    fixed, inverse, divided = (FORMS[form] for form in SoftmaxForm)
    summed = look_up + Float32Adder.latency + 1
    assert fixed.invert == summed + Reciprocal.latency + 2
    assert inverse.invert == summed + product + quotient + 2
    assert divided.invert == summed + 2
    assert fixed.result == look_up + HighMultiplier.latency + 2 + code
    assert inverse.result == look_up + product + rounded
    assert divided.result == look_up + quotient + rounded
    assert divided.code == look_up + quotient + 1
    assert inverse.add == divided.add == Float32Adder.latency
