// A wake-up into a loop whose owner may go away while it is still queued: loop tasks cannot be
// taken back once posted, so the task lives in a small block of its own that outlives the owner
// where it must.
//
// hook_post from any thread; hook_new and hook_free on the loop's thread (or while the loop is not
// running).
#pragma once
#include "base/arena.h"
#include "base/list.h"
#include "wire/loop.h"
#include <stdatomic.h>

struct hook {
    struct loop_task task;
    struct loop *loop;
    void (*fn)(void *owner);
    void *owner; // NULL: nobody is left, the next run frees the hook
};

static inline void hook_run(struct loop_task *t)
{
    struct hook *h = container_of(t, struct hook, task);
    if (h->owner)
        h->fn(h->owner); // may free the hook: nothing of it is touched afterwards
    else
        free(h);
}

static inline struct hook *hook_new(struct loop *l, void (*fn)(void *owner), void *owner)
{
    struct hook *h = mem_zalloc(sizeof *h);
    h->task.fn = hook_run;
    h->loop = l;
    h->fn = fn;
    h->owner = owner;
    return h;
}

static inline void hook_post(struct hook *h)
{
    loop_post(h->loop, &h->task);
}

static inline void hook_free(struct hook *h)
{
    if (!h)
        return;
    h->owner = NULL;
    if (!atomic_load(&h->task.queued))
        free(h);
}
