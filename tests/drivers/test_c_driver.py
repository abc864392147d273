"""The C driver, compiled as for bare metal, on Verilated accelerators through their slaves."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from driver_networks import SPECS, STRICT, compiled_digits, digits, run_tool

from systolith.compiler.compile import CompiledModel
from systolith.sim.accelerator import accelerator_model

HERE = Path(__file__).parent
COUNT = 12


@pytest.mark.parametrize("name", SPECS)
def test_digits_through_the_registers(
    cc: str, deploy: Callable[[CompiledModel], Path], name: str
) -> None:
    """Loaded once, run for each image; every code of every output is golden's."""
    compiled = compiled_digits(name)
    folder = deploy(compiled)
    images, codes = digits(COUNT)
    images.astype("<f4").tofile(folder / "images.bin")
    library = accelerator_model(SPECS[name])
    sources = [*sorted((folder / "c").glob("*.c")), folder / "digits_int8_network.c"]
    sources += [HERE / "verilated.c", HERE / "classify.c"]
    defines = ["-DNETWORK=digits_int8_network", '-DHEADER="digits_int8_network.h"']
    include = [f"-I{folder / 'c'}", f"-I{folder}", f"-I{HERE}"]
    program = folder / "classify"
    link = [library, f"-Wl,-rpath,{library.parent}"]
    options = ["-std=c99", "-O1", *STRICT, *defines, *include]
    built = run_tool(cc, *options, *sources, *link, "-o", program)
    assert built.returncode == 0, built.stderr
    accesses = {}
    for way in ("poll", "interrupt"):
        ran = run_tool(program, folder / "images.bin", way)
        assert ran.returncode == 0, ran.stderr
        *lines, last = ran.stdout.splitlines()
        found = np.array([line.split(" : ")[1].split() for line in lines], int)
        np.testing.assert_array_equal(found, codes)
        classes = [int(line.split(" : ")[0]) for line in lines]
        assert classes == codes.argmax(axis=1).tolist() and found.size == 10 * COUNT
        numbers = {k: int(v) for k, v in re.findall(r"(\w+) (\d+)", last)}
        assert numbers["stamps"] == len(compiled.program.layers)
        assert 0 < numbers["last"] <= numbers["cycles"]
        runs = COUNT if compiled.program.spec.external.data_bytes else 0
        assert (numbers["cleaned"], numbers["invalidated"]) == (runs, runs)
        accesses[way] = numbers["accesses"]
    # Polled once before the interrupt and once behind it.
    assert accesses["interrupt"] < accesses["poll"]
