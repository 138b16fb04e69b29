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
    int64_t half; /* the format of 16 bits */
    int pairs;    /* features near fp32 are pairs of halves, and three products stand for one */
    crew with;
    conv first, second, fuse, last, tail;
    module *modules;
    space here;
    double *sums; /* [layers][MAX_OUT] */
    float *scale; /* [MAX_OUT] */
    const smsr_part *part; /* NULL: images are whole */
};

/* Convolutions by what they compute in: that of the network; near fp32, for pixels and for what
 * decides on masks; and bytes where the network has them. */
static conv plainly(const smsr *net)
{
    conv c = {.k = net->k, .half = net->half, .times = 1};
    if (net->m->precision == FILE_FP32) return c;
    c.f = net->k->forms + (net->half == BF16 ? IN_BF16 : IN_FP16);
    c.reads = READS_HIGH;
    return c;
}

static conv exactly(const smsr *net)
{
    conv c = plainly(net);
    if (net->m->precision == FILE_FP32) return c;
    c.reads = net->pairs ? READS_PAIR : READS_WIDE;
    c.times = net->pairs ? TIMES : 1;
    if (!net->pairs) c.f = net->k->forms + WIDE;
    return c;
}

static conv in_bytes(const smsr *net)
{
    conv c = plainly(net);
    if (net->m->precision != FILE_INT8) return c;
    c.f = net->k->forms + IN_INT8;
    c.reads = READS_BYTES;
    return c;
}

static conv in_fp32(const smsr *net) { return (conv){.k = net->k, .times = 1}; }

static part all_of(int64_t channels) { return (part){channels, channels, channels, {0, 0}, 1, 0}; }

static int spatial(conv *c, conv kind, const weights *w, int side, int relu)
{
    *c = kind;
    c->side = side;
    c->origin = side == 3;
    c->relu = relu;
    c->n_parts = 1;
    c->parts[0] = all_of(w->depth / (side * side));
    if (kind.parts[0].joined) {
        c->parts[0].width = IMAGE_LD;
        c->parts[0].joined = 1;
    }
    return conv_pack(c, w, w->n_out);
}

/* A masked layer: all of it for pixels inside, from what is known everywhere for those outside. */
static int masked(conv *inside, conv *outside, conv kind, const weights *w, int64_t known,
                  int64_t dense, float step, int64_t zero)
{
    const int64_t n_in = w->depth / 9;
    *inside = kind;
    inside->zero = zero;
    inside->side = 3;
    inside->origin = inside->relu = inside->n_parts = 1;
    *outside = *inside;
    inside->parts[0] = (part){n_in, n_in, known, {0, 9 * known}, step, 0};
    outside->parts[0] = (part){known, known, known, {0, 0}, step, 0};
    return conv_pack(inside, w, w->n_out) || conv_pack(outside, w, dense);
}

/* The step of a module's input (0) or of the output of a layer (1...), if they are bytes. */
static float step_of(const module_data *d, int number) { return d->steps ? d->steps[number] : 1; }

static int pack_module(const smsr *net, module *to, const module_data *d)
{
    const model *m = net->m;
    const int bytes = m->precision == FILE_INT8;
    conv *collect[] = {&to->collect_inside, &to->collect_outside};
    int64_t known = m->trunk, first = 0;
    if (spatial(&to->first, net->pairs ? exactly(net) : in_fp32(net), &d->first, 3, 1) ||
        spatial(&to->second, in_fp32(net), &d->second, 3, 1) ||
        spatial(&to->logit, in_fp32(net), &d->logit, 2, 0))
        return -1;
    for (int i = 0; i < 2; i++) {
        *collect[i] = in_bytes(net);
        collect[i]->side = 1;
        collect[i]->n_parts = m->n_layers;
    }
    for (int l = 0; l < m->n_layers; l++) {
        const int64_t wide = d->width[l], dense = d->dense[l];
        if (masked(to->inside + l, to->outside + l, in_bytes(net), d->layers + l, known, dense,
                   step_of(d, l), bytes && l == 0 ? ZERO_BYTE : 0))
            return -1;
        to->collect_inside.parts[l] = (part){wide, wide, wide, {first, 0}, step_of(d, l + 1), 0};
        to->collect_outside.parts[l] = (part){dense, dense, dense, {first, 0}, step_of(d, l + 1), 0};
        known = dense;
        first += wide;
    }
    return conv_pack(&to->collect_inside, &d->collect, m->trunk) ||
           conv_pack(&to->collect_outside, &d->collect, m->trunk);
}

static int pack_all(smsr *net)
{
    const model *m = net->m;
    conv image = exactly(net);
    image.parts[0].joined = 1;
    if (spatial(&net->first, image, &m->first, 3, 1) ||
        spatial(&net->second, plainly(net), &m->second, 3, 0) ||
        spatial(&net->last, plainly(net), &m->last, 3, 0) ||
        spatial(&net->tail, plainly(net), &m->tail, 3, 0))
        return -1;
    net->fuse = plainly(net);
    net->fuse.side = net->fuse.relu = 1;
    net->fuse.n_parts = m->n_modules;
    for (int i = 0; i < m->n_modules; i++) {
        net->fuse.parts[i] = all_of(m->trunk);
        net->fuse.parts[i].first[0] = i * (int64_t)m->trunk;
    }
    if (conv_pack(&net->fuse, &m->fuse, m->collect)) return -1;
    for (int i = 0; i < m->n_modules; i++)
        if (pack_module(net, net->modules + i, m->modules + i)) return -1;
    return 0;
}

/* Each convolution of the network. */
static void for_all(smsr *net, void (*visit)(conv *c, void *context), void *context)
{
    conv *plain[] = {&net->first, &net->second, &net->fuse, &net->last, &net->tail};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) visit(plain[i], context);
    for (int i = 0; net->modules && i < net->m->n_modules; i++) {
        module *one = net->modules + i;
        conv *its[] = {&one->first, &one->second, &one->logit, &one->collect_inside,
                       &one->collect_outside};
        for (size_t n = 0; n < sizeof its / sizeof *its; n++) visit(its[n], context);
        for (int l = 0; l < net->m->n_layers; l++) {
            visit(one->inside + l, context);
            visit(one->outside + l, context);
        }
    }
}

static void free_one(conv *c, void *context)
{
    (void)context;
    conv_free(c);
}

static void measure_one(conv *c, void *context)
{
    int64_t *most = context;
    if (conv_room(c) > *most) *most = conv_room(c);
}

static int give_rooms(smsr *net, int threads)
{
    void *found = 0;
    for_all(net, measure_one, &net->with.room);
    if (posix_memalign(&found, 64, (size_t)net->with.room * threads + 64)) return -1;
    net->with.rooms = memset(found, 0, (size_t)net->with.room * threads + 64);
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
        net->half = m->precision == FILE_FP16   ? FP16
                    : m->precision == FILE_BF16 ? BF16
                                                : k->half;
        net->pairs = m->precision != FILE_FP32 && k->thrice && net->half == BF16;
        net->modules = calloc(m->n_modules, sizeof *net->modules);
        net->sums = calloc((size_t)m->n_layers * MAX_OUT, sizeof *net->sums);
        net->scale = calloc(MAX_OUT, sizeof *net->scale);
        net->with.sums = calloc((size_t)threads * MAX_OUT, sizeof *net->with.sums);
        net->with.threads = pool_new(threads);
    }
    if (net && net->modules && net->sums && net->scale && net->with.sums && net->with.threads &&
        !pack_all(net) && !give_rooms(net, threads))
        return net;
    smsr_close(net);
    refuse(error, "There is not enough memory for '%s'.", path);
    return 0;
}

void smsr_close(smsr *net)
{
    if (!net) return;
    for_all(net, free_one, 0);
    pool_free(net->with.threads);
    space_free(&net->here);
    free(net->modules);
    free(net->sums);
    free(net->scale);
    free(net->with.sums);
    free(net->with.rooms);
    model_free(net->m);
    free(net);
}

/* One convolution at every pixel of an image, or of the one half as large. */
static void everywhere(const smsr *net, const conv *c, const grid *g, const plane *x,
                       const result *into)
{
    conv_run(c, &net->with, &x, g->rows, g->n, g->line, into);
}

/* Find out which pixels are inside the mask. */
static void find_mask(smsr *net, const module *one, const plane *x)
{
    space *s = &net->here;
    const result mask = {.out = &s->mask}, deep = {.out = &s->deep}, logit = {.out = &s->logit};
    everywhere(net, &one->first, &s->whole, x, &mask);
    mean_of_four(net->with.threads, &s->whole, &s->half, s->mask.wide, s->pooled.wide, s->mask.ld);
    everywhere(net, &one->second, &s->half, &s->pooled, &deep);
    everywhere(net, &one->logit, &s->half, &s->deep, &logit);
    space_list(s, net->part);
}

/* One convolution at listed pixels, sums being those of the first `core` of them. */
static void listed(const smsr *net, const conv *c, const plane *const *from, const int32_t *rows,
                   int64_t n, int64_t core, const result *into)
{
    result rest = *into;
    rest.sums = 0;
    conv_run(c, &net->with, from, rows, core, net->here.whole.line, into);
    conv_run(c, &net->with, from, rows + core, n - core, net->here.whole.line, &rest);
}

static void at_both(const smsr *net, const conv *inside, const conv *outside,
                    const plane *const *from, const result *into)
{
    const space *s = &net->here;
    listed(net, inside, from, s->inside, s->n_inside, s->core_inside, into);
    listed(net, outside, from, s->outside, s->n_outside, s->core_outside, into);
}

/* The means that a module's channel attention takes: the mean of a 1x1 convolution's output follows
 * from the means of its inputs, which the layers have added up. Returns 1 where it was only wanted
 * for them. */
static int find_mean(const smsr *net, int number, double *mean)
{
    const module_data *d = net->m->modules + number;
    const smsr_part *p = net->part;
    const int trunk = net->m->trunk;
    const int64_t pixels = net->here.core_inside + net->here.core_outside;
    for (int c = 0; c < trunk; c++) mean[c] = d->collect.bias[c];
    const float *row = d->collect.matrix;
    for (int l = 0; l < net->m->n_layers; l++)
        for (int i = 0; i < d->width[l]; i++, row += trunk) {
            const double input = net->sums[l * (int64_t)MAX_OUT + i] / (double)pixels;
            for (int c = 0; c < trunk; c++) mean[c] += input * row[c];
        }
    if (p && number < p->until)
        for (int c = 0; c < trunk; c++)
            p->sums[number * (int64_t)trunk + c] = mean[c] * (double)pixels;
    if (p && number < p->known)
        memcpy(mean, p->given + number * (int64_t)trunk, (size_t)trunk * sizeof *mean);
    return p && number + 1 == p->until;
}

/* The channel attention's factors. */
static void attend(const smsr *net, const module_data *d, const double *mean)
{
    const int trunk = net->m->trunk;
    double hidden[MAX_OUT];
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

/* What turns the features between modules into the bytes that the next one reads. */
static float inverse_for(const smsr *net, int number)
{
    return number < net->m->n_modules ? 1 / step_of(net->m->modules + number, 0) : 1;
}

/* Returns 1 where no more is wanted. */
static int run_module(smsr *net, int number, const plane *x, const plane *out)
{
    module *one = net->modules + number;
    const module_data *d = net->m->modules + number;
    space *s = &net->here;
    const plane *layers[MAX_LAYERS];
    double mean[MAX_OUT];
    find_mask(net, one, x);
    one->density += (double)s->n_inside / (double)s->whole.n;
    memset(net->sums, 0, (size_t)net->m->n_layers * MAX_OUT * sizeof *net->sums);
    for (int l = 0; l < net->m->n_layers; l++) {
        const plane *from = l ? layers[l - 1] : x;
        const result into = {.out = s->layers + l, .filled = aligned(d->width[l]),
                             .inverse = 1 / step_of(d, l + 1),
                             .sums = net->sums + l * (int64_t)MAX_OUT};
        at_both(net, one->inside + l, one->outside + l, &from, &into);
        layers[l] = into.out;
    }
    if (find_mean(net, number, mean)) return 1;
    attend(net, d, mean);
    const result both = {.out = out, .scale = net->scale, .residual = x,
                         .inverse = inverse_for(net, number + 1), .zero = ZERO_BYTE};
    at_both(net, &one->collect_inside, &one->collect_outside, layers, &both);
    return 0;
}

static void run_image(smsr *net, const float *image, float *y)
{
    const model *m = net->m;
    space *s = &net->here;
    const grid *g = &s->whole;
    const plane *outs[MAX_MODULES], *x = &s->head;
    const result first = {.out = &s->first}, fused = {.out = &s->fused}, tail = {.out = &s->tail};
    const result head = {.out = x, .inverse = inverse_for(net, 0), .zero = ZERO_BYTE};
    const result trunk = {.out = &s->trunk, .residual = x};
    shift_colours(net->with.threads, g, image, m->sub, &s->image, net->half);
    everywhere(net, &net->first, g, &s->image, &first);
    everywhere(net, &net->second, g, &s->first, &head);
    for (int i = 0; i < m->n_modules; i++) {
        if (run_module(net, i, x, s->outs + i)) return;
        x = outs[i] = s->outs + i;
    }
    conv_run(&net->fuse, &net->with, outs, g->rows, g->n, g->line, &fused);
    everywhere(net, &net->last, g, &s->fused, &trunk);
    everywhere(net, &net->tail, g, &s->trunk, &tail);
    const upscaling u = {g, s->image.wide, s->tail.wide, s->tail.ld, m->scale, m->add, y};
    upscale(net->with.threads, &u);
}

int smsr_run(smsr *net, const float *x, int64_t n, int64_t height, int64_t width, float *y,
             smsr_error *error)
{
    const int64_t pixels = height * width, scale = net->m->scale;
    if (space_fit(&net->here, net->m, net->pairs, height, width, error)) return -1;
    for (int i = 0; i < net->m->n_modules; i++) net->modules[i].density = 0;
    for (int64_t i = 0; i < n; i++)
        run_image(net, x + i * COLOURS * pixels, y + i * COLOURS * pixels * scale * scale);
    for (int i = 0; i < net->m->n_modules; i++) net->modules[i].density /= (double)n;
    return 0;
}

int smsr_run_part(smsr *net, const smsr_part *part, const float *x, int64_t height, int64_t width,
                  float *y, smsr_error *error)
{
    if (part->top < 0 || part->top >= part->bottom || part->bottom > height || part->left < 0 ||
        part->left >= part->right || part->right > width || part->known < 0 ||
        part->known > net->m->n_modules || part->until < 0 || part->until > net->m->n_modules)
        return refuse(error, "This is no part of an image of %lldx%lld pixels.", (long long)width,
                      (long long)height);
    net->part = part;
    const int failed = smsr_run(net, x, 1, height, width, y, error);
    net->part = 0;
    return failed;
}

int smsr_trunk(const smsr *net) { return net->m->trunk; }
int smsr_scale(const smsr *net) { return net->m->scale; }
const char *smsr_kernel(const smsr *net) { return net->k->name; }

const char *smsr_precision(const smsr *net)
{
    static const char *const names[PRECISIONS] = {"fp32", "fp16", "bf16", "int8"};
    return names[net->m->precision];
}

int smsr_modules(const smsr *net) { return net->m->n_modules; }
double smsr_density(const smsr *net, int number) { return net->modules[number].density; }
