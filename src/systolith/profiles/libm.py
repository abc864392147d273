"""float32 functions of the C library, correctly rounded (glibc's are, but for rare last bits)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["expf", "sigmoidf", "tanhf"]


def expf(value: ArrayLike) -> NDArray[np.float32]:
    """``float32(exp(value))``, computed in float64."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(np.asarray(value, np.float64)).astype(np.float32)


def tanhf(value: ArrayLike) -> NDArray[np.float32]:
    """``float32(tanh(value))``, computed in float64."""
    return np.tanh(np.asarray(value, np.float64)).astype(np.float32)


def sigmoidf(value: NDArray[Any]) -> NDArray[np.float32]:
    """``1 / (1 + exp(-value))`` with each step rounded to float32."""
    one = np.float32(1)
    with np.errstate(over="ignore"):
        return one / (one + expf(-np.asarray(value, np.float32)))
