#include "pool.h"

#include <pthread.h>
#include <stdlib.h>

/* How often a thread looks for work before it sleeps: some tens of microseconds, about the time
 * between two layers. */
#define LOOKS 2000
#define STACK (1 << 20) /* bytes; musl's usual one has no room for a kernel's sums */

struct pool {
    int threads, started;
    pthread_t *ids;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    unsigned round; /* counts pool_run */
    int busy;       /* threads that have not ended this round */
    int stop;
    task run;
    void *context;
};

typedef struct {
    pool *p;
    int number;
} place;

static inline void rest(void)
{
#if defined(__x86_64__)
    __asm__ volatile("pause");
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void *worker(void *given)
{
    place *mine = given;
    pool *p = mine->p;
    const int number = mine->number;
    unsigned seen = 0;
    free(mine);
    for (;;) {
        for (int i = 0; i < LOOKS && __atomic_load_n(&p->round, __ATOMIC_ACQUIRE) == seen; i++)
            rest();
        pthread_mutex_lock(&p->lock);
        while (p->round == seen) pthread_cond_wait(&p->work, &p->lock);
        seen = p->round;
        const int stop = p->stop;
        const task run = p->run;
        void *context = p->context;
        pthread_mutex_unlock(&p->lock);
        if (stop) return 0;
        run(context, number);
        pthread_mutex_lock(&p->lock);
        if (__atomic_sub_fetch(&p->busy, 1, __ATOMIC_RELEASE) == 0) pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->lock);
    }
}

static int start(pool *p, int number)
{
    place *mine = malloc(sizeof *mine);
    pthread_attr_t attributes;
    if (!mine) return -1;
    *mine = (place){p, number};
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    const int failed = pthread_create(p->ids + p->started, &attributes, worker, mine);
    pthread_attr_destroy(&attributes);
    if (failed) {
        free(mine);
        return -1;
    }
    p->started++;
    return 0;
}

pool *pool_new(int threads)
{
    pool *p = calloc(1, sizeof *p);
    if (!p) return 0;
    p->threads = threads;
    p->ids = calloc(threads, sizeof *p->ids);
    pthread_mutex_init(&p->lock, 0);
    pthread_cond_init(&p->work, 0);
    pthread_cond_init(&p->done, 0);
    for (int i = 1; p->ids && i < threads; i++)
        if (start(p, i)) break;
    if (!p->ids || p->started != threads - 1) {
        pool_free(p);
        return 0;
    }
    return p;
}

static void tell(pool *p, task run, void *context, int stop)
{
    pthread_mutex_lock(&p->lock);
    p->run = run;
    p->context = context;
    p->stop = stop;
    p->busy = p->started;
    __atomic_add_fetch(&p->round, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(pool *p, task run, void *context)
{
    if (p->started) tell(p, run, context, 0);
    run(context, 0);
    if (!p->started) return;
    for (int i = 0; i < LOOKS && __atomic_load_n(&p->busy, __ATOMIC_ACQUIRE); i++) rest();
    pthread_mutex_lock(&p->lock);
    while (p->busy) pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

int pool_threads(const pool *p) { return p->threads; }

void pool_free(pool *p)
{
    if (!p) return;
    if (p->started) tell(p, 0, 0, 1);
    for (int i = 0; i < p->started; i++) pthread_join(p->ids[i], 0);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    free(p->ids);
    free(p);
}
