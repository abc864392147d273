// Behaviour of blocks of chips for which Yosys has no model, or none that shows what may go wrong: as
// their data sheets state it, for what this project's netlists use of them. A parameter that would
// ask for more ends the simulation.

// ECP5 (Lattice FPGA-TN-02205, sysDSP): 18 x 18 bits, registers of operands, inside, of
// the product.
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

// Gowin (UG287, DSP): 9 x 9 or 18 x 18 bits, registers of operands, inside, of the product.
module systolith_gowin_multiplier #(
  parameter int BITS = 9,
  parameter AREG = 0, parameter BREG = 0, parameter PIPE_REG = 0, parameter OUT_REG = 0
) (
  input CLK, input CE, input [BITS-1:0] A, input [BITS-1:0] B, input ASIGN, input BSIGN,
  output [2*BITS-1:0] DOUT
);
  reg [BITS-1:0] a_register = 0, b_register = 0;
  reg [2*BITS-1:0] inner = 0, result = 0;
  wire [BITS-1:0] a_used = AREG != 0 ? a_register : A;
  wire [BITS-1:0] b_used = BREG != 0 ? b_register : B;
  wire signed [BITS:0] a_value = {ASIGN & a_used[BITS-1], a_used};
  wire signed [BITS:0] b_value = {BSIGN & b_used[BITS-1], b_used};
  wire [2*BITS-1:0] product = (2*BITS)'(a_value * b_value);
  wire [2*BITS-1:0] inner_used = PIPE_REG != 0 ? inner : product;
  always @(posedge CLK)
    if (CE) begin
      a_register <= A;
      b_register <= B;
      inner <= product;
      result <= inner_used;
    end
  assign DOUT = OUT_REG != 0 ? result : inner_used;
endmodule

module MULT9X9 #(
  parameter AREG = 0, parameter BREG = 0, parameter PIPE_REG = 0, parameter OUT_REG = 0,
  parameter ASIGN_REG = 0, parameter BSIGN_REG = 0, parameter SOA_REG = 0,
  parameter MULT_RESET_MODE = "SYNC"
) (
  input CLK, input CE, input RESET, input [8:0] A, input [8:0] B,
  input [8:0] SIA, input [8:0] SIB, input ASIGN, input BSIGN, input ASEL, input BSEL,
  output [17:0] DOUT
);
  systolith_gowin_multiplier #(
    .BITS(9), .AREG(AREG), .BREG(BREG), .PIPE_REG(PIPE_REG), .OUT_REG(OUT_REG)
  ) multiplier (.CLK(CLK), .CE(CE), .A(A), .B(B), .ASIGN(ASIGN), .BSIGN(BSIGN), .DOUT(DOUT));
  always @(posedge CLK)
    if (RESET | ASEL | BSEL) $fatal(1, "MULT9X9: RESET, ASEL and BSEL must be 0");
endmodule

module MULT18X18 #(
  parameter AREG = 0, parameter BREG = 0, parameter PIPE_REG = 0, parameter OUT_REG = 0,
  parameter ASIGN_REG = 0, parameter BSIGN_REG = 0, parameter SOA_REG = 0,
  parameter MULT_RESET_MODE = "SYNC"
) (
  input CLK, input CE, input RESET, input [17:0] A, input [17:0] B,
  input [17:0] SIA, input [17:0] SIB, input ASIGN, input BSIGN, input ASEL, input BSEL,
  output [35:0] DOUT
);
  systolith_gowin_multiplier #(
    .BITS(18), .AREG(AREG), .BREG(BREG), .PIPE_REG(PIPE_REG), .OUT_REG(OUT_REG)
  ) multiplier (.CLK(CLK), .CE(CE), .A(A), .B(B), .ASIGN(ASIGN), .BSIGN(BSIGN), .DOUT(DOUT));
  always @(posedge CLK)
    if (RESET | ASEL | BSEL) $fatal(1, "MULT18X18: RESET, ASEL and BSEL must be 0");
endmodule

// The memory of a block RAM: two ports of one clock, each with a width to read and one to write, of
// 1, 2, 4 bits of a byte of 9, or of a whole number of bytes. A port that reads what the other one
// writes in the same cycle gets what was there before if that one reads it first and FIRST says
// that this helps, and else nothing to rely on: here the complement.
module systolith_block_ram #(
  parameter int BITS = 14,
  parameter int READ_A = 0, parameter int WRITE_A = 0,
  parameter int READ_B = 0, parameter int WRITE_B = 0,
  parameter MODE_A = "WRITE_FIRST", parameter MODE_B = "WRITE_FIRST",
  parameter bit FIRST = 0,
  parameter [9*(1<<(BITS-3))-1:0] INITIAL = 0
) (
  input clk, input en_a, input en_b, input clear_a, input clear_b,
  input [BITS-1:0] address_a, input [BITS-1:0] address_b,
  input [71:0] data_a, input [71:0] data_b, input [7:0] write_a, input [7:0] write_b,
  output reg [71:0] out_a, output reg [71:0] out_b
);
  typedef logic [BITS-4:0] row_t;
  reg [8:0] memory [0:(1<<(BITS-3))-1];
  initial for (int i = 0; i < 1 << (BITS - 3); i = i + 1) memory[i] = INITIAL[9*i+:9];
  initial out_a = 0;
  initial out_b = 0;

  function automatic [71:0] read(input int width, input [BITS-1:0] address);
    read = 0;
    if (width > 4)
      for (int i = 0; i < width / 9; i = i + 1)
        read[9*i+:9] = memory[(address[BITS-1:3] & ~row_t'(width / 9 - 1)) | row_t'(i)];
    else
      for (int i = 0; i < width; i = i + 1)
        read[i] = memory[address[BITS-1:3]][(address[2:0] & ~3'(width - 1)) | 3'(i)];
  endfunction

  task automatic write(
    input int width, input [BITS-1:0] address, input [71:0] data, input [7:0] bytes
  );
    if (width > 4) begin
      for (int i = 0; i < width / 9; i = i + 1)
        if (bytes[i])
          memory[(address[BITS-1:3] & ~row_t'(width / 9 - 1)) | row_t'(i)] = data[9*i+:9];
    end else if (bytes[0])
      for (int i = 0; i < width; i = i + 1)
        memory[address[BITS-1:3]][(address[2:0] & ~3'(width - 1)) | 3'(i)] = data[i];
  endtask

  // Bits of a word that is read, of those that are written.
  function automatic [71:0] meet(
    input int reads, input [BITS-1:0] here, input int writes, input [BITS-1:0] there,
    input [7:0] bytes
  );
    row_t row, rows;
    int first;
    meet = 0;
    for (int i = 0; i < reads; i = i + 1) begin
      row = here[BITS-1:3];
      first = int'(here[2:0] & ~3'(reads - 1)) + i;
      if (reads > 4) begin
        row = (row & ~row_t'(reads / 9 - 1)) | row_t'(i / 9);
        first = i % 9;
      end
      if (writes > 4) begin
        rows = row_t'(writes / 9 - 1);
        meet[i] = (row | rows) == (there[BITS-1:3] | rows) && bytes[3'(row & rows)];
      end else
        meet[i] = row == there[BITS-1:3] && bytes[0]
          && (first & ~(writes - 1)) == int'(there[2:0] & ~3'(writes - 1));
    end
  endfunction

  always @(posedge clk) begin : step
    reg [71:0] before_a, before_b, next_a, next_b;
    bit writes_a, writes_b;
    next_a = out_a;
    next_b = out_b;
    before_a = read(READ_A, address_a);
    before_b = read(READ_B, address_b);
    writes_a = en_a && WRITE_A != 0 && write_a != 0;
    writes_b = en_b && WRITE_B != 0 && write_b != 0;
    if (writes_a) write(WRITE_A, address_a, data_a, write_a);
    if (writes_b) write(WRITE_B, address_b, data_b, write_b);
    if (en_a && READ_A != 0 && !(writes_a && MODE_A == "NO_CHANGE")) begin
      next_a = writes_a && MODE_A == "WRITE_FIRST" ? read(READ_A, address_a) : before_a;
      if (writes_b && !(FIRST && MODE_B == "READ_FIRST"))
        next_a = next_a ^ meet(READ_A, address_a, WRITE_B, address_b, write_b);
    end
    if (en_b && READ_B != 0 && !(writes_b && MODE_B == "NO_CHANGE")) begin
      next_b = writes_b && MODE_B == "WRITE_FIRST" ? read(READ_B, address_b) : before_b;
      if (writes_a && !(FIRST && MODE_A == "READ_FIRST"))
        next_b = next_b ^ meet(READ_B, address_b, WRITE_A, address_a, write_a);
    end
    if (clear_a) next_a = 0;
    if (clear_b) next_b = 0;
    out_a <= next_a;
    out_b <= next_b;
  end
endmodule

// ECP5 (Lattice FPGA-TN-02204, sysMEM): 18 Kbit. 36 bits are written by port A and read by port B;
// the lowest bits of an address enable the bytes of words of 18 and 36 bits.
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
  localparam [20479:0] SLOTS = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
  };
  function automatic [18431:0] initial_bits();
    for (int i = 0; i < 1024; i = i + 1) initial_bits[18*i+:18] = SLOTS[320*(i/16)+20*(i%16)+:18];
  endfunction
  wire [13:0] address_a = {
    ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
  };
  wire [13:0] address_b = {
    ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
  };
  wire [17:0] data_a = {
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
    DIA3, DIA2, DIA1, DIA0
  };
  wire [17:0] data_b = {
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
    DIB3, DIB2, DIB1, DIB0
  };
  wire [71:0] out_a, out_b;
  wire [7:0] bytes_a = DATA_WIDTH_A == 36 ? 8'(address_a[3:0])
    : DATA_WIDTH_A == 18 ? 8'(address_a[1:0]) : 8'd1;
  wire [7:0] bytes_b = DATA_WIDTH_B == 18 ? 8'(address_b[1:0]) : 8'd1;
  wire unused = &{OCEA, OCEB, 1'b0};
  systolith_block_ram #(
    .BITS(14), .READ_A(DATA_WIDTH_A == 36 ? 0 : DATA_WIDTH_A), .WRITE_A(DATA_WIDTH_A),
    .READ_B(DATA_WIDTH_B), .WRITE_B(DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36 ? 0 : DATA_WIDTH_B),
    .MODE_A(WRITEMODE_A == "NORMAL" ? "NO_CHANGE"
      : WRITEMODE_A == "WRITETHROUGH" ? "WRITE_FIRST" : "READ_FIRST"),
    .MODE_B(WRITEMODE_B == "NORMAL" ? "NO_CHANGE"
      : WRITEMODE_B == "WRITETHROUGH" ? "WRITE_FIRST" : "READ_FIRST"),
    .INITIAL(initial_bits())
  ) ram (
    .clk(CLKA), .en_a(CEA), .en_b(CEB), .clear_a(RSTA), .clear_b(RSTB),
    .address_a(address_a), .address_b(address_b),
    .data_a({36'b0, data_b, data_a}), .data_b(72'(data_b)),
    .write_a(WEA ? bytes_a : 8'd0), .write_b(WEB ? bytes_b : 8'd0), .out_a(out_a), .out_b(out_b)
  );
  assign {
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
    DOA3, DOA2, DOA1, DOA0
  } = DATA_WIDTH_B == 36 ? out_b[17:0] : out_a[17:0];
  assign {
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
    DOB3, DOB2, DOB1, DOB0
  } = DATA_WIDTH_B == 36 ? out_b[35:18] : out_b[17:0];
  initial
    if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB" || REGMODE_A != "NOREG" || REGMODE_B != "NOREG")
      $fatal(1, "DP16KD: ports must have their clock as it is, and no output register");
  always @(posedge CLKA)
    if (CSA0 | CSA1 | CSA2 | CSB0 | CSB1 | CSB2) $fatal(1, "DP16KD: chip selects must be 0");
endmodule

// iCE40 (Lattice FPGA-TN-02002): 4 Kbit, a port to write and one to read, each of 16 bits of 256
// words, or of every second, fourth or eighth of them as the upper bits of the address choose. What
// is read while it is written is nothing to rely on: here the complement of what was there.
module SB_RAM40_4K #(
  parameter int READ_MODE = 0, parameter int WRITE_MODE = 0,
  parameter [255:0] INIT_0 = 0, parameter [255:0] INIT_1 = 0, parameter [255:0] INIT_2 = 0,
  parameter [255:0] INIT_3 = 0, parameter [255:0] INIT_4 = 0, parameter [255:0] INIT_5 = 0,
  parameter [255:0] INIT_6 = 0, parameter [255:0] INIT_7 = 0, parameter [255:0] INIT_8 = 0,
  parameter [255:0] INIT_9 = 0, parameter [255:0] INIT_A = 0, parameter [255:0] INIT_B = 0,
  parameter [255:0] INIT_C = 0, parameter [255:0] INIT_D = 0, parameter [255:0] INIT_E = 0,
  parameter [255:0] INIT_F = 0
) (
  input RCLK, RCLKE, RE, WCLK, WCLKE, WE,
  input [10:0] RADDR, input [10:0] WADDR, input [15:0] MASK, input [15:0] WDATA,
  output reg [15:0] RDATA
);
  localparam int READ = 1 << READ_MODE, WRITE = 1 << WRITE_MODE;
  localparam [4095:0] BITS = {
    INIT_F, INIT_E, INIT_D, INIT_C, INIT_B, INIT_A, INIT_9, INIT_8, INIT_7,
    INIT_6, INIT_5, INIT_4, INIT_3, INIT_2, INIT_1, INIT_0
  };
  reg [15:0] memory [0:255];
  reg [15:0] word = 0;
  reg [2:0] column = 0;
  reg [15:0] data, written;
  initial for (int i = 0; i < 256; i = i + 1) memory[i] = BITS[16*i+:16];
  always @* begin
    for (int i = 0; i < 16; i = i + 1) begin
      data[i] = WDATA[WRITE == 1 ? i : i / WRITE * WRITE + WRITE / 2 - 1];
      written[i] = WE & WCLKE
        & (WRITE == 1 ? ~MASK[i] : 3'(i % WRITE) == (WADDR[10:8] & 3'(WRITE - 1)));
    end
    RDATA = 0;
    for (int i = 0; i < 16; i = i + READ)
      RDATA[READ == 1 ? i : i + READ / 2 - 1] = word[i+32'(column)];
  end
  always @(posedge WCLK) memory[WADDR[7:0]] <= memory[WADDR[7:0]] & ~written | data & written;
  always @(posedge RCLK)
    if (RE & RCLKE) begin
      word <= memory[RADDR[7:0]] ^ (RADDR[7:0] == WADDR[7:0] ? written : 16'b0);
      column <= RADDR[10:8] & 3'(READ - 1);
    end
endmodule

// iCE40 UltraPlus (Lattice FPGA-TN-02022): 256 Kbit, one port. It begins with anything, and gives
// nothing to rely on behind a write.
module SB_SPRAM256KA (
  input CLOCK, CHIPSELECT, WREN, STANDBY, SLEEP, POWEROFF,
  input [13:0] ADDRESS, input [15:0] DATAIN, input [3:0] MASKWREN, output reg [15:0] DATAOUT
);
  reg [15:0] memory [0:16383];
  initial for (int i = 0; i < 16384; i = i + 1) memory[i] = 16'(40503 * (i + 1));
  initial DATAOUT = 16'h5aa5;
  always @(posedge CLOCK) begin
    if (CHIPSELECT & ~WREN) DATAOUT <= memory[ADDRESS];
    if (CHIPSELECT & WREN) begin
      DATAOUT <= ~DATAOUT;
      for (int i = 0; i < 4; i = i + 1)
        if (MASKWREN[i]) memory[ADDRESS][4*i+:4] <= DATAIN[4*i+:4];
    end
    if (STANDBY | SLEEP | ~POWEROFF) $fatal(1, "SB_SPRAM256KA: its power must be on");
  end
endmodule

// Xilinx 7 series (UG473): 18 Kbit, true or simple dual port; one clock.
module RAMB18E1 #(
  parameter RAM_MODE = "TDP", parameter SIM_DEVICE = "7SERIES",
  parameter int READ_WIDTH_A = 0, parameter int READ_WIDTH_B = 0,
  parameter int WRITE_WIDTH_A = 0, parameter int WRITE_WIDTH_B = 0,
  parameter WRITE_MODE_A = "WRITE_FIRST", parameter WRITE_MODE_B = "WRITE_FIRST",
  parameter int DOA_REG = 0, parameter int DOB_REG = 0,
  parameter [17:0] INIT_A = 0, parameter [17:0] INIT_B = 0,
  parameter [17:0] SRVAL_A = 0, parameter [17:0] SRVAL_B = 0,
  parameter [255:0] INIT_00 = 0, parameter [255:0] INIT_01 = 0, parameter [255:0] INIT_02 = 0,
  parameter [255:0] INIT_03 = 0, parameter [255:0] INIT_04 = 0, parameter [255:0] INIT_05 = 0,
  parameter [255:0] INIT_06 = 0, parameter [255:0] INIT_07 = 0, parameter [255:0] INIT_08 = 0,
  parameter [255:0] INIT_09 = 0, parameter [255:0] INIT_0A = 0, parameter [255:0] INIT_0B = 0,
  parameter [255:0] INIT_0C = 0, parameter [255:0] INIT_0D = 0, parameter [255:0] INIT_0E = 0,
  parameter [255:0] INIT_0F = 0, parameter [255:0] INIT_10 = 0, parameter [255:0] INIT_11 = 0,
  parameter [255:0] INIT_12 = 0, parameter [255:0] INIT_13 = 0, parameter [255:0] INIT_14 = 0,
  parameter [255:0] INIT_15 = 0, parameter [255:0] INIT_16 = 0, parameter [255:0] INIT_17 = 0,
  parameter [255:0] INIT_18 = 0, parameter [255:0] INIT_19 = 0, parameter [255:0] INIT_1A = 0,
  parameter [255:0] INIT_1B = 0, parameter [255:0] INIT_1C = 0, parameter [255:0] INIT_1D = 0,
  parameter [255:0] INIT_1E = 0, parameter [255:0] INIT_1F = 0, parameter [255:0] INIT_20 = 0,
  parameter [255:0] INIT_21 = 0, parameter [255:0] INIT_22 = 0, parameter [255:0] INIT_23 = 0,
  parameter [255:0] INIT_24 = 0, parameter [255:0] INIT_25 = 0, parameter [255:0] INIT_26 = 0,
  parameter [255:0] INIT_27 = 0, parameter [255:0] INIT_28 = 0, parameter [255:0] INIT_29 = 0,
  parameter [255:0] INIT_2A = 0, parameter [255:0] INIT_2B = 0, parameter [255:0] INIT_2C = 0,
  parameter [255:0] INIT_2D = 0, parameter [255:0] INIT_2E = 0, parameter [255:0] INIT_2F = 0,
  parameter [255:0] INIT_30 = 0, parameter [255:0] INIT_31 = 0, parameter [255:0] INIT_32 = 0,
  parameter [255:0] INIT_33 = 0, parameter [255:0] INIT_34 = 0, parameter [255:0] INIT_35 = 0,
  parameter [255:0] INIT_36 = 0, parameter [255:0] INIT_37 = 0, parameter [255:0] INIT_38 = 0,
  parameter [255:0] INIT_39 = 0, parameter [255:0] INIT_3A = 0, parameter [255:0] INIT_3B = 0,
  parameter [255:0] INIT_3C = 0, parameter [255:0] INIT_3D = 0, parameter [255:0] INIT_3E = 0,
  parameter [255:0] INIT_3F = 0, parameter [255:0] INITP_00 = 0, parameter [255:0] INITP_01 = 0,
  parameter [255:0] INITP_02 = 0, parameter [255:0] INITP_03 = 0, parameter [255:0] INITP_04 = 0,
  parameter [255:0] INITP_05 = 0, parameter [255:0] INITP_06 = 0, parameter [255:0] INITP_07 = 0
) (
  input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, REGCEAREGCE, REGCEB,
  input RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
  input [13:0] ADDRARDADDR, ADDRBWRADDR,
  input [15:0] DIADI, DIBDI, input [1:0] DIPADIP, DIPBDIP,
  input [1:0] WEA, input [3:0] WEBWE,
  output [15:0] DOADO, DOBDO, output [1:0] DOPADOP, DOPBDOP
);
  localparam bit WIDE_READ = READ_WIDTH_A == 36, WIDE_WRITE = WRITE_WIDTH_B == 36;
  localparam [16383:0] BITS = {
    INIT_3F, INIT_3E, INIT_3D, INIT_3C, INIT_3B, INIT_3A, INIT_39, INIT_38, INIT_37, INIT_36,
    INIT_35, INIT_34, INIT_33, INIT_32, INIT_31, INIT_30, INIT_2F, INIT_2E, INIT_2D, INIT_2C,
    INIT_2B, INIT_2A, INIT_29, INIT_28, INIT_27, INIT_26, INIT_25, INIT_24, INIT_23, INIT_22,
    INIT_21, INIT_20, INIT_1F, INIT_1E, INIT_1D, INIT_1C, INIT_1B, INIT_1A, INIT_19, INIT_18,
    INIT_17, INIT_16, INIT_15, INIT_14, INIT_13, INIT_12, INIT_11, INIT_10, INIT_0F, INIT_0E,
    INIT_0D, INIT_0C, INIT_0B, INIT_0A, INIT_09, INIT_08, INIT_07, INIT_06, INIT_05, INIT_04,
    INIT_03, INIT_02, INIT_01, INIT_00
  };
  localparam [2047:0] NINTHS = {
    INITP_07, INITP_06, INITP_05, INITP_04, INITP_03, INITP_02, INITP_01, INITP_00
  };
  function automatic [18431:0] initial_bits();
    for (int i = 0; i < 2048; i = i + 1) initial_bits[9*i+:9] = {NINTHS[i], BITS[8*i+:8]};
  endfunction
  reg [71:0] data_a, data_b;
  wire [71:0] out_a, out_b;
  reg [15:0] do_a, do_b;
  reg [1:0] dop_a, dop_b;
  always @* begin
    data_a = 0;
    data_b = 0;
    for (int i = 0; i < 2; i = i + 1) begin
      data_a[9*i+:9] = {DIPADIP[i], DIADI[8*i+:8]};
      if (WIDE_WRITE) begin
        data_b[9*i+:9] = {DIPADIP[i], DIADI[8*i+:8]};
        data_b[9*(i+2)+:9] = {DIPBDIP[i], DIBDI[8*i+:8]};
      end else data_b[9*i+:9] = {DIPBDIP[i], DIBDI[8*i+:8]};
      {dop_a[i], do_a[8*i+:8]} = out_a[9*i+:9];
      {dop_b[i], do_b[8*i+:8]} = WIDE_READ ? out_a[9*(i+2)+:9] : out_b[9*i+:9];
    end
  end
  assign DOADO = do_a;
  assign DOPADOP = dop_a;
  assign DOBDO = do_b;
  assign DOPBDOP = dop_b;
  systolith_block_ram #(
    .BITS(14), .READ_A(READ_WIDTH_A), .WRITE_A(WRITE_WIDTH_A),
    .READ_B(READ_WIDTH_B), .WRITE_B(WRITE_WIDTH_B), .MODE_A(WRITE_MODE_A), .MODE_B(WRITE_MODE_B),
    .FIRST(1), .INITIAL(initial_bits())
  ) ram (
    .clk(CLKARDCLK), .en_a(ENARDEN), .en_b(ENBWREN),
    .clear_a(RSTRAMARSTRAM & ENARDEN), .clear_b(RSTRAMB & ENBWREN),
    .address_a(ADDRARDADDR[13:0]), .address_b(ADDRBWRADDR[13:0]),
    .data_a(data_a), .data_b(data_b), .write_a(8'(WEA)), .write_b(8'(WEBWE)),
    .out_a(out_a), .out_b(out_b)
  );
  initial
    if (DOA_REG != 0 || DOB_REG != 0 || INIT_A != 0 || INIT_B != 0 || SRVAL_A != 0 || SRVAL_B != 0)
      $fatal(1, "RAMB18E1: there must be no output register, and outputs must begin at 0");
endmodule

// Xilinx 7 series (UG473): 36 Kbit, true or simple dual port; one clock.
module RAMB36E1 #(
  parameter RAM_MODE = "TDP", parameter SIM_DEVICE = "7SERIES",
  parameter int READ_WIDTH_A = 0, parameter int READ_WIDTH_B = 0,
  parameter int WRITE_WIDTH_A = 0, parameter int WRITE_WIDTH_B = 0,
  parameter WRITE_MODE_A = "WRITE_FIRST", parameter WRITE_MODE_B = "WRITE_FIRST",
  parameter int DOA_REG = 0, parameter int DOB_REG = 0,
  parameter [35:0] INIT_A = 0, parameter [35:0] INIT_B = 0,
  parameter [35:0] SRVAL_A = 0, parameter [35:0] SRVAL_B = 0,
  parameter RAM_EXTENSION_A = "NONE", parameter RAM_EXTENSION_B = "NONE",
  parameter [255:0] INIT_00 = 0, parameter [255:0] INIT_01 = 0, parameter [255:0] INIT_02 = 0,
  parameter [255:0] INIT_03 = 0, parameter [255:0] INIT_04 = 0, parameter [255:0] INIT_05 = 0,
  parameter [255:0] INIT_06 = 0, parameter [255:0] INIT_07 = 0, parameter [255:0] INIT_08 = 0,
  parameter [255:0] INIT_09 = 0, parameter [255:0] INIT_0A = 0, parameter [255:0] INIT_0B = 0,
  parameter [255:0] INIT_0C = 0, parameter [255:0] INIT_0D = 0, parameter [255:0] INIT_0E = 0,
  parameter [255:0] INIT_0F = 0, parameter [255:0] INIT_10 = 0, parameter [255:0] INIT_11 = 0,
  parameter [255:0] INIT_12 = 0, parameter [255:0] INIT_13 = 0, parameter [255:0] INIT_14 = 0,
  parameter [255:0] INIT_15 = 0, parameter [255:0] INIT_16 = 0, parameter [255:0] INIT_17 = 0,
  parameter [255:0] INIT_18 = 0, parameter [255:0] INIT_19 = 0, parameter [255:0] INIT_1A = 0,
  parameter [255:0] INIT_1B = 0, parameter [255:0] INIT_1C = 0, parameter [255:0] INIT_1D = 0,
  parameter [255:0] INIT_1E = 0, parameter [255:0] INIT_1F = 0, parameter [255:0] INIT_20 = 0,
  parameter [255:0] INIT_21 = 0, parameter [255:0] INIT_22 = 0, parameter [255:0] INIT_23 = 0,
  parameter [255:0] INIT_24 = 0, parameter [255:0] INIT_25 = 0, parameter [255:0] INIT_26 = 0,
  parameter [255:0] INIT_27 = 0, parameter [255:0] INIT_28 = 0, parameter [255:0] INIT_29 = 0,
  parameter [255:0] INIT_2A = 0, parameter [255:0] INIT_2B = 0, parameter [255:0] INIT_2C = 0,
  parameter [255:0] INIT_2D = 0, parameter [255:0] INIT_2E = 0, parameter [255:0] INIT_2F = 0,
  parameter [255:0] INIT_30 = 0, parameter [255:0] INIT_31 = 0, parameter [255:0] INIT_32 = 0,
  parameter [255:0] INIT_33 = 0, parameter [255:0] INIT_34 = 0, parameter [255:0] INIT_35 = 0,
  parameter [255:0] INIT_36 = 0, parameter [255:0] INIT_37 = 0, parameter [255:0] INIT_38 = 0,
  parameter [255:0] INIT_39 = 0, parameter [255:0] INIT_3A = 0, parameter [255:0] INIT_3B = 0,
  parameter [255:0] INIT_3C = 0, parameter [255:0] INIT_3D = 0, parameter [255:0] INIT_3E = 0,
  parameter [255:0] INIT_3F = 0, parameter [255:0] INIT_40 = 0, parameter [255:0] INIT_41 = 0,
  parameter [255:0] INIT_42 = 0, parameter [255:0] INIT_43 = 0, parameter [255:0] INIT_44 = 0,
  parameter [255:0] INIT_45 = 0, parameter [255:0] INIT_46 = 0, parameter [255:0] INIT_47 = 0,
  parameter [255:0] INIT_48 = 0, parameter [255:0] INIT_49 = 0, parameter [255:0] INIT_4A = 0,
  parameter [255:0] INIT_4B = 0, parameter [255:0] INIT_4C = 0, parameter [255:0] INIT_4D = 0,
  parameter [255:0] INIT_4E = 0, parameter [255:0] INIT_4F = 0, parameter [255:0] INIT_50 = 0,
  parameter [255:0] INIT_51 = 0, parameter [255:0] INIT_52 = 0, parameter [255:0] INIT_53 = 0,
  parameter [255:0] INIT_54 = 0, parameter [255:0] INIT_55 = 0, parameter [255:0] INIT_56 = 0,
  parameter [255:0] INIT_57 = 0, parameter [255:0] INIT_58 = 0, parameter [255:0] INIT_59 = 0,
  parameter [255:0] INIT_5A = 0, parameter [255:0] INIT_5B = 0, parameter [255:0] INIT_5C = 0,
  parameter [255:0] INIT_5D = 0, parameter [255:0] INIT_5E = 0, parameter [255:0] INIT_5F = 0,
  parameter [255:0] INIT_60 = 0, parameter [255:0] INIT_61 = 0, parameter [255:0] INIT_62 = 0,
  parameter [255:0] INIT_63 = 0, parameter [255:0] INIT_64 = 0, parameter [255:0] INIT_65 = 0,
  parameter [255:0] INIT_66 = 0, parameter [255:0] INIT_67 = 0, parameter [255:0] INIT_68 = 0,
  parameter [255:0] INIT_69 = 0, parameter [255:0] INIT_6A = 0, parameter [255:0] INIT_6B = 0,
  parameter [255:0] INIT_6C = 0, parameter [255:0] INIT_6D = 0, parameter [255:0] INIT_6E = 0,
  parameter [255:0] INIT_6F = 0, parameter [255:0] INIT_70 = 0, parameter [255:0] INIT_71 = 0,
  parameter [255:0] INIT_72 = 0, parameter [255:0] INIT_73 = 0, parameter [255:0] INIT_74 = 0,
  parameter [255:0] INIT_75 = 0, parameter [255:0] INIT_76 = 0, parameter [255:0] INIT_77 = 0,
  parameter [255:0] INIT_78 = 0, parameter [255:0] INIT_79 = 0, parameter [255:0] INIT_7A = 0,
  parameter [255:0] INIT_7B = 0, parameter [255:0] INIT_7C = 0, parameter [255:0] INIT_7D = 0,
  parameter [255:0] INIT_7E = 0, parameter [255:0] INIT_7F = 0, parameter [255:0] INITP_00 = 0,
  parameter [255:0] INITP_01 = 0, parameter [255:0] INITP_02 = 0, parameter [255:0] INITP_03 = 0,
  parameter [255:0] INITP_04 = 0, parameter [255:0] INITP_05 = 0, parameter [255:0] INITP_06 = 0,
  parameter [255:0] INITP_07 = 0, parameter [255:0] INITP_08 = 0, parameter [255:0] INITP_09 = 0,
  parameter [255:0] INITP_0A = 0, parameter [255:0] INITP_0B = 0, parameter [255:0] INITP_0C = 0,
  parameter [255:0] INITP_0D = 0, parameter [255:0] INITP_0E = 0, parameter [255:0] INITP_0F = 0
) (
  input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, REGCEAREGCE, REGCEB,
  input RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
  input CASCADEINA, CASCADEINB, output CASCADEOUTA, CASCADEOUTB,
  input [15:0] ADDRARDADDR, ADDRBWRADDR,
  input [31:0] DIADI, DIBDI, input [3:0] DIPADIP, DIPBDIP,
  input [3:0] WEA, input [7:0] WEBWE,
  output [31:0] DOADO, DOBDO, output [3:0] DOPADOP, DOPBDOP
);
  localparam bit WIDE_READ = READ_WIDTH_A == 72, WIDE_WRITE = WRITE_WIDTH_B == 72;
  localparam [32767:0] BITS = {
    INIT_7F, INIT_7E, INIT_7D, INIT_7C, INIT_7B, INIT_7A, INIT_79, INIT_78, INIT_77, INIT_76,
    INIT_75, INIT_74, INIT_73, INIT_72, INIT_71, INIT_70, INIT_6F, INIT_6E, INIT_6D, INIT_6C,
    INIT_6B, INIT_6A, INIT_69, INIT_68, INIT_67, INIT_66, INIT_65, INIT_64, INIT_63, INIT_62,
    INIT_61, INIT_60, INIT_5F, INIT_5E, INIT_5D, INIT_5C, INIT_5B, INIT_5A, INIT_59, INIT_58,
    INIT_57, INIT_56, INIT_55, INIT_54, INIT_53, INIT_52, INIT_51, INIT_50, INIT_4F, INIT_4E,
    INIT_4D, INIT_4C, INIT_4B, INIT_4A, INIT_49, INIT_48, INIT_47, INIT_46, INIT_45, INIT_44,
    INIT_43, INIT_42, INIT_41, INIT_40, INIT_3F, INIT_3E, INIT_3D, INIT_3C, INIT_3B, INIT_3A,
    INIT_39, INIT_38, INIT_37, INIT_36, INIT_35, INIT_34, INIT_33, INIT_32, INIT_31, INIT_30,
    INIT_2F, INIT_2E, INIT_2D, INIT_2C, INIT_2B, INIT_2A, INIT_29, INIT_28, INIT_27, INIT_26,
    INIT_25, INIT_24, INIT_23, INIT_22, INIT_21, INIT_20, INIT_1F, INIT_1E, INIT_1D, INIT_1C,
    INIT_1B, INIT_1A, INIT_19, INIT_18, INIT_17, INIT_16, INIT_15, INIT_14, INIT_13, INIT_12,
    INIT_11, INIT_10, INIT_0F, INIT_0E, INIT_0D, INIT_0C, INIT_0B, INIT_0A, INIT_09, INIT_08,
    INIT_07, INIT_06, INIT_05, INIT_04, INIT_03, INIT_02, INIT_01, INIT_00
  };
  localparam [4095:0] NINTHS = {
    INITP_0F, INITP_0E, INITP_0D, INITP_0C, INITP_0B, INITP_0A, INITP_09, INITP_08, INITP_07,
    INITP_06, INITP_05, INITP_04, INITP_03, INITP_02, INITP_01, INITP_00
  };
  function automatic [36863:0] initial_bits();
    for (int i = 0; i < 4096; i = i + 1) initial_bits[9*i+:9] = {NINTHS[i], BITS[8*i+:8]};
  endfunction
  reg [71:0] data_a, data_b;
  wire [71:0] out_a, out_b;
  reg [31:0] do_a, do_b;
  reg [3:0] dop_a, dop_b;
  always @* begin
    data_a = 0;
    data_b = 0;
    for (int i = 0; i < 4; i = i + 1) begin
      data_a[9*i+:9] = {DIPADIP[i], DIADI[8*i+:8]};
      if (WIDE_WRITE) begin
        data_b[9*i+:9] = {DIPADIP[i], DIADI[8*i+:8]};
        data_b[9*(i+4)+:9] = {DIPBDIP[i], DIBDI[8*i+:8]};
      end else data_b[9*i+:9] = {DIPBDIP[i], DIBDI[8*i+:8]};
      {dop_a[i], do_a[8*i+:8]} = out_a[9*i+:9];
      {dop_b[i], do_b[8*i+:8]} = WIDE_READ ? out_a[9*(i+4)+:9] : out_b[9*i+:9];
    end
  end
  assign DOADO = do_a;
  assign DOPADOP = dop_a;
  assign DOBDO = do_b;
  assign DOPBDOP = dop_b;
  systolith_block_ram #(
    .BITS(15), .READ_A(READ_WIDTH_A), .WRITE_A(WRITE_WIDTH_A),
    .READ_B(READ_WIDTH_B), .WRITE_B(WRITE_WIDTH_B), .MODE_A(WRITE_MODE_A), .MODE_B(WRITE_MODE_B),
    .FIRST(1), .INITIAL(initial_bits())
  ) ram (
    .clk(CLKARDCLK), .en_a(ENARDEN), .en_b(ENBWREN),
    .clear_a(RSTRAMARSTRAM & ENARDEN), .clear_b(RSTRAMB & ENBWREN),
    .address_a(ADDRARDADDR[14:0]), .address_b(ADDRBWRADDR[14:0]),
    .data_a(data_a), .data_b(data_b), .write_a(8'(WEA)), .write_b(8'(WEBWE)),
    .out_a(out_a), .out_b(out_b)
  );
  initial
    if (DOA_REG != 0 || DOB_REG != 0 || INIT_A != 0 || INIT_B != 0 || SRVAL_A != 0 || SRVAL_B != 0
      || RAM_EXTENSION_A != "NONE")
      $fatal(1, "RAMB36E1: there must be no output register, and outputs must begin at 0");
endmodule
