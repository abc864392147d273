"""Cycle model: when everything happens in a run, from the program alone."""

from systolith.cycles.explain import STALLS, LayerCycles, explain
from systolith.cycles.external import MemoryModel
from systolith.cycles.predict import CommandTimes, Prediction, predict

__all__ = [
    "STALLS",
    "CommandTimes",
    "LayerCycles",
    "MemoryModel",
    "Prediction",
    "explain",
    "predict",
]
