/* The weights of a convolution as a kernel reads them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conv.h"
#include "half.h"

/* A row of what is packed. */
typedef struct {
    const float *from; /* of the matrix; NULL: zeros */
    float step;        /* what it is multiplied by */
    int time;          /* which of several products */
} row;

int64_t conv_filled(const conv *c, const part *p, int tap, int64_t at)
{
    const int64_t align = c->f ? c->f->align : 1;
    const int last = !p->joined || tap % c->side == c->side - 1;
    return last ? (at + p->width + align - 1) / align * align : at + p->width;
}

/* The rows in the order in which inputs are gathered, or only their number. */
static int64_t list(const conv *c, const weights *w, row *to)
{
    int64_t at = 0;
    for (int time = 0; time < c->times; time++)
        for (int p = 0; p < c->n_parts; p++) {
            const part *g = c->parts + p;
            for (int t = 0; t < c->side * c->side; t++) {
                for (int64_t i = 0; to && i < g->width; i++) {
                    const int late = i >= g->split;
                    const int64_t wide = late ? g->channels - g->split : g->split;
                    const int64_t number = g->first[late] + t * wide + i - (late ? g->split : 0);
                    if (i >= g->channels) continue;
                    to[at + i] = (row){w->matrix + number * w->n_out, g->step, time};
                }
                at = conv_filled(c, g, t, at);
            }
        }
    return at;
}

static float value(const row *r, int64_t column, int64_t half)
{
    const float x = r->from ? r->from[column] * r->step : 0;
    return r->time < 2 ? x : x - half_value(half_of(x, half), half);
}

static void put(const conv *c, void *to, int64_t at, float x, float factor)
{
    const int64_t kind = c->f ? c->f->weights : AS_FLOAT;
    if (kind == AS_FLOAT) {
        /* Where 16 bits are asked for, they are what counts, not what this processor multiplies. */
        const int rounded = c->f && c->reads == READS_HIGH;
        ((float *)to)[at] = rounded ? half_value(half_of(x, c->half), c->half) : x;
    } else if (kind == AS_BF16 || kind == AS_FP16) {
        ((uint16_t *)to)[at] = half_of(x, kind == AS_BF16 ? BF16 : FP16);
    } else {
        const int8_t rounded = (int8_t)rintf(x / factor);
        if (kind == AS_SHORT)
            ((int16_t *)to)[at] = rounded;
        else
            ((int8_t *)to)[at] = rounded;
    }
}

/* The largest weight of a column becomes 127; what the inputs' zero adds to the sums is taken off. */
static void scale_column(conv *c, const row *rows, int64_t column)
{
    float most = 0;
    int32_t sum = 0;
    for (int64_t k = 0; k < c->depth; k++) {
        const float size = fabsf(value(rows + k, column, c->half));
        if (size > most) most = size;
    }
    const float factor = most > 0x1p-100f ? most / 127 : 1;
    for (int64_t k = 0; k < c->depth; k++)
        sum += (int32_t)rintf(value(rows + k, column, c->half) / factor);
    c->factor[column] = factor;
    c->offset[column] = sum * (int32_t)((c->f->flip ? 128 : 0) - c->zero);
}

static void *room_for(int64_t bytes)
{
    void *found = 0;
    if (posix_memalign(&found, 64, bytes + 64)) return 0;
    return memset(found, 0, bytes + 64);
}

static void pack(conv *c, const row *rows, int64_t columns)
{
    const form in_place = {.weights = AS_FLOAT, .pair = 1, .step = 1};
    const form *f = c->f ? c->f : &in_place;
    const int64_t block = c->k->lanes * (c->f ? c->k->narrow_block : c->k->block);
    const int64_t depth = (c->depth + f->step - 1) / f->step * f->step;
    for (int64_t first = 0, at = 0; first < columns; first += block) {
        const int64_t wide = columns - first < block ? columns - first : block;
        for (int64_t k = 0; k < c->depth; k++)
            for (int64_t i = 0; i < wide && first + i < c->n_out; i++)
                put(c, c->weights, at + (k / f->pair * wide + i) * f->pair + k % f->pair,
                    value(rows + k, first + i, c->half), c->factor ? c->factor[first + i] : 1);
        at += depth * wide;
    }
}

int conv_pack(conv *c, const weights *w, int64_t n_out)
{
    const int64_t columns = (n_out + c->k->lanes - 1) / c->k->lanes * c->k->lanes;
    const int64_t step = c->f ? c->f->step : 1;
    c->n_out = n_out;
    c->depth = list(c, w, 0);
    row *rows = calloc(c->depth + 1, sizeof *rows);
    c->weights = room_for((c->depth + step) * columns * sizeof(float));
    if (w->bias) c->bias = room_for((columns + ALIGN) * sizeof(float));
    const int bytes = c->f && c->f == c->k->forms + IN_INT8;
    if (bytes) {
        c->factor = room_for((columns + ALIGN) * sizeof(float));
        c->offset = room_for((columns + ALIGN) * sizeof(int32_t));
    }
    const int found = rows && c->weights && (c->bias || !w->bias) &&
                      (!bytes || (c->factor && c->offset));
    if (found) {
        list(c, w, rows);
        if (w->bias) memcpy(c->bias, w->bias, n_out * sizeof *c->bias);
        for (int64_t i = 0; bytes && i < n_out; i++) scale_column(c, rows, i);
        pack(c, rows, columns);
    }
    free(rows);
    return found ? 0 : -1;
}

void conv_free(conv *c)
{
    free(c->weights);
    free(c->bias);
    free(c->factor);
    free(c->offset);
}
