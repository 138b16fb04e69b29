/* One 3x3 convolution of bytes to bytes by a named kernel, for tests. */
#include <stdlib.h>
#include <string.h>

#include "conv.h"
#include "space.h"

/* x: [rows][ld] bytes around `zero`, out likewise, with width + 2 rows to a line. matrix: [9 * n_in]
   [n_out]. Returns 0, or -1 where there is no such kernel or memory is short. */
int check_bytes(const char *name, int threads, const float *matrix, int64_t n_in, int64_t n_out,
                float step, int64_t zero, float inverse, uint8_t *x, uint8_t *out, int64_t ld,
                const int32_t *rows, int64_t n, int64_t line, double *sums)
{
    const kernel *k = find_kernel(name);
    if (!k) return -1;
    const weights w = {matrix, 0, 9 * n_in, n_out};
    conv c = {.k = k, .f = k->forms + IN_INT8, .reads = READS_BYTES, .times = 1, .half = BF16,
              .zero = zero, .side = 3, .origin = 1, .n_parts = 1, .relu = 1};
    c.parts[0] = (part){n_in, n_in, n_in, {0, 0}, step, 0};
    const plane from = {.bytes = x, .ld = ld}, to = {.bytes = out, .ld = ld};
    const plane *source = &from;
    crew with = {.threads = pool_new(threads)};
    int failed = !with.threads || conv_pack(&c, &w, n_out);
    if (!failed) {
        with.room = conv_room(&c);
        with.rooms = malloc(with.room * threads + 64);
        with.sums = calloc((size_t)threads * MAX_OUT, sizeof(double));
        failed = !with.rooms || !with.sums;
    }
    if (!failed) {
        /* what is gathered lies on whatever was there */
        memset(with.rooms, 255, with.room * threads + 64);
        const result into = {.out = &to, .filled = ld, .inverse = inverse, .sums = sums};
        conv_run(&c, &with, &source, rows, n, line, &into);
    }
    conv_free(&c);
    pool_free(with.threads);
    free(with.rooms);
    free(with.sums);
    return failed ? -1 : 0;
}
