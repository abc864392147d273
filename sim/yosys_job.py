"""Run a list of Yosys passes in a process of its own (not imported: executed by `emit.run_yosys`).

A process per job because pyosys ends the whole interpreter on any Yosys error, and because its
counter of internal names goes on from one design to the next, which would make the text of a
design depend on what was emitted before it.

The arguments are the passes, each one command line of Yosys, run in the current folder.
"""

import sys


def main(passes: list[str]) -> None:
    """Run the passes on one fresh design."""
    from pyosys import libyosys

    design = libyosys.Design()
    for command in passes:
        libyosys.run_pass(command, design)


if __name__ == "__main__":
    main(sys.argv[1:])
