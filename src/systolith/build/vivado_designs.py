"""Parts of a Vivado block design that differ: who is the host, and where the clock comes from.

Each sets `clock` (a pin), `master` (an address space), `base` (of the accelerator's registers) and
connects the slave side of `control` and the inputs of `resets`; with external memory it sets
`memory_port`. Names in at signs are filled in by `project_script`.
"""

from collections.abc import Mapping

from systolith.constraints import HostPath

__all__ = ["BLOCK_DESIGNS"]

_ZYNQ = """
# Zynq-7000: registers at GP0, memory at HP0.
set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps]
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \\
    -config [list make_external {FIXED_IO, DDR} apply_board_preset $preset] $ps
set_property -dict [list CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ {@MHZ@} CONFIG.PCW_EN_CLK0_PORT {1} \\
    CONFIG.PCW_USE_M_AXI_GP0 {1} CONFIG.PCW_USE_S_AXI_HP0 {@MEMORY@} \\
    CONFIG.PCW_USE_FABRIC_INTERRUPT {1} CONFIG.PCW_IRQ_F2P_INTR {1}] $ps
set clock [get_bd_pins ps/FCLK_CLK0]
set master [get_bd_addr_spaces ps/Data]
set base 0x40000000
connect_bd_net [get_bd_pins ps/FCLK_RESET0_N] [get_bd_pins resets/ext_reset_in]
connect_bd_net $clock [get_bd_pins ps/M_AXI_GP0_ACLK]
connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_GP0] [get_bd_intf_pins control/S00_AXI]
connect_bd_net [get_bd_pins accelerator/irq] [get_bd_pins ps/IRQ_F2P]
if {@MEMORY@} {
    set memory_port [get_bd_intf_pins ps/S_AXI_HP0]
    connect_bd_net $clock [get_bd_pins ps/S_AXI_HP0_ACLK]
}

"""

_ZYNQMP = """
# Zynq UltraScale+: registers at HPM0_FPD, memory at HP0_FPD.
set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps]
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e \\
    -config [list apply_board_preset $preset] $ps
set_property -dict [list CONFIG.PSU__FPGA_PL0_ENABLE {1} \\
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ {@MHZ@} CONFIG.PSU__USE__M_AXI_GP0 {1} \\
    CONFIG.PSU__USE__M_AXI_GP1 {0} CONFIG.PSU__USE__M_AXI_GP2 {0} \\
    CONFIG.PSU__USE__S_AXI_GP2 {@MEMORY@} CONFIG.PSU__USE__IRQ0 {1}] $ps
set clock [get_bd_pins ps/pl_clk0]
set master [get_bd_addr_spaces ps/Data]
set base 0xA0000000
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins resets/ext_reset_in]
connect_bd_net $clock [get_bd_pins ps/maxihpm0_fpd_aclk]
connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] [get_bd_intf_pins control/S00_AXI]
connect_bd_net [get_bd_pins accelerator/irq] [get_bd_pins ps/pl_ps_irq0]
if {@MEMORY@} {
    set memory_port [get_bd_intf_pins ps/S_AXI_HP0_FPD]
    connect_bd_net $clock [get_bd_pins ps/saxihp0_fpd_aclk]
}

"""

_JTAG = """
# No processor: registers are written and read through JTAG, from Vivado's hardware manager.
set jtag [create_bd_cell -type ip -vlnv xilinx.com:ip:jtag_axi jtag]
set_property -dict [list CONFIG.PROTOCOL {0}] $jtag
set wizard [create_bd_cell -type ip -vlnv xilinx.com:ip:clk_wiz wizard]
set_property -dict [list CONFIG.PRIM_IN_FREQ {@CLOCK_MHZ@} CONFIG.USE_RESET {false} \\
    CONFIG.CLKOUT1_REQUESTED_OUT_FREQ {@MHZ@}] $wizard
create_bd_port -dir I -type clk -freq_hz [expr {int(@CLOCK_MHZ@ * 1000000)}] clk
create_bd_port -dir I -type rst reset_n
set_property CONFIG.POLARITY ACTIVE_LOW [get_bd_ports reset_n]
connect_bd_net [get_bd_ports clk] [get_bd_pins wizard/clk_in1]
connect_bd_net [get_bd_ports reset_n] [get_bd_pins resets/ext_reset_in]
connect_bd_net [get_bd_pins wizard/locked] [get_bd_pins resets/dcm_locked]
set clock [get_bd_pins wizard/clk_out1]
set master [get_bd_addr_spaces jtag/Data]
set base 0x00000000
connect_bd_net $clock [get_bd_pins jtag/aclk]
connect_bd_net [get_bd_pins resets/peripheral_aresetn] [get_bd_pins jtag/aresetn]
connect_bd_intf_net [get_bd_intf_pins jtag/M_AXI] [get_bd_intf_pins control/S00_AXI]

"""

BLOCK_DESIGNS: Mapping[HostPath, str] = {
    HostPath.ZYNQ: _ZYNQ,
    HostPath.ZYNQMP: _ZYNQMP,
    HostPath.JTAG: _JTAG,
}
"""Text of the script by host."""
