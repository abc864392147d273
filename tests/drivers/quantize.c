/* `quantize FORMULA LOW HIGH SCALE ZERO FILE`: codes of the float32 in a file, as int16. */

#include <stdio.h>
#include <stdlib.h>

#include "systolith.h"

int main(int argc, char **argv)
{
    syst_tensor tensor = {"x", SYST_INT8, SYST_QUANTIZE_NONE, 0, 0, 0, 0, 0, {1, 1, 1}, {1, 1, 1},
                          1.0f, 0};
    FILE *file = argc == 7 ? fopen(argv[6], "rb") : NULL;
    float value;
    if (!file) {
        return 2;
    }
    tensor.formula = (syst_formula)atoi(argv[1]);
    tensor.low = (int16_t)atoi(argv[2]);
    tensor.high = (int16_t)atoi(argv[3]);
    tensor.scale = strtof(argv[4], NULL);
    tensor.zero_point = atoi(argv[5]);
    while (fread(&value, sizeof value, 1, file) == 1) {
        uint8_t code;
        int16_t wide;
        if (syst_quantize(&tensor, &value, &code) != SYST_OK) {
            return 1;
        }
        wide = tensor.low < 0 && code > 127 ? (int16_t)(code - 256) : (int16_t)code;
        fwrite(&wide, sizeof wide, 1, stdout);
    }
    return 0;
}
