/* A convolution made ready for a kernel. */
#ifndef SRDEPLOY_CONV_H
#define SRDEPLOY_CONV_H
#include "file.h"
#include "kernels.h"
#include "pool.h"

#define MAX_PARTS MAX_MODULES
#define TIMES 3 /* products that stand for one of fp32 where 16 bits are quicker */

/* Which form of its inputs a convolution reads. */
enum { READS_WIDE, READS_HIGH, READS_PAIR, READS_BYTES };

/* One plane of inputs: its first `width` channels, of which `channels` count. Channel c under tap t
   is row first[0] + t * split + c of the matrix; from `split` on, first[1] + t * (channels - split)
   + c - split. */
typedef struct {
    int64_t width, channels, split, first[2];
    float step; /* of its bytes; 1: it has none */
    int joined; /* the taps of a line touch in memory, and are filled up together */
} part;

typedef struct {
    const kernel *k;
    const form *f;    /* NULL: fp32 in place */
    int reads, times; /* times: how often its inputs are gathered */
    int64_t half, zero; /* format of halves; the byte that is zero among its inputs */
    int side, origin; /* of the kernel: 3 and 1, 2 and 0, 1 and 0 */
    int n_parts, relu;
    part parts[MAX_PARTS];
    int64_t n_out, depth;
    void *weights;
    float *bias, *factor;
    int32_t *offset;
} conv;

/* Pack the first n_out columns, the rest of the description being given; 0, or -1 where memory is
   short. */
int conv_pack(conv *c, const weights *w, int64_t n_out);
void conv_free(conv *c);

/* What the results go into and are made of besides; see kernel.h. */
typedef struct {
    const plane *out, *residual;
    int64_t filled;
    const float *scale;
    float inverse, zero;
    double *sums;
} result;

/* Threads, and room for what each of them adds up and gathers. */
typedef struct {
    pool *threads;
    double *sums; /* [threads][MAX_OUT] */
    uint8_t *rooms;
    int64_t room; /* bytes of each */
} crew;

/* Inputs of a pixel up to and with a tap of a part, `at` of which come before it: filled up. */
int64_t conv_filled(const conv *c, const part *p, int tap, int64_t at);

/* Bytes that a thread needs. */
int64_t conv_room(const conv *c);

/* sources: one per part. line: rows from a pixel to the one below. */
void conv_run(const conv *c, const crew *with, const plane *const *sources, const int32_t *rows,
              int64_t n, int64_t line, const result *into);

#endif
