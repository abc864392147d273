"""Verilated accelerators: Verilog once per specification, models cached, a bus to talk to them."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import amaranth
from filelock import FileLock

import systolith.hw
import systolith.spec
from systolith.hw.technology import Technology
from systolith.hw.top import Accelerator
from systolith.sim import array, emit, gating, netlist, verilog_text
from systolith.sim.array import ARRAY_SOURCE, ArrayModel
from systolith.sim.dut import Dut
from systolith.sim.emit import simulation_verilog
from systolith.sim.netlist import synthesise, with_models
from systolith.sim.toolchain import cache_folder
from systolith.sim.verilator import build_model
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_to_toml

__all__ = [
    "TOP",
    "accelerator_model",
    "accelerator_verilog",
    "axi_read",
    "axi_write",
    "cached_verilog",
    "netlist_model",
]

TOP = "systolith"
"""Name of the simulated top module, whatever the specification calls its own."""

_BUS_TIMEOUT = 1000


def _sources() -> bytes:
    """The text of everything the Verilog depends on."""
    folders = [Path(p) for package in (systolith.hw, systolith.spec) for p in package.__path__]
    files = sorted(f for folder in folders for f in folder.glob("*.py"))
    emitters = sorted(Path(emit.__file__).parent.glob("*yosys*.py")) + [Path(emit.__file__)]
    emitters += [Path(str(module.__file__)) for module in (array, gating, netlist, verilog_text)]
    emitters.append(ARRAY_SOURCE)
    return b"".join(f.read_bytes() for f in [*files, *emitters])


def _emit(spec: AcceleratorSpec, structural: bool, gated: bool) -> str:
    if structural:
        return simulation_verilog(Accelerator(spec), TOP, gated=gated)
    model = ArrayModel.of(spec.array)
    text = simulation_verilog(Accelerator(spec, array=model), TOP, gated=gated)
    return f"{text}\n{ARRAY_SOURCE.read_text()}"


def accelerator_verilog(
    spec: AcceleratorSpec, *, structural: bool = True, gated: bool = True
) -> str:
    """Simulation Verilog of an accelerator, made once per specification and source version.

    Parameters
    ----------
    structural: the array as its grid of processing elements, as it is shipped, and not as the
        `ArrayModel` of the same function and cycles, which simulates several times as fast.
    gated: as of `simulation_verilog`.
    """
    return cached_verilog(f"{structural} {gated}", spec, lambda: _emit(spec, structural, gated))


def cached_verilog(form: str, spec: AcceleratorSpec, emit: Callable[[], str]) -> str:
    """Verilog of one form of an accelerator, made once per specification and source version."""
    digest = hashlib.sha256(
        _sources() + f"{form} {amaranth.__version__} {spec_to_toml(spec)}".encode()
    )
    path = cache_folder("verilog") / f"{digest.hexdigest()[:32]}.sv"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            scratch = path.with_suffix(".tmp")
            scratch.write_text(emit())
            scratch.replace(path)
    return path.read_text()


def accelerator_model(
    spec: AcceleratorSpec, *, trace: bool | str = False, structural: bool = True
) -> Path:
    """Shared library of an accelerator's model; seconds to a minute the first time, then cached.

    Parameters
    ----------
    trace: as of `build_model`; the waves show the structural form, with all its wires.
    structural: as of `accelerator_verilog`.

    Raises
    ------
    ToolError: no C++ compiler, or another tool is missing.
    """
    text = accelerator_verilog(spec, structural=structural or bool(trace), gated=not trace)
    return build_model(text, TOP, trace=trace)


def netlist_model(spec: AcceleratorSpec, technology: Technology) -> Path:
    """Shared library of a synthesised netlist's model; minutes the first time, then cached.

    Raises
    ------
    ToolError: no C++ compiler, or another tool is missing.
    """

    def emit() -> str:
        return synthesise(Accelerator(spec, technology=technology), technology, TOP)

    netlist = cached_verilog(f"netlist {technology}", spec, emit)
    return build_model(with_models(netlist, technology, TOP), TOP, quick=True)


def axi_write(dut: Dut, address: int, data: int) -> None:
    """Write one 32-bit word through the control slave; a few cycles."""
    io = dut.io
    io["bus__awaddr"], io["bus__wdata"], io["bus__wstrb"] = address, data, 15
    io["bus__awvalid"] = io["bus__wvalid"] = io["bus__bready"] = 1
    dut.run(_BUS_TIMEOUT, until="bus__awready")
    dut.clock.tick()
    io["bus__awvalid"] = io["bus__wvalid"] = 0
    dut.run(_BUS_TIMEOUT, until="bus__bvalid")
    dut.clock.tick()


def axi_read(dut: Dut, address: int) -> int:
    """Read one 32-bit word through the control slave; a few cycles."""
    io = dut.io
    io["bus__araddr"], io["bus__arvalid"], io["bus__rready"] = address, 1, 1
    dut.run(_BUS_TIMEOUT, until="bus__arready")
    dut.clock.tick()
    io["bus__arvalid"] = 0
    dut.run(_BUS_TIMEOUT, until="bus__rvalid")
    value = io["bus__rdata"]
    dut.clock.tick()
    return value
