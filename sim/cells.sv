// Behaviour of blocks of chips for which Yosys has no model: as their data sheets state it, for what
// this project's netlists use of them. A parameter that would ask for more ends the simulation.

// ECP5 (Lattice FPGA-TN-02205, sysDSP): 18 x 18 bits, registers of operands, inside, of the product.
module MULT18X18D #(
  parameter REG_INPUTA_CLK = "NONE", parameter REG_INPUTA_CE = "CE0",
  parameter REG_INPUTB_CLK = "NONE", parameter REG_INPUTB_CE = "CE0",
  parameter REG_PIPELINE_CLK = "NONE", parameter REG_PIPELINE_CE = "CE0",
  parameter REG_OUTPUT_CLK = "NONE", parameter REG_OUTPUT_CE = "CE0",
  parameter RESETMODE = "SYNC", parameter MULT_BYPASS = "DISABLED",
  parameter SOURCEB_MODE = "B_SHIFT", parameter GSR = "ENABLED", parameter HIGHSPEED_CLK = "NONE",
  parameter CLK0_DIV = "ENABLED", parameter CLK1_DIV = "ENABLED",
  parameter CLK2_DIV = "ENABLED", parameter CLK3_DIV = "ENABLED"
) (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  input CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
  output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire ce_a = REG_INPUTA_CE == "CE1" ? CE1 : CE0;
  wire ce_b = REG_INPUTB_CE == "CE1" ? CE1 : CE0;
  reg [17:0] a_register = 0, b_register = 0;
  reg [35:0] inner = 0, result = 0;
  wire [17:0] a_used = REG_INPUTA_CLK == "NONE" ? a : a_register;
  wire [17:0] b_used = REG_INPUTB_CLK == "NONE" ? b : b_register;
  wire signed [18:0] a_value = {SIGNEDA & a_used[17], a_used};
  wire signed [18:0] b_value = {SIGNEDB & b_used[17], b_used};
  wire [35:0] product = 36'(a_value * b_value);
  wire [35:0] inner_used = REG_PIPELINE_CLK == "NONE" ? product : inner;
  always @(posedge CLK0) begin
    if (ce_a) a_register <= a;
    if (ce_b) b_register <= b;
    if (CE0) inner <= product;
    if (CE0) result <= inner_used;
  end
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0}
    = REG_OUTPUT_CLK == "NONE" ? inner_used : result;
  initial
    if ((REG_INPUTA_CLK != "NONE" && REG_INPUTA_CLK != "CLK0")
        || (REG_INPUTB_CLK != "NONE" && REG_INPUTB_CLK != "CLK0")
        || (REG_INPUTA_CE != "CE0" && REG_INPUTA_CE != "CE1")
        || (REG_INPUTB_CE != "CE0" && REG_INPUTB_CE != "CE1")
        || (REG_PIPELINE_CLK != "NONE" && REG_PIPELINE_CLK != "CLK0")
        || (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0")
        || REG_PIPELINE_CE != "CE0" || REG_OUTPUT_CE != "CE0")
      $fatal(1, "MULT18X18D: registers must have CLK0 and CE0, or CE1 of an operand");
  always @(posedge CLK0)
    if (SOURCEA | SOURCEB | RST0) $fatal(1, "MULT18X18D: SOURCEA, SOURCEB and RST0 must be 0");
endmodule
