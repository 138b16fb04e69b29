/* Products of narrow numbers, as this processor has them; and the table of the ways that are taken.
 *
 * Where there are no products of 16 bits, they are converted when they are gathered, and multiplied
 * as fp32; where there are none of bytes, they are multiplied as 16 bits.
 */

/* A block of q vectors of outputs: the sums of `pixels` x q vectors stay in registers. A step takes
   STRIDE bytes of each pixel, ONE of them, and STRIDE bytes of each output's weights. */
#define TILES(NAME, SUM, STRIDE, ELEMENT, ONE, LOAD, ADD)                                        \
    INLINE void NAME##_tile(const uint8_t *a, int64_t between, int64_t steps, const uint8_t *w,  \
                            const int q, const int pixels, int64_t n, uint8_t *out)              \
    {                                                                                            \
        SUM acc[12][4];                                                                          \
        const uint8_t *at[12];                                                                   \
        UNROLL for (int i = 0; i < 12; i++) {                                                    \
            if (i >= pixels) continue; /* repeats of the last are not read by anyone */          \
            at[i] = a + (i < n ? i : n - 1) * between;                                           \
            UNROLL for (int v = 0; v < 4; v++)                                                   \
                if (v < q) acc[i][v] = (SUM){0};                                                 \
        }                                                                                        \
        for (int64_t k = 0; k < steps; k++, w += q * LANES * STRIDE) {                           \
            __typeof__(LOAD(w)) b[4];                                                            \
            UNROLL for (int v = 0; v < 4; v++)                                                   \
                if (v < q) b[v] = LOAD(w + v * LANES * STRIDE);                                  \
            UNROLL for (int i = 0; i < 12; i++) {                                                \
                if (i >= pixels) continue;                                                       \
                const ELEMENT x = ONE(at[i] + k * STRIDE);                                       \
                UNROLL for (int v = 0; v < 4; v++)                                               \
                    if (v < q) acc[i][v] = ADD(acc[i][v], x, b[v]);                              \
            }                                                                                    \
        }                                                                                        \
        UNROLL for (int i = 0; i < 12; i++)                                                      \
            UNROLL for (int v = 0; v < 4; v++)                                                   \
                if (i < pixels && v < q)                                                         \
                    memcpy(out + (i * q + v) * 4 * LANES, &acc[i][v], 4 * LANES);                \
    }                                                                                            \
    INLINE void NAME(const uint8_t *a, int64_t between, int64_t steps, const void *w,            \
                     const int q, int64_t n, void *out)                                          \
    {                                                                                            \
        const int pixels = BIG ? (q > 3 ? 6 : q > 2 ? 8 : 12) : q > 1 ? 6 : 8;                   \
        for (int64_t i = 0; i < n; i += pixels)                                                  \
            NAME##_tile(a + i * between, between, steps, w, q, pixels, n - i,                    \
                        (uint8_t *)out + i * q * 4 * LANES);                                     \
    }

/* A way: how its weights are packed, and the loop over them. */
#define WAY(NAME, WEIGHTS, PAIR, STEP, BYTES, FLIPPED, WHOLE)                                    \
    static void take_##NAME(const narrow_job *j, int32_t *next, double *sums, uint8_t *room);    \
    static const form form_##NAME = {WEIGHTS, PAIR, STEP, BYTES, 1, GROUP, FLIPPED, take_##NAME}; \
    static void take_##NAME(const narrow_job *j, int32_t *next, double *sums, uint8_t *room)     \
    {                                                                                            \
        take_narrow(j, next, sums, room, &form_##NAME, PAIR, GROUP, BYTES, WHOLE, NAME);         \
    }
#define GROUP 24

/* fp32: everywhere. */
#define ONE_FLOAT(p) (*(const float *)(p))
#define VEC(p) (*(vec *)(p))
#define FUSED(acc, x, b) ((acc) + (b) * (x))
TILES(wide, vec, 4, float, ONE_FLOAT, VEC, FUSED)
WAY(wide, AS_FLOAT, 1, 1, 4, 0, 0)

static inline int32_t four_bytes(const uint8_t *p)
{
    int32_t found;
    memcpy(&found, p, sizeof found);
    return found;
}

#ifdef __AMX_TILE__
#include "tiles_amx.h"
#define BF16_HERE form_amx_bf16
#define INT8_HERE form_amx_int8
#define THRICE 1
#else
#ifdef __AVX512BF16__
#define BFS(p) ((__m512bh)_mm512_loadu_si512(p))
#define ADD_BFS(acc, x, b) _mm512_dpbf16_ps(acc, (__m512bh)_mm512_set1_epi32(x), b)
TILES(dot_bf16, __m512, 4, int32_t, four_bytes, BFS, ADD_BFS)
WAY(dot_bf16, AS_BF16, 2, 2, 2, 0, 0)
#define BF16_HERE form_dot_bf16
#endif

#if defined(__AVX512VNNI__)
#define BYTES(p) _mm512_loadu_si512(p)
#define ADD_BYTES(acc, x, b) _mm512_dpbusd_epi32(acc, _mm512_set1_epi32(x), b)
TILES(dot_int8, __m512i, 4, int32_t, four_bytes, BYTES, ADD_BYTES)
WAY(dot_int8, AS_BYTE, 4, 4, 1, 0, 1)
#elif defined(__ARM_FEATURE_MATMUL_INT8)
#include "tiles_mmla.h"
#elif defined(__ARM_FEATURE_DOTPROD)
#define BYTES(p) vld1q_s8((const int8_t *)(p))
#define ADD_BYTES(acc, x, b) vdotq_s32(acc, b, vreinterpretq_s8_s32(vdupq_n_s32(x)))
TILES(dot_int8, int32x4_t, 4, int32_t, four_bytes, BYTES, ADD_BYTES)
WAY(dot_int8, AS_BYTE, 4, 4, 1, 1, 1)
#elif defined(__SSE2__)
#ifdef __AVX512BW__
typedef __m512i pairs;
#define ADD_PAIRS(acc, x, b) _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_set1_epi32(x), b))
#elif defined(__AVX2__)
typedef __m256i pairs;
#define ADD_PAIRS(acc, x, b) _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_set1_epi32(x), b))
#else
typedef __m128i pairs;
#define ADD_PAIRS(acc, x, b) _mm_add_epi32(acc, _mm_madd_epi16(_mm_set1_epi32(x), b))
#endif
#define PAIRS(p) (*(pairs *)(p))
TILES(dot_int8, pairs, 4, int32_t, four_bytes, PAIRS, ADD_PAIRS)
WAY(dot_int8, AS_SHORT, 2, 2, 2, 0, 1)
#else
#define ONE_SHORT(p) (*(const int16_t *)(p))
#define SHORTS(p) (*(shorts *)(p))
#define ADD_SHORTS(acc, x, b) ((acc) + __builtin_convertvector(b, ints) * (x))
TILES(dot_int8, ints, 2, int32_t, ONE_SHORT, SHORTS, ADD_SHORTS)
WAY(dot_int8, AS_SHORT, 1, 1, 2, 0, 1)
#endif
#define INT8_HERE form_dot_int8
#define THRICE 0
#endif

#if defined(__aarch64__) && defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#include "tiles_fp16.h"
#define FP16_HERE form_fp16
#endif

#ifndef BF16_HERE
#define BF16_HERE form_wide
#endif
#ifndef FP16_HERE
#define FP16_HERE form_wide
#endif
#if defined(__aarch64__) && !defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define HALF FP16
#else
#define HALF BF16
#endif
