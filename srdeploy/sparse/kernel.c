/* Convolution at listed pixels only: out[row] = epilogue(sum over segments of x[row + offset] W).
 *
 * Features lie channels-last in rows of ldx floats, images with a border of zeros, so that a tap of
 * a 3x3 convolution is a fixed offset from a pixel's row, and the three taps of a line are one
 * contiguous segment. A tile of PIXELS x Q vectors of outputs stays in registers through the whole
 * sum: inputs are read in place (nothing is gathered or unfolded), weights stream from the cache.
 *
 * Weights are packed by srdeploy/sparse/native.py: blocks of at most QMAX vectors of output
 * channels, in each block [sum of segment lengths][Q * LANES].
 */
#include <stdint.h>
#include <string.h>

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

#define CHUNK 192 /* pixels that a thread takes at a time; a multiple of every tile's height */
#define MAX_OUT 4096

typedef struct {
    const float *x;         /* features */
    const int32_t *rows;    /* [n] rows to compute, rising */
    int64_t n;              /* how many */
    int64_t ldx;            /* floats per row of x */
    const int64_t *segments; /* [n_segments][2]: offset from the row's first float, length */
    int64_t n_segments;
    const float *weights;   /* packed */
    int64_t n_out;          /* output channels; 0 only fills */
    const float *bias;      /* [n_out rounded up], or NULL */
    const float *scale;     /* [n_out rounded up]: out = residual + scale * (sum + bias), or NULL */
    const float *residual;  /* rows as those of out, or NULL */
    int64_t relu;
    float *out;             /* rows of ldo floats, at least n_out rounded up */
    int64_t ldo;
    int64_t fill;           /* columns from n_out to here become 0 */
    double *sums;           /* [n_out rounded up] += column sums of what was written, or NULL */
} job;

int64_t srdeploy_lanes(void) { return LANES; }
int64_t srdeploy_block(void) { return QMAX; }

/* The epilogue of one pixel: bias, scale, residual, ReLU, column sums. */
static inline __attribute__((always_inline)) void finish(
    const job *j, const vec *acc, const int Q, int64_t row, int64_t column, float *sums)
{
    UNROLL for (int q = 0; q < Q; q++) {
        const int64_t at = column + q * LANES;
        vec y = acc[q];
        if (j->bias) y += *(const vec *)(j->bias + at);
        if (j->scale) y *= *(const vec *)(j->scale + at);
        if (j->residual) y += *(const vec *)(j->residual + row * j->ldo + at);
        if (j->relu) y = (vec)((ints)y & (y > 0)); /* a comparison gives all ones or zeros */
        *(vec *)(j->out + row * j->ldo + at) = y;
        if (sums) *(vec *)(sums + at) += y;
    }
}

/* One tile. PIXELS and Q are literal, or the sums would not stay in registers. */
#define TILE(PIXELS, Q)                                                                          \
static void tile_##PIXELS##x##Q(const job *j, const int32_t *rows, int64_t n, const float *w,    \
                                int64_t column, float *sums)                                     \
{                                                                                                \
    vec acc[PIXELS][Q];                                                                          \
    const float *p[PIXELS];                                                                      \
    UNROLL for (int i = 0; i < PIXELS; i++) { /* repeats of the last are not written */          \
        p[i] = j->x + (int64_t)rows[i < n ? i : n - 1] * j->ldx;                                 \
        UNROLL for (int q = 0; q < Q; q++) acc[i][q] = (vec){0};                                 \
    }                                                                                            \
    for (int64_t s = 0; s < j->n_segments; s++) {                                                \
        const int64_t from = j->segments[2 * s], to = from + j->segments[2 * s + 1];             \
        for (int64_t c = from; c < to; c++, w += Q * LANES) {                                    \
            vec b[Q];                                                                            \
            UNROLL for (int q = 0; q < Q; q++) b[q] = *(const vec *)(w + q * LANES);             \
            UNROLL for (int i = 0; i < PIXELS; i++)                                              \
                UNROLL for (int q = 0; q < Q; q++) acc[i][q] += b[q] * p[i][c];                  \
        }                                                                                        \
    }                                                                                            \
    UNROLL for (int i = 0; i < PIXELS; i++)                                                      \
        if (i < n) finish(j, acc[i], Q, rows[i], column, sums);                                  \
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
    for (int64_t s = 0; s < j->n_segments; s++) depth += j->segments[2 * s + 1];
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
    if (column < j->fill)
        for (int64_t i = 0; i < n; i++)
            memset(j->out + (int64_t)rows[i] * j->ldo + column, 0, 4 * (j->fill - column));
}

void srdeploy_rows(const job *j, int64_t threads)
{
    const int64_t columns = (j->n_out + LANES - 1) / LANES * LANES;
#pragma omp parallel num_threads((int)threads) if (j->n > CHUNK)
    {
        float sums[MAX_OUT];
        double total[MAX_OUT];
        const int wanted = j->sums != 0;
        for (int64_t c = 0; wanted && c < columns; c++) total[c] = 0;
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < j->n; i += CHUNK) {
            for (int64_t c = 0; wanted && c < columns; c++) sums[c] = 0;
            chunk(j, j->rows + i, j->n - i < CHUNK ? j->n - i : CHUNK, wanted ? sums : 0);
            for (int64_t c = 0; wanted && c < columns; c++) total[c] += sums[c];
        }
        if (wanted) {
#pragma omp critical
            for (int64_t c = 0; c < columns; c++) j->sums[c] += total[c];
        }
    }
}
