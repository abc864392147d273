"""From a specification to a bitstream: synthesis, place and route, and what they report."""
