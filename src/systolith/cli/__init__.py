"""The command line ``systolith``."""

from systolith.cli.app import app, main

__all__ = ["app", "main"]
