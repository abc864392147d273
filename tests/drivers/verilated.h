/* A Verilated accelerator as a platform of the C driver: every access goes through its control slave. */
#ifndef VERILATED_H
#define VERILATED_H

#include "systolith.h"

/* Make the model, reset it, and fill in a platform. `memory_bytes` of external memory at a bus address
 * that is not 0, if any. Returns 0, or prints what is missing. */
int verilated_open(syst_platform *platform, size_t memory_bytes);

/* Wait for the interrupt line instead of polling: a `wait` of the platform. */
int verilated_interrupt(void *context);

/* Clock cycles so far, and accesses of the slave. */
uint64_t verilated_cycles(void);
uint32_t verilated_accesses(void);

/* Times that the driver asked for memory to be written back and thrown away. */
uint32_t verilated_cleaned(void);
uint32_t verilated_invalidated(void);

#endif
