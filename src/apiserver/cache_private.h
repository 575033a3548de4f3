// The inside of the watch cache, shared by cache.c (trees, ring, readers) and cache_watch.c
// (feeds).
#pragma once
#include "apiserver/cache.h"
#include <pthread.h>

struct cache_listener {
    cache_listener_fn *fn;
    void *ctx;
    struct cache_listener *next;
};

// A version that somebody pages through.
struct cache_pinned {
    struct ptree *tree;
    uint64_t revision;
    uint64_t mono;
};
#define CACHE_PINS 16

struct cache_kind {
    const struct kind *kind; // NULL: this index is stored under another kind
    struct ptree *tree;
    // Recent events, oldest first, as a circular array. Events with a revision > floor are all in
    // it.
    struct cache_event **ring;
    size_t ring_at, ring_n, ring_cap;
    uint64_t floor;
    struct cache_pinned pins[CACHE_PINS];
    struct cache_feed *feeds; // one a loop; never freed before the cache
    struct cache_listener *listeners;
    // Writer only: the version being made, and whether this group touches the kind.
    struct ptree *next_tree;
    bool dirty;
};

// One kind's watchers on one loop.
struct cache_feed {
    struct loop_task task;
    struct loop_timer timer; // progress marks
    struct cache *cache;
    struct cache_kind *kind;
    struct loop *loop;
    struct cache_feed *next; // of the kind
    // Guarded by cache->lock.
    struct cache_event **pending;
    size_t pending_n, pending_cap;
    bool active, lost;
    // The loop's own.
    struct list watchers;
    struct list *cursor; // the next watcher of the walk that is going on
    bool running;
};

// The revision that the cache had reached CACHE_MARK_EVERY after `mono`: CACHE_KEEP_NS later what
// is before it is compacted.
struct cache_mark {
    uint64_t mono, revision;
};
#define CACHE_MARKS      16
#define CACHE_MARK_EVERY ((uint64_t)30 * 1000000000)
#define CACHE_KEEP_NS    ((uint64_t)300 * 1000000000)

struct cache {
    struct store *store;
    struct env *env;
    struct store_watch *watch;
    // Guards trees, ring, pins, feeds' pending events and `revision`; held for pointer moves only.
    pthread_mutex_t lock;
    uint64_t revision;
    struct cache_mark marks[CACHE_MARKS]; // oldest first
    size_t nmarks;
    struct cache_kind *kinds; // by index of the storage kind
    size_t nkinds;
    const struct kind **by_prefix; // storage kinds, sorted by storage prefix
    size_t nby_prefix;
};

extern const struct ptree_ops cache_tree_ops;
struct cache_kind *cache_kind_of(struct cache *c, const struct kind *k);
// Under the lock: the first place in the ring with a revision > after.
size_t cache_ring_seek(const struct cache_kind *k, uint64_t after);
static inline struct cache_event *cache_ring_get(const struct cache_kind *k, size_t i)
{
    return k->ring[(k->ring_at + i) & (k->ring_cap - 1)];
}
// Under the lock: hands a group's events of one kind to its feeds; posts them.
void cache_feeds_push(struct cache_kind *k, struct cache_event **events, size_t n);
void cache_feeds_free(struct cache_kind *k);
