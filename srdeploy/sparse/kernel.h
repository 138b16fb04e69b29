/* What kernel.c is asked: a convolution at listed pixels. */
#ifndef SRDEPLOY_KERNEL_H
#define SRDEPLOY_KERNEL_H
#include <stdint.h>

#define CHUNK 192 /* pixels that a thread takes at a time; a multiple of every tile's height */
#define MAX_OUT 4096
#define MAX_DEPTH 4608 /* of a bf16 convolution: what is gathered has room on the stack */

typedef struct {
    const float *x;        /* rows of ld floats */
    const int32_t *places; /* pixel's row -> row of x, or NULL: the same */
    int64_t ld;
} source;

typedef struct {
    int64_t source, shift, start, length; /* columns start..start+length of the row shifted by */
} segment;

typedef struct {
    const source *sources;
    const segment *segments;
    int64_t n_segments;
    const int32_t *rows;   /* [n] pixels to compute, rising */
    int64_t n;
    const float *weights;  /* packed */
    int64_t n_out;
    const float *bias;     /* [n_out rounded up], or NULL */
    const float *scale;    /* [n_out rounded up]: out = residual + scale * (sum + bias), or NULL */
    const float *residual; /* [pixels][ldr], or NULL */
    int64_t ldr;
    int64_t relu;
    float *out;            /* rows of ldo floats, at least n_out rounded up */
    const int32_t *places; /* pixel's row -> row of out, or NULL: the same */
    int64_t ldo;
    float *also;           /* [pixels][lda]: the first n_also columns again, or NULL */
    int64_t lda, n_also;   /* n_also: a multiple of LANES */
    double *sums;          /* [n_out rounded up] += column sums of what was written, or NULL */
} job;

/* The kernel as it was compiled for one kind of processor. */
typedef struct {
    const char *name;
    int64_t lanes, block; /* floats of a vector; vectors of outputs computed together */
    /* One thread's share of a job: the chunks that no other has taken from `next`, which begins at
       0. Column sums are added to `sums` ([n_out rounded up]), not to the job's; NULL: none. */
    void (*take)(const job *j, int32_t *next, double *sums);
} kernel;

#endif
