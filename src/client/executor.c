// The executor: where reconciles run. A handful of threads that take tasks from one list; or, with
// no threads, the loop itself, which runs one task a turn, so that a simulation is one thread and
// one order of events.
//
// Tasks are intrusive and their storage is the submitter's. Nothing is allocated here after start,
// and an idle pool costs a few sleeping threads.
//
// Lock: `lock` guards the list and `stopping`. It is never held while a task runs.
#include "base/arena.h"
#include "base/err.h"
#include "base/thread.h"
#include "client/hook.h"
#include "client/queue.h"
#include <stdio.h>

struct executor {
    struct loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct executor_task *first, **last;
    bool stopping;
    unsigned nthreads;
    pthread_t *threads;
    struct hook *pump; // no threads: runs tasks on the loop
};

static struct executor_task *take(struct executor *x)
{
    struct executor_task *t = x->first;
    if (t) {
        x->first = t->next;
        if (!x->first)
            x->last = &x->first;
        t->next = NULL;
    }
    return t;
}

static void *work(void *arg)
{
    struct executor *x = arg;
    pthread_mutex_lock(&x->lock);
    for (;;) {
        while (!x->first && !x->stopping)
            pthread_cond_wait(&x->wake, &x->lock);
        if (x->stopping)
            break;
        struct executor_task *t = take(x);
        pthread_mutex_unlock(&x->lock);
        t->fn(t);
        pthread_mutex_lock(&x->lock);
    }
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

static void pump(void *owner)
{
    struct executor *x = owner;
    pthread_mutex_lock(&x->lock);
    struct executor_task *t = take(x);
    if (x->first)
        hook_post(x->pump);
    pthread_mutex_unlock(&x->lock);
    if (t)
        t->fn(t);
}

struct executor *executor_new(struct loop *l, unsigned threads, const char *name)
{
    struct executor *x = mem_zalloc(sizeof *x);
    x->loop = l;
    x->last = &x->first;
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->wake, NULL);
    x->nthreads = threads;
    if (!threads) {
        x->pump = hook_new(l, pump, x);
        return x;
    }
    x->threads = mem_zalloc(threads * sizeof *x->threads);
    for (unsigned i = 0; i < threads; i++) {
        char label[16];
        snprintf(label, sizeof label, "%.11s-%u", name, i % 1000);
        x->threads[i] = thread_start(label, work, x);
    }
    return x;
}

void executor_free(struct executor *x)
{
    if (!x)
        return;
    pthread_mutex_lock(&x->lock);
    x->stopping = true;
    pthread_cond_broadcast(&x->wake);
    pthread_mutex_unlock(&x->lock);
    for (unsigned i = 0; i < x->nthreads; i++)
        pthread_join(x->threads[i], NULL);
    hook_free(x->pump);
    pthread_cond_destroy(&x->wake);
    pthread_mutex_destroy(&x->lock);
    free(x->threads);
    free(x);
}

struct loop *executor_loop(struct executor *x)
{
    return x->loop;
}

void executor_submit(struct executor *x, struct executor_task *t)
{
    t->next = NULL;
    pthread_mutex_lock(&x->lock);
    *x->last = t;
    x->last = &t->next;
    if (x->nthreads)
        pthread_cond_signal(&x->wake);
    else
        hook_post(x->pump);
    pthread_mutex_unlock(&x->lock);
}

bool executor_cancel(struct executor *x, struct executor_task *t)
{
    bool found = false;
    pthread_mutex_lock(&x->lock);
    for (struct executor_task **at = &x->first; *at; at = &(*at)->next) {
        if (*at != t)
            continue;
        *at = t->next;
        if (!*at)
            x->last = at;
        t->next = NULL;
        found = true;
        break;
    }
    pthread_mutex_unlock(&x->lock);
    return found;
}
