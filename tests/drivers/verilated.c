/* See verilated.h. The model's library has the interface of sim/harness.cpp. */

#include "verilated.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT 1000u
#define BASE 0x40001000u

typedef struct Sim Sim;
extern Sim *sl_new(void);
extern uint32_t sl_variable_count(Sim *sim);
extern const char *sl_variable(Sim *sim, uint32_t index, void **data, uint32_t *numbers);
extern void sl_eval(Sim *sim);
extern uint64_t sl_cycles(Sim *sim);
extern uint64_t sl_tick(Sim *sim, uint64_t count);
extern uint64_t sl_run_until(Sim *sim, const void *data, uint32_t bytes, uint64_t mask,
                             uint64_t value, uint64_t limit, int *reached);
extern int sl_connect_memory(Sim *sim, const char *prefix, uint8_t *bytes, uint64_t size,
                             const uint64_t *numbers);

typedef struct port {
    void *data;
    uint32_t bytes;
} port;

static Sim *sim;
static port awaddr, awvalid, awready, wdata, wstrb, wvalid, bvalid, bready, bresp;
static port araddr, arvalid, arready, rdata, rvalid, rready, rresp, rst, irq;
static uint32_t accesses, cleaned, invalidated;

static port find(const char *name)
{
    uint32_t index;
    for (index = 0; index < sl_variable_count(sim); ++index) {
        void *data = NULL;
        uint32_t numbers[5];
        if (strcmp(sl_variable(sim, index, &data, numbers), name) == 0) {
            port found;
            found.data = data;
            found.bytes = numbers[2];
            return found;
        }
    }
    fprintf(stderr, "the model has no port %s\n", name);
    exit(2);
}

static void set(port to, uint32_t value)
{
    memcpy(to.data, &value, to.bytes); /* little-endian, as Verilator's own hosts mostly are */
}

static uint32_t get(port from)
{
    uint32_t value = 0;
    memcpy(&value, from.data, from.bytes);
    return value;
}

/* Wait for a handshake's other side; 0 if it came. */
static int until(port flag)
{
    int reached = 0;
    sl_run_until(sim, flag.data, flag.bytes, 1u, 1u, LIMIT, &reached);
    return !reached;
}

static int bus_write(void *context, uint32_t offset, uint32_t value)
{
    int failed;
    (void)context;
    ++accesses;
    set(awaddr, offset), set(wdata, value), set(wstrb, 15u);
    set(awvalid, 1u), set(wvalid, 1u), set(bready, 1u);
    failed = until(awready);
    sl_tick(sim, 1);
    set(awvalid, 0u), set(wvalid, 0u);
    failed |= until(bvalid) || get(bresp);
    sl_tick(sim, 1);
    return failed;
}

static int bus_read(void *context, uint32_t offset, uint32_t *value)
{
    int failed;
    (void)context;
    ++accesses;
    set(araddr, offset), set(arvalid, 1u), set(rready, 1u);
    failed = until(arready);
    sl_tick(sim, 1);
    set(arvalid, 0u);
    failed |= until(rvalid) || get(rresp);
    *value = get(rdata);
    sl_tick(sim, 1);
    return failed;
}

/* The processor does something else for a while. */
static int idle(void *context)
{
    (void)context;
    sl_tick(sim, 50);
    return sl_cycles(sim) > 100000000u;
}

int verilated_interrupt(void *context)
{
    int reached = 0;
    (void)context;
    sl_run_until(sim, irq.data, irq.bytes, 1u, 1u, 10000000u, &reached);
    return !reached;
}

static void clean(void *context, const void *address, size_t bytes)
{
    (void)context, (void)address, (void)bytes;
    ++cleaned;
}

static void invalidate(void *context, void *address, size_t bytes)
{
    (void)context, (void)address, (void)bytes;
    ++invalidated;
}

int verilated_open(syst_platform *platform, size_t memory_bytes)
{
    sim = sl_new();
    if (!sim) {
        fprintf(stderr, "the model cannot be made\n");
        return 2;
    }
    awaddr = find("bus__awaddr"), awvalid = find("bus__awvalid"), awready = find("bus__awready");
    wdata = find("bus__wdata"), wstrb = find("bus__wstrb"), wvalid = find("bus__wvalid");
    bvalid = find("bus__bvalid"), bready = find("bus__bready"), bresp = find("bus__bresp");
    araddr = find("bus__araddr"), arvalid = find("bus__arvalid"), arready = find("bus__arready");
    rdata = find("bus__rdata"), rvalid = find("bus__rvalid"), rready = find("bus__rready");
    rresp = find("bus__rresp"), rst = find("rst"), irq = find("irq");
    memset(platform, 0, sizeof *platform);
    platform->read = bus_read;
    platform->write = bus_write;
    platform->wait = idle;
    platform->clean = clean;
    platform->invalidate = invalidate;
    if (memory_bytes) {
        const port address = find("memory__araddr"), strobe = find("memory__wdata");
        /* base, latency, rate, stalls, error address, bytes of an address and of a beat */
        const uint64_t numbers[7] = {BASE & ~4095u, 16, 65536, 0, ~(uint64_t)0, address.bytes,
                                     strobe.bytes};
        platform->memory_bytes = memory_bytes;
        platform->memory = calloc(1, memory_bytes);
        platform->memory_address = BASE & ~4095u;
        if (!sl_connect_memory(sim, "memory__", platform->memory, memory_bytes, numbers)) {
            fprintf(stderr, "the model has no external memory\n");
            return 2;
        }
    }
    set(rst, 1u);
    sl_tick(sim, 2);
    set(rst, 0u);
    sl_eval(sim);
    return 0;
}

uint64_t verilated_cycles(void) { return sl_cycles(sim); }
uint32_t verilated_accesses(void) { return accesses; }
uint32_t verilated_cleaned(void) { return cleaned; }
uint32_t verilated_invalidated(void) { return invalidated; }
