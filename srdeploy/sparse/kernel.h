/* What kernel.c is asked: a convolution at listed pixels, of fp32 numbers or of narrower ones. */
#ifndef SRDEPLOY_KERNEL_H
#define SRDEPLOY_KERNEL_H
#include <stdint.h>

#define CHUNK 192 /* pixels that a thread takes at a time; a multiple of every tile's height */
#define MAX_OUT 4096

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
    int64_t filled;        /* columns of out, zeros being written behind the outputs; or 0 */
} job;

/* Formats of 16 bits. */
enum { BF16, FP16 };

/* What becomes of a stretch of input when it is gathered. */
enum {
    COPY,
    FLIP,           /* unsigned bytes become signed: 128 less */
    BYTES_TO_SHORT,
    HALF_TO_FLOAT,
};

/* Inputs that lie one behind the other, of a pixel whose row is number 0. */
typedef struct {
    const uint8_t *from;
    int64_t ld;        /* bytes of a row */
    int64_t at, count; /* elements: where they are gathered to, and how many */
    int64_t how;
} stretch;

/* Features at every pixel, rows of ld elements, in each of the forms that are not NULL. */
typedef struct {
    float *wide;
    uint16_t *high, *low; /* 16 bits, and what they leave of the number */
    uint8_t *bytes;
    int64_t ld;
} plane;

/* out[row] = relu(residual + scale * (factor * (sum of products + offset) + bias)) */
typedef struct {
    const stretch *stretches;
    int64_t n_stretches;
    int64_t depth;          /* elements of what is gathered; weights of more than that are zero */
    int64_t half;           /* BF16 or FP16: what halves are */
    const int32_t *rows;    /* [n] pixels to compute */
    int64_t n;
    const void *weights;    /* packed */
    int64_t n_out;          /* arrays of them are rounded up to LANES */
    const int32_t *offset;  /* of whole numbers, or NULL, */
    const float *factor;    /* with it */
    const float *bias, *scale; /* or NULL */
    const plane *residual;  /* or NULL; of pairs, or wide */
    int64_t relu;
    plane out;              /* what is written, with zeros (of bytes: `zero`) up to `filled` */
    int64_t filled;
    float inverse, zero;    /* byte = value * inverse + zero, of those that are written */
} narrow_job;

/* One way of computing with narrow numbers. Weights are packed as [depth rounded up to step / pair]
   [Q * LANES][pair], in blocks of at most `block` vectors of outputs. */
enum { AS_FLOAT, AS_BF16, AS_FP16, AS_SHORT, AS_BYTE };
typedef struct {
    int64_t weights, pair, step; /* weights: one of the line above */
    int64_t bytes;               /* of a gathered element */
    int64_t align;               /* elements that the inputs of a tap are filled up to */
    int64_t group;               /* pixels that are gathered at a time */
    int64_t flip;                /* whether gathered bytes are signed */
    /* As kernel.take; room: of room_of(). */
    void (*take)(const narrow_job *j, int32_t *next, double *sums, uint8_t *room);
} form;

/* Bytes from a gathered row to the next: room behind it, and an odd number of cache lines. */
static inline int64_t pitch(const form *f, int64_t depth)
{
    const int64_t padded = (depth + f->step - 1) / f->step * f->step;
    return (((padded * f->bytes + 63) / 64 + 1) | 1) * 64;
}

/* Bytes that a thread needs: what is gathered, and where each step's inputs lie. */
static inline int64_t room_of(const form *f, int64_t depth)
{
    return (f->group + 1) * pitch(f, depth) + depth * 16;
}

/* What computes, besides fp32 in place. */
enum { WIDE, IN_BF16, IN_FP16, IN_INT8, FORMS };

/* The kernel as it was compiled for one kind of processor. */
typedef struct {
    const char *name;
    int64_t lanes, block; /* floats of a vector; vectors of outputs computed together */
    /* One thread's share of a job: the chunks that no other has taken from `next`, which begins at
       0. Column sums are added to `sums` ([n_out rounded up]), not to the job's; NULL: none. */
    void (*take)(const job *j, int32_t *next, double *sums);
    int64_t narrow_block;
    int64_t half;         /* the quicker format of 16 bits */
    int64_t thrice;       /* whether three products of 16 bits are quicker than one of fp32 */
    form forms[FORMS];
} kernel;

#endif
