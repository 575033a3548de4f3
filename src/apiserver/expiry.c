// A queue of (key, revision, when), filled by a listener on events, oldest first. An entry whose
// event has been written again or is gone is skipped: its successor stands further behind. Deleting
// is conditional on the revision; should it fail after all, the operation comes again and finds the
// entry gone.
//
// After a restart all events count as new: an hour more is no harm, and there is no other clock to
// trust.
#include "apiserver/expiry.h"
#include "base/time.h"
#include <pthread.h>

#define EVENT_KEEP ((uint64_t)3600 * NS_PER_S)
enum { PER_WRITE = 4 };

struct entry {
    char *key; // heap
    size_t key_n;
    uint64_t revision, mono;
};

struct expiry {
    struct cache *cache;
    struct env *env;
    const struct kind *kind;
    pthread_mutex_t lock; // guards the queue
    struct entry *queue;  // circular
    size_t at, n, cap;    // cap: power of two
};

static void push(struct expiry *x, const struct object *o)
{
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 64;
        struct entry *q = mem_alloc(cap * sizeof *q);
        for (size_t i = 0; i < x->n; i++)
            q[i] = x->queue[(x->at + i) & (x->cap - 1)];
        free(x->queue);
        x->queue = q;
        x->at = 0;
        x->cap = cap;
    }
    x->queue[(x->at + x->n++) & (x->cap - 1)] =
        (struct entry){mem_cstr(o->key), o->key.n, o->revision, env_mono(x->env)};
}

static void on_event(void *ctx, struct object *old, struct object *new)
{
    struct expiry *x = ctx;
    (void)old;
    if (!new)
        return;
    pthread_mutex_lock(&x->lock);
    push(x, new);
    pthread_mutex_unlock(&x->lock);
}

struct expiry *expiry_new(struct cache *cache, struct env *env)
{
    struct expiry *x = mem_zalloc(sizeof *x);
    _cleanup_snapshot_ struct cache_snapshot snap;
    struct cache_cursor it;
    x->cache = cache;
    x->env = env;
    x->kind = kind_by_resource(STR_NULL, STR("v1"), STR("events"));
    pthread_mutex_init(&x->lock, NULL);
    cache_listen(cache, x->kind, on_event, x);
    cache_snapshot(cache, x->kind, &snap);
    for (struct object *o = cache_first(&it, &snap, STR_NULL); o; o = cache_next(&it))
        push(x, o);
    return x;
}

void expiry_free(struct expiry *x)
{
    if (!x)
        return;
    for (size_t i = 0; i < x->n; i++)
        free(x->queue[(x->at + i) & (x->cap - 1)].key);
    free(x->queue);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

// The oldest entry, if it is old enough; its key moves into the arena.
static bool pop(struct expiry *x, struct arena *a, struct str *ret_key, uint64_t *ret_revision)
{
    bool found = false;
    pthread_mutex_lock(&x->lock);
    struct entry *first = x->n ? &x->queue[x->at] : NULL;
    if (first && env_mono(x->env) - first->mono > EVENT_KEEP) {
        *ret_key = arena_str(a, str_n(first->key, first->key_n));
        *ret_revision = first->revision;
        free(first->key);
        x->at = (x->at + 1) & (x->cap - 1);
        x->n--;
        found = true;
    }
    pthread_mutex_unlock(&x->lock);
    return found;
}

void expiry_collect(struct expiry *x, struct op *op)
{
    struct str key;
    uint64_t revision;
    if (op->request->dry_run)
        return;
    for (int taken = 0; taken < PER_WRITE && pop(x, op->a, &key, &revision);) {
        _cleanup_object_ struct object *o = cache_get_key(x->cache, x->kind, key);
        if (!o || o->revision != revision || str_eq(key, op->key))
            continue;
        op_write(op, STORE_DELETE, key, NULL, (int64_t)revision);
        taken++;
    }
}
