"""float32 functions of the C library, correctly rounded (glibc's are, but for rare last bits)."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["erfcf", "expf", "expm1f", "logf", "sigmoidf", "tanhf"]


def expf(value: ArrayLike) -> NDArray[np.float32]:
    """``float32(exp(value))``, computed in float64."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(np.asarray(value, np.float64)).astype(np.float32)


def tanhf(value: ArrayLike) -> NDArray[np.float32]:
    """``float32(tanh(value))``, computed in float64."""
    return np.tanh(np.asarray(value, np.float64)).astype(np.float32)


def expm1f(value: ArrayLike) -> NDArray[np.float32]:
    """``float32(exp(value) - 1)``, computed in float64."""
    with np.errstate(over="ignore", under="ignore"):
        return np.expm1(np.asarray(value, np.float64)).astype(np.float32)


def logf(value: ArrayLike) -> NDArray[np.float32]:
    """``float32(log(value))`` of positive values, computed in float64."""
    return np.log(np.asarray(value, np.float64)).astype(np.float32)


def erfcf(value: ArrayLike) -> NDArray[np.float32]:
    """``float32(erfc(value))``, computed in float64."""
    flat = np.asarray(value, np.float64)
    return np.array([math.erfc(x) for x in flat.reshape(-1).tolist()], np.float32).reshape(
        flat.shape
    )


def sigmoidf(value: NDArray[Any]) -> NDArray[np.float32]:
    """``1 / (1 + exp(-value))`` with each step rounded to float32."""
    one = np.float32(1)
    with np.errstate(over="ignore"):
        return one / (one + expf(-np.asarray(value, np.float32)))
