"""Oracles: the third party's runtimes, run on the very model a graph was imported from."""

from systolith.runtimes.run import RUNTIMES, default_runtime, run_runtime

__all__ = ["RUNTIMES", "default_runtime", "run_runtime"]
