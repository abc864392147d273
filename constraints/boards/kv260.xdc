# The clock is the processor's PL_CLK0, and the board has no LED at a pin of the logic: nothing to place.
