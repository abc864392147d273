"""SOFTMAX against the runtimes' formulas, and what it refuses."""

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.arithmetic import Codes, SoftmaxArithmetic
from systolith.compiler.softmax import SoftmaxPlan, plan_softmax
from systolith.golden.execute import execute
from systolith.golden.softmax import softmax_rows
from systolith.profiles.softmax import SOFTMAX_FORMULAS, softmax_codes
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Command, Opcode, encode
from systolith.spec.program import Buffer, Program, ProgramError
from systolith.spec.softmax import SoftmaxForm

ROWS = 4


def _arithmetic(rng: np.random.Generator, formula: str) -> SoftmaxArithmetic:
    """Scales as networks have them and far beyond."""
    dtype = str(rng.choice(["int8", "uint8"]))
    low = -128 if dtype == "int8" else 0
    steps = [1 / 256, 1 / 128, 1 / 255, 10 ** rng.uniform(-4, 0)]
    scales = np.float32([10 ** rng.uniform(-5, 1.5), rng.choice(steps)])
    codes, out = (
        Codes(dtype=dtype, scale=float(s), zero_point=int(rng.integers(low, low + 256)))
        for s in scales
    )
    beta = float(rng.choice([1.0, 1.0, 0.5, 2.0]))
    return SoftmaxArithmetic(formula=formula, beta=beta, codes=codes, out=out)


def _rows(rng: np.random.Generator, codes: Codes) -> NDArray[np.int64]:
    """Rows of 1 to 1000 codes: any, all equal, most of them low, a few values only."""
    shape = (ROWS, int(np.exp(rng.uniform(0, np.log(1001)))))
    rows = rng.integers(codes.low, codes.high + 1, shape)
    kind = int(rng.integers(4))
    if kind == 1:
        rows[:] = rows[:, :1]
    elif kind == 2:
        rows = np.clip(codes.high - rng.geometric(0.1, shape), codes.low, codes.high)
    elif kind == 3:
        rows = rng.choice([codes.low, codes.high, 5], shape)
    return rows


def _golden(plan: SoftmaxPlan, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return softmax_rows(rows, Command(Opcode.SOFTMAX, {**plan.fields, "table": 0}), plan.tables)


@pytest.mark.parametrize("formula", SOFTMAX_FORMULAS)
def test_rows_equal_the_formula(formula: str) -> None:
    rng = np.random.default_rng(30)
    compared = refused = 0
    for _ in range(120):
        arithmetic = _arithmetic(rng, formula)
        rows = _rows(rng, arithmetic.codes)
        plan = plan_softmax(arithmetic, rows.shape[1])
        if isinstance(plan, str):
            refused += 1
            continue
        assert np.array_equal(_golden(plan, rows), softmax_codes(rows, arithmetic)), arithmetic
        compared += rows.size
    assert compared > 40_000
    assert refused < 20


@pytest.mark.parametrize("formula", SOFTMAX_FORMULAS)
def test_every_pair_of_codes(formula: str) -> None:
    """All rows of two codes, and of three where two are equal."""
    low = -128
    arithmetic = SoftmaxArithmetic(
        formula=formula,
        beta=1.0,
        codes=Codes(dtype="int8", scale=float(np.float32(0.07)), zero_point=5),
        out=Codes(dtype="int8", scale=1 / 256, zero_point=low),
    )
    grid = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).reshape(-1, 2) + low
    for rows in (grid, grid[:, [0, 1, 1]]):
        plan = plan_softmax(arithmetic, rows.shape[1])
        assert isinstance(plan, SoftmaxPlan)
        assert np.array_equal(_golden(plan, rows), softmax_codes(rows, arithmetic))


def _program(tables: NDArray[np.uint32], **fields: int) -> Program:
    spec = AcceleratorSpec(
        array=ArraySpec(rows=4, columns=4),
        memory=MemorySpec(activation_bytes=256, weight_bytes=64, parameter_channels=8),
        post=PostSpec(lanes=2, softmax_tables=2),
    )
    region = Buffer(base=0, shape=(1, 1, 256), strides=(0, 0, 1), dtype="uint8")
    return Program(
        spec=spec,
        commands=np.array([*encode(Opcode.SOFTMAX, **fields), *encode(Opcode.END)], np.uint32),
        weights=np.zeros((0, 4), np.uint8),
        parameters=np.zeros((0, 2, 8), np.uint32),
        tables=np.zeros((0, 256), np.uint8),
        exponents=tables,
        buffers={"memory": region},
        inputs=("memory",),
        outputs=("memory",),
        layers=(),
    )


def test_rows_are_read_and_written_where_the_command_says() -> None:
    rng = np.random.default_rng(32)
    memory = rng.integers(0, 256, 256, np.uint8)
    table = np.exp(-np.arange(256, dtype=np.float32) / 30).view(np.uint32)[None]
    fields = {
        "s_base": 40, "d_base": 251, "s_row_stride": -11, "d_row_stride": -20, "row_count": 3,
        "length": 5, "form": SoftmaxForm.INVERSE, "signed": 1, "high": 127, "low": -128,
        "zero": -128, "scale": int(np.float32(1 / 256).view(np.uint32)),
    }  # fmt: skip
    result = execute(_program(table, **fields), {"memory": memory.reshape(1, 1, 256)})["memory"]
    expected = memory.copy()
    for row in range(3):
        codes = memory[40 - 11 * row :][:5].view(np.int8).astype(np.int64)
        values = softmax_rows(codes[None], Command(Opcode.SOFTMAX, {**fields, "table": 0}), table)
        expected[251 - 20 * row :][:5] = values[0] & 255
    assert np.array_equal(result.reshape(-1), expected)


@pytest.mark.parametrize(
    ("fields", "word", "text"),
    [
        ({"d_base": 2}, 127 << 23, "source and target must not overlap"),
        ({"length": 0}, 1, "length must be at least 1"),
        ({"row_count": 0}, 1, "row_count must be at least 1"),
        ({"form": 3}, 1, "form must be"),
        ({"table": 2}, 1, "softmax table must be below 2, not 2"),
        ({"table": 1, "form": SoftmaxForm.QUOTIENT}, 1, "softmax table must be below 2, not 2"),
        ({"form": SoftmaxForm.FIXED}, 1 << 31, "words of table 0 must be below"),
        ({"form": SoftmaxForm.FIXED}, 5, "sum must be from 1"),
        ({"form": SoftmaxForm.INVERSE}, 0, "sum must be a positive"),
        ({"form": SoftmaxForm.INVERSE, "scale": 0}, 127 << 23, "scale must be a positive"),
        ({"form": SoftmaxForm.INVERSE, "scale": 1}, 127 << 23, "1 / .* not infinity"),
        ({"form": SoftmaxForm.QUOTIENT}, 0x7F7FFFFF, "sum must be a positive"),
    ],
)
def test_commands_that_cannot_run(fields: dict[str, int], word: int, text: str) -> None:
    values = {"length": 3, "form": SoftmaxForm.INVERSE, "scale": 127 << 23} | fields
    values = {"high": 255, "d_base": 100} | values
    tables = np.full((2, 256), word, np.uint32)
    with pytest.raises(ProgramError, match=text):
        execute(_program(tables, **values), {"memory": np.zeros((1, 1, 256), np.uint8)})
