// Simulation model of the weight-stationary array (hw/array.py): the same ports and, in every cycle
// and whatever the inputs, the same outputs. tests/sim/test_array_model.py holds the two together.
//
// One process works through rows of plain 32-bit integers, in place, from the last row up, so that a
// row reads what the row above held before the edge. Loops over columns stay loops, which C++
// compilers turn into vector instructions: several times as fast as one register and one process per
// processing element. Hence the form: columns are kept in reverse order, because vectors move
// towards lower indices without overlap, and sizes are powers of two, because Verilator checks or
// masks other indices. Sums wrap at 32 bits, of which only the low SUM_BITS leave.
//
// GROUP neighbouring columns work on the same activation in the same cycle: with d the distance from
// the corner, row r and column c work on what came in d = GROUP * r + c places ago, and every cycle
// moves GROUP places. With precisions of nibbles (GROUP is 1) a weight is two 5-bit operands, of
// which a W8A8 vector sees 16 * high + low, and an activation has one operand for each.
//
// If SPARSE (GROUP is 1) a pair of rows has 4 activations, of which a weight takes that of its
// place, the 2 bits above it. Rows all of whose weights take the row's own work as others do.
module systolith_array #(
  parameter int unsigned ROWS = 16,
  parameter int unsigned COLUMNS = 16,
  parameter int unsigned SUM_BITS = 22,
  parameter bit PIPELINED = 0,
  parameter int unsigned LINES = 0,
  parameter int unsigned GROUP = 1,
  parameter bit W4A8 = 0,
  parameter bit W4A4 = 0,
  parameter bit SPARSE = 0,
  parameter int unsigned X_BITS = 9,
  parameter int unsigned W_BITS = 9,
  parameter int unsigned HIGH_BITS = 1
) (
  input wire clk,
  input wire rst,
  input wire [X_BITS*(SPARSE ? 2 : 1)*ROWS-1:0] i_x,
  input wire [1:0] i_precision,
  input wire i_switch,
  input wire [W_BITS*COLUMNS-1:0] i_w,
  input wire i_nibbles,
  input wire [ROWS-1:0] i_shift,
  input wire i_lane,
  input wire [9*(LINES == 0 ? 1 : LINES)*COLUMNS-1:0] i_d,
  output reg [SUM_BITS*COLUMNS-1:0] o,
  output reg [HIGH_BITS*COLUMNS-1:0] o_high
);
  localparam bit NIBBLES = W4A8 || W4A4;
  localparam int unsigned SPAN = GROUP * ROWS + COLUMNS;
  localparam int unsigned LAST = COLUMNS - 1;
  localparam int unsigned INPUTS = SPARSE ? 2 * ROWS : ROWS;
  localparam int unsigned INPUT_SLOTS = 1 << $clog2(INPUTS + 1);
  localparam int unsigned CODE_BITS = SPARSE ? W_BITS - 2 : W_BITS;
  localparam int unsigned ROW_SLOTS = 1 << $clog2(ROWS + 1);
  localparam int unsigned COLUMN_SLOTS = 1 << $clog2(COLUMNS);
  localparam int unsigned SPAN_SLOTS = 1 << $clog2(SPAN);
  localparam int unsigned TAPS = LINES == 0 ? 1 : ROWS / LINES;
  localparam int unsigned LINE_SLOTS = LINES < 2 ? 1 : 1 << $clog2(LINES);

  // x[i][SPAN-1-d]: activation i, d places ago: that of row i, or of place i % 4 of the rows i / 4.
  int x[0:INPUT_SLOTS-1][0:SPAN_SLOTS-1];
  // The same for the second operands: for the low sum (of W8A8 times 16), and for the high one.
  int y[0:INPUT_SLOTS-1][0:SPAN_SLOTS-1];
  int z[0:INPUT_SLOTS-1][0:SPAN_SLOTS-1];
  // w[d][LAST-c]: weight of column c, d cycles ago; it enters row 0 after d = c / GROUP.
  int w[0:COLUMN_SLOTS-1][0:COLUMN_SLOTS-1];
  int low[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];  // operands of a resident weight
  int high[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];
  int weight[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];
  int shadow[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];  // with the place in bits CODE_BITS and up
  int place[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];
  reg [COLUMNS-1:0] chooses[0:ROW_SLOTS-1];  // the weight's place is not that of the row's own
  int product[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];
  int total[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];  // total[r + 1] leaves row r; total[0] is zero
  int high_product[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];
  int high_total[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];
  // Bit d: the input d places ago. Row r of column c obeys bit GROUP * r + c, and shifts[r][c].
  reg [SPAN-1:0] switches;
  reg [SPAN-1:0] nibbles;  // the vector has a precision of nibbles
  // Bit d: a depthwise vector began d cycles ago; row r of column c takes its stream if lanes[r + c].
  reg [SPAN-1:0] lanes;
  // history[t][l][LAST-c]: line l of column c in cycle t; works in row l * TAPS, l * TAPS + c later.
  int history[0:SPAN_SLOTS-1][0:LINE_SLOTS-1][0:COLUMN_SLOTS-1];
  int streams[0:LINE_SLOTS-1][0:COLUMN_SLOTS-1];
  int operand[0:COLUMN_SLOTS-1];
  int second[0:COLUMN_SLOTS-1];
  int third[0:COLUMN_SLOTS-1];
  reg [$clog2(SPAN)-1:0] now;
  reg [COLUMNS-1:0] shifts[0:ROW_SLOTS-1];

  function automatic int encoded(input [W_BITS-1:0] value);
    if (SPARSE) return 32'({value[W_BITS-1-:2], CODE_BITS'(code(CODE_BITS'(value)))});
    return code(CODE_BITS'(value));
  endfunction

  function automatic int code(input [CODE_BITS-1:0] value);
    if (!NIBBLES) return 32'($signed(value));
    return 32'(i_nibbles ? value : CODE_BITS'({value[8:4], 1'b0, value[3:0]}));
  endfunction

  always_ff @(posedge clk) begin : step
    int unsigned k;
    bit is_w4a8, is_w4a4;
    int own;
    switches = SPAN'({switches, {GROUP{i_switch}}});
    is_w4a8 = W4A8 && i_precision == 1;
    is_w4a4 = W4A4 && i_precision == 2;
    if (NIBBLES) nibbles = SPAN'({nibbles, is_w4a8 || is_w4a4});
    for (int unsigned r = 0; r < ROWS; r = r + 1)
      shifts[r] = COLUMNS'({shifts[r], {GROUP{i_shift[r]}}});
    for (int unsigned i = 0; i < INPUTS; i = i + 1) begin
      int unsigned lowest;  // row of those that take it
      lowest = SPARSE ? i / 4 * 2 + 1 : i;
      /*verilator unroll_disable*/
      for (k = GROUP * (ROWS - lowest); k < SPAN - GROUP; k = k + 1) x[i][k] = x[i][k+GROUP];
      for (k = SPAN - GROUP; k < SPAN; k = k + 1) x[i][k] = 32'($signed(i_x[X_BITS*i+:9]));
      if (NIBBLES) begin
        /*verilator unroll_disable*/
        for (k = ROWS - lowest; k < SPAN - 1; k = k + 1) begin
          y[i][k] = y[i][k+1];
          z[i][k] = z[i][k+1];
        end
        y[i][SPAN-1] = is_w4a8 ? 0 : x[i][SPAN-1] << 4;
        z[i][SPAN-1] = is_w4a8 ? x[i][SPAN-1] : 0;
        if (is_w4a4) begin
          x[i][SPAN-1] = 32'($signed(i_x[X_BITS*i+:5]));
          y[i][SPAN-1] = 32'($signed(i_x[X_BITS*(i+1)-5+:5]));
        end
      end
    end
    if (shifts[0] != 0) begin
      for (int unsigned d = LAST; d > 0; d = d - 1) begin
        /*verilator unroll_disable*/
        for (k = 0; k < COLUMNS; k = k + 1) w[d][k] = w[d-1][k];
      end
      for (int unsigned c = 0; c < COLUMNS; c = c + 1) w[0][LAST-c] = encoded(i_w[W_BITS*c+:W_BITS]);
    end
    if (LINES != 0) begin
      lanes = SPAN'({lanes, i_lane});
      now = now + 1;
      // A vector works with what comes in the TAPS cycles from its beginning on, and nothing else.
      if (lanes[TAPS-1:0] != 0)
        for (int unsigned d = 0; d < LINES; d = d + 1)
          for (int unsigned c = 0; c < COLUMNS; c = c + 1)
            history[now][d][LAST-c] = 32'($signed(i_d[9*(COLUMNS*d+c)+:9]));
      if (lanes != 0)
        for (int unsigned d = 0; d < LINES; d = d + 1)
          for (int unsigned c = 0; c < COLUMNS; c = c + 1)
            streams[d][LAST-c] = history[now-$clog2(SPAN)'(d*TAPS+c)][d][LAST-c];
    end
    for (int r = int'(ROWS) - 1; r >= 0; r = r - 1) begin
      // The activation that the row has of its own.
      own = SPARSE ? r / 2 * 4 + r % 2 : r;
      if ((NIBBLES && nibbles[r+:COLUMNS] != 0) || (SPARSE && chooses[r] != 0)) begin
        if (SPARSE && chooses[r] != 0) begin
          /*verilator unroll_disable*/
          for (k = 0; k < COLUMNS; k = k + 1) begin
            operand[k] = x[r/2*4+place[r][k]][ROWS-r+k];
            if (NIBBLES) second[k] = y[r/2*4+place[r][k]][ROWS-r+k];
            if (NIBBLES) third[k] = z[r/2*4+place[r][k]][ROWS-r+k];
          end
        end else begin
          /*verilator unroll_disable*/
          for (k = 0; k < COLUMNS; k = k + 1) begin
            operand[k] = x[own][ROWS-r+k];
            second[k] = y[own][ROWS-r+k];
            third[k] = z[own][ROWS-r+k];
          end
        end
        if (r < int'(LINES * TAPS) && lanes[r+:COLUMNS] != 0)
          for (int unsigned c = 0; c < COLUMNS; c = c + 1)
            if (lanes[r+c]) begin
              operand[LAST-c] = streams[r/TAPS][LAST-c];
              second[LAST-c] = streams[r/TAPS][LAST-c] << 4;
              third[LAST-c] = 0;
            end
        if (PIPELINED) begin
          /*verilator unroll_disable*/
          for (k = 0; k < COLUMNS; k = k + 1) begin
            total[r+1][k] = total[r][k] + product[r][k];
            product[r][k] = NIBBLES ? operand[k] * low[r][k] + second[k] * high[r][k]
                                    : operand[k] * weight[r][k];
          end
        end else begin
          /*verilator unroll_disable*/
          for (k = 0; k < COLUMNS; k = k + 1)
            total[r+1][k] = total[r][k] + (
              NIBBLES ? operand[k] * low[r][k] + second[k] * high[r][k] : operand[k] * weight[r][k]);
        end
      end else if (r < int'(LINES * TAPS) && lanes[r+:COLUMNS] != 0) begin
        if (lanes[r+:COLUMNS] == '1) begin
          /*verilator unroll_disable*/
          for (k = 0; k < COLUMNS; k = k + 1) operand[k] = streams[r/TAPS][k];
        end else
          for (int unsigned c = 0; c < COLUMNS; c = c + 1)
            operand[LAST-c] = lanes[r+c] ? streams[r/TAPS][LAST-c] : x[own][SPAN-1-r-c];
        /*verilator unroll_disable*/
        for (k = 0; k < COLUMNS; k = k + 1) begin
          total[r+1][k] = total[r][k] + (PIPELINED ? product[r][k] : operand[k] * weight[r][k]);
          if (PIPELINED) product[r][k] = operand[k] * weight[r][k];
        end
      end else if (PIPELINED) begin
        /*verilator unroll_disable*/
        for (k = 0; k < COLUMNS; k = k + 1) begin
          total[r+1][k] = total[r][k] + product[r][k];
          product[r][k] = x[own][GROUP*(ROWS-r)+k] * weight[r][k];
        end
      end else begin
        /*verilator unroll_disable*/
        for (k = 0; k < COLUMNS; k = k + 1)
          total[r+1][k] = total[r][k] + x[own][GROUP*(ROWS-r)+k] * weight[r][k];
      end
      if (W4A8) begin
        if (nibbles[r+:COLUMNS] == 0) begin
          /*verilator unroll_disable*/
          for (k = 0; k < COLUMNS; k = k + 1) third[k] = 0;
        end
        /*verilator unroll_disable*/
        for (k = 0; k < COLUMNS; k = k + 1) begin
          high_total[r+1][k] = high_total[r][k]
            + (PIPELINED ? high_product[r][k] : third[k] * high[r][k]);
          if (PIPELINED) high_product[r][k] = third[k] * high[r][k];
        end
      end
      if (switches[GROUP*r+:COLUMNS] != 0)
        for (int unsigned c = 0; c < COLUMNS; c = c + 1)
          if (switches[GROUP*r+c]) begin
            weight[r][LAST-c] = shadow[r][LAST-c];
            if (SPARSE) begin
              weight[r][LAST-c] = 32'($signed(shadow[r][LAST-c][CODE_BITS-1:0]));
              place[r][LAST-c] = 32'(shadow[r][LAST-c][CODE_BITS+:2]);
              chooses[r][c] = place[r][LAST-c] != r % 2;
            end
            if (NIBBLES) begin
              low[r][LAST-c] = 32'($signed(shadow[r][LAST-c][4:0]));
              high[r][LAST-c] = 32'($signed(shadow[r][LAST-c][9:5]));
              weight[r][LAST-c] = low[r][LAST-c] + (high[r][LAST-c] << 4);
            end
          end
      if (shifts[r] != 0)
        for (int unsigned c = 0; c < COLUMNS; c = c + 1)
          if (shifts[r][c]) shadow[r][LAST-c] = r == 0 ? w[c/GROUP][LAST-c] : shadow[r-1][LAST-c];
      if (rst) shifts[r] = 0;
    end
    if (rst) switches = 0;
    for (int unsigned c = 0; c < COLUMNS; c = c + 1)
      o[SUM_BITS*c+:SUM_BITS] <= total[ROWS][LAST-c][SUM_BITS-1:0];
    for (int unsigned c = 0; c < COLUMNS; c = c + 1)
      o_high[HIGH_BITS*c+:HIGH_BITS] <= high_total[ROWS][LAST-c][HIGH_BITS-1:0];
  end
endmodule
