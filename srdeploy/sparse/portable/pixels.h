/* What is done to pixels between the convolutions. */
#ifndef SRDEPLOY_PIXELS_H
#define SRDEPLOY_PIXELS_H
#include "pool.h"
#include "space.h"

/* Colours [3][height][width] times a matrix [3][3] plus a bias, as features of IMAGE_LD channels;
   half: the format of their pairs. */
void shift_colours(pool *threads, const grid *g, const float *image, const float *matrix,
                   const plane *out, int64_t half);

/* The mean of every 2x2 window; at odd ends, of what there is. */
void mean_of_four(pool *threads, const grid *g, const grid *half, const float *x, float *out,
                  int64_t width);

/* The end of the network. */
typedef struct {
    const grid *g;
    const float *image;  /* as shift_colours made it: it is upsampled, and */
    const float *tail;   /* [rows][ld] that PixelShuffle lays out are added; */
    int64_t ld;
    int scale;
    const float *matrix; /* [3][3] and a bias: what is done to the colours of the sum */
    float *y;            /* [3][height * scale][width * scale] */
} upscaling;

/* torch's bicubic upsampling (a = -0.75, corners not aligned), and what else ends the network. */
void upscale(pool *threads, const upscaling *u);

#endif
