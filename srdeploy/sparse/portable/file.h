/* The model file: sizes, and where the weights lie. srdeploy/sparse/model_file.py describes it. */
#ifndef SRDEPLOY_FILE_H
#define SRDEPLOY_FILE_H
#include <stdint.h>

#include "smsr.h"

#define MAX_MODULES 64
#define MAX_LAYERS 32
#define COLOURS 3
#define ALIGN 16 /* floats that widths of rows and of packed weights are rounded up to */

static inline int64_t aligned(int64_t width) { return (width + ALIGN - 1) / ALIGN * ALIGN; }

/* What a network is computed in; the numbers of the file. */
enum { FILE_FP32, FILE_FP16, FILE_BF16, FILE_INT8, PRECISIONS };

/* A matrix [depth][n_out] as the kernel sums over it, and a bias [n_out]. */
typedef struct {
    const float *matrix, *bias;
    int64_t depth, n_out;
} weights;

/* One sparse mask module. */
typedef struct {
    int32_t mask1, mask2, narrow;                 /* channels of mask branch and attention */
    int32_t width[MAX_LAYERS], dense[MAX_LAYERS]; /* channels of each layer, dense ones first */
    weights first, second, logit;                 /* of the mask branch */
    weights layers[MAX_LAYERS];                   /* without bias */
    weights collect;
    const float *steps;                           /* of bytes: [1 + layers], input and outputs */
    const float *squeeze, *squeeze_bias, *excite, *excite_bias; /* [narrow][trunk], [trunk][narrow] */
} module_data;

typedef struct {
    void *content; /* of the file; the pointers point into it */
    int32_t precision, scale, n_modules, n_layers, head, trunk, collect;
    const float *sub, *add; /* [3][3] and a bias of 3: what is done to colours before and after */
    weights first, second, fuse, last, tail;
    module_data modules[MAX_MODULES];
} model;

/* Returns NULL, and says why, for anything but a sound file. */
model *model_read(const char *path, smsr_error *error);
void model_free(model *m);

#endif
