"""Amaranth hardware: one component per file, all generated from `systolith.spec`."""
