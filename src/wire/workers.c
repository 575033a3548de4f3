// See workers.h. One lock, one condition; the queue is a list of the callers' own nodes.
#include "wire/workers.h"
#include "base/arena.h"
#include "base/thread.h"
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORKERS_MAX = 16, NICE = 5 };

struct workers {
    const char *name;
    size_t queue;
    pthread_mutex_t lock; // all below
    pthread_cond_t wake;
    struct work *first, *last;
    size_t waiting;
    unsigned max, started, idle;
    bool ending;
    pthread_t threads[WORKERS_MAX];
};

static struct work *next_work(struct workers *ws)
{
    pthread_mutex_lock(&ws->lock);
    ws->idle++;
    while (!ws->first && !ws->ending)
        pthread_cond_wait(&ws->wake, &ws->lock);
    ws->idle--;
    struct work *w = ws->first;
    if (w) {
        ws->first = w->next;
        ws->waiting--;
    }
    pthread_mutex_unlock(&ws->lock);
    return w;
}

static void *run(void *arg)
{
    struct workers *ws = arg;
    // Of this thread alone (Linux). Failing costs only the courtesy.
    (void)!setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    for (struct work *w; (w = next_work(ws));)
        w->fn(w);
    return NULL;
}

struct workers *workers_new(const char *name, unsigned n, size_t queue)
{
    struct workers *ws = mem_zalloc(sizeof *ws);
    ws->name = name;
    ws->max = n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : n;
    ws->queue = queue;
    pthread_mutex_init(&ws->lock, NULL);
    pthread_cond_init(&ws->wake, NULL);
    return ws;
}

bool workers_submit(struct workers *ws, struct work *w)
{
    pthread_mutex_lock(&ws->lock);
    bool room = ws->waiting < ws->queue && !ws->ending;
    if (room) {
        w->next = NULL;
        if (ws->first)
            ws->last->next = w;
        else
            ws->first = w;
        ws->last = w;
        ws->waiting++;
        if (ws->waiting > ws->idle && ws->started < ws->max)
            ws->threads[ws->started++] = thread_start(ws->name, run, ws);
        pthread_cond_signal(&ws->wake);
    }
    pthread_mutex_unlock(&ws->lock);
    return room;
}

void workers_free(struct workers *ws)
{
    if (!ws)
        return;
    pthread_mutex_lock(&ws->lock);
    ws->ending = true;
    pthread_cond_broadcast(&ws->wake);
    pthread_mutex_unlock(&ws->lock);
    for (unsigned i = 0; i < ws->started; i++)
        pthread_join(ws->threads[i], NULL);
    pthread_mutex_destroy(&ws->lock);
    pthread_cond_destroy(&ws->wake);
    free(ws);
}
