"""Random chains of MATMULs: sums that one leaves for the next."""

from collections.abc import Mapping

import numpy as np

__all__ = ["cut_matmul"]


def cut_matmul(
    rng: np.random.Generator, fields: Mapping[str, int], words: int
) -> list[dict[str, int]]:
    """Cut a MATMUL of one tile, if it has several passes, into two that compute the same.

    Parameters
    ----------
    fields: of the command.
    words: weight words of a pass.
    """
    inner = fields["kx_count"] * fields["kc_count"], fields["kc_count"], 1
    loops = list(zip(("ky", "kx", "kc"), inner, strict=True))
    found = next((loop for loop in loops if fields[f"{loop[0]}_count"] > 1), None)
    if fields["t_count"] * fields["n_count"] > 1 or found is None or rng.integers(4) == 0:
        return [dict(fields)]
    name, passes = found
    first = int(rng.integers(1, fields[f"{name}_count"]))
    skipped = 0 if fields["w_hold"] else first * passes * words
    rest = {
        f"{name}_count": fields[f"{name}_count"] - first,
        "x_base": fields["x_base"] + first * fields[f"x_{name}_stride"],
        "w_base": fields["w_base"] + skipped,
        "accumulate": 1,
    }
    return [{**fields, f"{name}_count": first, "partial": 1}, {**fields, **rest}]
