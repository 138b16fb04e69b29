#include "pixels.h"

#include "half.h"

/* Lines that threads take one after the other. */
typedef struct {
    void (*line)(const void *context, int64_t number);
    const void *context;
    int32_t count, next;
} lines;

static void take_lines(void *context, int thread)
{
    lines *l = context;
    int32_t number;
    (void)thread;
    while ((number = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED)) < l->count)
        l->line(l->context, number);
}

static void by_lines(pool *threads, void (*line)(const void *, int64_t), const void *context,
                     int64_t count)
{
    lines l = {line, context, (int32_t)count, 0};
    pool_run(threads, take_lines, &l);
}

typedef struct {
    const grid *g;
    const float *image, *matrix;
    const plane *out;
    int64_t half;
} shifting;

static void shift_line(const void *context, int64_t y)
{
    const shifting *s = context;
    const float *m = s->matrix, *from = s->image + y * s->g->width;
    const plane *p = s->out;
    int64_t at = ((y + 1) * s->g->line + 1) * IMAGE_LD;
    for (int64_t x = 0; x < s->g->width; x++, from++, at += IMAGE_LD)
        for (int c = 0; c < COLOURS; c++) {
            float sum = m[COLOURS * COLOURS + c];
            for (int k = 0; k < COLOURS; k++) sum += m[COLOURS * c + k] * from[k * s->g->n];
            p->wide[at + c] = sum;
            if (!p->high) continue;
            p->high[at + c] = half_of(sum, s->half);
            p->low[at + c] = half_of(sum - half_value(p->high[at + c], s->half), s->half);
        }
}

void shift_colours(pool *threads, const grid *g, const float *image, const float *matrix,
                   const plane *out, int64_t half)
{
    const shifting s = {g, image, matrix, out, half};
    by_lines(threads, shift_line, &s, g->height);
}

typedef struct {
    const grid *g, *half;
    const float *x;
    float *out;
    int64_t width;
} pooling;

static void pool_line(const void *context, int64_t y)
{
    const pooling *p = context;
    const int64_t line = p->g->line;
    const int64_t below = 2 * y + 1 < p->g->height ? line : 0;
    for (int64_t x = 0; x < p->half->width; x++) {
        const int64_t beside = 2 * x + 1 < p->g->width ? 1 : 0;
        const float *one = p->x + ((2 * y + 1) * line + 2 * x + 1) * p->width;
        const float *two = one + beside * p->width, *three = one + below * p->width;
        const float *four = three + beside * p->width;
        float *out = p->out + ((y + 1) * p->half->line + x + 1) * p->width;
        for (int64_t c = 0; c < p->width; c++)
            out[c] = ((one[c] + two[c]) + three[c] + four[c]) * 0.25f;
    }
}

void mean_of_four(pool *threads, const grid *g, const grid *half, const float *x, float *out,
                  int64_t width)
{
    const pooling p = {g, half, x, out, width};
    by_lines(threads, pool_line, &p, half->height);
}

/* The four factors of a place `t` (0..1) behind the second of four pixels. */
static void bicubic(double t, float factors[4])
{
    const double a = -0.75, away[4] = {t + 1, t, 1 - t, 2 - t};
    for (int i = 0; i < 4; i++) {
        const double d = away[i];
        factors[i] = (float)(d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1
                                    : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a);
    }
}

/* Where the pixel `i` of the larger image lies in the smaller: the first of four pixels, counted from
 * i / scale, and their factors. */
static int64_t taps(int64_t i, int scale, float factors[4])
{
    const int64_t twice = 2 * (i % scale) + 1 - scale; /* its place, times twice the scale */
    const int64_t before = twice < 0 ? -1 : 0;
    bicubic((double)(twice - before * 2 * scale) / (2 * scale), factors);
    return before - 1;
}

/* Three colours; the fourth value is zero. */
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

typedef struct {
    const float *lines[4]; /* of the image, under the line to be made */
    float down[4];
} above;

static inline int64_t within(int64_t i, int64_t count)
{
    return i < 0 ? 0 : i < count ? i : count - 1;
}

static inline quad column(const above *a, int64_t x, int64_t width)
{
    const int64_t at = within(x, width) * IMAGE_LD;
    quad sum = {0};
    for (int k = 0; k < 4; k++) sum += a->down[k] * *(const quad *)(a->lines[k] + at);
    return sum;
}

#define MOST_SCALE 8

static void upscale_line(const void *context, int64_t y)
{
    const upscaling *u = context;
    const grid *g = u->g;
    const int scale = u->scale, square = scale * scale;
    const int64_t width = g->width, larger = g->n * square;
    const float *m = u->matrix;
    const quad red = {m[0], m[3], m[6]}, green = {m[1], m[4], m[7]}, blue = {m[2], m[5], m[8]};
    const quad bias = {m[9], m[10], m[11]};
    float across[MOST_SCALE][4];
    int64_t first[MOST_SCALE];
    above a;
    const int64_t top = y / scale + taps(y, scale, a.down);
    for (int k = 0; k < 4; k++)
        a.lines[k] = u->image + ((within(top + k, g->height) + 1) * g->line + 1) * IMAGE_LD;
    for (int p = 0; p < scale; p++) first[p] = taps(p, scale, across[p]) + 2;
    quad columns[5];
    for (int i = 1; i < 5; i++) columns[i] = column(&a, i - 3, width);
    const float *tail = u->tail + ((y / scale + 1) * g->line + 1) * u->ld + y % scale * scale;
    float *out = u->y + y * width * scale;
    for (int64_t x = 0; x < width; x++, tail += u->ld) {
        for (int i = 0; i < 4; i++) columns[i] = columns[i + 1];
        columns[4] = column(&a, x + 2, width);
        for (int p = 0; p < scale; p++, out++) {
            quad sum = {tail[p], tail[p + square], tail[p + 2 * square]};
            for (int i = 0; i < 4; i++) sum += across[p][i] * columns[first[p] + i];
            sum = bias + red * sum[0] + green * sum[1] + blue * sum[2];
            for (int c = 0; c < COLOURS; c++) out[c * larger] = sum[c];
        }
    }
}

void upscale(pool *threads, const upscaling *u)
{
    by_lines(threads, upscale_line, u, u->g->height * u->scale);
}
