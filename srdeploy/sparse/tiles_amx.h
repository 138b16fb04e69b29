/* Products of narrow numbers by AMX: tiles of sixteen pixels times sixteen outputs.
 *
 * Where sixteen pixels of the list are neighbours, a tile of inputs is loaded from the features as
 * they lie, once for each tap: nothing is gathered. The weights of a block stay in the cache while
 * all pixels of a chunk are multiplied by them.
 */
#define SIDE 16 /* pixels of a tile */
#define STEP 64 /* bytes of a row of it */

static void configure(void)
{
    uint8_t shape[64] __attribute__((aligned(64))) = {1};
    for (int t = 0; t < 8; t++) {
        shape[16 + 2 * t] = STEP;
        shape[48 + t] = SIDE;
    }
    _tile_loadconfig(shape);
}

/* Where the inputs of a step lie: pixel's row 0, and bytes from a pixel to the next. */
typedef struct {
    const uint8_t *from;
    int64_t ld;
} place;

/* Sixteen pixels: the first's row in the features as they lie, or gathered rows. */
typedef struct {
    int64_t row;
    const uint8_t *gathered; /* or NULL */
} tile;

/* Where each step's inputs lie; 0 where they must be converted. */
static int find_places(const narrow_job *j, int64_t size, place *found)
{
    for (int64_t s = 0; s < j->n_stretches; s++) {
        const stretch *g = j->stretches + s;
        if (g->how != COPY) return 0;
        for (int64_t k = 0; k < g->count * size; k += STEP, found++)
            *found = (place){g->from + k, g->ld};
    }
    return 1;
}

INLINE const uint8_t *inputs(const tile *t, const place *p, int64_t step, int64_t between,
                             int64_t *ld)
{
    *ld = t->gathered ? between : p[step].ld;
    return t->gathered ? t->gathered + step * STEP : p[step].from + t->row * p[step].ld;
}

/* One or two tiles of pixels, one or two vectors of outputs; [32][q * 16] sums. */
#define MULTIPLY(NAME, PRODUCT)                                                                  \
    INLINE void NAME(const tile *t, const int two, const place *p, int64_t between,              \
                     int64_t steps, const uint8_t *w, const int q, float *out)                   \
    {                                                                                            \
        int64_t ld;                                                                              \
        const uint8_t *a;                                                                        \
        _tile_zero(0);                                                                           \
        if (q > 1) _tile_zero(1);                                                                \
        if (two) _tile_zero(2);                                                                  \
        if (two && q > 1) _tile_zero(3);                                                         \
        for (int64_t s = 0; s < steps; s++, w += STEP * SIDE * q) {                              \
            a = inputs(t, p, s, between, &ld);                                                   \
            _tile_loadd(4, a, ld);                                                               \
            _tile_loadd(6, w, STEP * q);                                                         \
            PRODUCT(0, 4, 6);                                                                    \
            if (q > 1) {                                                                         \
                _tile_loadd(7, w + STEP, STEP * q);                                              \
                PRODUCT(1, 4, 7);                                                                \
            }                                                                                    \
            if (!two) continue;                                                                  \
            a = inputs(t + 1, p, s, between, &ld);                                               \
            _tile_loadd(5, a, ld);                                                               \
            PRODUCT(2, 5, 6);                                                                    \
            if (q > 1) PRODUCT(3, 5, 7);                                                         \
        }                                                                                        \
        _tile_stored(0, out, STEP * q);                                                          \
        if (q > 1) _tile_stored(1, out + SIDE, STEP * q);                                        \
        if (two) _tile_stored(2, out + SIDE * SIDE * q, STEP * q);                               \
        if (two && q > 1) _tile_stored(3, out + SIDE * SIDE * q + SIDE, STEP * q);               \
    }
MULTIPLY(multiply_bf16, _tile_dpbf16ps)
MULTIPLY(multiply_int8, _tile_dpbusd)

/* Find the tiles of a chunk, gathering what does not lie side by side. */
INLINE void find_tiles(const narrow_job *j, const int32_t *rows, int64_t n, int lies, uint8_t *room,
                       int64_t between, int64_t size, int64_t depth, tile *found)
{
    for (int64_t i = 0; i < n; i += SIDE, found++) {
        const int64_t some = n - i < SIDE ? n - i : SIDE;
        *found = (tile){rows[i], 0};
        if (lies && rows[i + some - 1] - rows[i] == some - 1) continue;
        found->gathered = room + i * between;
        gather(j, rows + i, some, room + i * between, between, size, depth);
    }
}

INLINE void take_tiles(const narrow_job *j, int32_t *next, double *sums, uint8_t *room,
                       const form *f, const int64_t size, const int whole_numbers,
                       void multiply_tiles(const tile *, const int, const place *, int64_t, int64_t,
                                           const uint8_t *, const int, float *))
{
    const int64_t depth = (j->depth + f->step - 1) / f->step * f->step, steps = depth * size / STEP;
    const int64_t between = pitch(f, j->depth), vectors = (j->n_out + LANES - 1) / LANES;
    const int64_t chunks = (j->n + CHUNK - 1) / CHUNK;
    place *places = (place *)(room + CHUNK * between);
    const int lies = find_places(j, size, places);
    float part[MAX_OUT];
    float out[2 * SIDE * 2 * LANES] __attribute__((aligned(64)));
    tile tiles[CHUNK / SIDE];
    int64_t number;
    configure();
    while ((number = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < chunks) {
        const int32_t *rows = j->rows + number * CHUNK;
        const int64_t left = j->n - number * CHUNK, count = left < CHUNK ? left : CHUNK;
        const uint8_t *w = j->weights;
        for (int64_t c = 0; sums && c < vectors * LANES; c++) part[c] = 0;
        if (vectors) find_tiles(j, rows, count, lies, room, between, size, depth, tiles);
        for (int64_t v = 0; v < vectors; v += 2, w += 2 * LANES * depth * size) {
            const int q = vectors - v > 1 ? 2 : 1;
            for (int64_t i = 0; i < count; i += 2 * SIDE) {
                const int64_t n = count - i < 2 * SIDE ? count - i : 2 * SIDE;
#define BLOCK(TWO, Q)                                                                            \
    if ((n > SIDE) == TWO && q == Q) {                                                           \
        announce(j, rows + i, n, v * LANES, Q);                                                  \
        multiply_tiles(tiles + i / SIDE, TWO, places, between, steps, w, Q, out);                \
        finish_narrow(j, out, whole_numbers, Q, rows + i, n, v * LANES, sums ? part : 0);        \
    }
                BLOCK(1, 2)
                BLOCK(1, 1)
                BLOCK(0, 2)
                BLOCK(0, 1)
#undef BLOCK
            }
        }
        for (int64_t c = 0; sums && c < vectors * LANES; c++) sums[c] += part[c];
        fill_narrow(j, rows, count, vectors * LANES);
    }
    _tile_release();
}

#define TILED(NAME, WEIGHTS, PAIR, BYTES, WHOLE)                                                 \
    static void take_##NAME(const narrow_job *j, int32_t *next, double *sums, uint8_t *room);    \
    static const form form_amx_##NAME = {WEIGHTS,      PAIR,  STEP / BYTES, BYTES,               \
                                         STEP / BYTES, CHUNK, 0,            take_##NAME};        \
    static void take_##NAME(const narrow_job *j, int32_t *next, double *sums, uint8_t *room)     \
    {                                                                                            \
        take_tiles(j, next, sums, room, &form_amx_##NAME, BYTES, WHOLE, multiply_##NAME);        \
    }
TILED(bf16, AS_BF16, 2, 2, 0)
TILED(int8, AS_BYTE, 4, 1, 1)
