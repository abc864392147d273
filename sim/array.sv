// Simulation model of the weight-stationary array (hw/array.py): the same ports and, in every cycle
// and whatever the inputs, the same outputs. tests/sim/test_array_model.py holds the two together.
//
// One process works through rows of plain 32-bit integers, in place, from the last row up, so that a
// row reads what the row above held before the edge. Loops over columns stay loops, which C++
// compilers turn into vector instructions: several times as fast as one register and one process per
// processing element. Hence the form: columns are kept in reverse order, because vectors move
// towards lower indices without overlap, and sizes are powers of two, because Verilator checks or
// masks other indices. Sums wrap at 32 bits, of which only the low SUM_BITS leave.
module systolith_array #(
  parameter int unsigned ROWS = 16,
  parameter int unsigned COLUMNS = 16,
  parameter int unsigned SUM_BITS = 22,
  parameter bit PIPELINED = 0,
  parameter int unsigned LINES = 0
) (
  input wire clk,
  input wire rst,
  input wire [9*ROWS-1:0] i_x,
  input wire i_switch,
  input wire [9*COLUMNS-1:0] i_w,
  input wire [ROWS-1:0] i_shift,
  input wire i_lane,
  input wire [9*(LINES == 0 ? 1 : LINES)*COLUMNS-1:0] i_d,
  output reg [SUM_BITS*COLUMNS-1:0] o
);
  localparam int unsigned SPAN = ROWS + COLUMNS;
  localparam int unsigned LAST = COLUMNS - 1;
  localparam int unsigned ROW_SLOTS = 1 << $clog2(ROWS + 1);
  localparam int unsigned COLUMN_SLOTS = 1 << $clog2(COLUMNS);
  localparam int unsigned SPAN_SLOTS = 1 << $clog2(SPAN);
  localparam int unsigned TAPS = LINES == 0 ? 1 : ROWS / LINES;
  localparam int unsigned LINE_SLOTS = LINES < 2 ? 1 : 1 << $clog2(LINES);

  // x[r][SPAN-1-d]: activation of row r, d cycles ago; column c of that row works on d = r + c.
  int x[0:ROW_SLOTS-1][0:SPAN_SLOTS-1];
  // w[d][LAST-c]: weight of column c, d cycles ago; it enters row 0 after d = c.
  int w[0:COLUMN_SLOTS-1][0:COLUMN_SLOTS-1];
  int weight[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];
  int shadow[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];
  int product[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];
  int total[0:ROW_SLOTS-1][0:COLUMN_SLOTS-1];  // total[r + 1] leaves row r; total[0] is zero
  // Bit d: the input d cycles ago. Row r of column c obeys switches[r + c] and shifts[r][c].
  reg [SPAN-1:0] switches;
  // Bit d: a depthwise vector began d cycles ago; row r of column c takes its stream if lanes[r + c].
  reg [SPAN-1:0] lanes;
  // history[t][l][LAST-c]: line l of column c in cycle t; works in row l * TAPS, l * TAPS + c later.
  int history[0:SPAN_SLOTS-1][0:LINE_SLOTS-1][0:COLUMN_SLOTS-1];
  int streams[0:LINE_SLOTS-1][0:COLUMN_SLOTS-1];
  int operand[0:COLUMN_SLOTS-1];
  reg [$clog2(SPAN)-1:0] now;
  reg [COLUMNS-1:0] shifts[0:ROW_SLOTS-1];

  always_ff @(posedge clk) begin : step
    int unsigned k;
    switches = SPAN'({switches, i_switch});
    for (int unsigned r = 0; r < ROWS; r = r + 1) begin
      shifts[r] = COLUMNS'({shifts[r], i_shift[r]});
      /*verilator unroll_disable*/
      for (k = ROWS - r; k < SPAN - 1; k = k + 1) x[r][k] = x[r][k+1];
      x[r][SPAN-1] = 32'($signed(i_x[9*r+:9]));
    end
    if (shifts[0] != 0) begin
      for (int unsigned d = LAST; d > 0; d = d - 1) begin
        /*verilator unroll_disable*/
        for (k = 0; k < COLUMNS; k = k + 1) w[d][k] = w[d-1][k];
      end
      for (int unsigned c = 0; c < COLUMNS; c = c + 1) w[0][LAST-c] = 32'($signed(i_w[9*c+:9]));
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
      if (r < int'(LINES * TAPS) && lanes[r+:COLUMNS] != 0) begin
        if (lanes[r+:COLUMNS] == '1) begin
          /*verilator unroll_disable*/
          for (k = 0; k < COLUMNS; k = k + 1) operand[k] = streams[r/TAPS][k];
        end else
          for (int unsigned c = 0; c < COLUMNS; c = c + 1)
            operand[LAST-c] = lanes[r+c] ? streams[r/TAPS][LAST-c] : x[r][SPAN-1-r-c];
        /*verilator unroll_disable*/
        for (k = 0; k < COLUMNS; k = k + 1) begin
          total[r+1][k] = total[r][k] + (PIPELINED ? product[r][k] : operand[k] * weight[r][k]);
          if (PIPELINED) product[r][k] = operand[k] * weight[r][k];
        end
      end else if (PIPELINED) begin
        /*verilator unroll_disable*/
        for (k = 0; k < COLUMNS; k = k + 1) begin
          total[r+1][k] = total[r][k] + product[r][k];
          product[r][k] = x[r][ROWS-r+k] * weight[r][k];
        end
      end else begin
        /*verilator unroll_disable*/
        for (k = 0; k < COLUMNS; k = k + 1)
          total[r+1][k] = total[r][k] + x[r][ROWS-r+k] * weight[r][k];
      end
      if (switches[r+:COLUMNS] != 0)
        for (int unsigned c = 0; c < COLUMNS; c = c + 1)
          if (switches[r+c]) weight[r][LAST-c] = shadow[r][LAST-c];
      if (shifts[r] != 0)
        for (int unsigned c = 0; c < COLUMNS; c = c + 1)
          if (shifts[r][c]) shadow[r][LAST-c] = r == 0 ? w[c][LAST-c] : shadow[r-1][LAST-c];
      if (rst) shifts[r] = 0;
    end
    if (rst) switches = 0;
    if (rst) lanes = 0;
    for (int unsigned c = 0; c < COLUMNS; c = c + 1)
      o[SUM_BITS*c+:SUM_BITS] <= total[ROWS][LAST-c][SUM_BITS-1:0];
  end
endmodule
