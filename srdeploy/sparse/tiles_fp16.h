/* Products of fp16 in fp16 arithmetic (ARMv8.2), whose sums are fp32: SHORT products are added up in
 * fp16, which keeps eleven bits, and the sums of those in fp32.
 */
#define SHORT 16 /* a multiple of 8 */
#define PIXELS 4

/* Some pixels and up to 16 outputs, eight to a vector; what is behind q * LANES is not written. */
INLINE void fp16_tile(const uint8_t *a, int64_t between, int64_t depth, const float16_t *w,
                      const int q, int64_t n, float *out)
{
    const int eights = (q + 1) / 2;
    float32x4_t sums[PIXELS][4];
    const float16_t *at[PIXELS];
    UNROLL for (int i = 0; i < PIXELS; i++) {
        at[i] = (const float16_t *)(a + (i < n ? i : n - 1) * between);
        UNROLL for (int v = 0; v < 4; v++) sums[i][v] = vdupq_n_f32(0);
    }
    for (int64_t k = 0; k < depth; k += SHORT) {
        float16x8_t acc[PIXELS][2], x[PIXELS];
        UNROLL for (int i = 0; i < PIXELS; i++)
            UNROLL for (int v = 0; v < 2; v++) acc[i][v] = vdupq_n_f16(0);
#define ROW(LANE)                                                                                \
    UNROLL for (int v = 0; v < 2; v++) {                                                         \
        if (v >= eights) continue;                                                               \
        const float16x8_t b = vld1q_f16(w + 8 * v);                                              \
        UNROLL for (int i = 0; i < PIXELS; i++)                                                  \
            acc[i][v] = vfmaq_laneq_f16(acc[i][v], b, x[i], LANE);                               \
    }                                                                                            \
    w += 4 * q;
        UNROLL for (int half = 0; half < SHORT; half += 8) {
            UNROLL for (int i = 0; i < PIXELS; i++) x[i] = vld1q_f16(at[i] + k + half);
            ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7)
        }
#undef ROW
        UNROLL for (int i = 0; i < PIXELS; i++)
            UNROLL for (int v = 0; v < 2; v++) {
                if (v >= eights) continue;
                sums[i][2 * v] = vaddq_f32(sums[i][2 * v], vcvt_f32_f16(vget_low_f16(acc[i][v])));
                sums[i][2 * v + 1] = vaddq_f32(sums[i][2 * v + 1], vcvt_high_f32_f16(acc[i][v]));
            }
    }
    UNROLL for (int i = 0; i < PIXELS; i++)
        UNROLL for (int v = 0; v < 4; v++)
            if (v < q) vst1q_f32(out + (i * q + v) * LANES, sums[i][v]);
}

INLINE void fp16(const uint8_t *a, int64_t between, int64_t depth, const void *w, const int q,
                 int64_t n, void *out)
{
    for (int64_t i = 0; i < n; i += PIXELS)
        fp16_tile(a + i * between, between, depth, w, q, n - i, (float *)out + i * q * LANES);
}

WAY(fp16, AS_FP16, 1, SHORT, 2, 0, 0)
