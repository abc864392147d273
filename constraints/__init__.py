"""Boards and timing constraints, as data."""
