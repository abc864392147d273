"""From a graph with exact arithmetic to a program for an accelerator."""
