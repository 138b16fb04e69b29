/* Convolution at listed pixels only: out[row] = epilogue(sum over segments of x[row + shift] W).
 *
 * Features lie channels-last in rows, images with a border of zeros, so that a tap of a 3x3
 * convolution is a fixed shift of the row, and the three taps of a line may be one segment. Features
 * that exist at some pixels only lie one behind the other: `places` tells a pixel's row among them,
 * 0 being a row of zeros. A tile of PIXELS x Q vectors of outputs stays in registers through the
 * whole sum: inputs are read in place (nothing is gathered or unfolded), weights stream from the
 * cache, and a segment that has nothing for any pixel of the tile is skipped.
 *
 * Weights are packed by srdeploy/sparse/native.py: blocks of at most QMAX vectors of output
 * channels, in each block [sum of segment lengths][Q * LANES].
 */
#include "kernel.h"

#if defined(__AVX512F__)
#define LANES 16
#define QMAX 4
#define BIG 1 /* 32 registers */
#elif defined(__AVX__)
#define LANES 8
#define QMAX 2
#define BIG 0
#elif defined(__aarch64__)
#define LANES 4
#define QMAX 4
#define BIG 1
#else
#define LANES 4
#define QMAX 2
#define BIG 0
#endif

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

/* The epilogue of one pixel: bias, scale, residual, ReLU, column sums. */
static inline __attribute__((always_inline)) void finish(
    const job *j, const vec *acc, const int Q, int64_t row, int64_t column, float *sums)
{
    float *out = j->out + (j->places ? j->places[row] : row) * j->ldo;
    UNROLL for (int q = 0; q < Q; q++) {
        const int64_t at = column + q * LANES;
        vec y = acc[q];
        if (j->bias) y += *(const vec *)(j->bias + at);
        if (j->scale) y *= *(const vec *)(j->scale + at);
        if (j->residual) y += *(const vec *)(j->residual + row * j->ldr + at);
        if (j->relu) y = (vec)((ints)y & (y > 0)); /* a comparison gives all ones or zeros */
        *(vec *)(out + at) = y;
        if (at < j->n_also) *(vec *)(j->also + row * j->lda + at) = y;
        if (sums) *(vec *)(sums + at) += y;
    }
}

/* One tile. PIXELS and Q are literal, or the sums would not stay in registers. */
#define TILE(PIXELS, Q)                                                                          \
static void tile_##PIXELS##x##Q(const job *j, const int32_t *rows, int64_t n, const float *w,    \
                                int64_t column, float *sums)                                     \
{                                                                                                \
    vec acc[PIXELS][Q];                                                                          \
    int64_t row[PIXELS];                                                                         \
    UNROLL for (int i = 0; i < PIXELS; i++) { /* repeats of the last are not written */          \
        row[i] = rows[i < n ? i : n - 1];                                                        \
        UNROLL for (int q = 0; q < Q; q++) acc[i][q] = (vec){0};                                 \
    }                                                                                            \
    for (int64_t s = 0; s < j->n_segments; s++) {                                                \
        const segment *g = j->segments + s;                                                      \
        const source *f = j->sources + g->source;                                                \
        const float *end = w + g->length * Q * LANES;                                            \
        const float *p[PIXELS];                                                                  \
        if (f->places) {                                                                         \
            int32_t any = 0;                                                                     \
            UNROLL for (int i = 0; i < PIXELS; i++) {                                            \
                const int32_t place = f->places[row[i] + g->shift];                              \
                any |= place;                                                                    \
                p[i] = f->x + place * f->ld + g->start;                                          \
            }                                                                                    \
            if (!any) w = end;                                                                   \
        } else {                                                                                 \
            UNROLL for (int i = 0; i < PIXELS; i++)                                              \
                p[i] = f->x + (row[i] + g->shift) * f->ld + g->start;                            \
        }                                                                                        \
        for (int64_t c = 0; w < end; c++, w += Q * LANES) {                                      \
            vec b[Q];                                                                            \
            UNROLL for (int q = 0; q < Q; q++) b[q] = *(const vec *)(w + q * LANES);             \
            UNROLL for (int i = 0; i < PIXELS; i++)                                              \
                UNROLL for (int q = 0; q < Q; q++) acc[i][q] += b[q] * p[i][c];                  \
        }                                                                                        \
    }                                                                                            \
    UNROLL for (int i = 0; i < PIXELS; i++)                                                      \
        if (i < n) finish(j, acc[i], Q, row[i], column, sums);                                   \
}

#if QMAX == 4
TILE(6, 4)
TILE(8, 3)
#endif
#if BIG
TILE(12, 2)
TILE(12, 1)
#else
TILE(6, 2)
TILE(8, 1)
#endif

#define SWEEP(PIXELS, Q)                                                                         \
    for (int64_t i = 0; i < n; i += PIXELS)                                                      \
        tile_##PIXELS##x##Q(j, rows + i, n - i < PIXELS ? n - i : PIXELS, w, column, sums)

static void chunk(const job *j, const int32_t *rows, int64_t n, float *sums)
{
    const float *w = j->weights;
    int64_t depth = 0, column = 0, left = (j->n_out + LANES - 1) / LANES;
    for (int64_t s = 0; s < j->n_segments; s++) depth += j->segments[s].length;
    while (left > 0) {
        const int64_t q = left < QMAX ? left : QMAX;
        switch (q) {
#if QMAX == 4
        case 4: SWEEP(6, 4); break;
        case 3: SWEEP(8, 3); break;
#endif
#if BIG
        case 2: SWEEP(12, 2); break;
        default: SWEEP(12, 1); break;
#else
        case 2: SWEEP(6, 2); break;
        default: SWEEP(8, 1); break;
#endif
        }
        left -= q;
        column += q * LANES;
        w += depth * q * LANES;
    }
}

static void take(const job *j, int32_t *next, double *sums)
{
    const int64_t columns = (j->n_out + LANES - 1) / LANES * LANES;
    const int64_t chunks = (j->n + CHUNK - 1) / CHUNK;
    float part[MAX_OUT];
    int64_t number;
    while ((number = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < chunks) {
        const int64_t i = number * CHUNK;
        for (int64_t c = 0; sums && c < columns; c++) part[c] = 0;
        chunk(j, j->rows + i, j->n - i < CHUNK ? j->n - i : CHUNK, sums ? part : 0);
        for (int64_t c = 0; sums && c < columns; c++) sums[c] += part[c];
    }
}

#ifdef SRDEPLOY_KERNEL
/* One of several in a program, which has threads of its own (portable/). */
#define NAMED(name) const kernel srdeploy_kernel_##name = {#name, LANES, QMAX, take}
#define NAMED_BY(macro) NAMED(macro)
NAMED_BY(SRDEPLOY_KERNEL);
#else
/* The only one of a library, compiled for the processor at hand, with OpenMP's threads. */
int64_t srdeploy_lanes(void) { return LANES; }
int64_t srdeploy_block(void) { return QMAX; }

void srdeploy_rows(const job *j, int64_t threads)
{
    const int64_t columns = j->sums ? (j->n_out + LANES - 1) / LANES * LANES : 0;
    int32_t next = 0;
#pragma omp parallel num_threads((int)threads) if (j->n > CHUNK)
    {
        double sums[MAX_OUT];
        for (int64_t c = 0; c < columns; c++) sums[c] = 0;
        take(j, &next, j->sums ? sums : 0);
        if (j->sums) {
#pragma omp critical
            for (int64_t c = 0; c < columns; c++) j->sums[c] += sums[c];
        }
    }
}
#endif
