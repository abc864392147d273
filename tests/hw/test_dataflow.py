"""The table of bare arrays."""

import pytest

from systolith.hw.dataflow import ARRAYS, Dataflow, systolic_array


def test_table_is_complete() -> None:
    assert set(ARRAYS) == set(Dataflow)


@pytest.mark.parametrize("dataflow", Dataflow)
@pytest.mark.parametrize("pipelined", [False, True])
def test_by_member_and_by_value(dataflow: Dataflow, pipelined: bool) -> None:
    for key in (dataflow, dataflow.value):
        array = systolic_array(key, 3, 5, pipelined=pipelined)
        assert type(array) is ARRAYS[dataflow]
        assert (array.rows, array.columns, array.pipelined) == (3, 5, pipelined)
        assert array.latency == 3 + pipelined


def test_unknown_dataflow() -> None:
    text = r"^dataflow must be one of weight_stationary, output_stationary, not 'row'$"
    with pytest.raises(ValueError, match=text):
        systolic_array("row", 4, 4)
