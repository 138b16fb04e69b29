#include "conv.h"

#include <string.h>

#define MAX_STRETCHES (MAX_PARTS + 9 * TIMES)

/* The taps as segments; those that touch in memory are one. */
static int place(const conv *c, const plane *const *sources, int64_t line, segment *found)
{
    int count = 0;
    for (int p = 0; p < c->n_parts; p++) {
        const int64_t ld = sources[p]->ld, width = c->parts[p].width;
        if (!width) continue;
        for (int t = 0; t < c->side * c->side; t++) {
            const int64_t shift = (t / c->side - c->origin) * line + t % c->side - c->origin;
            segment *last = count ? found + count - 1 : 0;
            if (last && last->source == p && last->shift * ld + last->length == shift * ld)
                last->length += width;
            else
                found[count++] = (segment){p, shift, 0, width};
        }
    }
    return count;
}

/* What becomes of inputs when they are gathered. */
static int64_t how(const conv *c)
{
    const int64_t kind = c->f->weights;
    switch (c->reads) {
    case READS_HIGH: return kind == AS_FLOAT ? HALF_TO_FLOAT : COPY;
    case READS_BYTES: return kind == AS_SHORT ? BYTES_TO_SHORT : c->f->flip ? FLIP : COPY;
    default: return COPY;
    }
}

/* The first form of a plane that is read, and the bytes of an element. */
static const uint8_t *read_by(const conv *c, const plane *p, int64_t *size)
{
    *size = c->reads == READS_WIDE ? 4 : c->reads == READS_BYTES ? 1 : 2;
    return *size == 4 ? (const uint8_t *)p->wide : *size == 1 ? p->bytes : (const uint8_t *)p->high;
}

/* The taps as stretches of bytes, gathered as often as the products want; those that touch in memory
   and where they are gathered to are one. */
static int stretches_of(const conv *c, const plane *const *sources, int64_t line, stretch *found)
{
    int64_t at = 0, size;
    int count = 0;
    for (int time = 0; time < c->times; time++)
        for (int i = 0; i < c->n_parts; i++) {
            const part *g = c->parts + i;
            const plane *p = sources[i];
            const uint8_t *first = read_by(c, p, &size);
            const int64_t ld = p->ld * size;
            for (int t = 0; g->width && t < c->side * c->side; t++) {
                const int64_t row = (t / c->side - c->origin) * line + t % c->side - c->origin;
                const uint8_t *from = (time == 1 ? (const uint8_t *)p->low : first) + row * ld;
                stretch *last = count ? found + count - 1 : 0;
                if (last && last->at + last->count == at && last->ld == ld &&
                    last->from + last->count * size == from)
                    last->count += g->width;
                else
                    found[count++] = (stretch){from, ld, at, g->width, how(c)};
                at = conv_filled(c, g, t, at);
            }
        }
    return count;
}

typedef struct {
    const conv *c;
    const job *in_place;
    const narrow_job *narrow;
    const crew *with;
    int adds;
    int32_t next;
} shared;

static void work(void *context, int thread)
{
    shared *s = context;
    double *sums = s->adds ? s->with->sums + thread * (int64_t)MAX_OUT : 0;
    if (s->in_place)
        s->c->k->take(s->in_place, &s->next, sums);
    else
        s->c->f->take(s->narrow, &s->next, sums, s->with->rooms + thread * s->with->room);
}

int64_t conv_room(const conv *c) { return c->f ? room_of(c->f, c->depth) : 0; }

void conv_run(const conv *c, const crew *with, const plane *const *sources, const int32_t *rows,
              int64_t n, int64_t line, const result *into)
{
    segment segments[MAX_PARTS + 9];
    stretch stretches[MAX_STRETCHES];
    source from[MAX_PARTS];
    const plane *out = into->out, *residual = into->residual;
    if (!n) return;
    for (int p = 0; p < c->n_parts; p++) from[p] = (source){sources[p]->wide, 0, sources[p]->ld};
    const job in_place = {
        .sources = from, .segments = segments, .n_segments = c->f ? 0 : place(c, sources, line, segments),
        .rows = rows, .n = n, .weights = c->weights, .n_out = c->n_out, .bias = c->bias,
        .scale = into->scale, .residual = residual ? residual->wide : 0,
        .ldr = residual ? residual->ld : 0, .relu = c->relu,
        .out = out->wide, .ldo = out->ld, .filled = into->filled,
    };
    const narrow_job narrow = {
        .stretches = stretches,
        .n_stretches = c->f ? stretches_of(c, sources, line, stretches) : 0,
        .depth = c->depth, .half = c->half, .rows = rows, .n = n, .weights = c->weights,
        .n_out = c->n_out, .offset = c->offset, .factor = c->factor, .bias = c->bias,
        .scale = into->scale, .residual = residual, .relu = c->relu, .out = *out,
        .filled = into->filled, .inverse = into->inverse, .zero = into->zero,
    };
    shared s = {c, c->f ? 0 : &in_place, &narrow, with, into->sums != 0, 0};
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
