// Behaviour of Gowin's block RAM (UG285, BSRAM), for what this project's netlists use of it.

// 16 or 18 Kbit, two ports of one clock; X9: with ninth bits. Port A writes and, with DUAL, reads;
// port B reads and, with DUAL, writes. The lowest bits of an address that writes words of two or
// four bytes enable the bytes.
module systolith_gowin_ram #(
  parameter bit X9 = 0, parameter bit DUAL = 0,
  parameter int WIDTH_A = 0, parameter int WIDTH_B = 0, parameter int MODE_A = 0, MODE_B = 0,
  parameter [18431:0] INITIAL = 0
) (
  input CLK, input CEA, CEB, WREA, WREB, RESETA, RESETB,
  input [13:0] ADA, ADB, input [35:0] DIA, DIB, output reg [35:0] DOA, DOB
);
  // Widths in bits of bytes of nine.
  localparam int A = X9 || WIDTH_A < 8 ? WIDTH_A : WIDTH_A / 8 * 9;
  localparam int B = X9 || WIDTH_B < 8 ? WIDTH_B : WIDTH_B / 8 * 9;
  function automatic [18431:0] initial_bits();
    for (int i = 0; i < 2048; i = i + 1)
      initial_bits[9*i+:9] = X9 ? INITIAL[9*i+:9] : {1'b0, INITIAL[8*i+:8]};
  endfunction
  function automatic [71:0] spread(input [35:0] data);
    spread = 0;
    for (int i = 0; i < 4; i = i + 1) spread[9*i+:9] = X9 ? data[9*i+:9] : {1'b0, data[8*i+:8]};
  endfunction
  function automatic [35:0] joined(input [71:0] data);
    joined = 0;
    for (int i = 0; i < 4; i = i + 1)
      if (X9) joined[9*i+:9] = data[9*i+:9];
      else joined[8*i+:8] = data[9*i+:8];
  endfunction
  wire [71:0] out_a, out_b;
  wire [7:0] bytes_a = A == 36 ? 8'(ADA[3:0]) : A == 18 ? 8'(ADA[1:0]) : 8'd1;
  wire [7:0] bytes_b = B == 36 ? 8'(ADB[3:0]) : B == 18 ? 8'(ADB[1:0]) : 8'd1;
  systolith_block_ram #(
    .BITS(14), .READ_A(DUAL ? A : 0), .WRITE_A(A), .READ_B(B), .WRITE_B(DUAL ? B : 0),
    .MODE_A(MODE_A == 0 ? "NO_CHANGE" : "WRITE_FIRST"),
    .MODE_B(MODE_B == 0 ? "NO_CHANGE" : "WRITE_FIRST"), .INITIAL(initial_bits())
  ) ram (
    .clk(CLK), .en_a(CEA), .en_b(CEB), .clear_a(RESETA), .clear_b(RESETB),
    .address_a(ADA), .address_b(ADB), .data_a(spread(DIA)), .data_b(spread(DIB)),
    .write_a(WREA ? bytes_a : 8'd0), .write_b(WREB ? bytes_b : 8'd0), .out_a(out_a), .out_b(out_b)
  );
  always @* begin
    DOA = joined(out_a);
    DOB = joined(out_b);
  end
  initial
    if (MODE_A > 1 || MODE_B > 1 || DUAL && (A > 18 || B > 18))
      $fatal(1, "DPB: ports must have at most 18 bits, and write modes 0 or 1");
endmodule

// A port that writes and one that reads, with ninth bits.
module SDPX9B #(
  parameter READ_MODE = 0,
  parameter int BIT_WIDTH_0 = 36, parameter int BIT_WIDTH_1 = 36,
  parameter [2:0] BLK_SEL_0 = 0, parameter [2:0] BLK_SEL_1 = 0, parameter RESET_MODE = "SYNC",
  parameter [287:0] INIT_RAM_00 = 0, parameter [287:0] INIT_RAM_01 = 0,
  parameter [287:0] INIT_RAM_02 = 0, parameter [287:0] INIT_RAM_03 = 0,
  parameter [287:0] INIT_RAM_04 = 0, parameter [287:0] INIT_RAM_05 = 0,
  parameter [287:0] INIT_RAM_06 = 0, parameter [287:0] INIT_RAM_07 = 0,
  parameter [287:0] INIT_RAM_08 = 0, parameter [287:0] INIT_RAM_09 = 0,
  parameter [287:0] INIT_RAM_0A = 0, parameter [287:0] INIT_RAM_0B = 0,
  parameter [287:0] INIT_RAM_0C = 0, parameter [287:0] INIT_RAM_0D = 0,
  parameter [287:0] INIT_RAM_0E = 0, parameter [287:0] INIT_RAM_0F = 0,
  parameter [287:0] INIT_RAM_10 = 0, parameter [287:0] INIT_RAM_11 = 0,
  parameter [287:0] INIT_RAM_12 = 0, parameter [287:0] INIT_RAM_13 = 0,
  parameter [287:0] INIT_RAM_14 = 0, parameter [287:0] INIT_RAM_15 = 0,
  parameter [287:0] INIT_RAM_16 = 0, parameter [287:0] INIT_RAM_17 = 0,
  parameter [287:0] INIT_RAM_18 = 0, parameter [287:0] INIT_RAM_19 = 0,
  parameter [287:0] INIT_RAM_1A = 0, parameter [287:0] INIT_RAM_1B = 0,
  parameter [287:0] INIT_RAM_1C = 0, parameter [287:0] INIT_RAM_1D = 0,
  parameter [287:0] INIT_RAM_1E = 0, parameter [287:0] INIT_RAM_1F = 0,
  parameter [287:0] INIT_RAM_20 = 0, parameter [287:0] INIT_RAM_21 = 0,
  parameter [287:0] INIT_RAM_22 = 0, parameter [287:0] INIT_RAM_23 = 0,
  parameter [287:0] INIT_RAM_24 = 0, parameter [287:0] INIT_RAM_25 = 0,
  parameter [287:0] INIT_RAM_26 = 0, parameter [287:0] INIT_RAM_27 = 0,
  parameter [287:0] INIT_RAM_28 = 0, parameter [287:0] INIT_RAM_29 = 0,
  parameter [287:0] INIT_RAM_2A = 0, parameter [287:0] INIT_RAM_2B = 0,
  parameter [287:0] INIT_RAM_2C = 0, parameter [287:0] INIT_RAM_2D = 0,
  parameter [287:0] INIT_RAM_2E = 0, parameter [287:0] INIT_RAM_2F = 0,
  parameter [287:0] INIT_RAM_30 = 0, parameter [287:0] INIT_RAM_31 = 0,
  parameter [287:0] INIT_RAM_32 = 0, parameter [287:0] INIT_RAM_33 = 0,
  parameter [287:0] INIT_RAM_34 = 0, parameter [287:0] INIT_RAM_35 = 0,
  parameter [287:0] INIT_RAM_36 = 0, parameter [287:0] INIT_RAM_37 = 0,
  parameter [287:0] INIT_RAM_38 = 0, parameter [287:0] INIT_RAM_39 = 0,
  parameter [287:0] INIT_RAM_3A = 0, parameter [287:0] INIT_RAM_3B = 0,
  parameter [287:0] INIT_RAM_3C = 0, parameter [287:0] INIT_RAM_3D = 0,
  parameter [287:0] INIT_RAM_3E = 0, parameter [287:0] INIT_RAM_3F = 0
) (
  input CLKA, CEA, RESETA, CLKB, CEB, RESETB, OCE,
  input [2:0] BLKSELA, BLKSELB, input [13:0] ADA, ADB, input [35:0] DI, output [35:0] DO
);
  localparam [18431:0] BITS = {
    INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39,
    INIT_RAM_38, INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32,
    INIT_RAM_31, INIT_RAM_30, INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B,
    INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24,
    INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D,
    INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, INIT_RAM_17, INIT_RAM_16,
    INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, INIT_RAM_0F,
    INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08,
    INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01,
    INIT_RAM_00
  };
  wire [35:0] out_a, out_b;
  wire unused = &{CLKB, OCE, RESETA, 36'(out_a), 36'(out_b), 1'b0};
  systolith_gowin_ram #(
    .X9(1), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .INITIAL(18432'(BITS))
  ) ram (
    .CLK(CLKA), .CEA(CEA), .CEB(CEB), .WREA(1'b1), .WREB(1'b0), .RESETA(1'b0), .RESETB(RESETB),
    .ADA(ADA), .ADB(ADB), .DIA(36'(DI)), .DIB(36'b0), .DOA(out_a), .DOB(out_b)
  );
  assign DO = out_b[35:0];
  initial
    if (READ_MODE != 0) $fatal(1, "SDPX9B: there must be no output register");
  always @(posedge CLKA)
    if (BLKSELA != BLK_SEL_0 || BLKSELB != BLK_SEL_1)
      $fatal(1, "SDPX9B: the block must be selected");
endmodule

// Two ports that read and write, of bytes of eight bits.
module DPB #(
  parameter READ_MODE0 = 0, parameter READ_MODE1 = 0,
  parameter int WRITE_MODE0 = 0, parameter int WRITE_MODE1 = 0,
  parameter int BIT_WIDTH_0 = 16, parameter int BIT_WIDTH_1 = 16,
  parameter [2:0] BLK_SEL_0 = 0, parameter [2:0] BLK_SEL_1 = 0, parameter RESET_MODE = "SYNC",
  parameter [255:0] INIT_RAM_00 = 0, parameter [255:0] INIT_RAM_01 = 0,
  parameter [255:0] INIT_RAM_02 = 0, parameter [255:0] INIT_RAM_03 = 0,
  parameter [255:0] INIT_RAM_04 = 0, parameter [255:0] INIT_RAM_05 = 0,
  parameter [255:0] INIT_RAM_06 = 0, parameter [255:0] INIT_RAM_07 = 0,
  parameter [255:0] INIT_RAM_08 = 0, parameter [255:0] INIT_RAM_09 = 0,
  parameter [255:0] INIT_RAM_0A = 0, parameter [255:0] INIT_RAM_0B = 0,
  parameter [255:0] INIT_RAM_0C = 0, parameter [255:0] INIT_RAM_0D = 0,
  parameter [255:0] INIT_RAM_0E = 0, parameter [255:0] INIT_RAM_0F = 0,
  parameter [255:0] INIT_RAM_10 = 0, parameter [255:0] INIT_RAM_11 = 0,
  parameter [255:0] INIT_RAM_12 = 0, parameter [255:0] INIT_RAM_13 = 0,
  parameter [255:0] INIT_RAM_14 = 0, parameter [255:0] INIT_RAM_15 = 0,
  parameter [255:0] INIT_RAM_16 = 0, parameter [255:0] INIT_RAM_17 = 0,
  parameter [255:0] INIT_RAM_18 = 0, parameter [255:0] INIT_RAM_19 = 0,
  parameter [255:0] INIT_RAM_1A = 0, parameter [255:0] INIT_RAM_1B = 0,
  parameter [255:0] INIT_RAM_1C = 0, parameter [255:0] INIT_RAM_1D = 0,
  parameter [255:0] INIT_RAM_1E = 0, parameter [255:0] INIT_RAM_1F = 0,
  parameter [255:0] INIT_RAM_20 = 0, parameter [255:0] INIT_RAM_21 = 0,
  parameter [255:0] INIT_RAM_22 = 0, parameter [255:0] INIT_RAM_23 = 0,
  parameter [255:0] INIT_RAM_24 = 0, parameter [255:0] INIT_RAM_25 = 0,
  parameter [255:0] INIT_RAM_26 = 0, parameter [255:0] INIT_RAM_27 = 0,
  parameter [255:0] INIT_RAM_28 = 0, parameter [255:0] INIT_RAM_29 = 0,
  parameter [255:0] INIT_RAM_2A = 0, parameter [255:0] INIT_RAM_2B = 0,
  parameter [255:0] INIT_RAM_2C = 0, parameter [255:0] INIT_RAM_2D = 0,
  parameter [255:0] INIT_RAM_2E = 0, parameter [255:0] INIT_RAM_2F = 0,
  parameter [255:0] INIT_RAM_30 = 0, parameter [255:0] INIT_RAM_31 = 0,
  parameter [255:0] INIT_RAM_32 = 0, parameter [255:0] INIT_RAM_33 = 0,
  parameter [255:0] INIT_RAM_34 = 0, parameter [255:0] INIT_RAM_35 = 0,
  parameter [255:0] INIT_RAM_36 = 0, parameter [255:0] INIT_RAM_37 = 0,
  parameter [255:0] INIT_RAM_38 = 0, parameter [255:0] INIT_RAM_39 = 0,
  parameter [255:0] INIT_RAM_3A = 0, parameter [255:0] INIT_RAM_3B = 0,
  parameter [255:0] INIT_RAM_3C = 0, parameter [255:0] INIT_RAM_3D = 0,
  parameter [255:0] INIT_RAM_3E = 0, parameter [255:0] INIT_RAM_3F = 0
) (
  input CLKA, CEA, WREA, RESETA, OCEA, CLKB, CEB, WREB, RESETB, OCEB,
  input [2:0] BLKSELA, BLKSELB, input [13:0] ADA, ADB, input [15:0] DIA, DIB,
  output [15:0] DOA, DOB
);
  localparam [16383:0] BITS = {
    INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39,
    INIT_RAM_38, INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32,
    INIT_RAM_31, INIT_RAM_30, INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B,
    INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24,
    INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D,
    INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, INIT_RAM_17, INIT_RAM_16,
    INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, INIT_RAM_0F,
    INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08,
    INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01,
    INIT_RAM_00
  };
  wire [35:0] out_a, out_b;
  wire unused = &{CLKB, OCEA, OCEB, 36'(out_a), 36'(out_b), 1'b0};
  systolith_gowin_ram #(
    .X9(0), .DUAL(1), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1),
    .MODE_A(WRITE_MODE0), .MODE_B(WRITE_MODE1), .INITIAL(18432'(BITS))
  ) ram (
    .CLK(CLKA), .CEA(CEA), .CEB(CEB), .WREA(WREA), .WREB(WREB), .RESETA(RESETA), .RESETB(RESETB),
    .ADA(ADA), .ADB(ADB), .DIA(36'(DIA)), .DIB(36'(DIB)), .DOA(out_a), .DOB(out_b)
  );
  assign DOA = out_a[15:0];
  assign DOB = out_b[15:0];
  initial
    if (READ_MODE0 != 0 || READ_MODE1 != 0) $fatal(1, "DPB: there must be no output register");
  always @(posedge CLKA)
    if (BLKSELA != BLK_SEL_0 || BLKSELB != BLK_SEL_1)
      $fatal(1, "DPB: the block must be selected");
endmodule

// Two ports that read and write, with ninth bits.
module DPX9B #(
  parameter READ_MODE0 = 0, parameter READ_MODE1 = 0,
  parameter int WRITE_MODE0 = 0, parameter int WRITE_MODE1 = 0,
  parameter int BIT_WIDTH_0 = 18, parameter int BIT_WIDTH_1 = 18,
  parameter [2:0] BLK_SEL_0 = 0, parameter [2:0] BLK_SEL_1 = 0, parameter RESET_MODE = "SYNC",
  parameter [287:0] INIT_RAM_00 = 0, parameter [287:0] INIT_RAM_01 = 0,
  parameter [287:0] INIT_RAM_02 = 0, parameter [287:0] INIT_RAM_03 = 0,
  parameter [287:0] INIT_RAM_04 = 0, parameter [287:0] INIT_RAM_05 = 0,
  parameter [287:0] INIT_RAM_06 = 0, parameter [287:0] INIT_RAM_07 = 0,
  parameter [287:0] INIT_RAM_08 = 0, parameter [287:0] INIT_RAM_09 = 0,
  parameter [287:0] INIT_RAM_0A = 0, parameter [287:0] INIT_RAM_0B = 0,
  parameter [287:0] INIT_RAM_0C = 0, parameter [287:0] INIT_RAM_0D = 0,
  parameter [287:0] INIT_RAM_0E = 0, parameter [287:0] INIT_RAM_0F = 0,
  parameter [287:0] INIT_RAM_10 = 0, parameter [287:0] INIT_RAM_11 = 0,
  parameter [287:0] INIT_RAM_12 = 0, parameter [287:0] INIT_RAM_13 = 0,
  parameter [287:0] INIT_RAM_14 = 0, parameter [287:0] INIT_RAM_15 = 0,
  parameter [287:0] INIT_RAM_16 = 0, parameter [287:0] INIT_RAM_17 = 0,
  parameter [287:0] INIT_RAM_18 = 0, parameter [287:0] INIT_RAM_19 = 0,
  parameter [287:0] INIT_RAM_1A = 0, parameter [287:0] INIT_RAM_1B = 0,
  parameter [287:0] INIT_RAM_1C = 0, parameter [287:0] INIT_RAM_1D = 0,
  parameter [287:0] INIT_RAM_1E = 0, parameter [287:0] INIT_RAM_1F = 0,
  parameter [287:0] INIT_RAM_20 = 0, parameter [287:0] INIT_RAM_21 = 0,
  parameter [287:0] INIT_RAM_22 = 0, parameter [287:0] INIT_RAM_23 = 0,
  parameter [287:0] INIT_RAM_24 = 0, parameter [287:0] INIT_RAM_25 = 0,
  parameter [287:0] INIT_RAM_26 = 0, parameter [287:0] INIT_RAM_27 = 0,
  parameter [287:0] INIT_RAM_28 = 0, parameter [287:0] INIT_RAM_29 = 0,
  parameter [287:0] INIT_RAM_2A = 0, parameter [287:0] INIT_RAM_2B = 0,
  parameter [287:0] INIT_RAM_2C = 0, parameter [287:0] INIT_RAM_2D = 0,
  parameter [287:0] INIT_RAM_2E = 0, parameter [287:0] INIT_RAM_2F = 0,
  parameter [287:0] INIT_RAM_30 = 0, parameter [287:0] INIT_RAM_31 = 0,
  parameter [287:0] INIT_RAM_32 = 0, parameter [287:0] INIT_RAM_33 = 0,
  parameter [287:0] INIT_RAM_34 = 0, parameter [287:0] INIT_RAM_35 = 0,
  parameter [287:0] INIT_RAM_36 = 0, parameter [287:0] INIT_RAM_37 = 0,
  parameter [287:0] INIT_RAM_38 = 0, parameter [287:0] INIT_RAM_39 = 0,
  parameter [287:0] INIT_RAM_3A = 0, parameter [287:0] INIT_RAM_3B = 0,
  parameter [287:0] INIT_RAM_3C = 0, parameter [287:0] INIT_RAM_3D = 0,
  parameter [287:0] INIT_RAM_3E = 0, parameter [287:0] INIT_RAM_3F = 0
) (
  input CLKA, CEA, WREA, RESETA, OCEA, CLKB, CEB, WREB, RESETB, OCEB,
  input [2:0] BLKSELA, BLKSELB, input [13:0] ADA, ADB, input [17:0] DIA, DIB,
  output [17:0] DOA, DOB
);
  localparam [18431:0] BITS = {
    INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39,
    INIT_RAM_38, INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32,
    INIT_RAM_31, INIT_RAM_30, INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B,
    INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24,
    INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D,
    INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, INIT_RAM_17, INIT_RAM_16,
    INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, INIT_RAM_0F,
    INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08,
    INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01,
    INIT_RAM_00
  };
  wire [35:0] out_a, out_b;
  wire unused = &{CLKB, OCEA, OCEB, 36'(out_a), 36'(out_b), 1'b0};
  systolith_gowin_ram #(
    .X9(1), .DUAL(1), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1),
    .MODE_A(WRITE_MODE0), .MODE_B(WRITE_MODE1), .INITIAL(18432'(BITS))
  ) ram (
    .CLK(CLKA), .CEA(CEA), .CEB(CEB), .WREA(WREA), .WREB(WREB), .RESETA(RESETA), .RESETB(RESETB),
    .ADA(ADA), .ADB(ADB), .DIA(36'(DIA)), .DIB(36'(DIB)), .DOA(out_a), .DOB(out_b)
  );
  assign DOA = out_a[17:0];
  assign DOB = out_b[17:0];
  initial
    if (READ_MODE0 != 0 || READ_MODE1 != 0) $fatal(1, "DPX9B: there must be no output register");
  always @(posedge CLKA)
    if (BLKSELA != BLK_SEL_0 || BLKSELB != BLK_SEL_1)
      $fatal(1, "DPX9B: the block must be selected");
endmodule
