"""The frozen specification: what every other package implements, and nothing of theirs."""
