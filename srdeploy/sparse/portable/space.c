#include "space.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

#define MOST_SIDE (1 << 16)
#define MOST_ROWS (1 << 28)

static void measure(grid *g, int64_t height, int64_t width)
{
    *g = (grid){.height = height, .width = width, .line = width + 2, .n = height * width,
                .n_rows = (height + 2) * (width + 2)};
}

static void number_rows(grid *g)
{
    int32_t *row = g->rows;
    for (int64_t y = 1; y <= g->height; y++)
        for (int64_t x = 1; x <= g->width; x++) *row++ = (int32_t)(y * g->line + x);
}

/* Memory cut into pieces; without a base only counted. */
typedef struct {
    char *base;
    uint64_t used;
} cursor;

static void *cut(cursor *c, uint64_t bytes)
{
    void *here = c->base ? c->base + c->used : 0;
    c->used += (bytes + 63) / 64 * 64;
    return here;
}

static float *plane(cursor *c, const grid *g, int64_t width)
{
    return cut(c, (uint64_t)g->n_rows * (uint64_t)width * sizeof(float));
}

static void lay_out(space *s, const model *m, cursor *c)
{
    const grid *g = &s->whole, *h = &s->half;
    int64_t mask = 0, deep = 0, dense[MAX_LAYERS] = {0}, inside[MAX_LAYERS] = {0};
    for (int i = 0; i < m->n_modules; i++) {
        const module_data *d = m->modules + i;
        if (aligned(d->mask1) > mask) mask = aligned(d->mask1);
        if (aligned(d->mask2) > deep) deep = aligned(d->mask2);
        for (int l = 0; l < m->n_layers; l++) {
            if (aligned(d->dense[l]) > dense[l]) dense[l] = aligned(d->dense[l]);
            if (aligned(d->width[l]) > inside[l]) inside[l] = aligned(d->width[l]);
        }
    }
    s->whole.rows = cut(c, g->n * sizeof(int32_t));
    s->half.rows = cut(c, h->n * sizeof(int32_t));
    s->inside = cut(c, g->n * sizeof(int32_t));
    s->outside = cut(c, g->n * sizeof(int32_t));
    s->places = cut(c, g->n_rows * sizeof(int32_t));
    s->image = plane(c, g, ALIGN);
    s->first = plane(c, g, aligned(m->head));
    s->head = plane(c, g, aligned(m->trunk));
    for (int i = 0; i < m->n_modules; i++) s->outs[i] = plane(c, g, aligned(m->trunk));
    s->fused = plane(c, g, aligned(m->collect));
    s->trunk = plane(c, g, aligned(m->trunk));
    s->tail = plane(c, g, aligned(COLOURS * m->scale * m->scale));
    s->mask = plane(c, g, mask);
    for (int l = 0; l < m->n_layers; l++) {
        s->dense_data[l] = plane(c, g, dense[l]);
        s->inside_data[l] = plane(c, g, inside[l]);
    }
    s->pooled = plane(c, h, mask);
    s->deep = plane(c, h, deep);
    s->logit = plane(c, h, ALIGN);
}

/* Bytes that the system can give without taking them from others; UINT64_MAX: it does not tell. */
static uint64_t available(void)
{
    FILE *file = fopen("/proc/meminfo", "r");
    char line[256];
    unsigned long long kib;
    uint64_t found = UINT64_MAX;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) found = kib * 1024;
    if (file) fclose(file);
    return found;
}

int space_fit(space *s, const model *m, int64_t height, int64_t width, smsr_error *error)
{
    cursor counted = {0};
    if (s->memory && s->whole.height == height && s->whole.width == width) return 0;
    space_free(s);
    if (height < 1 || width < 1 || height > MOST_SIDE || width > MOST_SIDE ||
        (height + 2) * (width + 2) > MOST_ROWS)
        return refuse(error, "An image of %lldx%lld pixels is larger than any that this can run.",
                      (long long)width, (long long)height);
    measure(&s->whole, height, width);
    measure(&s->half, (height + 1) / 2, (width + 1) / 2);
    lay_out(s, m, &counted);
    if (counted.used < available() && counted.used < SIZE_MAX / 2)
        s->memory = calloc(counted.used + 64, 1);
    if (!s->memory)
        return refuse(error, "There is not enough memory: an image of %lldx%lld pixels takes "
                      "%llu MB in this network.", (long long)width, (long long)height,
                      (unsigned long long)(counted.used / 1000000 + 1));
    cursor given = {.base = (char *)(((uintptr_t)s->memory + 63) / 64 * 64)};
    lay_out(s, m, &given);
    number_rows(&s->whole);
    number_rows(&s->half);
    return 0;
}

void space_free(space *s)
{
    free(s->memory);
    memset(s, 0, sizeof *s);
}

void space_border(const grid *g, float *data, int64_t width)
{
    const int64_t end = (g->height + 1) * g->line;
    memset(data, 0, g->line * width * sizeof *data);
    memset(data + end * width, 0, g->line * width * sizeof *data);
    for (int64_t row = g->line; row < end; row += g->line) {
        memset(data + row * width, 0, width * sizeof *data);
        memset(data + (row + g->line - 1) * width, 0, width * sizeof *data);
    }
}

void space_list(space *s)
{
    const grid *g = &s->whole;
    int32_t count = 0, others = 0;
    for (int64_t y = 0; y < g->height; y++)
        for (int64_t x = 0; x < g->width; x++) {
            const int64_t small = (y / 2 + 1) * s->half.line + x / 2 + 1;
            const int32_t row = (int32_t)((y + 1) * g->line + x + 1);
            if (s->logit[small * ALIGN + y % 2 * 2 + x % 2] > 0) {
                s->inside[count++] = row;
                s->places[row] = count;
            } else {
                s->outside[others++] = row;
                s->places[row] = 0;
            }
        }
    s->n_inside = count;
    s->n_outside = others;
}
