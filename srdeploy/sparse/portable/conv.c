#include "conv.h"

#include <stdlib.h>
#include <string.h>

int conv_pack(conv *c, const kernel *k, const weights *w, const range *ranges, int n_ranges,
              int64_t n_out)
{
    const int64_t columns = (n_out + k->lanes - 1) / k->lanes * k->lanes;
    const int64_t block = k->lanes * k->block;
    int64_t depth = 0;
    for (int r = 0; r < n_ranges; r++) depth += ranges[r].count;
    void *room = 0, *bias = 0;
    if (posix_memalign(&room, 64, (depth * columns + ALIGN) * sizeof(float))) return -1;
    if (w->bias && posix_memalign(&bias, 64, (columns + ALIGN) * sizeof(float))) {
        free(room);
        return -1;
    }
    c->k = k;
    c->n_out = n_out;
    c->weights = room;
    c->bias = bias;
    float *to = c->weights;
    for (int64_t at = 0; at < columns; at += block) {
        const int64_t wide = columns - at < block ? columns - at : block;
        const int64_t filled = n_out - at < wide ? n_out - at : wide;
        for (int r = 0; r < n_ranges; r++)
            for (int64_t i = 0; i < ranges[r].count; i++, to += wide) {
                const float *from = w->matrix + (ranges[r].first + i) * w->n_out + at;
                memcpy(to, from, filled * sizeof *to);
                memset(to + filled, 0, (wide - filled) * sizeof *to);
            }
    }
    if (w->bias) {
        memset(c->bias, 0, columns * sizeof *c->bias);
        memcpy(c->bias, w->bias, n_out * sizeof *c->bias);
    }
    return 0;
}

void conv_free(conv *c)
{
    free(c->weights);
    free(c->bias);
}

/* The taps as segments; those that touch in memory are one. */
static int place(const conv *c, const source *sources, int64_t line, segment *found)
{
    int count = 0;
    for (int p = 0; p < c->n_parts; p++) {
        const part *given = c->parts + p;
        if (!given->channels) continue;
        for (int y = 0; y < c->side; y++)
            for (int x = 0; x < c->side; x++) {
                const int64_t shift = (y - c->origin) * line + x - c->origin;
                const int64_t ld = sources[p].ld;
                segment *last = count ? found + count - 1 : 0;
                if (last && !sources[p].places && last->source == p &&
                    last->shift * ld + last->start + last->length == shift * ld + given->start)
                    last->length += given->channels;
                else
                    found[count++] = (segment){p, shift, given->start, given->channels};
            }
    }
    return count;
}

typedef struct {
    const kernel *k;
    const job *j;
    double *sums;
    int32_t next;
} shared;

static void work(void *context, int thread)
{
    shared *s = context;
    s->k->take(s->j, &s->next, s->sums ? s->sums + thread * (int64_t)MAX_OUT : 0);
}

void conv_run(const conv *c, const crew *with, const source *sources, const int32_t *rows,
              int64_t n, int64_t line, const result *into)
{
    segment segments[MAX_PARTS + 18];
    if (!n || !c->n_out) return;
    const job j = {
        .sources = sources, .segments = segments,
        .n_segments = place(c, sources, line, segments),
        .rows = rows, .n = n, .weights = c->weights, .n_out = c->n_out, .bias = c->bias,
        .scale = into->scale, .residual = into->residual, .ldr = into->ldr, .relu = c->relu,
        .out = into->out, .places = into->places, .ldo = into->ldo,
        .also = into->also, .lda = into->lda, .n_also = into->also ? into->lda : 0,
    };
    shared s = {c->k, &j, into->sums ? with->sums : 0, 0};
    const int several = n > CHUNK;
    const int threads = several ? pool_threads(with->threads) : 1;
    const int64_t columns = (c->n_out + c->k->lanes - 1) / c->k->lanes * c->k->lanes;
    for (int t = 0; into->sums && t < threads; t++)
        memset(with->sums + t * (int64_t)MAX_OUT, 0, columns * sizeof *with->sums);
    if (several)
        pool_run(with->threads, work, &s);
    else
        work(&s, 0);
    for (int t = 0; into->sums && t < threads; t++)
        for (int64_t i = 0; i < columns; i++)
            into->sums[i] += with->sums[t * (int64_t)MAX_OUT + i];
}
