// See expectations.h.
#include "client/expectations.h"
#include "base/guard.h"

void expectations_init(struct expectations *x)
{
    pthread_mutex_init(&x->lock, NULL);
    x->revisions = MAP_INIT;
}

void expectations_done(struct expectations *x)
{
    map_done(&x->revisions);
    pthread_mutex_destroy(&x->lock);
}

void expectations_expect(struct expectations *x, struct str key, uint64_t revision)
{
    if (!revision)
        return;
    LOCKED(&x->lock);
    if ((uintptr_t)map_get(&x->revisions, key) < revision)
        map_set(&x->revisions, key, (void *)(uintptr_t)revision);
}

bool expectations_met(struct expectations *x, struct str key, uint64_t applied)
{
    LOCKED(&x->lock);
    bool met = (uintptr_t)map_get(&x->revisions, key) <= applied;
    if (met)
        map_del(&x->revisions, key);
    return met;
}

void expectations_forget(struct expectations *x, struct str key)
{
    LOCKED(&x->lock);
    map_del(&x->revisions, key);
}
