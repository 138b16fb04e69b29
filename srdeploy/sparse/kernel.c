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

#include "tiles_fp32.h"

/* Zeros behind the outputs of some pixels. */
static void fill(const job *j, const int32_t *rows, int64_t n, int64_t columns)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = columns; c < j->filled; c += LANES)
            *(vec *)(j->out + rows[i] * j->ldo + c) = (vec){0};
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
        fill(j, j->rows + i, j->n - i < CHUNK ? j->n - i : CHUNK, columns);
    }
}

#ifdef SRDEPLOY_KERNEL
/* One of several in a program, which has threads of its own (portable/). */
#include "narrow.h"
#define NAMED(name)                                                                              \
    const kernel srdeploy_kernel_##name = {                                                      \
        #name, LANES, QMAX, take, NARROW, HALF, THRICE,                                          \
        {[WIDE] = form_wide, [IN_BF16] = BF16_HERE, [IN_FP16] = FP16_HERE,                       \
         [IN_INT8] = INT8_HERE}}
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
