"""Boards and timing constraints, as data: a TOML file and a pin file for every board."""

from systolith.constraints.board import Board, Capacity, Family, HostPath, Part
from systolith.constraints.load import board_names, load_board

__all__ = ["Board", "Capacity", "Family", "HostPath", "Part", "board_names", "load_board"]
