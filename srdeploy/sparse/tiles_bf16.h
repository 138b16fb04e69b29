/* kernel.c's tiles in bf16 with sums in fp32, by AMX or by AVX512-BF16.
 *
 * The inputs of up to GROUP pixels are gathered one behind the other and rounded to bf16; features
 * stay fp32 in memory. Weights are packed like those of fp32, but the depth is filled up with zeros
 * to a multiple of STEP, and two successive rows of a block lie side by side: [depth / 2][Q * LANES]
 * [2]. (LANES is 16: both need AVX-512.)
 */
#include <immintrin.h>
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define STEP 32
#define GROUP 16
#define PITCH(depth) ((depth) + 32) /* of the gathered rows, off the powers of two */

static inline void round_32(const float *from, uint16_t *to)
{
    const __m512bh y = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from));
    _mm512_storeu_si512(to, (__m512i)y);
}

static inline void round_up_to_16(const float *from, int64_t count, uint16_t *to)
{
    const __mmask16 some = (__mmask16)((1u << count) - 1);
    const __m256bh y = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, from));
    _mm256_mask_storeu_epi16(to, some, (__m256i)y);
}

/* The inputs of n pixels. */
static void gather(const job *j, const int32_t *rows, int64_t n, uint16_t *to, int64_t depth)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t *at = to + i * PITCH(depth);
        for (int64_t s = 0; s < j->n_segments; s++) {
            const segment *g = j->segments + s;
            const source *f = j->sources + g->source;
            const int64_t row = rows[i] + g->shift;
            const float *from = f->x + (f->places ? f->places[row] : row) * f->ld + g->start;
            int64_t c = 0;
            for (; c + 32 <= g->length; c += 32) round_32(from + c, at + c);
            for (; c < g->length; c += 16)
                round_up_to_16(from + c, g->length - c < 16 ? g->length - c : 16, at + c);
            at += g->length;
        }
    }
}

#ifdef __AMX_BF16__

/* Linux gives a process AMX's registers when it asks for them. */
static int64_t ready(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

static void begin(void)
{
    /* Eight tiles of 16 rows of 64 bytes; AMX has no other place for them than the stack. */
    uint8_t shape[64] __attribute__((aligned(64))) = {1};
    for (int t = 0; t < 8; t++) {
        shape[16 + 2 * t] = 64;
        shape[48 + t] = 16;
    }
    _tile_loadconfig(shape);
}

static void end(void) { _tile_release(); }

/* Sixteen pixels times Q vectors of outputs. */
static inline __attribute__((always_inline)) void multiply(
    const uint16_t *a, int64_t depth, const uint16_t *w, const int Q, float *out)
{
    _tile_zero(0);
    if (Q > 1) _tile_zero(1);
    if (Q > 2) _tile_zero(2);
    if (Q > 3) _tile_zero(3);
    for (int64_t k = 0; k < depth; k += STEP, w += STEP * Q * LANES) {
        _tile_loadd(4, a + k, 2 * PITCH(depth));
        _tile_loadd(5, w, 4 * Q * LANES);
        _tile_dpbf16ps(0, 4, 5);
        if (Q > 1) {
            _tile_loadd(6, w + 2 * LANES, 4 * Q * LANES);
            _tile_dpbf16ps(1, 4, 6);
        }
        if (Q > 2) {
            _tile_loadd(7, w + 4 * LANES, 4 * Q * LANES);
            _tile_dpbf16ps(2, 4, 7);
        }
        if (Q > 3) {
            _tile_loadd(5, w + 6 * LANES, 4 * Q * LANES);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, out, 4 * Q * LANES);
    if (Q > 1) _tile_stored(1, out + LANES, 4 * Q * LANES);
    if (Q > 2) _tile_stored(2, out + 2 * LANES, 4 * Q * LANES);
    if (Q > 3) _tile_stored(3, out + 3 * LANES, 4 * Q * LANES);
}

#else

static inline int64_t ready(void) { return 1; }
static inline void begin(void) {}
static inline void end(void) {}

/* Pairs of inputs times pairs of weights, some pixels at a time. */
static inline __attribute__((always_inline)) void multiply(
    const uint16_t *a, int64_t depth, const uint16_t *w, const int Q, float *out)
{
    const int pixels = Q > 2 ? 4 : 8; /* at most 16 sums in registers */
    for (int first = 0; first < GROUP; first += pixels) {
        __m512 acc[8][4];
        const uint16_t *b = w;
        UNROLL for (int i = 0; i < 8; i++)
            UNROLL for (int q = 0; q < 4; q++) acc[i][q] = _mm512_setzero_ps();
        for (int64_t k = 0; k < depth; k += 2, b += 2 * Q * LANES) {
            UNROLL for (int i = 0; i < 8; i++) {
                int32_t pair;
                if (i >= pixels) continue;
                __builtin_memcpy(&pair, a + (first + i) * PITCH(depth) + k, sizeof pair);
                UNROLL for (int q = 0; q < 4; q++)
                    if (q < Q)
                        acc[i][q] = _mm512_dpbf16_ps(
                            acc[i][q], (__m512bh)_mm512_set1_epi32(pair),
                            (__m512bh)_mm512_loadu_si512(b + 2 * q * LANES));
            }
        }
        UNROLL for (int i = 0; i < 8; i++)
            UNROLL for (int q = 0; q < 4; q++)
                if (i < pixels && q < Q)
                    _mm512_storeu_ps(out + ((first + i) * Q + q) * LANES, acc[i][q]);
    }
}

#endif

/* One group of pixels, whose inputs are gathered, times a block of Q vectors. */
#define BLOCK(Q)                                                                                 \
    static void block_##Q(const job *j, const int32_t *rows, int64_t n, const uint16_t *a,       \
                          int64_t depth, const uint16_t *w, int64_t column, float *sums)         \
    {                                                                                            \
        float out[GROUP * Q * LANES] __attribute__((aligned(64)));                               \
        multiply(a, depth, w, Q, out);                                                           \
        for (int64_t i = 0; i < n; i++)                                                          \
            finish(j, (const vec *)(out + i * Q * LANES), Q, rows[i], column, sums);             \
    }
BLOCK(1)
BLOCK(2)
BLOCK(3)
BLOCK(4)

static void chunk(const job *j, const int32_t *rows, int64_t n, float *sums)
{
    uint16_t a[GROUP * PITCH(MAX_DEPTH)] __attribute__((aligned(64)));
    int64_t depth = 0;
    for (int64_t s = 0; s < j->n_segments; s++) depth += j->segments[s].length;
    const int64_t filled = depth;
    depth = (depth + STEP - 1) / STEP * STEP;
    for (int i = 0; i < GROUP; i++)
        for (int64_t k = filled; k < depth; k++) a[i * PITCH(depth) + k] = 0;
    for (int64_t i = 0; i < n; i += GROUP) {
        const int64_t some = n - i < GROUP ? n - i : GROUP;
        const uint16_t *w = (const uint16_t *)j->weights;
        int64_t left = (j->n_out + LANES - 1) / LANES, column = 0;
        gather(j, rows + i, some, a, depth);
        while (left > 0) {
            const int64_t q = left < QMAX ? left : QMAX;
            switch (q) {
            case 4: block_4(j, rows + i, some, a, depth, w, column, sums); break;
            case 3: block_3(j, rows + i, some, a, depth, w, column, sums); break;
            case 2: block_2(j, rows + i, some, a, depth, w, column, sums); break;
            default: block_1(j, rows + i, some, a, depth, w, column, sums); break;
            }
            left -= q;
            column += q * LANES;
            w += depth * q * LANES;
        }
    }
}
