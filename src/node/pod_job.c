// An elastic thread pool. Why not the executor of client/queue.h: its threads are few and shared
// with reconciles that must be quick, and a container's grace period may be hours.
//
// `lock` guards everything. A worker takes the oldest job; finding none it waits IDLE_SECONDS once
// (a timed wait, no polling) and leaves. On virtual time there are no threads: one loop task drains
// the queue, a job at a turn.
#include "node/pod_job.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/thread.h"
#include <errno.h>
#include <time.h>

#define IDLE_SECONDS 10

struct job {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
};

struct job_pool {
    pthread_mutex_t lock;
    pthread_cond_t work, quiet;
    struct list waiting;
    unsigned nwaiting, threads, idle, max;
    bool stopping;
    struct loop *loop; // on virtual time, else NULL
    struct loop_task drain;
};

static struct job *take(struct job_pool *p)
{
    struct list *n = list_pop(&p->waiting);
    if (!n)
        return NULL;
    p->nwaiting--;
    return container_of(n, struct job, link);
}

static void run(struct job *j)
{
    j->fn(j->arg);
    free(j);
}

static void *worker_main(void *arg)
{
    struct job_pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct job *j = take(p);
        if (j) {
            pthread_mutex_unlock(&p->lock);
            run(j);
            pthread_mutex_lock(&p->lock);
            continue;
        }
        if (p->stopping)
            break;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_SECONDS;
        p->idle++;
        int rc = pthread_cond_timedwait(&p->work, &p->lock, &until);
        p->idle--;
        if (rc == ETIMEDOUT && list_empty(&p->waiting))
            break;
    }
    p->threads--;
    if (!p->threads)
        pthread_cond_broadcast(&p->quiet);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void drain(struct loop_task *t)
{
    struct job_pool *p = container_of(t, struct job_pool, drain);
    struct job *j = take(p);
    if (!j)
        return;
    if (!list_empty(&p->waiting))
        loop_post(p->loop, &p->drain);
    run(j);
}

struct job_pool *job_pool_new(struct loop *l, unsigned max)
{
    struct job_pool *p = mem_zalloc(sizeof(*p));
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, &attr);
    pthread_cond_init(&p->quiet, &attr);
    pthread_condattr_destroy(&attr);
    list_init(&p->waiting);
    p->max = max;
    p->loop = loop_env(l)->virtual_time ? l : NULL;
    p->drain.fn = drain;
    return p;
}

void job_pool_run(struct job_pool *p, void (*fn)(void *arg), void *arg)
{
    struct job *j = mem_zalloc(sizeof(*j));
    j->fn = fn;
    j->arg = arg;
    pthread_mutex_lock(&p->lock);
    list_push(&p->waiting, &j->link);
    p->nwaiting++;
    bool start = false, inline_run = p->stopping && !p->threads;
    if (inline_run) {
        list_remove(&j->link);
        p->nwaiting--;
    } else if (p->loop) {
        loop_post(p->loop, &p->drain);
    } else if (p->idle >= p->nwaiting) {
        pthread_cond_signal(&p->work);
    } else if (p->threads < p->max) {
        p->threads++;
        start = true;
    }
    pthread_mutex_unlock(&p->lock);
    if (inline_run)
        run(j);
    if (start)
        pthread_detach(thread_start("pod-job", worker_main, p));
}

static void free_later(void *arg)
{
    struct job_pool *p = arg;
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->quiet);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int job_pool_close(struct job_pool *p, uint64_t grace_ns)
{
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    if (p->loop) {
        struct job *j;
        while ((j = take(p))) {
            pthread_mutex_unlock(&p->lock);
            run(j);
            pthread_mutex_lock(&p->lock);
        }
    } else {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        uint64_t ns = (uint64_t)until.tv_nsec + grace_ns;
        until.tv_sec += (time_t)(ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
        pthread_cond_broadcast(&p->work);
        while (p->threads && rc != ETIMEDOUT)
            rc = pthread_cond_timedwait(&p->quiet, &p->lock, &until);
    }
    bool busy = p->threads > 0;
    pthread_mutex_unlock(&p->lock);
    return busy ? -ETIMEDOUT : 0;
}

void job_pool_free(struct job_pool *p)
{
    if (!p)
        return;
    if (p->loop)
        loop_call(p->loop, free_later, p); // the drain task may still be queued: behind it
    else
        free_later(p);
}
