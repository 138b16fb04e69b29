/* A strict reader: a file is refused before more than its header was read, unless every size in it
 * is within bounds and adds up to its length. */
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../kernel.h"
#include "error.h"
#include "sha256.h"

#define VERSION 2
#define MOST_FILE (1 << 28)     /* bytes */
#define MOST_CARD (4 << 20)     /* bytes */
#define MOST_PACKED (1 << 26)   /* floats that the weights take when they are packed */
#define FIXED 7                 /* numbers before those of the modules */

static const char MAGIC[8] = {'s', 'r', 'd', '-', 's', 'm', 's', 'r'};

typedef struct {
    char magic[8];
    uint32_t version, card, numbers, floats; /* bytes of the card, and how many follow it */
} header;

#define LEAST_STEP 1e-12f
#define MOST_STEP 1e12f
#define DIGEST 32
#define HEADER 24

/* Weights in the order of the file; without a base only counted. */
typedef struct {
    const float *base;
    int64_t count, packed;
} cursor;

static const float *next(cursor *c, int64_t count)
{
    const float *here = c->base ? c->base + c->count : 0;
    c->count += count;
    return here;
}

static weights next_weights(cursor *c, int64_t depth, int64_t n_out, int bias)
{
    weights w = {.depth = depth, .n_out = n_out};
    w.matrix = next(c, depth * n_out);
    w.bias = bias ? next(c, n_out) : 0;
    c->packed += depth * aligned(n_out);
    return w;
}

static void lay_out(model *m, cursor *c)
{
    m->sub = next(c, COLOURS * COLOURS + COLOURS);
    m->add = next(c, COLOURS * COLOURS + COLOURS);
    m->first = next_weights(c, 9 * COLOURS, m->head, 1);
    m->second = next_weights(c, 9 * (int64_t)m->head, m->trunk, 1);
    for (int i = 0; i < m->n_modules; i++) {
        module_data *d = m->modules + i;
        int64_t before = m->trunk, joined = 0;
        d->first = next_weights(c, 9 * (int64_t)m->trunk, d->mask1, 1);
        d->second = next_weights(c, 9 * (int64_t)d->mask1, d->mask2, 1);
        d->logit = next_weights(c, 4 * (int64_t)d->mask2, 4, 1);
        for (int l = 0; l < m->n_layers; l++) {
            d->layers[l] = next_weights(c, 9 * before, d->width[l], 0);
            c->packed += 9 * before * aligned(d->dense[l]); /* the corner outside the mask */
            before = d->width[l];
            joined += before;
        }
        d->collect = next_weights(c, joined, m->trunk, 1);
        c->packed += joined * aligned(m->trunk);
        d->squeeze = next(c, (int64_t)d->narrow * m->trunk);
        d->squeeze_bias = next(c, d->narrow);
        d->excite = next(c, (int64_t)d->narrow * m->trunk);
        d->excite_bias = next(c, m->trunk);
        if (m->precision == FILE_INT8) d->steps = next(c, 1 + m->n_layers);
    }
    m->fuse = next_weights(c, (int64_t)m->n_modules * m->trunk, m->collect, 1);
    m->last = next_weights(c, 9 * (int64_t)m->collect, m->trunk, 1);
    m->tail = next_weights(c, 9 * (int64_t)m->trunk, COLOURS * m->scale * m->scale, 1);
}

/* Whether it is a number of channels; a layer may have no dense ones. */
static int width(int32_t n, int least) { return n >= least && n <= MAX_OUT; }

/* Take over the sizes; 0 where all of them can be. */
static int read_sizes(model *m, const int32_t *numbers, uint32_t count)
{
    if (count < FIXED) return -1;
    int32_t *const given[FIXED] = {&m->precision, &m->scale, &m->n_modules, &m->n_layers,
                                   &m->head, &m->trunk, &m->collect};
    for (int i = 0; i < FIXED; i++) *given[i] = numbers[i];
    if (m->precision < 0 || m->precision >= PRECISIONS) return -1;
    if (m->scale < 1 || m->scale > 8 || m->n_modules < 1 || m->n_modules > MAX_MODULES ||
        m->n_layers < 1 || m->n_layers > MAX_LAYERS || !width(m->head, 1) ||
        !width(m->trunk, 1) || !width(m->collect, 1))
        return -1;
    if (count != (uint32_t)(FIXED + m->n_modules * (3 + 2 * m->n_layers))) return -1;
    const int32_t *n = numbers + FIXED;
    for (int i = 0; i < m->n_modules; i++) {
        module_data *d = m->modules + i;
        d->mask1 = *n++;
        d->mask2 = *n++;
        d->narrow = *n++;
        if (!width(d->mask1, 1) || !width(d->mask2, 1) || !width(d->narrow, 1)) return -1;
        for (int l = 0; l < m->n_layers; l++) {
            d->width[l] = *n++;
            d->dense[l] = *n++;
            if (!width(d->width[l], 1) || !width(d->dense[l], 0) || d->dense[l] > d->width[l])
                return -1;
        }
    }
    return 0;
}

/* Whether all of them are steps of a grid that numbers can be rounded to. */
static int are_steps(const float *steps, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(steps[i] >= LEAST_STEP && steps[i] <= MOST_STEP)) return 0;
    return 1;
}

static int has_steps(const model *m)
{
    for (int i = 0; m->precision == FILE_INT8 && i < m->n_modules; i++)
        if (!are_steps(m->modules[i].steps, 1 + m->n_layers)) return 0;
    return 1;
}

static int are_finite(const float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        if ((bits >> 23 & 0xff) == 0xff) return 0;
    }
    return 1;
}

#define NO_MODEL "'%s' is no model file of SMSR; write one with `srdeploy export --target " \
                 "sparse-runner`."
#define ALTERED "'%s' is truncated or altered; copy it again."

/* Everything before the weights; leaves the content in the model. */
static int read_content(model *m, FILE *file, const char *path, smsr_error *error)
{
    struct stat found;
    header h;
    if (fstat(fileno(file), &found) || !S_ISREG(found.st_mode))
        return refuse(error, NO_MODEL, path);
    if (fread(&h, 1, HEADER, file) != HEADER || memcmp(h.magic, MAGIC, sizeof MAGIC))
        return refuse(error, NO_MODEL, path);
    if (h.version != VERSION)
        return refuse(error, "'%s' is of another version of srdeploy; export it again.", path);
    const uint64_t size = HEADER + (uint64_t)h.card + 4 * ((uint64_t)h.numbers + h.floats) + DIGEST;
    const int most = FIXED + MAX_MODULES * (3 + 2 * MAX_LAYERS);
    if (h.card > MOST_CARD || h.card % 4 || h.numbers > (uint32_t)most || size > MOST_FILE ||
        size != (uint64_t)found.st_size)
        return refuse(error, ALTERED, path);
    m->content = malloc(size);
    if (!m->content) return refuse(error, "There is not enough memory for '%s'.", path);
    uint8_t *content = m->content, digest[DIGEST];
    memcpy(content, &h, HEADER);
    if (fread(content + HEADER, 1, size - HEADER, file) != size - HEADER)
        return refuse(error, ALTERED, path);
    sha256(content, size - DIGEST, digest);
    if (memcmp(digest, content + size - DIGEST, DIGEST)) return refuse(error, ALTERED, path);
    const int32_t *numbers = (const int32_t *)(content + HEADER + h.card);
    const float *floats = (const float *)(numbers + h.numbers);
    cursor counted = {0}, given = {.base = floats};
    if (read_sizes(m, numbers, h.numbers)) return refuse(error, NO_MODEL, path);
    lay_out(m, &counted);
    if (counted.count != h.floats || !are_finite(floats, h.floats))
        return refuse(error, NO_MODEL, path);
    if (counted.packed > MOST_PACKED)
        return refuse(error, "'%s' is larger than any SMSR network that this can run.", path);
    lay_out(m, &given);
    return has_steps(m) ? 0 : refuse(error, NO_MODEL, path);
}

model *model_read(const char *path, smsr_error *error)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        refuse(error, "Cannot read '%s': %s.", path, strerror(errno));
        return 0;
    }
    model *m = calloc(1, sizeof *m);
    if (!m || read_content(m, file, path, error)) {
        if (!m) refuse(error, "There is not enough memory for '%s'.", path);
        model_free(m);
        m = 0;
    }
    fclose(file);
    return m;
}

void model_free(model *m)
{
    if (m) free(m->content);
    free(m);
}
