"""A Vivado project for a board: sources, constraints, and a script that builds everything.

The script creates the project and its block design (the processor, or a JTAG bridge), connects
`s_axi_*`, `m_axi_*` and the interrupt, implements it, and writes bitstream and hardware handoff.
It needs AMD's Vivado, which is not part of this package and has not been run here.
"""

from pathlib import Path

from amaranth.lib.wiring import In

from systolith.build.accelerator import board_top
from systolith.build.vivado_designs import BLOCK_DESIGNS
from systolith.constraints import Board, HostPath
from systolith.constraints.pin_files import PIN_FORMATS, keep_ports
from systolith.errors import BoardError
from systolith.hw.board import BoardTop
from systolith.sim.emit import readable_verilog
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["project_files", "project_script", "wrapper_verilog"]


def _attribute(kind: str, port: str, parameters: str = "") -> str:
    info = f'X_INTERFACE_INFO = "xilinx.com:signal:{kind}"'
    return f"    (* {info}{parameters} *)\n" if port else ""


def wrapper_verilog(top: BoardTop, spec: AcceleratorSpec) -> str:
    """Return a module in plain Verilog around the accelerator, which a block design can hold.

    A block design takes no SystemVerilog at the top of a module, and has to be told which of the
    buses a clock belongs to.
    """
    buses = "s_axi:m_axi" if spec.external.data_bytes else "s_axi"
    attributes = {
        "clk": _attribute(
            "clock:1.0 clk CLK",
            "clk",
            f', X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET rst, '
            f'FREQ_HZ {spec.bus.clock_hz}"',
        ),
        "rst": _attribute(
            "reset:1.0 rst RST", "rst", ', X_INTERFACE_PARAMETER = "POLARITY ACTIVE_HIGH"'
        ),
        "irq": _attribute(
            "interrupt:1.0 irq INTERRUPT", "irq",
            ', X_INTERFACE_PARAMETER = "SENSITIVITY LEVEL_HIGH"',
        ),
    }  # fmt: skip
    ports = [("input ", "", "clk"), ("input ", "", "rst")]
    for name, member in top.signature.members.items():
        width = len(getattr(top, name))
        size = f"[{width - 1}:0] " if width > 1 else ""
        ports.append(("input " if member.flow is In else "output", size, name))
    lines = [f"{attributes.get(name, '')}    {way} wire {size}{name}" for way, size, name in ports]
    connections = ",\n".join(f"        .{name}({name})" for _, _, name in ports)
    return (
        f"// {spec.name} for block designs: see create_project.tcl.\n"
        f"module {spec.name}_block (\n" + ",\n".join(lines) + "\n);\n"
        f"    {spec.name} inner (\n{connections}\n    );\nendmodule\n"
    )


def project_script(board: Board, spec: AcceleratorSpec) -> str:
    """Return the Tcl script of a board.

    Raises
    ------
    BoardError: the board's processor has no memory port, and the specification needs one.
    """
    if spec.external.data_bytes and board.host is HostPath.JTAG:
        raise BoardError(
            f"{board.name}: external.data_bytes must be 0, not {spec.external.data_bytes}: "
            "its block design has no memory controller"
        )
    text = _HEAD + BLOCK_DESIGNS[board.host] + _TAIL
    values = {
        "NAME": spec.name,
        "PART": board.part.number,
        "BOARD_PART": board.vendor.get("board_part", ""),
        "CONNECTIONS": board.vendor.get("board_connections", ""),
        "MHZ": f"{spec.bus.clock_hz / 1e6:g}",
        "CLOCK_MHZ": f"{board.clock_mhz:g}",
        "XDC": board.pin_file.name,
        "MEMORY": "1" if spec.external.data_bytes else "0",
        "LED": "1" if board.has_led else "0",
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def project_files(board: Board, spec: AcceleratorSpec) -> dict[str, str]:
    """Return the files of a project by name.

    Parameters
    ----------
    spec: as `board_spec` returns it.

    Raises
    ------
    BoardError: see `project_script`.
    """
    script = project_script(board, spec)
    top = board_top(board, spec)
    kind = PIN_FORMATS[board.pin_file.suffix]
    ports = {"led", "clk", "reset_n"} if board.host is HostPath.JTAG else {"led"}
    return {
        "create_project.tcl": script,
        f"{spec.name}.sv": readable_verilog(top, spec.name),
        f"{spec.name}_block.v": wrapper_verilog(top, spec),
        board.pin_file.name: keep_ports(Path(board.pin_file).read_text(), kind, ports),
    }


_HEAD = """\
# Vivado project of @NAME@: `vivado -mode batch -source create_project.tcl`.
# Ends with @NAME@.bit and @NAME@.xsa in this folder, or with an error.
set here [file dirname [file normalize [info script]]]
create_project -force @NAME@ [file join $here vivado] -part @PART@

# The board's files bring the processor's settings for its memory and pins: without them a design
# with a processor would be built, but its memory would not work.
set boards [get_board_parts -quiet -latest_file_version "@BOARD_PART@"]
if {[llength $boards] == 0} {
    set boards [get_board_parts -quiet -latest_hw_revision "@BOARD_PART@"]
}
if {[llength $boards] > 0} {
    set_property board_part [lindex $boards end] [current_project]
    if {"@CONNECTIONS@" ne ""} {
        set_property board_connections {@CONNECTIONS@} [current_project]
    }
    set preset 1
} else {
    puts "WARNING: the board files @BOARD_PART@ are not installed (Vivado Store, Boards)"
    set preset 0
}

add_files -norecurse [list [file join $here @NAME@.sv] [file join $here @NAME@_block.v]]
add_files -fileset constrs_1 -norecurse [file join $here @XDC@]
update_compile_order -fileset sources_1

create_bd_design system
set core [create_bd_cell -type module -reference @NAME@_block accelerator]
set resets [create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset resets]
set control [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $control
"""

_TAIL = """\
# One clock and one reset for everything.
foreach pin {accelerator/clk resets/slowest_sync_clk control/aclk} {
    connect_bd_net $clock [get_bd_pins $pin]
}
connect_bd_net [get_bd_pins resets/peripheral_reset] [get_bd_pins accelerator/rst]
connect_bd_net [get_bd_pins resets/peripheral_aresetn] [get_bd_pins control/aresetn]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins accelerator/s_axi]

if {@MEMORY@} {
    set memory [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect memory]
    set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $memory
    connect_bd_net $clock [get_bd_pins memory/aclk]
    connect_bd_net [get_bd_pins resets/peripheral_aresetn] [get_bd_pins memory/aresetn]
    connect_bd_intf_net [get_bd_intf_pins accelerator/m_axi] [get_bd_intf_pins memory/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] $memory_port
}
if {@LED@} {
    create_bd_port -dir O led
    connect_bd_net [get_bd_pins accelerator/busy] [get_bd_ports led]
}

assign_bd_address -offset $base -range 256M -target_address_space $master \\
    [get_bd_addr_segs accelerator/s_axi/reg0]
assign_bd_address
validate_bd_design
save_bd_design

make_wrapper -files [get_files system.bd] -top -import
set_property top system_wrapper [current_fileset]
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
    error "implementation failed: see vivado/@NAME@.runs"
}
open_run impl_1
report_timing_summary -file [file join $here timing.rpt]
report_utilization -hierarchical -file [file join $here utilization.rpt]
if {[get_property STATS.WNS [get_runs impl_1]] < 0} {
    error "timing is not met at @MHZ@ MHz: see timing.rpt"
}
file copy -force [lindex [glob [file join $here vivado @NAME@.runs impl_1 *.bit]] 0] \\
    [file join $here @NAME@.bit]
write_hw_platform -fixed -include_bit -force -file [file join $here @NAME@.xsa]
"""
