// Behaviour of blocks of chips for which Yosys has no model: as their data sheets state it, for
  what
// this project's netlists use of them. A parameter that would ask for more ends the simulation.

// ECP5 (Lattice FPGA-TN-02205, sysDSP): 18 x 18 bits, registers of operands, inside, of the
  product.
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

// ECP5 (Lattice FPGA-TN-02204, sysMEM): 18 Kbit, two ports, as 16K x 1 to 512 x 36. A port that
  reads
// what the other one writes in the same cycle gets nothing to rely on: here the complement.
module DP16KD #(
  parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18,
  parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG",
  parameter RESETMODE = "SYNC", parameter ASYNC_RESET_RELEASE = "SYNC",
  parameter CSDECODE_A = "0b000", parameter CSDECODE_B = "0b000",
  parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL",
  parameter CLKAMUX = "CLKA", parameter CLKBMUX = "CLKB", parameter GSR = "ENABLED",
  parameter [319:0] INITVAL_00 = 0, parameter [319:0] INITVAL_01 = 0,
  parameter [319:0] INITVAL_02 = 0, parameter [319:0] INITVAL_03 = 0,
  parameter [319:0] INITVAL_04 = 0, parameter [319:0] INITVAL_05 = 0,
  parameter [319:0] INITVAL_06 = 0, parameter [319:0] INITVAL_07 = 0,
  parameter [319:0] INITVAL_08 = 0, parameter [319:0] INITVAL_09 = 0,
  parameter [319:0] INITVAL_0A = 0, parameter [319:0] INITVAL_0B = 0,
  parameter [319:0] INITVAL_0C = 0, parameter [319:0] INITVAL_0D = 0,
  parameter [319:0] INITVAL_0E = 0, parameter [319:0] INITVAL_0F = 0,
  parameter [319:0] INITVAL_10 = 0, parameter [319:0] INITVAL_11 = 0,
  parameter [319:0] INITVAL_12 = 0, parameter [319:0] INITVAL_13 = 0,
  parameter [319:0] INITVAL_14 = 0, parameter [319:0] INITVAL_15 = 0,
  parameter [319:0] INITVAL_16 = 0, parameter [319:0] INITVAL_17 = 0,
  parameter [319:0] INITVAL_18 = 0, parameter [319:0] INITVAL_19 = 0,
  parameter [319:0] INITVAL_1A = 0, parameter [319:0] INITVAL_1B = 0,
  parameter [319:0] INITVAL_1C = 0, parameter [319:0] INITVAL_1D = 0,
  parameter [319:0] INITVAL_1E = 0, parameter [319:0] INITVAL_1F = 0,
  parameter [319:0] INITVAL_20 = 0, parameter [319:0] INITVAL_21 = 0,
  parameter [319:0] INITVAL_22 = 0, parameter [319:0] INITVAL_23 = 0,
  parameter [319:0] INITVAL_24 = 0, parameter [319:0] INITVAL_25 = 0,
  parameter [319:0] INITVAL_26 = 0, parameter [319:0] INITVAL_27 = 0,
  parameter [319:0] INITVAL_28 = 0, parameter [319:0] INITVAL_29 = 0,
  parameter [319:0] INITVAL_2A = 0, parameter [319:0] INITVAL_2B = 0,
  parameter [319:0] INITVAL_2C = 0, parameter [319:0] INITVAL_2D = 0,
  parameter [319:0] INITVAL_2E = 0, parameter [319:0] INITVAL_2F = 0,
  parameter [319:0] INITVAL_30 = 0, parameter [319:0] INITVAL_31 = 0,
  parameter [319:0] INITVAL_32 = 0, parameter [319:0] INITVAL_33 = 0,
  parameter [319:0] INITVAL_34 = 0, parameter [319:0] INITVAL_35 = 0,
  parameter [319:0] INITVAL_36 = 0, parameter [319:0] INITVAL_37 = 0,
  parameter [319:0] INITVAL_38 = 0, parameter [319:0] INITVAL_39 = 0,
  parameter [319:0] INITVAL_3A = 0, parameter [319:0] INITVAL_3B = 0,
  parameter [319:0] INITVAL_3C = 0, parameter [319:0] INITVAL_3D = 0,
  parameter [319:0] INITVAL_3E = 0, parameter [319:0] INITVAL_3F = 0
) (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
    DIA3, DIA2, DIA1, DIA0, ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3,
    ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
    DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
    DIB3, DIB2, DIB1, DIB0, ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3,
    ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
    DOB3, DOB2, DOB1, DOB0
);
  reg [8:0] memory [0:2047];  // bytes, with the ninth bit on top
  localparam [20479:0] INITIAL = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
  };
  initial
    for (int i = 0; i < 1024; i = i + 1)
      {memory[2*i+1], memory[2*i]} = INITIAL[320*(i/16)+20*(i%16)+:18];
  // Lowest row and bit of an access, and which of its bytes are written.
  wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3,
    ADA2, ADA1, ADA0};
  wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3,
    ADB2, ADB1, ADB0};
  wire [35:0] data_a = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7,
    DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0, DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11,
    DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] data_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7,
    DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  reg [35:0] out_a = 0, out_b = 0;
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
    DOA4, DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? out_b[17:0] : out_a[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
    DOB4, DOB3, DOB2, DOB1, DOB0} = DATA_WIDTH_B == 36 ? out_b[35:18] : out_b[17:0];

  function automatic [35:0] read(input int width, input [13:0] address);
    case (width)
      1: return 36'(memory[address[13:3]][address[2:0]]);
      2: return 36'(memory[address[13:3]][{address[2:1], 1'b0}+:2]);
      4: return 36'(memory[address[13:3]][{address[2], 2'b0}+:4]);
      9: return 36'(memory[address[13:3]]);
      18: return 36'({memory[{address[13:4], 1'd1}], memory[{address[13:4], 1'd0}]});
      default:
        return {memory[{address[13:5], 2'd3}], memory[{address[13:5], 2'd2}],
          memory[{address[13:5], 2'd1}], memory[{address[13:5], 2'd0}]};
    endcase
  endfunction

  // Rows that an access of either port has in common: those of the wider one.
  function automatic bit meet(input [13:0] one, input [13:0] other);
    int widest = DATA_WIDTH_A > DATA_WIDTH_B ? DATA_WIDTH_A : DATA_WIDTH_B;
    int low = widest == 36 ? 5 : widest == 18 ? 4 : widest == 9 ? 3 : widest == 4 ? 2 : widest == 2
      ? 1 : 0;
    return (one >> low) == (other >> low);
  endfunction

  always @(posedge CLKA) begin : step
    reg [35:0] before_a, before_b;
    before_a = read(DATA_WIDTH_A, address_a);
    before_b = read(DATA_WIDTH_B, address_b);
    if (CEB && (!WEB || WRITEMODE_B == "READBEFOREWRITE")) out_b = before_b;
    if (CEA && (!WEA || WRITEMODE_A == "READBEFOREWRITE")) out_a = before_a;
    if (CEA && WEA && CEB && !WEB && meet(address_a, address_b)) out_b = ~before_b;
    if (CEB && WEB && CEA && !WEA && meet(address_a, address_b)) out_a = ~before_a;
    if (CEA && WEA)
      case (DATA_WIDTH_A)
        1: memory[address_a[13:3]][address_a[2:0]] = data_a[0];
        2: memory[address_a[13:3]][{address_a[2:1], 1'b0}+:2] = data_a[1:0];
        4: memory[address_a[13:3]][{address_a[2], 2'b0}+:4] = data_a[3:0];
        9: memory[address_a[13:3]] = data_a[8:0];
        18: for (int i = 0; i < 2; i = i + 1)
          if (address_a[i]) memory[{address_a[13:4], i[0]}] = data_a[9*i+:9];
        default: for (int i = 0; i < 4; i = i + 1)
          if (address_a[i]) memory[{address_a[13:5], i[1:0]}] = data_a[9*i+:9];
      endcase
    if (CEB && WEB)
      case (DATA_WIDTH_B)
        1: memory[address_b[13:3]][address_b[2:0]] = data_b[0];
        2: memory[address_b[13:3]][{address_b[2:1], 1'b0}+:2] = data_b[1:0];
        4: memory[address_b[13:3]][{address_b[2], 2'b0}+:4] = data_b[3:0];
        9: memory[address_b[13:3]] = data_b[8:0];
        default: for (int i = 0; i < 2; i = i + 1)
          if (address_b[i]) memory[{address_b[13:4], i[0]}] = data_b[9*i+:9];
      endcase
    if (CEA && WEA && WRITEMODE_A == "WRITETHROUGH") out_a = read(DATA_WIDTH_A, address_a);
    if (CEB && WEB && WRITEMODE_B == "WRITETHROUGH") out_b = read(DATA_WIDTH_B, address_b);
    if (RSTA) out_a = 0;
    if (RSTB) out_b = 0;
  end
  initial
    if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB" || REGMODE_A != "NOREG" || REGMODE_B != "NOREG")
      $fatal(1, "DP16KD: ports must have their clock as it is, and no output register");
endmodule
