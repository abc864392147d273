"""Arithmetic profiles: which formula each runtime uses for each operator, and the formulas."""

from systolith.profiles.table import PROFILES, Profile, Row, get_profile

__all__ = ["PROFILES", "Profile", "Row", "get_profile"]
