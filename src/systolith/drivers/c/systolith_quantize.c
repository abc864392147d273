/* Floats to codes and back, without the mathematical library; see systolith.h.
 *
 * Results are the runtimes' bit for bit where the compiler rounds every operation to its type, which
 * `volatile` asks for here: options that let it do otherwise (-ffast-math) must not be used. */

#include "systolith.h"

#include <string.h>

#define LIMIT 2147483648.0f /* 2^31 */

/* To the nearest integer, ties to even; |value| < 2^31. */
static int32_t round_even(float value)
{
    int32_t whole = (int32_t)value;
    const float rest = value - (float)whole;
    if (rest > 0.5f || (rest == 0.5f && (whole & 1))) {
        ++whole;
    } else if (rest < -0.5f || (rest == -0.5f && (whole & 1))) {
        --whole;
    }
    return whole;
}

/* To the nearest integer, ties away from zero; |value| < 2^31. */
static int32_t round_away(float value)
{
    const int32_t whole = (int32_t)value;
    const float rest = value - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

static int is_nan(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7FFFFFFFu) > 0x7F800000u;
}

static int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Clamped before it is rounded; NaN becomes the code `nan`. */
static int32_t clamped(const syst_tensor *tensor, float scaled, int32_t nan)
{
    const float low = (float)(tensor->low - tensor->zero_point);
    const float high = (float)(tensor->high - tensor->zero_point);
    if (is_nan(scaled)) {
        return nan;
    }
    return round_even(scaled < low ? low : scaled > high ? high : scaled) + tensor->zero_point;
}

static int32_t tflite(const syst_tensor *tensor, float scaled)
{
    uint32_t sum = 0x80000000u; /* beyond int32, and for NaN: x86's cast */
    int32_t wrapped;
    if (scaled > -LIMIT && scaled < LIMIT) {
        sum = (uint32_t)round_away(scaled);
    }
    sum += (uint32_t)tensor->zero_point; /* wraps as the runtime's addition does */
    memcpy(&wrapped, &sum, sizeof wrapped);
    return clamp(wrapped, tensor->low, tensor->high);
}

/* float(value * inverse + zero_point) rounded once: the product is exact in double, and its sum is
 * rounded to odd there, so that only the rounding to float counts. */
static float fused(float value, float inverse, int32_t zero_point)
{
    const volatile double product = (double)value * (double)inverse;
    const volatile double total = product + (double)zero_point;
    const volatile double back = total - product;
    const volatile double rest = total - back;
    const volatile double first = product - rest, second = (double)zero_point - back;
    const volatile double lost = first + second;
    double odd = total;
    uint64_t bits;
    memcpy(&bits, &odd, sizeof bits);
    if (lost != 0.0 && !(bits & 1u)) {
        bits += (lost > 0.0) == (total > 0.0) ? (uint64_t)1 : ~(uint64_t)0;
        memcpy(&odd, &bits, sizeof odd);
    }
    return (float)odd;
}

static int32_t torch(const syst_tensor *tensor, float value, float inverse)
{
    const float far = 1e30f;
    float sum;
    if (is_nan(value)) {
        return tensor->low;
    }
    sum = fused(value < -far ? -far : value > far ? far : value, inverse, tensor->zero_point);
    if (!(sum > -LIMIT && sum < LIMIT)) {
        return tensor->low;
    }
    return clamp(round_even(sum), tensor->low, tensor->high);
}

syst_status syst_quantize(const syst_tensor *tensor, const float *values, void *codes)
{
    const volatile float inverse = 1.0f / tensor->scale;
    uint8_t *next = (uint8_t *)codes;
    uint32_t index;
    for (index = 0; index < syst_tensor_size(tensor); ++index) {
        const volatile float quotient = values[index] / tensor->scale;
        const volatile float product = values[index] * inverse;
        int32_t code;
        switch (tensor->formula) {
        case SYST_QUANTIZE_ONNXRUNTIME:
            code = clamped(tensor, quotient, tensor->low);
            break;
        case SYST_QUANTIZE_XNNPACK:
            code = clamped(tensor, product, tensor->high);
            break;
        case SYST_QUANTIZE_TFLITE_REFERENCE:
            code = tflite(tensor, quotient);
            break;
        case SYST_QUANTIZE_TORCH:
            code = torch(tensor, values[index], inverse);
            break;
        case SYST_QUANTIZE_NONE:
        default:
            return SYST_E_ARGUMENT;
        }
        *next++ = (uint8_t)(code & 0xFF);
    }
    return SYST_OK;
}

syst_status syst_dequantize(const syst_tensor *tensor, const void *codes, float *values)
{
    const uint8_t *next = (const uint8_t *)codes;
    uint32_t index;
    if (tensor->scale == 0.0f || tensor->type == SYST_FLOAT32) {
        return SYST_E_ARGUMENT;
    }
    for (index = 0; index < syst_tensor_size(tensor); ++index, ++next) {
        const int32_t code = tensor->type == SYST_INT8 && *next > 127 ? *next - 256 : *next;
        values[index] = (float)(code - tensor->zero_point) * tensor->scale;
    }
    return SYST_OK;
}
