/* SMSR computing inside its masks only, for programs without Python: one file in, images through.
 *
 * The same sources are the native runner's (assets/native) and, as a library, those of
 * srdeploy/runtime/sparse_file_session.py. They need C11, POSIX threads and 32-bit floats.
 */
#ifndef SRDEPLOY_SMSR_H
#define SRDEPLOY_SMSR_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SMSR_SENTENCE 400

/* What went wrong, as one sentence. */
typedef struct {
    char sentence[SMSR_SENTENCE];
} smsr_error;

typedef struct smsr smsr;

/* Read a file that `srdeploy export --target sparse-runner` wrote, and make it ready.
 *
 * kernel: a name of smsr_kernels, or NULL for the quickest that this processor has.
 * Returns NULL, and says why, where the file or the request is not sound; sizes are checked before
 * memory is taken. */
smsr *smsr_open(const char *path, const char *kernel, int threads, smsr_error *error);
void smsr_close(smsr *net);

/* x: [n][3][height][width], y: [n][3][height * scale][width * scale], in 0..value_range.
 * Returns 0, or -1 where memory is short; nothing is written then. */
int smsr_run(smsr *net, const float *x, int64_t n, int64_t height, int64_t width, float *y,
             smsr_error *error);

/* A part of an image, for which the channel attention's means over the whole image are given, or
 * are to be found: those of a module are right only if the modules before it had the right ones. */
typedef struct {
    int64_t top, bottom, left, right; /* the core, whose pixels count for the means */
    int64_t known;                    /* modules whose means are given: the first ones */
    int64_t until;                    /* find those of so many modules and stop there; 0: run on */
    const double *given;              /* [known][smsr_trunk] */
    double *sums;                     /* [until][smsr_trunk], over the core */
} smsr_part;

/* As smsr_run, of one image; y is not written where means are to be found. */
int smsr_run_part(smsr *net, const smsr_part *part, const float *x, int64_t height, int64_t width,
                  float *y, smsr_error *error);

/* Channels of which a module's attention takes the means. */
int smsr_trunk(const smsr *net);
int smsr_scale(const smsr *net);
const char *smsr_kernel(const smsr *net);
/* What it computes in, as the file says: fp32, fp16, bf16 or int8. */
const char *smsr_precision(const smsr *net);
int smsr_modules(const smsr *net);
/* Share of the latest images' pixels that were inside the mask of a module, 0..1. */
double smsr_density(const smsr *net, int module);

/* The kernels that this processor can run, the slowest first, NULL behind the last. */
const char *const *smsr_kernels(void);

#ifdef __cplusplus
}
#endif
#endif
