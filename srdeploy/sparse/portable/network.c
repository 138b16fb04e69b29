/* SMSR from end to end: srdeploy/sparse/rowframe.py, maskbranch.py and module.py in C. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conv.h"
#include "error.h"
#include "pixels.h"
#include "space.h"

typedef struct {
    conv first, second, logit; /* the mask branch */
    conv inside[MAX_LAYERS], outside[MAX_LAYERS];
    conv collect_inside, collect_outside;
    double density;
} module;

struct smsr {
    model *m;
    const kernel *k;
    crew with;
    conv first, second, fuse, last, tail;
    module *modules;
    space here;
    double *sums; /* [layers][MAX_OUT] */
    float *scale; /* [MAX_OUT] */
};

static int spatial(conv *c, const kernel *k, const weights *w, int side, int relu)
{
    const range all = {0, w->depth};
    c->side = side;
    c->origin = side == 3;
    c->relu = relu;
    c->n_parts = 1;
    c->parts[0] = (part){0, w->depth / (side * side)};
    return conv_pack(c, k, w, &all, 1, w->n_out);
}

/* A masked layer: all of it for pixels inside, from what is known everywhere for those outside. */
static int masked(conv *inside, conv *outside, const kernel *k, const weights *w, int64_t known,
                  int64_t dense)
{
    const int64_t n_in = w->depth / 9;
    const range all = {0, w->depth}, corner = {0, 9 * known};
    *inside = (conv){.side = 3, .origin = 1, .relu = 1, .n_parts = 2};
    *outside = (conv){.side = 3, .origin = 1, .relu = 1, .n_parts = 1};
    inside->parts[0] = outside->parts[0] = (part){0, known};
    inside->parts[1] = (part){known, n_in - known};
    return conv_pack(inside, k, w, &all, 1, w->n_out) ||
           conv_pack(outside, k, w, &corner, 1, dense);
}

static int pack_module(module *to, const kernel *k, const model *m, const module_data *d)
{
    range dense[MAX_LAYERS];
    const range all = {0, d->collect.depth};
    int64_t known = m->trunk, first = 0;
    if (spatial(&to->first, k, &d->first, 3, 1) || spatial(&to->second, k, &d->second, 3, 1) ||
        spatial(&to->logit, k, &d->logit, 2, 0))
        return -1;
    to->collect_inside.side = to->collect_outside.side = 1;
    to->collect_inside.n_parts = to->collect_outside.n_parts = m->n_layers;
    for (int l = 0; l < m->n_layers; l++) {
        if (masked(to->inside + l, to->outside + l, k, d->layers + l, known, d->dense[l]))
            return -1;
        known = d->dense[l];
        to->collect_inside.parts[l] = (part){0, d->width[l]};
        to->collect_outside.parts[l] = (part){0, known};
        dense[l] = (range){first, known};
        first += d->width[l];
    }
    return conv_pack(&to->collect_inside, k, &d->collect, &all, 1, m->trunk) ||
           conv_pack(&to->collect_outside, k, &d->collect, dense, m->n_layers, m->trunk);
}

static int pack_all(smsr *net)
{
    const model *m = net->m;
    const range all = {0, m->fuse.depth};
    if (spatial(&net->first, net->k, &m->first, 3, 1) ||
        spatial(&net->second, net->k, &m->second, 3, 0) ||
        spatial(&net->last, net->k, &m->last, 3, 0) || spatial(&net->tail, net->k, &m->tail, 3, 0))
        return -1;
    net->fuse.side = net->fuse.relu = 1;
    net->fuse.n_parts = m->n_modules;
    for (int i = 0; i < m->n_modules; i++) net->fuse.parts[i] = (part){0, m->trunk};
    if (conv_pack(&net->fuse, net->k, &m->fuse, &all, 1, m->collect)) return -1;
    for (int i = 0; i < m->n_modules; i++)
        if (pack_module(net->modules + i, net->k, m, m->modules + i)) return -1;
    return 0;
}

smsr *smsr_open(const char *path, const char *name, int threads, smsr_error *error)
{
    const kernel *k = find_kernel(name);
    if (!k) {
        refuse(error, "This processor has no kernel '%s'.", name);
        return 0;
    }
    if (threads < 1 || threads > 1024) {
        refuse(error, "Threads must be 1 to 1024, not %d.", threads);
        return 0;
    }
    model *m = model_read(path, error);
    if (!m) return 0;
    smsr *net = calloc(1, sizeof *net);
    if (!net) {
        model_free(m);
    } else {
        net->m = m;
        net->k = k;
        net->modules = calloc(m->n_modules, sizeof *net->modules);
        net->sums = calloc((size_t)m->n_layers * MAX_OUT, sizeof *net->sums);
        net->scale = calloc(MAX_OUT, sizeof *net->scale);
        net->with.sums = calloc((size_t)threads * MAX_OUT, sizeof *net->with.sums);
        net->with.threads = pool_new(threads);
    }
    if (net && net->modules && net->sums && net->scale && net->with.sums && net->with.threads &&
        !pack_all(net))
        return net;
    smsr_close(net);
    refuse(error, "There is not enough memory for '%s'.", path);
    return 0;
}

void smsr_close(smsr *net)
{
    if (!net) return;
    conv *plain[] = {&net->first, &net->second, &net->fuse, &net->last, &net->tail};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) conv_free(plain[i]);
    for (int i = 0; net->modules && i < net->m->n_modules; i++) {
        module *one = net->modules + i;
        conv_free(&one->first);
        conv_free(&one->second);
        conv_free(&one->logit);
        conv_free(&one->collect_inside);
        conv_free(&one->collect_outside);
        for (int l = 0; l < net->m->n_layers; l++) {
            conv_free(one->inside + l);
            conv_free(one->outside + l);
        }
    }
    pool_free(net->with.threads);
    space_free(&net->here);
    free(net->modules);
    free(net->sums);
    free(net->scale);
    free(net->with.sums);
    model_free(net->m);
    free(net);
}

/* One convolution at every pixel of an image, or of the one half as large. */
static void everywhere(const smsr *net, const conv *c, const grid *g, const float *x, int64_t ldx,
                       float *out, int64_t ldo, const float *residual)
{
    const source from = {x, 0, ldx};
    const result into = {.out = out, .ldo = ldo, .residual = residual, .ldr = ldo};
    conv_run(c, &net->with, &from, g->rows, g->n, g->line, &into);
}

/* Find out which pixels are inside the mask. */
static void find_mask(const smsr *net, const module *one, const module_data *d, const float *x)
{
    const space *s = &net->here;
    const int64_t narrow = aligned(d->mask1), deep = aligned(d->mask2);
    space_border(&s->whole, s->mask, narrow);
    everywhere(net, &one->first, &s->whole, x, aligned(net->m->trunk), s->mask, narrow, 0);
    space_border(&s->half, s->pooled, narrow);
    mean_of_four(net->with.threads, &s->whole, &s->half, s->mask, s->pooled, narrow);
    space_border(&s->half, s->deep, deep);
    everywhere(net, &one->second, &s->half, s->pooled, narrow, s->deep, deep, 0);
    everywhere(net, &one->logit, &s->half, s->deep, deep, s->logit, ALIGN, 0);
}

/* The channel attention's factors: the mean of a 1x1 convolution's output follows from the means
 * of its inputs, which the layers have added up. */
static void attend(const smsr *net, const module_data *d)
{
    const int trunk = net->m->trunk;
    double mean[MAX_OUT], hidden[MAX_OUT];
    for (int c = 0; c < trunk; c++) mean[c] = d->collect.bias[c];
    const float *row = d->collect.matrix;
    for (int l = 0; l < net->m->n_layers; l++)
        for (int i = 0; i < d->width[l]; i++, row += trunk) {
            const double input = net->sums[l * (int64_t)MAX_OUT + i] / (double)net->here.whole.n;
            for (int c = 0; c < trunk; c++) mean[c] += input * row[c];
        }
    for (int n = 0; n < d->narrow; n++) {
        double sum = d->squeeze_bias[n];
        for (int c = 0; c < trunk; c++) sum += d->squeeze[n * (int64_t)trunk + c] * mean[c];
        hidden[n] = sum > 0 ? sum : 0;
    }
    for (int c = 0; c < trunk; c++) {
        double sum = d->excite_bias[c];
        for (int n = 0; n < d->narrow; n++) sum += d->excite[c * (int64_t)d->narrow + n] * hidden[n];
        net->scale[c] = (float)(1 / (1 + exp(-sum)));
    }
    memset(net->scale + trunk, 0, (aligned(trunk) - trunk) * sizeof *net->scale);
}

static void run_module(smsr *net, int number, const float *x, float *out)
{
    module *one = net->modules + number;
    const module_data *d = net->m->modules + number;
    space *s = &net->here;
    const int64_t trunk = aligned(net->m->trunk), line = s->whole.line;
    source within[MAX_LAYERS], dense[MAX_LAYERS];
    find_mask(net, one, d, x);
    space_list(s);
    one->density += (double)s->n_inside / (double)s->whole.n;
    memset(net->sums, 0, (size_t)net->m->n_layers * MAX_OUT * sizeof *net->sums);
    for (int l = 0; l < net->m->n_layers; l++) {
        const source first[2] = {{x, 0, trunk}, {x, 0, trunk}};
        const source later[2] = {l ? dense[l - 1] : first[0], l ? within[l - 1] : first[1]};
        const source *from = l ? later : first;
        const int64_t wide = aligned(d->width[l]), known = aligned(d->dense[l]);
        double *sums = net->sums + l * (int64_t)MAX_OUT;
        memset(s->inside_data[l], 0, wide * sizeof(float)); /* the row of zeros */
        space_border(&s->whole, s->dense_data[l], known);
        const result here = {.out = s->inside_data[l], .ldo = wide, .places = s->places,
                             .also = known ? s->dense_data[l] : 0, .lda = known, .sums = sums};
        conv_run(one->inside + l, &net->with, from, s->inside, s->n_inside, line, &here);
        const result there = {.out = s->dense_data[l], .ldo = known, .sums = sums};
        conv_run(one->outside + l, &net->with, from, s->outside, s->n_outside, line, &there);
        within[l] = (source){s->inside_data[l], s->places, wide};
        dense[l] = (source){s->dense_data[l], 0, known};
    }
    attend(net, d);
    const result both = {.out = out, .ldo = trunk, .scale = net->scale, .residual = x,
                         .ldr = trunk};
    conv_run(&one->collect_inside, &net->with, within, s->inside, s->n_inside, line, &both);
    conv_run(&one->collect_outside, &net->with, dense, s->outside, s->n_outside, line, &both);
}

static void run_image(smsr *net, const float *image, float *y)
{
    const model *m = net->m;
    space *s = &net->here;
    const grid *g = &s->whole;
    const int64_t trunk = aligned(m->trunk), head = aligned(m->head);
    const int64_t fused = aligned(m->collect), last = aligned(COLOURS * m->scale * m->scale);
    source outs[MAX_MODULES];
    shift_colours(net->with.threads, g, image, m->sub, s->image);
    everywhere(net, &net->first, g, s->image, ALIGN, s->first, head, 0);
    everywhere(net, &net->second, g, s->first, head, s->head, trunk, 0);
    const float *x = s->head;
    for (int i = 0; i < m->n_modules; i++) {
        run_module(net, i, x, s->outs[i]);
        x = s->outs[i];
        outs[i] = (source){x, 0, trunk};
    }
    const result into = {.out = s->fused, .ldo = fused};
    conv_run(&net->fuse, &net->with, outs, g->rows, g->n, g->line, &into);
    everywhere(net, &net->last, g, s->fused, fused, s->trunk, trunk, s->head);
    everywhere(net, &net->tail, g, s->trunk, trunk, s->tail, last, 0);
    const upscaling u = {g, s->image, s->tail, last, m->scale, m->add, y};
    upscale(net->with.threads, &u);
}

int smsr_run(smsr *net, const float *x, int64_t n, int64_t height, int64_t width, float *y,
             smsr_error *error)
{
    const int64_t pixels = height * width, scale = net->m->scale;
    if (space_fit(&net->here, net->m, height, width, error)) return -1;
    for (int i = 0; i < net->m->n_modules; i++) net->modules[i].density = 0;
    for (int64_t i = 0; i < n; i++)
        run_image(net, x + i * COLOURS * pixels, y + i * COLOURS * pixels * scale * scale);
    for (int i = 0; i < net->m->n_modules; i++) net->modules[i].density /= (double)n;
    return 0;
}

int smsr_scale(const smsr *net) { return net->m->scale; }
const char *smsr_kernel(const smsr *net) { return net->k->name; }
int smsr_modules(const smsr *net) { return net->m->n_modules; }
double smsr_density(const smsr *net, int number) { return net->modules[number].density; }
