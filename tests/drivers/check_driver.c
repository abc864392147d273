/* The driver on a fake accelerator: ordinary memory at the map's addresses, where a start ends at once.
 * Prints the number of checks; stops at the first that fails. */

#include <stdio.h>
#include <string.h>

#include "systolith.h"

#define CHECK(condition) \
    do { \
        ++checks; \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            return 1; \
        } \
    } while (0)

static uint32_t slave[0x7000400u / 4u]; /* all windows, as the processor would see them */
static uint8_t external[8192 + 4096];
static unsigned checks, polls, fail_at, accesses, cleaned, invalidated, ends_with;

static const uint32_t commands[4] = {1, 2, 3, 4};
static const uint32_t weights[4] = {0x030201, 0x060504, 0x090807, 0x0C0B0A};
static const syst_segment segments[2] = {{SYST_COMMANDS_BASE, 4, 1, 4, 1, commands},
                                         {SYST_WEIGHTS_BASE, 2, 2, 16, 0, weights}};
static const uint8_t image[64] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
static const syst_range again[1] = {{4, 3}};
static const syst_tensor inputs[3] = {
    {"rows", SYST_INT8, SYST_QUANTIZE_NONE, 0, 0, -128, 127, 5, {2, 2, 3}, {9, 3, 1}, 1.0f, 0},
    {"floats", SYST_FLOAT32, SYST_QUANTIZE_NONE, 0, 0, 0, 0, 64, {1, 2, 1}, {8, 4, 4}, 0.0f, 0},
    {"outside", SYST_UINT8, SYST_QUANTIZE_NONE, 1, 0, 0, 255, 100, {1, 1, 5}, {5, 5, 1}, 0.5f, 3}};
static const syst_tensor outputs[3] = {
    {"bytes", SYST_INT8, SYST_QUANTIZE_NONE, 0, 0, -128, 127, 5, {2, 2, 3}, {9, 3, 1}, 1.0f, 0},
    {"nibbles", SYST_INT8, SYST_QUANTIZE_NONE, 0, 1, -8, 7, 128, {1, 2, 3}, {4, 2, 1}, 1.0f, 0},
    {"outside", SYST_UINT8, SYST_QUANTIZE_NONE, 1, 0, 0, 255, 100, {1, 1, 5}, {5, 5, 1}, 0.5f, 3}};
static const char *const steps[1] = {"softmax last"};
static const syst_network network = {"net", 0xABCDu, 7, 4, 2, segments, image, 64, 5000, 1, again,
                                     3, 3, inputs, outputs, 0, NULL};

static int bus_read(void *context, uint32_t offset, uint32_t *value)
{
    (void)context;
    *value = slave[offset / 4u];
    return ++accesses == fail_at;
}

static int bus_write(void *context, uint32_t offset, uint32_t value)
{
    (void)context;
    slave[offset / 4u] = value;
    if (offset == SYST_REG_CONTROL) {
        slave[SYST_REG_STATUS / 4u] = ends_with;
        slave[SYST_COMMANDS_BASE / 4u] = 0xDEADu; /* as a program that loads its own commands does */
        external[4096 + 5] = 0xEE;
    }
    return ++accesses == fail_at;
}

static int wait(void *context)
{
    (void)context;
    return ++polls > 3u;
}

static void clean(void *context, const void *address, size_t bytes)
{
    (void)context;
    cleaned += address == external + 4096 && bytes == 5000u;
}

static void invalidate(void *context, void *address, size_t bytes)
{
    (void)context;
    invalidated += address == external + 4096 && bytes == 5000u;
}

static void reset(void)
{
    memset(slave, 0, sizeof slave);
    slave[SYST_REG_IDENTIFIER / 4u] = SYST_IDENTIFIER;
    slave[SYST_REG_VERSION / 4u] = SYST_VERSION;
    slave[SYST_REG_FINGERPRINT / 4u] = 0xABCDu;
    ends_with = SYST_STATUS_DONE_MASK;
    fail_at = accesses = polls = cleaned = invalidated = 0;
}

static syst_platform platform(int direct)
{
    syst_platform result;
    memset(&result, 0, sizeof result);
    if (direct) {
        result.base = (uintptr_t)slave;
    } else {
        result.read = bus_read;
        result.write = bus_write;
    }
    result.wait = wait;
    result.clean = clean;
    result.invalidate = invalidate;
    result.memory = external + 4096;
    result.memory_address = 0x100002000u;
    result.memory_bytes = 5000;
    return result;
}

static int refusals(void)
{
    syst_platform at = platform(0);
    syst_network other = network;
    syst_device device;
    uint32_t words[SYST_COUNTERS];
    reset();
    slave[0] = 0xFFFFFFFFu;
    CHECK(syst_init(&device, &at) == SYST_E_IDENTIFIER && device.detail == 0xFFFFFFFFu);
    reset();
    slave[SYST_REG_VERSION / 4u] = 77;
    CHECK(syst_init(&device, &at) == SYST_E_VERSION && device.detail == 77u);
    reset();
    at.write = NULL;
    CHECK(syst_init(&device, &at) == SYST_E_ARGUMENT);
    at = platform(0);
    CHECK(syst_init(&device, &at) == SYST_OK);
    CHECK(syst_start(&device) == SYST_E_ARGUMENT && syst_poll(&device) == SYST_E_ARGUMENT);
    CHECK(syst_write_input(&device, 0, words) == SYST_E_ARGUMENT);
    CHECK(syst_run(&device, NULL, NULL) == SYST_E_ARGUMENT);
    slave[SYST_REG_FINGERPRINT / 4u] = 5;
    CHECK(syst_load(&device, &network) == SYST_E_FINGERPRINT && device.detail == 5u);
    reset();
    slave[SYST_REG_STATUS / 4u] = SYST_STATUS_BUSY_MASK;
    CHECK(syst_load(&device, &network) == SYST_BUSY);
    reset();
    other.step_count = 1;
    other.steps = steps;
    CHECK(syst_load(&device, &other) == SYST_E_HOST_STEP && device.step == steps[0]);
    CHECK(syst_load_codes(&device, &other) == SYST_OK);
    at.memory_bytes = 4999;
    CHECK(syst_init(&device, &at) == SYST_OK);
    CHECK(syst_load(&device, &network) == SYST_E_MEMORY && device.detail == 5000u);
    at = platform(0);
    at.memory_address = 0x100002800u;
    CHECK(syst_init(&device, &at) == SYST_OK && syst_load(&device, &network) == SYST_E_MEMORY);
    at = platform(0);
    at.memory = NULL;
    CHECK(syst_init(&device, &at) == SYST_OK && syst_load(&device, &network) == SYST_E_MEMORY);
    return 0;
}

/* Whatever access the bus refuses, the error arrives. */
static int bus_errors(void)
{
    static const int8_t rows[12] = {0};
    static const float floats[2] = {0};
    static const uint8_t outside[5] = {0};
    const void *const in[3] = {rows, floats, outside};
    int8_t bytes[12], nibbles[6];
    uint8_t codes[5];
    void *const out[3] = {bytes, nibbles, codes};
    uint32_t words[SYST_COUNTERS], count = 0;
    do {
        syst_platform at = platform(0);
        syst_device device;
        syst_status status;
        reset();
        fail_at = ++count;
        status = syst_init(&device, &at);
        status = status == SYST_OK ? syst_load(&device, &network) : status;
        status = status == SYST_OK ? syst_run(&device, in, out) : status;
        status = status == SYST_OK ? syst_counters(&device, words) : status;
        CHECK(status == (accesses < count ? SYST_OK : SYST_E_BUS));
    } while (accesses >= count);
    CHECK(count > 40u);
    return 0;
}

static int tensors(int direct)
{
    int8_t rows[12], bytes[12], nibbles[6];
    float floats[2] = {1.5f, -2.0f}, reals[5];
    uint8_t outside[5] = {1, 2, 3, 4, 250}, codes[5];
    const uint8_t *activations = (const uint8_t *)&slave[SYST_ACTIVATIONS_BASE / 4u];
    syst_platform at = platform(direct);
    syst_device device;
    uint32_t index;
    reset();
    for (index = 0; index < 12; ++index) {
        rows[index] = (int8_t)(10 * (int)index - 60);
    }
    slave[SYST_ACTIVATIONS_BASE / 4u + 1u] = 0x44332211u;
    slave[SYST_ACTIVATIONS_BASE / 4u + 3u] = 0x88776655u;
    CHECK(syst_init(&device, &at) == SYST_OK && syst_load(&device, &network) == SYST_OK);
    CHECK(slave[SYST_COMMANDS_BASE / 4u + 3u] == 4u && slave[SYST_REG_ENTRY / 4u] == 7u);
    CHECK(slave[SYST_WEIGHTS_BASE / 4u + 1u] == 0x060504u);
    CHECK(slave[SYST_WEIGHTS_BASE / 4u + 4u] == 0x090807u);
    CHECK(slave[SYST_REG_MEMORY_LOW / 4u] == 0x2000u && slave[SYST_REG_MEMORY_HIGH / 4u] == 1u);
    CHECK(memcmp(external + 4096, image, sizeof image) == 0);
    CHECK(syst_write_input(&device, 0, rows) == SYST_OK);
    CHECK(syst_write_input(&device, 1, floats) == SYST_OK);
    CHECK(syst_write_input(&device, 2, outside) == SYST_OK);
    CHECK(syst_write_input(&device, 3, rows) == SYST_E_ARGUMENT);
    CHECK(activations[4] == 0x11 && activations[11] == 0);
    CHECK(memcmp(activations + 5, rows, 6) == 0 && memcmp(activations + 14, rows + 6, 6) == 0);
    CHECK(activations[12] == 0x55 && activations[13] == 0x66); /* between the rows */
    CHECK(memcmp(activations + 64, floats, 8) == 0);
    CHECK(memcmp(external + 4096 + 100, outside, 5) == 0);
    slave[(SYST_ACTIVATIONS_BASE + 128u) / 4u] = 0x0F6589A7u;
    CHECK(syst_read_output(&device, 0, bytes) == SYST_OK && memcmp(bytes, rows, 12) == 0);
    CHECK(syst_read_output(&device, 1, nibbles) == SYST_OK);
    CHECK(nibbles[0] == 7 && nibbles[1] == -6 && nibbles[2] == -7);
    CHECK(nibbles[3] == 5 && nibbles[4] == 6 && nibbles[5] == -1);
    CHECK(syst_read_output(&device, 2, codes) == SYST_OK && memcmp(codes, outside, 5) == 0);
    CHECK(syst_read_output(&device, 3, codes) == SYST_E_ARGUMENT);
    CHECK(syst_dequantize(&outputs[2], codes, reals) == SYST_OK);
    CHECK(reals[0] == -1.0f && reals[2] == 0.0f && reals[4] == 123.5f);
    return 0;
}

static int runs(void)
{
    syst_platform at = platform(0);
    syst_device device;
    uint32_t stamps[8], count = 0;
    reset();
    CHECK(syst_init(&device, &at) == SYST_OK && syst_load(&device, &network) == SYST_OK);
    CHECK(syst_set_watchdog(&device, 123) == SYST_OK && slave[SYST_REG_WATCHDOG / 4u] == 123u);
    CHECK(syst_set_interrupt(&device, 9) == SYST_OK && slave[SYST_REG_INTERRUPT / 4u] == 1u);
    CHECK(syst_set_interrupt(&device, 0) == SYST_OK && slave[SYST_REG_INTERRUPT / 4u] == 0u);
    CHECK(syst_start(&device) == SYST_OK && cleaned == 1u && slave[SYST_REG_CONTROL / 4u] == 1u);
    CHECK(syst_wait(&device) == SYST_OK && invalidated == 1u);
    CHECK(syst_poll(&device) == SYST_OK && invalidated == 1u); /* not what is written since */
    CHECK(slave[SYST_COMMANDS_BASE / 4u] == 0xDEADu);
    ends_with = SYST_STATUS_BUSY_MASK;
    slave[SYST_COMMANDS_BASE / 4u + 1u] = 0;
    external[4096 + 20] = 0x77; /* not among what is restored */
    fail_at = 0;
    CHECK(syst_start(&device) == SYST_OK);
    CHECK(slave[SYST_COMMANDS_BASE / 4u + 1u] == 2u && external[4096 + 20] == 0x77);
    CHECK(external[4096 + 4] == 5 && external[4096 + 6] == 3);
    CHECK(syst_poll(&device) == SYST_BUSY && syst_wait(&device) == SYST_E_TIMEOUT && polls == 4u);
    CHECK(syst_start(&device) == SYST_BUSY && syst_run(&device, NULL, NULL) == SYST_BUSY);
    CHECK(syst_load(&device, &network) == SYST_BUSY && syst_poll(&device) == SYST_BUSY);
    slave[SYST_REG_STATUS / 4u] = 0;
    ends_with = SYST_STATUS_DONE_MASK | SYST_STATUS_ERROR_MASK;
    slave[SYST_REG_ERROR / 4u] = SYST_ERROR_TIMEOUT;
    CHECK(syst_start(&device) == SYST_OK && syst_wait(&device) == SYST_E_RUN);
    CHECK(device.detail == SYST_ERROR_TIMEOUT);
    slave[SYST_REG_STAMPS / 4u] = 6;
    slave[SYST_STAMPS_BASE / 4u + 3u] = 99;
    CHECK(syst_stamps(&device, stamps, 8, &count) == SYST_OK && count == 4u && stamps[3] == 99u);
    CHECK(syst_stamps(&device, stamps, 2, &count) == SYST_OK && count == 2u);
    CHECK(strcmp(syst_status_text(SYST_E_RUN), "the accelerator stopped with an error") == 0);
    CHECK(strcmp(syst_status_text((syst_status)99), "unknown status") == 0);
    CHECK(strcmp(syst_error_text(SYST_ERROR_NONE), "No error.") == 0);
    CHECK(strcmp(syst_error_text(99), "unknown error") == 0);
    return 0;
}

int main(void)
{
    if (refusals() || bus_errors() || tensors(0) || tensors(1) || runs()) {
        return 1;
    }
    printf("%u\n", checks);
    return 0;
}
