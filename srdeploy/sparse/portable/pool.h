/* Threads that wait for work and do it together. */
#ifndef SRDEPLOY_POOL_H
#define SRDEPLOY_POOL_H

typedef struct pool pool;

/* What each thread does; the caller is number 0. */
typedef void (*task)(void *context, int thread);

/* NULL: not enough memory, or threads. */
pool *pool_new(int threads);
void pool_free(pool *p);
int pool_threads(const pool *p);

/* Run the task on every thread, and wait for all of them. */
void pool_run(pool *p, task run, void *context);

#endif
