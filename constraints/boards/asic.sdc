# The numbers follow from --frequency: a quarter of the cycle is outside, at either side.
create_clock -name clk -period {period} [get_ports clk]
set_clock_uncertainty {uncertainty} [get_clocks clk]
set_input_delay {quarter} -clock clk [remove_from_collection [all_inputs] [get_ports clk]]
set_output_delay {quarter} -clock clk [all_outputs]
set_max_fanout 32 [current_design]
