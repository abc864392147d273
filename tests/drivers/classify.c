/* Classify images on a Verilated accelerator: `classify images.bin poll` (float32, one after the other)
 * prints, for each, its class and the codes of the network's output, then the cycles of the last run.
 * With `interrupt` in place of `poll` the program waits for the interrupt line.
 * Compiled with NETWORK defined as the network's variable and HEADER as its header. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verilated.h"
#include HEADER

static int fail(const char *what, const syst_device *device, syst_status status)
{
    fprintf(stderr, "%s: %s (%lu)\n", what, syst_status_text(status), (unsigned long)device->detail);
    return 1;
}

static int show(const syst_tensor *tensor, const uint8_t *codes, const float *values)
{
    uint32_t index, best = 0;
    for (index = 1; index < syst_tensor_size(tensor); ++index) {
        best = values[index] > values[best] ? index : best;
    }
    printf("%lu :", (unsigned long)best);
    for (index = 0; index < syst_tensor_size(tensor); ++index) {
        printf(" %d", tensor->type == SYST_INT8 ? (int)(int8_t)codes[index] : (int)codes[index]);
    }
    printf("\n");
    return 0;
}

static int classify(syst_device *device, FILE *file)
{
    const syst_tensor *input = &NETWORK.inputs[0], *output = &NETWORK.outputs[0];
    const size_t pixels = syst_tensor_size(input);
    float *image = malloc(pixels * sizeof *image);
    float *values = malloc(syst_tensor_size(output) * sizeof *values);
    uint8_t *codes = malloc(syst_tensor_bytes(input)), *logits = malloc(syst_tensor_bytes(output));
    const void *inputs[1];
    void *outputs[1];
    inputs[0] = codes, outputs[0] = logits;
    while (fread(image, sizeof *image, pixels, file) == pixels) {
        syst_status status = syst_quantize(input, image, codes);
        if (status == SYST_OK) {
            status = syst_run(device, inputs, outputs);
        }
        if (status == SYST_OK) {
            status = syst_dequantize(output, logits, values);
        }
        if (status != SYST_OK) {
            return fail("run", device, status);
        }
        show(output, logits, values);
    }
    free(image), free(values), free(codes), free(logits);
    return 0;
}

int main(int argc, char **argv)
{
    syst_platform platform;
    syst_device device;
    syst_status status;
    uint32_t counters[SYST_COUNTERS], stamps[16], count = 0;
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (!file || verilated_open(&platform, NETWORK.external_bytes)) {
        fprintf(stderr, "usage: classify images.bin poll|interrupt\n");
        return 2;
    }
    if (strcmp(argv[2], "interrupt") == 0) {
        platform.wait = verilated_interrupt;
    }
    status = syst_init(&device, &platform);
    if (status == SYST_OK) {
        status = syst_set_interrupt(&device, platform.wait == verilated_interrupt);
    }
    if (status == SYST_OK) {
        status = syst_load(&device, &NETWORK);
    }
    if (status != SYST_OK) {
        return fail("load", &device, status);
    }
    if (classify(&device, file)) {
        return 1;
    }
    status = syst_counters(&device, counters);
    if (status == SYST_OK) {
        status = syst_stamps(&device, stamps, 16, &count);
    }
    if (status != SYST_OK) {
        return fail("counters", &device, status);
    }
    printf("cycles %lu stamps %lu last %lu accesses %lu cleaned %lu invalidated %lu\n",
           (unsigned long)counters[SYST_COUNTER_CYCLES], (unsigned long)count,
           (unsigned long)stamps[count - 1], (unsigned long)verilated_accesses(),
           (unsigned long)verilated_cleaned(), (unsigned long)verilated_invalidated());
    fclose(file);
    return 0;
}
