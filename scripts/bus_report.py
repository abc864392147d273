#!/usr/bin/env python3
"""Run the tests of the buses and print what they did, as a table.

`python scripts/bus_report.py` takes minutes; `--effort 10` runs the long ones (docs/buses.md).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("cases", "bytes", "stalls", "errors", "resets")
WHAT = {
    "uart": "UART bridge at its line",
    "wishbone": "Wishbone slaves, classic and pipelined",
    "wishbone_memory": "Wishbone master, registered feedback",
    "crossing": "Crossings of AXI4, AXI4-Lite, AXI4-Stream between clocks",
    "stream": "Stream ports, their registers, the switch",
    "board_axi": "Whole board, AXI4-Lite and AXI4 on a clock of their own",
    "board_wishbone": "Whole board, Wishbone host and memory, streams",
}


def table(counts: dict[str, dict[str, int]]) -> str:
    """The counts of every bench, and their sum, as Markdown."""
    lines = [["bench", *COLUMNS], ["---", *["---:"] * len(COLUMNS)]]
    for name in [name for name in WHAT if name in counts]:
        lines.append([WHAT[name], *(f"{counts[name][c]:,}" for c in COLUMNS)])
    total = {c: sum(row[c] for row in counts.values()) for c in COLUMNS}
    lines.append(["total", *(f"{total[c]:,}" for c in COLUMNS)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """Run pytest with a folder for the counts, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--effort", type=int, choices=(1, 10), default=1, help="10: slow")
    parser.add_argument("--no-boards", action="store_true", help="adapters alone")
    options = parser.parse_args()
    tests = [f"tests/cocotb/test_buses.py::test_bus[{name}-{options.effort}]" for name in
             ("uart", "wishbone", "wishbone_memory", "crossing", "stream")]  # fmt: skip
    if not options.no_boards:
        tests.append("tests/cocotb/test_board.py")
    with tempfile.TemporaryDirectory(prefix="systolith-buses-") as folder:
        environment = {**os.environ, "SYSTOLITH_BUS_REPORT": folder}
        command = [sys.executable, "-m", "pytest", "-q", "-m", "", "--timeout", "3600", *tests]
        status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        counts = {p.stem: json.loads(p.read_text()) for p in sorted(Path(folder).glob("*.json"))}
    print(table(counts))
    return status


if __name__ == "__main__":
    sys.exit(main())
