/* ARM's matrix products (ARMv8.6): two pixels times two outputs, eight bytes of each at a time. */
#define PAIRS_OF_PIXELS 3

/* Eight bytes of each of two pixels. */
INLINE uint8x16_t two_pixels(const uint8_t *one, const uint8_t *other)
{
    return vcombine_u8(vld1_u8(one), vld1_u8(other));
}

#define MMLA(NAME, SUM, ADD)                                                                     \
    INLINE void NAME##_tile(const uint8_t *a, int64_t between, int64_t steps, const uint8_t *w,  \
                            const int q, int64_t n, uint8_t *out)                                \
    {                                                                                            \
        SUM acc[PAIRS_OF_PIXELS][8];                                                             \
        const uint8_t *at[2 * PAIRS_OF_PIXELS];                                                  \
        UNROLL for (int i = 0; i < 2 * PAIRS_OF_PIXELS; i++)                                     \
            at[i] = a + (i < n ? i : n - 1) * between;                                           \
        UNROLL for (int i = 0; i < PAIRS_OF_PIXELS; i++)                                         \
            UNROLL for (int o = 0; o < 8; o++) acc[i][o] = (SUM){0};                             \
        for (int64_t k = 0; k < 8 * steps; k += 8, w += 32 * q) {                                \
            uint8x16_t x[PAIRS_OF_PIXELS];                                                       \
            UNROLL for (int i = 0; i < PAIRS_OF_PIXELS; i++)                                     \
                x[i] = two_pixels(at[2 * i] + k, at[2 * i + 1] + k);                             \
            UNROLL for (int o = 0; o < 8; o++) {                                                 \
                if (o >= 2 * q) continue;                                                        \
                const uint8x16_t b = vld1q_u8(w + 16 * o);                                       \
                UNROLL for (int i = 0; i < PAIRS_OF_PIXELS; i++)                                 \
                    acc[i][o] = ADD(acc[i][o], x[i], b);                                         \
            }                                                                                    \
        }                                                                                        \
        UNROLL for (int i = 0; i < PAIRS_OF_PIXELS; i++)                                         \
            UNROLL for (int v = 0; v < 4; v++) {                                                 \
                if (v >= q) continue;                                                            \
                const int64x2_t one = (int64x2_t)acc[i][2 * v];                                  \
                const int64x2_t other = (int64x2_t)acc[i][2 * v + 1];                            \
                const int64x2_t made[2] = {vzip1q_s64(one, other), vzip2q_s64(one, other)};      \
                memcpy(out + (2 * i * q + v) * 4 * LANES, &made[0], 4 * LANES);                  \
                memcpy(out + ((2 * i + 1) * q + v) * 4 * LANES, &made[1], 4 * LANES);            \
            }                                                                                    \
    }                                                                                            \
    INLINE void NAME(const uint8_t *a, int64_t between, int64_t steps, const void *w,            \
                     const int q, int64_t n, void *out)                                          \
    {                                                                                            \
        for (int64_t i = 0; i < n; i += 2 * PAIRS_OF_PIXELS)                                     \
            NAME##_tile(a + i * between, between, steps, w, q, n - i,                            \
                        (uint8_t *)out + i * q * 4 * LANES);                                     \
    }

#ifdef __ARM_FEATURE_BF16_VECTOR_ARITHMETIC
#define ADD_BFS(acc, x, b)                                                                       \
    vbfmmlaq_f32(acc, vreinterpretq_bf16_u8(x), vreinterpretq_bf16_u8(b))
MMLA(dot_bf16, float32x4_t, ADD_BFS)
WAY(dot_bf16, AS_BF16, 4, 4, 2, 0, 0)
#define BF16_HERE form_dot_bf16
#endif

#define ADD_BYTES(acc, x, b) vusmmlaq_s32(acc, x, vreinterpretq_s8_u8(b))
MMLA(dot_int8, int32x4_t, ADD_BYTES)
WAY(dot_int8, AS_BYTE, 8, 8, 1, 0, 1)
