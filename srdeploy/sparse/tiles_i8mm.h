/* Products of bytes by ARM's matrix products (ARMv8.6): two pixels times two outputs, eight at a time. */
#define PAIRS_OF_PIXELS 3

/* The eight inputs of two pixels. */
INLINE uint8x16_t two_pixels(const uint8_t *one, const uint8_t *other)
{
    return vcombine_u8(vld1_u8(one), vld1_u8(other));
}

INLINE void i8mm_tile(const uint8_t *a, int64_t between, int64_t steps, const int8_t *w,
                      const int q, int64_t n, int32_t *out)
{
    int32x4_t acc[PAIRS_OF_PIXELS][8];
    const uint8_t *at[2 * PAIRS_OF_PIXELS];
    UNROLL for (int i = 0; i < 2 * PAIRS_OF_PIXELS; i++) at[i] = a + (i < n ? i : n - 1) * between;
    UNROLL for (int i = 0; i < PAIRS_OF_PIXELS; i++)
        UNROLL for (int o = 0; o < 8; o++) acc[i][o] = vdupq_n_s32(0);
    for (int64_t k = 0; k < 8 * steps; k += 8, w += 32 * q) {
        uint8x16_t x[PAIRS_OF_PIXELS];
        UNROLL for (int i = 0; i < PAIRS_OF_PIXELS; i++)
            x[i] = two_pixels(at[2 * i] + k, at[2 * i + 1] + k);
        UNROLL for (int o = 0; o < 8; o++) {
            if (o >= 2 * q) continue;
            const int8x16_t b = vld1q_s8(w + 16 * o);
            UNROLL for (int i = 0; i < PAIRS_OF_PIXELS; i++)
                acc[i][o] = vusmmlaq_s32(acc[i][o], x[i], b);
        }
    }
    UNROLL for (int i = 0; i < PAIRS_OF_PIXELS; i++)
        UNROLL for (int v = 0; v < 4; v++) {
            if (v >= q) continue;
            const int64x2_t one = vreinterpretq_s64_s32(acc[i][2 * v]);
            const int64x2_t other = vreinterpretq_s64_s32(acc[i][2 * v + 1]);
            vst1q_s32(out + (2 * i * q + v) * LANES, vreinterpretq_s32_s64(vzip1q_s64(one, other)));
            vst1q_s32(out + ((2 * i + 1) * q + v) * LANES,
                      vreinterpretq_s32_s64(vzip2q_s64(one, other)));
        }
}

INLINE void dot_int8(const uint8_t *a, int64_t between, int64_t steps, const void *w, const int q,
                     int64_t n, void *out)
{
    for (int64_t i = 0; i < n; i += 2 * PAIRS_OF_PIXELS)
        i8mm_tile(a + i * between, between, steps, w, q, n - i, (int32_t *)out + i * q * LANES);
}

WAY(dot_int8, AS_BYTE, 8, 8, 1, 0, 1)
