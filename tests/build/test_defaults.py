"""The accelerators that boards have if none is named."""

import pytest

from systolith.build.accelerator import board_spec
from systolith.compiler.compile import compile_graph
from systolith.constraints import board_names, load_board
from systolith.cycles import predict
from systolith.importers import load_model
from systolith.verify.samples import default_model


@pytest.mark.parametrize("name", board_names())
def test_the_embedded_network_runs_on_a_boards_own_accelerator(name: str) -> None:
    board = load_board(name)
    if not board.spec.post.residual:
        pytest.skip("too small for a network with an addition")
    spec = board_spec(board, board.spec)
    cycles = predict(compile_graph(load_model(default_model()), spec).program).counters["cycles"]
    assert cycles < 20_000
