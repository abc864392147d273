// PLLs of chips as simulations of boards have them: the output is the input's clock, so that a
// cycle of the board's pin `clk` is one of the core; `LOCK` comes after 8 cycles. The ports are
// those that the cells have in bitstreams (`systolith.build.pll`), their settings are ignored.

module systolith_lock (input clock, output lock);
  reg [7:0] seen = 0;
  always @(posedge clock) seen <= {seen[6:0], 1'b1};
  assign lock = seen[7];
endmodule

module EHXPLLL #(
  parameter CLKI_DIV = 1, parameter CLKFB_DIV = 1, parameter CLKOP_DIV = 1,
  parameter CLKOP_CPHASE = 0, parameter CLKOP_FPHASE = 0, parameter CLKOP_ENABLE = "",
  parameter FEEDBK_PATH = "", parameter OUTDIVIDER_MUXA = "", parameter PLLRST_ENA = "",
  parameter INTFB_WAKE = "", parameter STDBY_ENABLE = "", parameter DPHASE_SOURCE = ""
) (
  input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG,
  input PLLWAKESYNC, ENCLKOP, output CLKOP, LOCK
);
  assign CLKOP = CLKI;
  systolith_lock lock (.clock(CLKI), .lock(LOCK));
endmodule

module SB_PLL40_PAD #(
  parameter FEEDBACK_PATH = "", parameter DIVR = 0, parameter DIVF = 0, parameter DIVQ = 0,
  parameter FILTER_RANGE = 0
) (input PACKAGEPIN, RESETB, BYPASS, output PLLOUTGLOBAL, LOCK);
  assign PLLOUTGLOBAL = PACKAGEPIN;
  systolith_lock lock (.clock(PACKAGEPIN), .lock(LOCK));
endmodule

module rPLL #(
  parameter DEVICE = "", parameter FCLKIN = "", parameter IDIV_SEL = 0, parameter FBDIV_SEL = 0,
  parameter ODIV_SEL = 0, parameter PSDA_SEL = "", parameter DUTYDA_SEL = "",
  parameter CLKOUT_FT_DIR = 0, parameter CLKOUTP_FT_DIR = 0, parameter CLKOUT_DLY_STEP = 0,
  parameter CLKOUTP_DLY_STEP = 0, parameter CLKFB_SEL = "", parameter DYN_SDIV_SEL = 0,
  parameter CLKOUTD_SRC = "", parameter CLKOUTD3_SRC = "", parameter DYN_IDIV_SEL = "",
  parameter DYN_FBDIV_SEL = "", parameter DYN_ODIV_SEL = "", parameter DYN_DA_EN = "",
  parameter CLKOUT_BYPASS = "", parameter CLKOUTP_BYPASS = "", parameter CLKOUTD_BYPASS = ""
) (
  input CLKIN, CLKFB, RESET, RESET_P, input [5:0] FBDSEL, IDSEL, ODSEL,
  input [3:0] PSDA, DUTYDA, FDLY, output CLKOUT, LOCK
);
  assign CLKOUT = CLKIN;
  systolith_lock lock (.clock(CLKIN), .lock(LOCK));
endmodule
