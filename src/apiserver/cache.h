// The watch cache: every object of the store in memory, in order, with its recent past.
//
// It hangs on one store watch. For each stored kind it keeps a persistent tree (base/ptree.h) of
// shared objects, so that a reader takes a reference to one version under a short lock and then
// reads in peace, for as long as it likes; a ring of recent events, for watches that start in the
// past and for lists at an old revision; and the watchers, grouped by loop, to which the store's
// writer hands each batch with one post a loop.
//
// When a store transaction completes, its event has already passed here: who wrote, reads what he
// wrote.
//
// Kinds: functions take any served kind and look under kind->storage; objects come back as stored
// (see convert.h for kinds that are stored under another version).
//
// Threads: reading from any thread. Watching belongs to the watcher's loop. Listeners run on the
// store's writer thread.
#pragma once
#include "base/list.h"
#include "base/ptree.h"
#include "schema/request.h"
#include "store/store.h"
#include "wire/loop.h"

struct cache;

// Loads everything from the store, with what it still knows of the past, and follows it. Not on the
// store's writer thread. Error: what the store says.
int cache_new(struct store *store, struct cache **ret, struct err *e);
// Follows the store no more: no listener is called after it returns. Reading goes on.
void cache_stop(struct cache *c);
// No watcher may be left; the loops that had some must not be running a feed at this moment.
void cache_free(struct cache *c);

// The revision up to which the cache is current.
uint64_t cache_revision(struct cache *c);

// One object, as a reference of the caller's; NULL: there is none. ns STR_NULL for cluster-scoped
// kinds.
struct object *cache_get(struct cache *c, const struct kind *k, struct str ns, struct str name);
// By storage key.
struct object *cache_get_key(struct cache *c, const struct kind *k, struct str key);

// One version of one kind. Everything in it is consistent with `revision` and stays.
struct cache_snapshot {
    const struct kind *kind; // as asked for
    struct ptree *tree;
    uint64_t revision;
};
void cache_snapshot(struct cache *c, const struct kind *k, struct cache_snapshot *ret);
// As it was at `revision`. ERR_EXPIRED where that was superseded more than five minutes ago, or is
// not known any more; ERR_TIMEOUT where it is in the future.
int cache_snapshot_at(struct cache *c, const struct kind *k, uint64_t revision,
                      struct cache_snapshot *ret, struct err *e);
void cache_snapshot_done(struct cache_snapshot *s); // also of a zeroed one
// ERR_TIMEOUT "Too large resource version" where the cache has not come as far as `revision`.
int cache_reached(struct cache *c, uint64_t revision, struct err *e);
// Keep this version findable by cache_snapshot_at for some minutes: somebody pages through it.
void cache_pin(struct cache *c, const struct cache_snapshot *s);
#define _cleanup_snapshot_ __attribute__((cleanup(cache_snapshot_done)))

// Walking a snapshot in key order, all of it or one namespace. Objects are borrowed from the
// snapshot.
//     for (struct object *o = cache_first(&it, &snap, ns); o; o = cache_next(&it))
struct cache_cursor {
    struct ptree_cursor at;
    char prefix[352]; // keys of the walk begin so
    size_t prefix_n;
};
struct object *cache_first(struct cache_cursor *it, const struct cache_snapshot *s, struct str ns);
// The first whose key is > `after` (a whole storage key), within the namespace.
struct object *cache_first_after(struct cache_cursor *it, const struct cache_snapshot *s,
                                 struct str ns, struct str after);
struct object *cache_next(struct cache_cursor *it);
// How many objects the namespace (or all, STR_NULL) has; and how many of those come after `key`.
// O(log n).
size_t cache_count(const struct cache_snapshot *s, struct str ns);
size_t cache_count_after(const struct cache_snapshot *s, struct str ns, struct str key);

// For reading a snapshot's tree with ptree_get.
const struct ptree_ops *cache_objects_ops(void);
// The storage key of an object: prefix, namespace, name. In `a`.
struct str cache_key(struct arena *a, const struct kind *k, struct str ns, struct str name);

// Told of every change of a kind, on the store's writer thread, before readers and watchers see it:
// no blocking, no writes, no reading of the cache. old NULL: created; new NULL: deleted. Objects
// are borrowed. For the life of the cache.
typedef void cache_listener_fn(void *ctx, struct object *old, struct object *new);
void cache_listen(struct cache *c, const struct kind *k, cache_listener_fn *fn, void *ctx);

// What happened to an object: shared by the ring and all watchers.
struct cache_event {
    atomic_uint refs;
    uint64_t revision;
    uint64_t mono;           // when, for the ring's age
    struct object *object;   // the new state; NULL: deleted
    struct object *previous; // the state before; NULL: created
    // Lines `{"type":…,"object":…}\n` in the storage kind, made when first sent: ADDED and MODIFIED
    // show the new state, DELETED the previous one under the event's revision.
    _Atomic(struct blob *) lines[3];
};
struct cache_event *cache_event_ref(struct cache_event *ev);
void cache_event_unref(struct cache_event *ev);
// The shared line, borrowed from the event. type: ADDED, MODIFIED or DELETED.
struct blob *cache_event_line(struct cache_event *ev, enum watch_type type);
// The object that a watcher is shown for this event as `type`: a reference.
struct object *cache_event_object(struct cache_event *ev, enum watch_type type);

// An event on its way to the watchers of one loop: trees are parsed once for all of them.
struct cache_view {
    struct cache_event *event;
    struct arena *arena;
    struct value *now, *before; // private: use the functions
};
// NULL where there is no such state.
const struct value *cache_view_now(struct cache_view *v);
const struct value *cache_view_before(struct cache_view *v);

struct cache_feed;
// Storage is the subscriber's. Callbacks run on the loop.
struct cache_watcher {
    void (*on_event)(struct cache_watcher *w, struct cache_view *v);
    void (*on_flush)(struct cache_watcher *w); // after a batch that reached it; may be NULL
    // About once a minute: everything up to `revision` has been delivered. May be NULL.
    void (*on_progress)(struct cache_watcher *w, uint64_t revision);
    // The loop fell too far behind; the watcher has been removed.
    void (*on_lost)(struct cache_watcher *w);
    // private
    struct list link;
    struct cache_feed *feed;
    uint64_t position; // events up to here are known to it
    bool touched;
};
// Starts delivering what comes after ret->revision. On the loop's thread. A snapshot comes back:
// the state at the moment of subscription.
void cache_watch(struct cache *c, struct loop *l, const struct kind *k, struct cache_watcher *w,
                 struct cache_snapshot *ret);
// The same from the past: what happened after `after` comes back as an array of event references
// (heap; the caller unrefs them and frees it) and is not delivered again. ERR_EXPIRED: "too old
// resource version: N (M)".
int cache_watch_from(struct cache *c, struct loop *l, const struct kind *k, uint64_t after,
                     struct cache_watcher *w, struct cache_event ***ret_events, size_t *ret_n,
                     uint64_t *ret_revision, struct err *e);
// No callback after it returns. On the loop's thread, also from within a callback.
void cache_unwatch(struct cache_watcher *w);
