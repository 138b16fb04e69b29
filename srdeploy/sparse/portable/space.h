/* The features of one image, channels-last in rows inside a border of zeros. */
#ifndef SRDEPLOY_SPACE_H
#define SRDEPLOY_SPACE_H
#include "../kernel.h"
#include "file.h"

/* Rows of one image size: a border of one pixel around it. */
typedef struct {
    int64_t height, width, line; /* line: rows from a pixel to the one below */
    int64_t n, n_rows;           /* pixels; rows, border included */
    int32_t *rows;               /* [n] the row of every pixel, rising */
} grid;

/* Everything that an image of one size needs; kept for the next of that size. */
typedef struct {
    grid whole, half;
    int32_t *inside, *outside;    /* what the mask lists */
    int64_t n_inside, n_outside;
    int64_t core_inside, core_outside; /* how many of them, the first ones, are in the core */
    plane image, first, head, outs[MAX_MODULES], fused, trunk, tail, mask;
    plane layers[MAX_LAYERS];     /* sparse channels are zero outside the mask */
    plane pooled, deep, logit;    /* of half the size */
    void *memory;
} space;

#define ZERO_BYTE 128
#define IMAGE_LD 4 /* channels of an image, the last of which is zero */

/* Make room for images of that size; 0, or -1 where there is none. pairs: features near fp32 are
   pairs of halves. */
int space_fit(space *s, const model *m, int pairs, int64_t height, int64_t width,
              smsr_error *error);
void space_free(space *s);

/* List the pixels inside and outside the mask that the logits tell, those of the core first: rows
 * top to bottom and columns left to right; NULL: all of the image. */
void space_list(space *s, const smsr_part *core);

#endif
