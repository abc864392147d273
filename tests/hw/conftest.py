"""Settings of the hardware's tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Components that are only constructed, to see their ports or errors, are no mistake here."""
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")
