/* kernel.c's tiles in fp32. */

/* One tile. PIXELS and Q are literal, or the sums would not stay in registers. */
#define TILE(PIXELS, Q)                                                                          \
static void tile_##PIXELS##x##Q(const job *j, const int32_t *rows, int64_t n, const float *w,    \
                                int64_t column, float *sums)                                     \
{                                                                                                \
    vec acc[PIXELS][Q];                                                                          \
    int64_t row[PIXELS];                                                                         \
    UNROLL for (int i = 0; i < PIXELS; i++) { /* repeats of the last are not written */          \
        row[i] = rows[i < n ? i : n - 1];                                                        \
        UNROLL for (int q = 0; q < Q; q++) acc[i][q] = (vec){0};                                 \
    }                                                                                            \
    for (int64_t s = 0; s < j->n_segments; s++) {                                                \
        const segment *g = j->segments + s;                                                      \
        const source *f = j->sources + g->source;                                                \
        const float *end = w + g->length * Q * LANES;                                            \
        const float *p[PIXELS];                                                                  \
        if (f->places) {                                                                         \
            int32_t any = 0;                                                                     \
            UNROLL for (int i = 0; i < PIXELS; i++) {                                            \
                const int32_t place = f->places[row[i] + g->shift];                              \
                any |= place;                                                                    \
                p[i] = f->x + place * f->ld + g->start;                                          \
            }                                                                                    \
            if (!any) w = end;                                                                   \
        } else {                                                                                 \
            UNROLL for (int i = 0; i < PIXELS; i++)                                              \
                p[i] = f->x + (row[i] + g->shift) * f->ld + g->start;                            \
        }                                                                                        \
        for (int64_t c = 0; w < end; c++, w += Q * LANES) {                                      \
            vec b[Q];                                                                            \
            UNROLL for (int q = 0; q < Q; q++) b[q] = *(const vec *)(w + q * LANES);             \
            UNROLL for (int i = 0; i < PIXELS; i++)                                              \
                UNROLL for (int q = 0; q < Q; q++) acc[i][q] += b[q] * p[i][c];                  \
        }                                                                                        \
    }                                                                                            \
    UNROLL for (int i = 0; i < PIXELS; i++)                                                      \
        if (i < n) finish(j, acc[i], Q, row[i], column, sums);                                   \
}

#if QMAX == 4
TILE(6, 4)
TILE(8, 3)
#endif
#if BIG
TILE(12, 2)
TILE(12, 1)
#else
TILE(6, 2)
TILE(8, 1)
#endif

#define SWEEP(PIXELS, Q)                                                                         \
    for (int64_t i = 0; i < n; i += PIXELS)                                                      \
        tile_##PIXELS##x##Q(j, rows + i, n - i < PIXELS ? n - i : PIXELS, w, column, sums)

static void chunk(const job *j, const int32_t *rows, int64_t n, float *sums)
{
    const float *w = j->weights;
    int64_t depth = 0, column = 0, left = (j->n_out + LANES - 1) / LANES;
    for (int64_t s = 0; s < j->n_segments; s++) depth += j->segments[s].length;
    while (left > 0) {
        const int64_t q = left < QMAX ? left : QMAX;
        switch (q) {
#if QMAX == 4
        case 4: SWEEP(6, 4); break;
        case 3: SWEEP(8, 3); break;
#endif
#if BIG
        case 2: SWEEP(12, 2); break;
        default: SWEEP(12, 1); break;
#else
        case 2: SWEEP(6, 2); break;
        default: SWEEP(8, 1); break;
#endif
        }
        left -= q;
        column += q * LANES;
        w += depth * q * LANES;
    }
}
