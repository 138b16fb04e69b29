/* A convolution made ready for a kernel: srdeploy/sparse/native.py in C. */
#ifndef SRDEPLOY_CONV_H
#define SRDEPLOY_CONV_H
#include "file.h"
#include "kernels.h"
#include "pool.h"

#define MAX_PARTS MAX_MODULES

/* A stretch of input channels; each is a source of its own. */
typedef struct {
    int64_t start, channels;
} part;

typedef struct {
    const kernel *k;
    int side, origin; /* of the kernel: 3 and 1, 2 and 0, 1 and 0 */
    int n_parts, relu;
    part parts[MAX_PARTS];
    int64_t n_out;
    float *weights, *bias;
} conv;

/* Rows of a matrix that are taken: `count` from `first` on. */
typedef struct {
    int64_t first, count;
} range;

/* Pack the first n_out columns of some rows; 0, or -1 where memory is short. */
int conv_pack(conv *c, const kernel *k, const weights *w, const range *ranges, int n_ranges,
              int64_t n_out);
void conv_free(conv *c);

/* What the results go into and are made of besides; see kernel.h. */
typedef struct {
    float *out;
    int64_t ldo;
    const int32_t *places;
    float *also;
    int64_t lda;
    const float *scale, *residual;
    int64_t ldr;
    double *sums;
} result;

/* Threads, and room for what each of them adds up. */
typedef struct {
    pool *threads;
    double *sums; /* [threads][MAX_OUT] */
} crew;

/* sources: one per part. line: rows from a pixel to the one below. */
void conv_run(const conv *c, const crew *with, const source *sources, const int32_t *rows,
              int64_t n, int64_t line, const result *into);

#endif
