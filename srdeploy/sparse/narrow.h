/* Convolution at listed pixels with numbers of 16 and 8 bits.
 *
 * Features are rows of pixels as in kernel.c, in one or more forms (`plane`). The inputs of a group
 * of pixels are gathered one behind the other, so that tiles of a matrix unit, or pairs and fours of
 * a dot product, can be loaded; what is gathered is converted on the way where the products need
 * it. The result of the sums goes through one epilogue, which writes the forms that the next layers
 * read: nothing is converted between layers. Products of bytes are exact, and the epilogue behind
 * them rounds alike on every processor: all kernels give the same bytes.
 */
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if LANES == 4 && BIG
#define NARROW 4 /* vectors of outputs that are computed together */
#else
#define NARROW 2
#endif

typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(1), may_alias));
typedef int16_t shorts __attribute__((vector_size(2 * LANES), aligned(1), may_alias));
typedef uint8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef uint8_t line64 __attribute__((vector_size(64), aligned(1), may_alias));
typedef int32_t whole __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

/* Keeps a product from being fused with the sum that it goes into. */
INLINE vec apart(vec y)
{
#if defined(__x86_64__)
    __asm__("" : "+v"(y));
#elif defined(__aarch64__) || defined(__ARM_NEON)
    __asm__("" : "+w"(y));
#endif
    return y;
}

INLINE vec choose(ints which, vec one, vec other)
{
    return (vec)((which & (ints)one) | (~which & (ints)other));
}

INLINE vec from_half(halves h, int64_t format)
{
    const words u = __builtin_convertvector(h, words);
    if (format == BF16) return (vec)(u << 16);
#ifdef __aarch64__
    return vcvt_f32_f16((float16x4_t)h);
#else
    const vec size = (vec)((u & 0x7fff) << 13) * 0x1p112f;
    return (vec)((words)size | (u & 0x8000) << 16);
#endif
}

/* Round to the nearest, ties to even; fp16 ends at its largest number. */
INLINE halves to_half(vec y, int64_t format)
{
    words u = (words)y;
    if (format == BF16) {
        u += 0x7fff + (u >> 16 & 1);
        return __builtin_convertvector(u >> 16, halves);
    }
#ifdef __aarch64__
    const vec most = (vec){0} + 65504.0f;
    return (halves)vcvt_f16_f32(vmaxnmq_f32(vminnmq_f32(y, most), -most));
#else
    const words sign = u >> 16 & 0x8000;
    vec size = (vec)(u & 0x7fffffff);
    size = choose(size < 65504.0f, size, (vec){0} + 65504.0f) * 0x1p-112f;
    u = (words)size;
    u += 0xfff + (u >> 13 & 1);
    return __builtin_convertvector(u >> 13 | sign, halves);
#endif
}

/* Round to the nearest byte, ties to even. */
INLINE bytes to_bytes(vec y, float inverse, float zero)
{
    vec t = apart(y * inverse) + zero;
#ifdef __aarch64__
    const uint16x4_t rounded = vqmovn_u32(vcvtnq_u32_f32(t)); /* and not below 0 */
    const uint8x8_t twice = vqmovn_u16(vcombine_u16(rounded, rounded));
    bytes found;
    memcpy(&found, &twice, sizeof found);
    return found;
#else
    t = (vec)((ints)t & (t > 0));
    t = choose(t < 255.0f, t, (vec){0} + 255.0f);
    t = apart(t) + 0x1.8p23f; /* whose last bits are the rounded number */
    return __builtin_convertvector((words)t & 255, bytes);
#endif
}

/* One stretch of one pixel; as it is, with what lies behind it up to a multiple of 64 bytes, where the
   weights of tiles are zero. */
INLINE void move(const uint8_t *from, uint8_t *to, int64_t count, int64_t how, int64_t half,
                 int64_t size)
{
    switch (how) {
    case COPY:
        for (int64_t c = 0; c < count * size; c += 64)
            *(line64 *)(to + c) = *(const line64 *)(from + c);
        break;
    case FLIP:
        for (int64_t c = 0; c < count; c += 64)
            *(line64 *)(to + c) = *(const line64 *)(from + c) ^ 128;
        break;
    case BYTES_TO_SHORT:
        for (int64_t c = 0; c < count; c += LANES)
            *(shorts *)(to + 2 * c) = __builtin_convertvector(*(const bytes *)(from + c), shorts);
        break;
    default:
        for (int64_t c = 0; c < count; c += LANES)
            *(vec *)(to + 4 * c) = from_half(*(const halves *)(from + 2 * c), half);
    }
}

/* The inputs of n pixels, and zeros up to the depth that is multiplied. */
INLINE void gather(const narrow_job *j, const int32_t *rows, int64_t n, uint8_t *to,
                   int64_t between, int64_t size, int64_t depth)
{
    for (int64_t s = 0; s < j->n_stretches; s++) {
        const stretch g = j->stretches[s];
        for (int64_t i = 0; i < n; i++)
            move(g.from + rows[i] * g.ld, to + i * between + g.at * size, g.count, g.how, j->half,
                 size);
    }
    if (j->depth < depth)
        for (int64_t i = 0; i < n; i++)
            memset(to + i * between + j->depth * size, 0, (depth - j->depth) * size);
}

/* Everything behind the sums of one vector of outputs of one pixel. */
INLINE void store(const plane *p, int64_t at, vec y, int64_t half, float inverse, float zero)
{
    if (p->wide) *(vec *)(p->wide + at) = y;
    if (p->high) {
        const halves high = to_half(y, half);
        *(halves *)(p->high + at) = high;
        if (p->low) *(halves *)(p->low + at) = to_half(y - from_half(high, half), half);
    }
    if (p->bytes) *(bytes *)(p->bytes + at) = to_bytes(y, inverse, zero);
}

/* A vector of an array that may be missing. */
INLINE vec given(const float *array, int64_t at, float otherwise)
{
    vec found = (vec){0} + otherwise;
    if (array) found = *(const vec *)(array + at);
    return found;
}

/* Of some pixels, q vectors of whose sums are [n][q * LANES] floats or whole numbers. */
static __attribute__((noinline)) void finish_narrow(const narrow_job *j, const void *acc,
                                                    const int whole_numbers, int64_t q,
                                                    const int32_t *rows, int64_t n, int64_t column,
                                                    float *sums)
{
    const plane out = j->out, from = j->residual ? *j->residual : (plane){0};
    const int64_t half = j->half;
    const vec least = (vec){0} + (j->relu ? 0 : -__builtin_inff());
    const float inverse = j->inverse, zero = j->zero;
    for (int64_t v = 0; v < q; v++) {
        const int64_t at = column + v * LANES;
        const vec factor = given(j->factor, at, 1), bias = given(j->bias, at, 0);
        const vec scale = given(j->scale, at, 1);
        const whole offset = (whole)given((const float *)j->offset, at, 0);
        vec sum = given(sums, at, 0);
        for (int64_t p = 0; p < n; p++) {
            const void *made = (const char *)acc + (p * q + v) * sizeof(vec);
            vec y;
            if (whole_numbers)
                y = apart(__builtin_convertvector(*(const whole *)made + offset, vec) * factor);
            else
                y = *(const vec *)made;
            y = apart((y + bias) * scale);
            const int64_t here = rows[p] * from.ld + at;
            if (from.wide)
                y += *(const vec *)(from.wide + here);
            else if (from.high)
                y += from_half(*(const halves *)(from.high + here), half) +
                     from_half(*(const halves *)(from.low + here), half);
            y = choose(y > least, y, least);
            store(&out, rows[p] * out.ld + at, y, half, inverse, zero);
            sum += y;
        }
        if (sums) *(vec *)(sums + at) = sum;
    }
}

/* Have fetched what the epilogue of some pixels reads, and where it writes. */
INLINE void announce(const narrow_job *j, const int32_t *rows, int64_t n, int64_t column, int64_t q)
{
    const plane *r = j->residual, *o = &j->out;
    for (int64_t p = 0; p < n; p++) {
        const int64_t to = rows[p] * o->ld + column;
        if (r) {
            const int64_t from = rows[p] * r->ld + column;
            __builtin_prefetch(r->high + from);
            __builtin_prefetch(r->low + from);
        }
        if (o->wide) __builtin_prefetch(o->wide + to, 1);
        if (o->wide && q > 1) __builtin_prefetch(o->wide + to + LANES, 1);
        if (o->high) __builtin_prefetch(o->high + to, 1);
        if (o->low) __builtin_prefetch(o->low + to, 1);
        if (o->bytes) __builtin_prefetch(o->bytes + to, 1);
    }
}

static void fill_narrow(const narrow_job *j, const int32_t *rows, int64_t n, int64_t columns)
{
    const plane *p = &j->out;
    const bytes blank = to_bytes((vec){0}, 0, j->zero);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = columns, at; c < j->filled; c += LANES) {
            at = rows[i] * p->ld + c;
            if (p->wide) *(vec *)(p->wide + at) = (vec){0};
            if (p->high) *(halves *)(p->high + at) = (halves){0};
            if (p->low) *(halves *)(p->low + at) = (halves){0};
            if (p->bytes) *(bytes *)(p->bytes + at) = blank;
        }
}

/* A block of q vectors of outputs of a group of pixels, [n][q * LANES] floats or whole numbers. */
typedef void multiply(const uint8_t *a, int64_t between, int64_t steps, const void *w, const int q,
                      int64_t n, void *out);

INLINE void take_narrow(const narrow_job *j, int32_t *next, double *sums, uint8_t *room,
                        const form *f, const int64_t pair, const int64_t group,
                        const int64_t size, const int whole_numbers, multiply *const run)
{
    const int64_t depth = (j->depth + f->step - 1) / f->step * f->step;
    const int64_t between = pitch(f, j->depth), vectors = (j->n_out + LANES - 1) / LANES;
    const int64_t chunks = (j->n + CHUNK - 1) / CHUNK;
    const int64_t weight = f->weights == AS_BYTE ? 1 : f->weights == AS_FLOAT ? 4 : 2;
    float part[MAX_OUT];
    float out[24 * NARROW * LANES] __attribute__((aligned(64)));
    int64_t number;
    while ((number = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < chunks) {
        const int64_t first = number * CHUNK;
        const int64_t count = j->n - first < CHUNK ? j->n - first : CHUNK;
        for (int64_t c = 0; sums && c < vectors * LANES; c++) part[c] = 0;
        for (int64_t i = 0; vectors && i < count; i += group) {
            const int32_t *rows = j->rows + first + i;
            const int64_t n = count - i < group ? count - i : group;
            const uint8_t *w = j->weights;
            gather(j, rows, n, room, between, size, depth);
            for (int64_t v = 0; v < vectors; v += NARROW) {
                const int64_t left = vectors - v;
                switch (left < NARROW ? left : NARROW) {
#define PART(Q)                                                                                  \
    case Q:                                                                                      \
        run(room, between, depth / pair, w, Q, n, out);                                               \
        finish_narrow(j, out, whole_numbers, Q, rows, n, v * LANES, sums ? part : 0);            \
        w += depth * Q * LANES * weight;                                                         \
        break
                    PART(1);
                    PART(2);
#if NARROW == 4
                    PART(3);
                    PART(4);
#endif
                }
            }
        }
        for (int64_t c = 0; sums && c < vectors * LANES; c++) sums[c] += part[c];
        fill_narrow(j, j->rows + first, count, vectors * LANES);
    }
}

#include "multiply.h"
