/* Single numbers to 16 bits, as narrow.h does with vectors of them. */
#ifndef SRDEPLOY_HALF_H
#define SRDEPLOY_HALF_H
#include <string.h>

#include "../kernel.h"

static inline float as_float(uint32_t bits)
{
    float found;
    memcpy(&found, &bits, sizeof found);
    return found;
}

static inline uint32_t as_bits(float x)
{
    uint32_t found;
    memcpy(&found, &x, sizeof found);
    return found;
}

/* Rounded to the nearest, ties to even; fp16 ends at its largest number. */
static inline uint16_t half_of(float x, int64_t format)
{
    uint32_t u = as_bits(x);
    if (format == BF16) return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
    const uint32_t sign = u >> 16 & 0x8000;
    const float size = as_float(u & 0x7fffffff);
    u = as_bits((size < 65504.0f ? size : 65504.0f) * 0x1p-112f);
    return (uint16_t)((u + 0xfff + (u >> 13 & 1)) >> 13 | sign);
}

static inline float half_value(uint16_t h, int64_t format)
{
    if (format == BF16) return as_float((uint32_t)h << 16);
    const float size = as_float((uint32_t)(h & 0x7fff) << 13) * 0x1p112f;
    return h & 0x8000 ? -size : size;
}

#endif
