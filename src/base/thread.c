// Threads and the one-shot completion. Signals are blocked in every thread made here: the main
// thread's loop is the only one that takes them.
#include "base/thread.h"
#include "base/err.h"
#include "base/guard.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STACK = 2 << 20 }; // the sanitizers' frames are larger
#else
enum { STACK = 512 << 10 };
#endif

pthread_t thread_start(const char *name, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    sigset_t all, before;
    pthread_t id;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&id, &attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (error) {
        char scratch[64];
        fprintf(stderr, "coracle: starting thread %s: %s\n", name,
                strerror_r(error, scratch, sizeof scratch));
        abort();
    }
    char cut[16];
    snprintf(cut, sizeof cut, "%s", name);
    pthread_setname_np(id, cut);
    return id;
}

void completion_init(struct completion *c)
{
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->cond, NULL);
    c->done = false;
}

void completion_done(struct completion *c)
{
    pthread_cond_destroy(&c->cond);
    pthread_mutex_destroy(&c->lock);
}

// Signalled under the lock: the waiter may free the completion as soon as it has the lock again.
void completion_signal(struct completion *c)
{
    LOCKED(&c->lock);
    c->done = true;
    pthread_cond_broadcast(&c->cond);
}

void completion_wait(struct completion *c)
{
    LOCKED(&c->lock);
    while (!c->done)
        pthread_cond_wait(&c->cond, &c->lock);
}
