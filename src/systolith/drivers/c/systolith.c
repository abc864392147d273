/* See systolith.h. */

#include "systolith.h"

#include <string.h>

#define PAGE 4096u

/* Keeps the compiler from moving accesses to external memory across those of the control slave. */
#if defined(__GNUC__)
#define BARRIER() __asm__ __volatile__("" ::: "memory")
#else
#define BARRIER() ((void)0)
#endif

/* The bus. */

static syst_status read32(const syst_device *device, uint32_t offset, uint32_t *value)
{
    const syst_platform *at = &device->platform;
    if (at->read) {
        return at->read(at->context, offset, value) ? SYST_E_BUS : SYST_OK;
    }
    *value = *(volatile const uint32_t *)(at->base + offset);
    return SYST_OK;
}

static syst_status write32(const syst_device *device, uint32_t offset, uint32_t value)
{
    const syst_platform *at = &device->platform;
    if (at->write) {
        return at->write(at->context, offset, value) ? SYST_E_BUS : SYST_OK;
    }
    *(volatile uint32_t *)(at->base + offset) = value;
    return SYST_OK;
}

static syst_status expect(syst_device *device, uint32_t offset, uint32_t value, syst_status otherwise)
{
    uint32_t found = 0;
    syst_status status = read32(device, offset, &found);
    if (status == SYST_OK && found != value) {
        device->detail = found;
        status = otherwise;
    }
    return status;
}

/* SYST_BUSY while a program runs: a start would be ignored, and what is written would disturb it. */
static syst_status idle(const syst_device *device)
{
    uint32_t value = 0;
    const syst_status status = read32(device, SYST_REG_STATUS, &value);
    return status == SYST_OK && (value & SYST_STATUS_BUSY_MASK) ? SYST_BUSY : status;
}

static void clean(const syst_device *device)
{
    const syst_platform *at = &device->platform;
    BARRIER();
    if (at->clean && device->network->external_bytes) {
        at->clean(at->context, at->memory, device->network->external_bytes);
    }
}

static void invalidate(const syst_device *device)
{
    const syst_platform *at = &device->platform;
    if (at->invalidate && device->network->external_bytes) {
        at->invalidate(at->context, at->memory, device->network->external_bytes);
    }
    BARRIER();
}

/* Loading. */

syst_status syst_init(syst_device *device, const syst_platform *platform)
{
    syst_status status;
    memset(device, 0, sizeof *device);
    device->platform = *platform;
    if (!platform->read != !platform->write) {
        return SYST_E_ARGUMENT;
    }
    status = expect(device, SYST_REG_IDENTIFIER, SYST_IDENTIFIER, SYST_E_IDENTIFIER);
    if (status == SYST_OK) {
        status = expect(device, SYST_REG_VERSION, SYST_VERSION, SYST_E_VERSION);
    }
    return status;
}

static syst_status load_segment(const syst_device *device, const syst_segment *segment)
{
    const uint32_t *data = segment->data;
    uint32_t row, word;
    for (row = 0; row < segment->count; ++row) {
        for (word = 0; word < segment->words; ++word) {
            const uint32_t offset = segment->address + row * segment->stride + 4u * word;
            const syst_status status = write32(device, offset, *data++);
            if (status != SYST_OK) {
                return status;
            }
        }
    }
    return SYST_OK;
}

static syst_status load_external(syst_device *device, const syst_network *network)
{
    const syst_platform *at = &device->platform;
    syst_status status;
    if (!network->external_bytes) {
        return SYST_OK;
    }
    device->detail = network->external_bytes;
    if (!at->memory || at->memory_bytes < network->external_bytes || at->memory_address % PAGE) {
        return SYST_E_MEMORY;
    }
    if (network->external_image_bytes) {
        memcpy(at->memory, network->external, network->external_image_bytes);
    }
    status = write32(device, SYST_REG_MEMORY_LOW, (uint32_t)at->memory_address);
    if (status == SYST_OK) {
        status = write32(device, SYST_REG_MEMORY_HIGH, (uint32_t)(at->memory_address >> 32));
    }
    return status;
}

syst_status syst_load_codes(syst_device *device, const syst_network *network)
{
    syst_status status;
    uint32_t index;
    status = idle(device);
    if (status != SYST_OK) {
        return status;
    }
    device->network = NULL;
    status = expect(device, SYST_REG_FINGERPRINT, network->fingerprint, SYST_E_FINGERPRINT);
    for (index = 0; status == SYST_OK && index < network->segment_count; ++index) {
        status = load_segment(device, &network->segments[index]);
    }
    if (status == SYST_OK) {
        status = load_external(device, network);
    }
    if (status == SYST_OK) {
        status = write32(device, SYST_REG_ENTRY, network->entry);
    }
    if (status == SYST_OK) {
        device->network = network;
        device->used = device->pending = 0;
    }
    return status;
}

syst_status syst_load(syst_device *device, const syst_network *network)
{
    if (network->step_count) {
        device->network = NULL;
        device->step = network->steps[0];
        return SYST_E_HOST_STEP;
    }
    return syst_load_codes(device, network);
}

/* Tensors: a byte at a time, a word of the bus at a time. */

typedef struct word_cache {
    uint32_t offset; /* of the word */
    uint32_t value;
    uint32_t mask; /* bits that are known */
} word_cache;

static syst_status flush(const syst_device *device, word_cache *word)
{
    syst_status status = SYST_OK;
    if (!word->mask) {
        return status;
    }
    if (word->mask != 0xFFFFFFFFu) { /* its other bytes are not the tensor's, and stay */
        uint32_t before = 0;
        status = read32(device, word->offset, &before);
        word->value |= before & ~word->mask;
    }
    if (status == SYST_OK) {
        status = write32(device, word->offset, word->value);
    }
    word->value = 0;
    word->mask = 0;
    return status;
}

static syst_status put_byte(const syst_device *device, word_cache *word, uint32_t at, uint32_t byte)
{
    const uint32_t offset = at & ~3u, shift = 8u * (at & 3u);
    if (word->mask && word->offset != offset) {
        const syst_status status = flush(device, word);
        if (status != SYST_OK) {
            return status;
        }
    }
    word->offset = offset;
    word->value = (word->value & ~((uint32_t)0xFFu << shift)) | byte << shift;
    word->mask |= (uint32_t)0xFFu << shift;
    return SYST_OK;
}

static syst_status get_byte(const syst_device *device, word_cache *word, uint32_t at, uint32_t *byte)
{
    const uint32_t offset = at & ~3u;
    if (!word->mask || word->offset != offset) {
        const syst_status status = read32(device, offset, &word->value);
        if (status != SYST_OK) {
            return status;
        }
        word->offset = offset;
        word->mask = 0xFFFFFFFFu;
    }
    *byte = word->value >> 8u * (at & 3u) & 0xFFu;
    return SYST_OK;
}

static uint32_t item_bytes(const syst_tensor *tensor)
{
    return tensor->type == SYST_FLOAT32 ? 4u : 1u;
}

uint32_t syst_tensor_size(const syst_tensor *tensor)
{
    return tensor->shape[0] * tensor->shape[1] * tensor->shape[2];
}

uint32_t syst_tensor_bytes(const syst_tensor *tensor)
{
    return syst_tensor_size(tensor) * item_bytes(tensor);
}

/* Offset of a number in its memory; wraps like the hardware's addresses. */
static uint32_t locate(const syst_tensor *tensor, uint32_t y, uint32_t x, uint32_t channel)
{
    const uint32_t step = tensor->packed ? channel >> 1 : channel;
    return tensor->offset + y * (uint32_t)tensor->strides[0] + x * (uint32_t)tensor->strides[1]
           + step * (uint32_t)tensor->strides[2];
}

/* A number as the bits it has in memory, lowest byte first, whatever this processor's order is. */
static uint32_t load_item(const uint8_t *data, uint32_t bytes)
{
    uint32_t value;
    if (bytes == 1u) {
        return *data;
    }
    memcpy(&value, data, sizeof value);
    return value;
}

static void store_item(uint8_t *data, uint32_t bytes, uint32_t value)
{
    if (bytes == 1u) {
        *data = (uint8_t)value;
    } else {
        memcpy(data, &value, sizeof value);
    }
}

static syst_status write_item(const syst_device *device, const syst_tensor *tensor, word_cache *word,
                              uint32_t at, uint32_t value)
{
    uint32_t byte;
    for (byte = 0; byte < item_bytes(tensor); ++byte, value >>= 8) {
        if (tensor->external) {
            device->platform.memory[at + byte] = (uint8_t)value;
        } else {
            const uint32_t offset = SYST_ACTIVATIONS_BASE + at + byte;
            const syst_status status = put_byte(device, word, offset, value & 0xFFu);
            if (status != SYST_OK) {
                return status;
            }
        }
    }
    return SYST_OK;
}

static syst_status read_item(const syst_device *device, const syst_tensor *tensor, word_cache *word,
                             uint32_t at, uint32_t *value)
{
    uint32_t byte;
    *value = 0;
    for (byte = 0; byte < item_bytes(tensor); ++byte) {
        uint32_t found = 0;
        if (tensor->external) {
            found = device->platform.memory[at + byte];
        } else {
            const uint32_t offset = SYST_ACTIVATIONS_BASE + at + byte;
            const syst_status status = get_byte(device, word, offset, &found);
            if (status != SYST_OK) {
                return status;
            }
        }
        *value |= found << 8u * byte;
    }
    return SYST_OK;
}

/* The code, of 16 from `low` on, whose low four bits are a channel's half of a byte. */
static uint32_t unpack(const syst_tensor *tensor, uint32_t channel, uint32_t byte)
{
    const uint32_t nibble = channel & 1u ? byte >> 4 : byte & 15u;
    const uint32_t low = (uint32_t)(int32_t)tensor->low;
    return (low + ((nibble - low) & 15u)) & 0xFFu;
}

syst_status syst_write_input(syst_device *device, uint32_t index, const void *data)
{
    const syst_tensor *tensor;
    const uint8_t *next = (const uint8_t *)data;
    word_cache word = {0, 0, 0};
    uint32_t y, x, c;
    if (!device->network || index >= device->network->input_count) {
        return SYST_E_ARGUMENT;
    }
    tensor = &device->network->inputs[index];
    for (y = 0; y < tensor->shape[0]; ++y) {
        for (x = 0; x < tensor->shape[1]; ++x) {
            for (c = 0; c < tensor->shape[2]; ++c, next += item_bytes(tensor)) {
                const uint32_t value = load_item(next, item_bytes(tensor));
                const uint32_t at = locate(tensor, y, x, c);
                const syst_status status = write_item(device, tensor, &word, at, value);
                if (status != SYST_OK) {
                    return status;
                }
            }
        }
    }
    return flush(device, &word);
}

syst_status syst_read_output(syst_device *device, uint32_t index, void *data)
{
    const syst_tensor *tensor;
    uint8_t *next = (uint8_t *)data;
    word_cache word = {0, 0, 0};
    uint32_t y, x, c;
    if (!device->network || index >= device->network->output_count) {
        return SYST_E_ARGUMENT;
    }
    tensor = &device->network->outputs[index];
    for (y = 0; y < tensor->shape[0]; ++y) {
        for (x = 0; x < tensor->shape[1]; ++x) {
            for (c = 0; c < tensor->shape[2]; ++c, next += item_bytes(tensor)) {
                uint32_t value = 0;
                const uint32_t at = locate(tensor, y, x, c);
                const syst_status status = read_item(device, tensor, &word, at, &value);
                if (status != SYST_OK) {
                    return status;
                }
                value = tensor->packed ? unpack(tensor, c, value) : value;
                store_item(next, item_bytes(tensor), value);
            }
        }
    }
    return SYST_OK;
}

/* Runs. */

syst_status syst_set_watchdog(syst_device *device, uint32_t cycles)
{
    const syst_status status = idle(device);
    return status == SYST_OK ? write32(device, SYST_REG_WATCHDOG, cycles) : status;
}

syst_status syst_set_interrupt(syst_device *device, int enable)
{
    return write32(device, SYST_REG_INTERRUPT, enable ? SYST_INTERRUPT_ENABLE_MASK : 0u);
}

/* Write again what the run before has overwritten; the inputs are not among it. */
static syst_status restore(const syst_device *device)
{
    const syst_network *network = device->network;
    uint32_t index;
    for (index = 0; index < network->segment_count; ++index) {
        if (network->segments[index].restore) {
            const syst_status status = load_segment(device, &network->segments[index]);
            if (status != SYST_OK) {
                return status;
            }
        }
    }
    for (index = 0; index < network->restore_count; ++index) {
        const syst_range *part = &network->restore[index];
        memcpy(device->platform.memory + part->offset, network->external + part->offset, part->bytes);
    }
    return SYST_OK;
}

syst_status syst_start(syst_device *device)
{
    syst_status status;
    if (!device->network) {
        return SYST_E_ARGUMENT;
    }
    status = idle(device);
    if (status == SYST_OK && device->used) {
        status = restore(device);
    }
    if (status != SYST_OK) {
        return status;
    }
    device->used = device->pending = 1;
    clean(device);
    return write32(device, SYST_REG_CONTROL, SYST_CONTROL_START_MASK);
}

syst_status syst_poll(syst_device *device)
{
    uint32_t value = 0;
    syst_status status = read32(device, SYST_REG_STATUS, &value);
    if (status != SYST_OK) {
        return status;
    }
    if (!device->network) {
        return SYST_E_ARGUMENT;
    }
    if (!(value & SYST_STATUS_DONE_MASK)) {
        return SYST_BUSY;
    }
    if (device->pending) { /* once a run: what the caller writes afterwards must stay */
        device->pending = 0;
        invalidate(device);
    }
    if (!(value & SYST_STATUS_ERROR_MASK)) {
        return SYST_OK;
    }
    status = read32(device, SYST_REG_ERROR, &device->detail);
    return status == SYST_OK ? SYST_E_RUN : status;
}

syst_status syst_wait(syst_device *device)
{
    const syst_platform *at = &device->platform;
    syst_status status;
    while ((status = syst_poll(device)) == SYST_BUSY) {
        if (at->wait && at->wait(at->context)) {
            return SYST_E_TIMEOUT;
        }
    }
    return status;
}

syst_status syst_run(syst_device *device, const void *const *inputs, void *const *outputs)
{
    syst_status status = device->network ? idle(device) : SYST_E_ARGUMENT;
    uint32_t index;
    for (index = 0; status == SYST_OK && index < device->network->input_count; ++index) {
        status = syst_write_input(device, index, inputs[index]);
    }
    if (status == SYST_OK) {
        status = syst_start(device);
    }
    if (status == SYST_OK) {
        status = syst_wait(device);
    }
    for (index = 0; status == SYST_OK && index < device->network->output_count; ++index) {
        status = syst_read_output(device, index, outputs[index]);
    }
    return status;
}

syst_status syst_counters(syst_device *device, uint32_t *counters)
{
    uint32_t index;
    for (index = 0; index < SYST_COUNTERS; ++index) {
        const syst_status status = read32(device, SYST_REG_CYCLES + 4u * index, &counters[index]);
        if (status != SYST_OK) {
            return status;
        }
    }
    return SYST_OK;
}

syst_status syst_stamps(syst_device *device, uint32_t *stamps, uint32_t room, uint32_t *count)
{
    uint32_t index;
    syst_status status;
    if (!device->network) {
        return SYST_E_ARGUMENT;
    }
    status = read32(device, SYST_REG_STAMPS, count);
    room = room < device->network->stamps ? room : device->network->stamps;
    *count = *count < room ? *count : room;
    for (index = 0; status == SYST_OK && index < *count; ++index) {
        status = read32(device, SYST_STAMPS_BASE + 4u * index, &stamps[index]);
    }
    return status;
}

const char *syst_status_text(syst_status status)
{
    static const char *const texts[] = {
        "success",
        "the run has not ended",
        "the bus reported an error",
        "no accelerator answers at this address",
        "the accelerator has another version of the register map",
        "the network was compiled for another specification than the accelerator's",
        "the network has a step that the caller must compute",
        "external memory is missing, too small or not aligned",
        "no network is loaded, or there is no such tensor",
        "the run did not end in time",
        "the accelerator stopped with an error"};
    const size_t index = (size_t)status;
    return index < sizeof texts / sizeof *texts ? texts[index] : "unknown status";
}

const char *syst_error_text(uint32_t error)
{
    static const char *const texts[] = SYST_ERROR_TEXTS;
    return error < sizeof texts / sizeof *texts ? texts[error] : "unknown error";
}
