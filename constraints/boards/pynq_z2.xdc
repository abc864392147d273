# The clock is the processor's FCLK_CLK0. Pins as in TUL's pynq-z2_v1.0.xdc.
set_property -dict { PACKAGE_PIN R14 IOSTANDARD LVCMOS33 } [get_ports { led }]
