"""Cycle model: when everything happens in a run, from the program alone."""

from systolith.cycles.predict import CommandTimes, Prediction, predict

__all__ = ["CommandTimes", "Prediction", "predict"]
