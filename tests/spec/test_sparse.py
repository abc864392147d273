"""What weights of two of four ask of an array and of a MATMUL."""

from collections.abc import Mapping

import pytest

from systolith.spec.accelerator import AcceleratorSpec, ArraySpec
from systolith.spec.commands import MATMUL_LOOPS, Opcode, decode_one, encode
from systolith.spec.precision import MultiplierForm, Precision, WeightFormat

BUILT = frozenset({WeightFormat.DENSE, WeightFormat.TWO_OF_FOUR})


def matmul(**values: int) -> Mapping[str, int]:
    """All fields of a MATMUL with the format."""
    values = {"w_format": int(WeightFormat.TWO_OF_FOUR), **values}
    return decode_one(encode(Opcode.MATMUL, **values), 0).values


def test_rows_come_in_pairs() -> None:
    with pytest.raises(ValueError, match="array.rows must be even .* two_of_four, not 5"):
        ArraySpec(rows=5, weight_formats=BUILT)
    assert ArraySpec(rows=6, weight_formats=BUILT).sparse
    assert not ArraySpec(rows=5).sparse


def test_columns_do_not_share_a_multiplier() -> None:
    form = MultiplierForm.PACKED27
    assert ArraySpec(multiplier=form).columns_together == 2
    assert ArraySpec(multiplier=form, weight_formats=BUILT).columns_together == 1


@pytest.mark.parametrize("rows, line", [(6, 8), (16, 16)])
def test_vectors_begin_with_lines(rows: int, line: int) -> None:
    spec = AcceleratorSpec(array=ArraySpec(rows=rows, columns=8, weight_formats=BUILT))
    assert spec.line_bytes == line
    fault = f"vectors of TWO_OF_FOUR must begin at multiples of {line}"
    assert spec.sparse_fault(matmul(x_base=3 * line)) is None
    assert spec.sparse_fault(matmul(x_base=3 * line + line // 2)) == fault
    for name in MATMUL_LOOPS:
        used = {f"{name}_count": 2}
        stride = f"x_{name}_stride"
        assert spec.sparse_fault(matmul(**used, **{stride: -line})) is None
        assert spec.sparse_fault(matmul(**used, **{stride: line + 1})) == fault
        assert spec.sparse_fault(matmul(**{stride: line + 1})) is None  # a loop of one


def test_what_it_does_not_go_with() -> None:
    array = ArraySpec(depthwise_lines=3, precisions=frozenset(Precision), weight_formats=BUILT)
    spec = AcceleratorSpec(array=array)
    assert spec.sparse_fault(matmul()) is None
    assert "depthwise is 1" in str(spec.sparse_fault(matmul(depthwise=1)))
    for precision in (Precision.W4A8, Precision.W4A4):
        assert "weights of 4 bits" in str(spec.sparse_fault(matmul(precision=int(precision))))
    assert "accelerator without it" in str(AcceleratorSpec().sparse_fault(matmul()))
