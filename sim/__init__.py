"""Simulation: Verilator, the Amaranth simulator and cocotb behind one backend interface."""
