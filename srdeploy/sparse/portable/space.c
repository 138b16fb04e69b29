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

/* Forms of a plane. */
enum { AS_WIDE = 1, AS_HIGH = 2, AS_LOW = 4, AS_BYTES = 8 };

/* Rows behind the last, which may be read, and some bytes more. */
#define ROWS_BEHIND 16
#define BEHIND 64

static void *form_of(cursor *c, const grid *g, int64_t width, int64_t size)
{
    return cut(c, (uint64_t)((g->n_rows + ROWS_BEHIND) * width * size + BEHIND));
}

static plane planes(cursor *c, const grid *g, int64_t width, int forms)
{
    plane p = {.ld = width};
    if (forms & AS_WIDE) p.wide = form_of(c, g, width, sizeof(float));
    if (forms & AS_HIGH) p.high = form_of(c, g, width, sizeof(uint16_t));
    if (forms & AS_LOW) p.low = form_of(c, g, width, sizeof(uint16_t));
    if (forms & AS_BYTES) p.bytes = form_of(c, g, width, 1);
    return p;
}

static void lay_out(space *s, const model *m, int pairs, cursor *c)
{
    const grid *g = &s->whole, *h = &s->half;
    const int narrow = m->precision != FILE_FP32, bytes = m->precision == FILE_INT8;
    const int plain = narrow ? AS_HIGH : AS_WIDE, exact = pairs ? AS_LOW : AS_WIDE;
    const int trunk = plain | exact;
    int64_t mask = 0, deep = 0, widths[MAX_LAYERS] = {0};
    for (int i = 0; i < m->n_modules; i++) {
        const module_data *d = m->modules + i;
        if (aligned(d->mask1) > mask) mask = aligned(d->mask1);
        if (aligned(d->mask2) > deep) deep = aligned(d->mask2);
        for (int l = 0; l < m->n_layers; l++)
            if (aligned(d->width[l]) > widths[l]) widths[l] = aligned(d->width[l]);
    }
    s->whole.rows = cut(c, g->n * sizeof(int32_t));
    s->half.rows = cut(c, h->n * sizeof(int32_t));
    s->inside = cut(c, (g->n + 1) * sizeof(int32_t));
    s->outside = cut(c, (g->n + 1) * sizeof(int32_t));
    s->image = planes(c, g, IMAGE_LD, pairs ? AS_WIDE | AS_HIGH | AS_LOW : AS_WIDE);
    s->first = planes(c, g, aligned(m->head), plain);
    s->head = planes(c, g, aligned(m->trunk), bytes ? trunk | AS_BYTES : trunk);
    for (int i = 0; i < m->n_modules; i++) {
        const int read = bytes && i + 1 < m->n_modules; /* by another module */
        s->outs[i] = planes(c, g, aligned(m->trunk), read ? trunk | AS_BYTES : trunk);
    }
    s->fused = planes(c, g, aligned(m->collect), plain);
    s->trunk = planes(c, g, aligned(m->trunk), plain);
    s->tail = planes(c, g, aligned(COLOURS * m->scale * m->scale), AS_WIDE);
    s->mask = planes(c, g, mask, AS_WIDE);
    for (int l = 0; l < m->n_layers; l++)
        s->layers[l] = planes(c, g, widths[l], bytes ? AS_BYTES : plain);
    s->pooled = planes(c, h, mask, AS_WIDE);
    s->deep = planes(c, h, deep, AS_WIDE);
    s->logit = planes(c, h, ALIGN, AS_WIDE);
}

/* Bytes of features of any sign stand for zero in the middle. */
static void middle(const plane *p, const grid *g)
{
    if (p->bytes) memset(p->bytes, ZERO_BYTE, (size_t)(g->n_rows * p->ld));
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

int space_fit(space *s, const model *m, int pairs, int64_t height, int64_t width,
              smsr_error *error)
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
    lay_out(s, m, pairs, &counted);
    if (counted.used < available() && counted.used < SIZE_MAX / 2)
        s->memory = calloc(counted.used + 64, 1);
    if (!s->memory)
        return refuse(error, "There is not enough memory: an image of %lldx%lld pixels takes "
                      "%llu MB in this network.", (long long)width, (long long)height,
                      (unsigned long long)(counted.used / 1000000 + 1));
    cursor given = {.base = (char *)(((uintptr_t)s->memory + 63) / 64 * 64)};
    lay_out(s, m, pairs, &given);
    number_rows(&s->whole);
    number_rows(&s->half);
    middle(&s->head, &s->whole);
    for (int i = 0; i < m->n_modules; i++) middle(s->outs + i, &s->whole);
    return 0;
}

void space_free(space *s)
{
    free(s->memory);
    memset(s, 0, sizeof *s);
}

/* List what is between two columns of a row. */
static void list(space *s, int64_t y, int64_t left, int64_t right)
{
    const float *logit = s->logit.wide + ((y / 2 + 1) * s->half.line + 1) * ALIGN + y % 2 * 2;
    int32_t row = (int32_t)((y + 1) * s->whole.line + 1 + left);
    int64_t count = s->n_inside, others = s->n_outside;
    for (int64_t x = left; x < right; x++, row++) {
        const int is_inside = logit[x / 2 * ALIGN + x % 2] > 0;
        s->inside[count] = row;
        s->outside[others] = row;
        count += is_inside;
        others += !is_inside;
    }
    s->n_inside = count;
    s->n_outside = others;
}

void space_list(space *s, const smsr_part *core)
{
    const int64_t height = s->whole.height, width = s->whole.width;
    const int64_t top = core ? core->top : 0, bottom = core ? core->bottom : height;
    const int64_t left = core ? core->left : 0, right = core ? core->right : width;
    s->n_inside = s->n_outside = 0;
    for (int64_t y = top; y < bottom; y++) list(s, y, left, right);
    s->core_inside = s->n_inside;
    s->core_outside = s->n_outside;
    for (int64_t y = 0; y < height; y++) {
        const int within = y >= top && y < bottom;
        list(s, y, 0, within ? left : width);
        if (within) list(s, y, right, width);
    }
}
