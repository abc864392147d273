"""The numpy golden model: what the hardware computes, bit for bit."""
