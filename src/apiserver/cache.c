// The watch cache's trees, ring and readers.
//
// Why a cache in front of a store that is itself in memory: the store knows keys and bytes, not
// kinds; a reader here gets objects that are shared with every watcher, in versions that cost
// nothing to keep, and a watch of one kind does not see the changes of the others.
//
// Invariants:
//  1. Only the store's writer changes anything but pins and feeds; the store calls cache_on_store
//  for one
//     group at a time and in revision order.
//  2. `revision` and the trees of all kinds change together under the lock: a snapshot is
//  consistent with
//     the revision that comes with it, across kinds.
//  3. The ring holds every event with a revision > floor. An event keeps the state before and
//  after, so
//     any version since floor can be rebuilt by undoing events backwards (cache_snapshot_at).
//  4. New trees are made outside the lock. The writer holds a second reference while it works, so
//  nodes
//     that readers can see are copied and never changed.
//
// At the start the ring is filled from the store's history (load). Its events count as young then:
// when they happened is not known.
//
// Rejected: keeping the root of each revision. Old roots share nodes, but under a steady load
// thousands of them hold more memory than the events do; the events are needed anyway.
#include "apiserver/cache_private.h"
#include "base/log.h"
#include "base/time.h"

#define RING_MAX 16384
#define RING_MIN 64
#define RING_KEEP                                                                                  \
    ((uint64_t)75 * NS_PER_S) // younger events make the ring grow instead of falling out
#define RING_OLD ((uint64_t)300 * NS_PER_S) // older ones fall out when the next one comes

static void tree_ref(void *value)
{
    object_ref(value);
}
static void tree_unref(void *value)
{
    object_unref(value);
}
static struct str tree_key(const void *value)
{
    return ((const struct object *)value)->key;
}
const struct ptree_ops cache_tree_ops = {.ref = tree_ref, .unref = tree_unref, .key = tree_key};

const struct ptree_ops *cache_objects_ops(void)
{
    return &cache_tree_ops;
}

struct cache_kind *cache_kind_of(struct cache *c, const struct kind *k)
{
    const struct kind *storage = k->storage ? k->storage : k;
    BUG_ON(storage->index >= c->nkinds);
    return &c->kinds[storage->index];
}

// ---- from keys to kinds

static int prefix_cmp(const void *a, const void *b)
{
    const struct kind *x = *(const struct kind *const *)a, *y = *(const struct kind *const *)b;
    return str_cmp(x->storage_prefix, y->storage_prefix);
}

// The stored kind of a key; NULL for keys that are no objects (allocation marks). Prefixes end with
// a slash and none is the beginning of another, so the last one that is <= key is the only
// candidate.
static const struct kind *kind_of_key(struct cache *c, struct str key)
{
    size_t lo = 0, hi = c->nby_prefix;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (str_cmp(c->by_prefix[mid]->storage_prefix, key) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (!lo || !str_starts(key, c->by_prefix[lo - 1]->storage_prefix))
        return NULL;
    return c->by_prefix[lo - 1];
}

static void index_kinds(struct cache *c)
{
    c->nkinds = kind_count();
    c->kinds = mem_zalloc(sizeof *c->kinds * (c->nkinds ? c->nkinds : 1));
    c->by_prefix = mem_zalloc(sizeof(void *) * (c->nkinds ? c->nkinds : 1));
    for (size_t i = 0; i < c->nkinds; i++) {
        const struct kind *k = kind_at(i);
        if ((k->flags & KIND_VIRTUAL) || (k->storage && k->storage != k))
            continue;
        c->kinds[i].kind = k;
        c->by_prefix[c->nby_prefix++] = k;
    }
    qsort(c->by_prefix, c->nby_prefix, sizeof(void *), prefix_cmp);
}

// ---- the ring

size_t cache_ring_seek(const struct cache_kind *k, uint64_t after)
{
    size_t lo = 0, hi = k->ring_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (cache_ring_get(k, mid)->revision <= after)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

// Under the lock. Events that fall out are put into `dropped` to be freed outside it.
static void ring_push(struct cache_kind *k, struct cache_event *ev, struct cache_event **dropped,
                      size_t *ndropped)
{
    while (k->ring_n && ev->mono - cache_ring_get(k, 0)->mono > RING_OLD && *ndropped < 64) {
        struct cache_event *old = cache_ring_get(k, 0);
        k->floor = old->revision;
        k->ring_at = (k->ring_at + 1) & (k->ring_cap - 1);
        k->ring_n--;
        dropped[(*ndropped)++] = old;
    }
    if (k->ring_n == k->ring_cap) {
        bool young = !k->ring_n || ev->mono - cache_ring_get(k, 0)->mono < RING_KEEP;
        if (k->ring_cap < RING_MIN || (k->ring_cap < RING_MAX && young)) {
            size_t cap = k->ring_cap ? k->ring_cap * 2 : RING_MIN;
            struct cache_event **ring = mem_alloc(cap * sizeof(void *));
            for (size_t i = 0; i < k->ring_n; i++)
                ring[i] = cache_ring_get(k, i);
            free(k->ring);
            k->ring = ring;
            k->ring_cap = cap;
            k->ring_at = 0;
        } else {
            struct cache_event *old = cache_ring_get(k, 0);
            k->floor = old->revision;
            k->ring_at = (k->ring_at + 1) & (k->ring_cap - 1);
            k->ring_n--;
            dropped[(*ndropped)++] = old;
        }
    }
    k->ring[(k->ring_at + k->ring_n++) & (k->ring_cap - 1)] = cache_event_ref(ev);
}

// ---- following the store

struct change {
    struct cache_kind *kind;
    struct cache_event *event;
};

static bool make_change(struct cache *c, const struct store_event *se, uint64_t mono,
                        struct change *ret)
{
    const struct kind *kind = kind_of_key(c, se->key);
    if (!kind)
        return false;
    struct cache_kind *k = &c->kinds[kind->index];
    struct object *o = NULL;
    if (se->op == STORE_PUT) {
        _cleanup_err_ struct err e = ERR_INIT;
        if (object_from_blob(kind, se->key, se->revision, se->value, &o, &e) < 0) {
            // Nothing that went through this server looks so; somebody wrote into the store.
            log_error("apiserver", "unreadable object in the store key=%.*s err=\"%s\"",
                      STR_ARG(se->key), e.message);
            return false;
        }
    }
    if (!k->dirty) {
        k->dirty = true;
        k->next_tree = ptree_ref(k->tree);
    }
    struct object *old = ptree_get(&cache_tree_ops, k->next_tree, se->key);
    if (!o && !old)
        return false;
    struct cache_event *ev = mem_zalloc(sizeof *ev);
    atomic_init(&ev->refs, 1);
    ev->revision = se->revision;
    ev->mono = mono;
    ev->object = o;
    ev->previous = object_ref(old);
    if (o)
        ptree_put_in(&cache_tree_ops, &k->next_tree, o);
    else
        ptree_del_in(&cache_tree_ops, &k->next_tree, se->key);
    *ret = (struct change){k, ev};
    return true;
}

static void push_feeds(struct cache *c, struct change *changes, size_t n)
{
    struct cache_event **events = mem_alloc(sizeof(void *) * (n ? n : 1));
    for (size_t i = 0; i < c->nkinds; i++) {
        struct cache_kind *k = &c->kinds[i];
        if (!k->dirty || !k->feeds)
            continue;
        size_t m = 0;
        for (size_t j = 0; j < n; j++)
            if (changes[j].kind == k)
                events[m++] = changes[j].event;
        if (m)
            cache_feeds_push(k, events, m);
    }
    free(events);
}

// ---- compaction by time: a list's version is kept for five minutes after it was superseded, as in
// the originals, however few changes follow. Watches are not held to it: they go on for as long as
// the ring has what they missed.

// Under the lock, with each group.
static void mark(struct cache *c, uint64_t mono)
{
    if (c->nmarks && mono - c->marks[c->nmarks - 1].mono < CACHE_MARK_EVERY) {
        c->marks[c->nmarks - 1].revision = c->revision;
        return;
    }
    if (c->nmarks == CACHE_MARKS)
        memmove(c->marks, c->marks + 1, --c->nmarks * sizeof *c->marks);
    c->marks[c->nmarks++] = (struct cache_mark){mono, c->revision};
}

// Under the lock: versions before this revision are compacted.
static uint64_t compacted(struct cache *c)
{
    uint64_t now = env_mono(c->env);
    size_t i = c->nmarks;
    while (i && now - c->marks[i - 1].mono < CACHE_KEEP_NS + CACHE_MARK_EVERY)
        i--;
    return i ? c->marks[i - 1].revision : 0;
}

static void cache_on_store(void *ctx, const struct store_event *events, size_t n, uint64_t revision)
{
    struct cache *c = ctx;
    struct change few[16], *changes = n <= 16 ? few : mem_alloc(n * sizeof *changes);
    uint64_t mono = env_mono(c->env);
    size_t nchanges = 0;
    for (size_t i = 0; i < n; i++)
        nchanges += make_change(c, &events[i], mono, &changes[nchanges]);
    // Listeners first: a watcher that is told of a pod or a binding may act on it at once, and the
    // authorisers must know it by then.
    for (size_t i = 0; i < nchanges; i++) {
        const struct cache_event *ev = changes[i].event;
        for (struct cache_listener *l = changes[i].kind->listeners; l; l = l->next)
            l->fn(l->ctx, ev->previous, ev->object);
    }

    struct cache_event **dropped = nchanges ? mem_alloc((nchanges + 64) * sizeof(void *)) : NULL;
    size_t ndropped = 0;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < nchanges; i++)
        ring_push(changes[i].kind, changes[i].event, dropped, &ndropped);
    for (size_t i = 0; nchanges && i < c->nkinds; i++) {
        struct cache_kind *k = &c->kinds[i];
        if (!k->dirty)
            continue;
        struct ptree *old = k->tree;
        k->tree = k->next_tree;
        k->next_tree = old; // let go of below, outside the lock
    }
    if (revision > c->revision)
        c->revision = revision;
    mark(c, mono);
    push_feeds(c, changes, nchanges);
    pthread_mutex_unlock(&c->lock);

    for (size_t i = 0; i < c->nkinds; i++) {
        struct cache_kind *k = &c->kinds[i];
        if (!k->dirty)
            continue;
        k->dirty = false;
        ptree_unref(&cache_tree_ops, TAKE_PTR(k->next_tree));
    }
    for (size_t i = 0; i < nchanges; i++)
        cache_event_unref(changes[i].event);
    for (size_t i = 0; i < ndropped; i++)
        cache_event_unref(dropped[i]);
    free(dropped);
    if (changes != few)
        free(changes);
}

static bool load_one(void *ctx, const struct store_kv *kv)
{
    struct cache *c = ctx;
    const struct kind *kind = kind_of_key(c, kv->key);
    struct object *o;
    _cleanup_err_ struct err e = ERR_INIT;
    if (!kind)
        return true;
    if (object_from_blob(kind, kv->key, kv->mod_revision, kv->value, &o, &e) < 0) {
        log_error("apiserver", "unreadable object in the store key=%.*s err=\"%s\"",
                  STR_ARG(kv->key), e.message);
        return true;
    }
    ptree_put_in(&cache_tree_ops, &c->kinds[kind->index].tree, o);
    object_unref(o);
    return true;
}

// The oldest state that the store knows, and then what has happened since, as if it happened now:
// that fills the ring, so that clients go on watching over a restart of the server. The watch
// delivers the past before anything that is written later, so an empty write tells its end.
static int load(struct cache *c, struct err *e)
{
    struct store *s = c->store;
    struct str all = STR("/registry/");
    int r = s->ops->range(s, all, s->ops->floor(s), load_one, c, &c->revision, e);
    for (size_t i = 0; i < c->nkinds; i++)
        c->kinds[i].floor = c->revision;
    if (r >= 0)
        r = s->ops->watch(s, all, c->revision, cache_on_store, c, &c->watch, e);
    if (r < 0)
        return r;
    struct store_txn nothing = {0};
    enum store_result end = store_txn_wait(s, &nothing);
    if (end != STORE_OK)
        return err_set(e, ERR_UNAVAILABLE, "the store cannot be followed: %s",
                       store_result_text(end));
    return 0;
}

int cache_new(struct store *store, struct cache **ret, struct err *e)
{
    struct cache *c = mem_zalloc(sizeof *c);
    c->store = store;
    c->env = store->env;
    pthread_mutex_init(&c->lock, NULL);
    index_kinds(c);
    int r = load(c, e);
    if (r < 0) {
        cache_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

void cache_stop(struct cache *c)
{
    if (c && c->watch)
        c->store->ops->unwatch(c->store, TAKE_PTR(c->watch));
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    cache_stop(c);
    for (size_t i = 0; i < c->nkinds; i++) {
        struct cache_kind *k = &c->kinds[i];
        cache_feeds_free(k);
        for (size_t j = 0; j < k->ring_n; j++)
            cache_event_unref(cache_ring_get(k, j));
        free(k->ring);
        for (size_t j = 0; j < CACHE_PINS; j++)
            ptree_unref(&cache_tree_ops, k->pins[j].tree);
        ptree_unref(&cache_tree_ops, k->tree);
        while (k->listeners) {
            struct cache_listener *l = k->listeners;
            k->listeners = l->next;
            free(l);
        }
    }
    free(c->kinds);
    free(c->by_prefix);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void cache_listen(struct cache *c, const struct kind *k, cache_listener_fn *fn, void *ctx)
{
    struct cache_kind *ck = cache_kind_of(c, k);
    struct cache_listener *l = mem_zalloc(sizeof *l), **at = &ck->listeners;
    *l = (struct cache_listener){.fn = fn, .ctx = ctx};
    // Only at start-up, before writes; published with the lock for the writer's sake.
    pthread_mutex_lock(&c->lock);
    while (*at)
        at = &(*at)->next;
    *at = l;
    pthread_mutex_unlock(&c->lock);
}

// ---- readers

uint64_t cache_revision(struct cache *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t r = c->revision;
    pthread_mutex_unlock(&c->lock);
    return r;
}

void cache_snapshot(struct cache *c, const struct kind *k, struct cache_snapshot *ret)
{
    struct cache_kind *ck = cache_kind_of(c, k);
    pthread_mutex_lock(&c->lock);
    *ret = (struct cache_snapshot){k, ptree_ref(ck->tree), c->revision};
    pthread_mutex_unlock(&c->lock);
}

void cache_snapshot_done(struct cache_snapshot *s)
{
    ptree_unref(&cache_tree_ops, TAKE_PTR(s->tree));
}

// Undoes the ring's events, newest first, until the tree is as it was.
static struct ptree *undo(struct ptree *tree, struct cache_event **events, size_t n)
{
    for (size_t i = n; i-- > 0;) {
        struct cache_event *ev = events[i];
        if (ev->previous)
            ptree_put_in(&cache_tree_ops, &tree, ev->previous);
        else
            ptree_del_in(&cache_tree_ops, &tree, ev->object->key);
    }
    return tree;
}

int cache_reached(struct cache *c, uint64_t revision, struct err *e)
{
    uint64_t current = cache_revision(c);
    if (revision <= current)
        return 0;
    err_set(e, ERR_TIMEOUT, "Timeout: Too large resource version: %llu, current: %llu",
            (unsigned long long)revision, (unsigned long long)current);
    err_cause(e, "ResourceVersionTooLarge", STR_NULL, "Too large resource version");
    if (e)
        e->retry_after_seconds = 1;
    return -504;
}

int cache_snapshot_at(struct cache *c, const struct kind *k, uint64_t revision,
                      struct cache_snapshot *ret, struct err *e)
{
    struct cache_kind *ck = cache_kind_of(c, k);
    int r = cache_reached(c, revision, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    bool gone = revision < compacted(c);
    for (size_t i = 0; i < CACHE_PINS && !gone; i++) {
        if (ck->pins[i].revision != revision || !revision)
            continue;
        *ret = (struct cache_snapshot){k, ptree_ref(ck->pins[i].tree), revision};
        pthread_mutex_unlock(&c->lock);
        return 0;
    }
    if (gone || revision < ck->floor) {
        pthread_mutex_unlock(&c->lock);
        return err_set(e, ERR_EXPIRED, "The resourceVersion for the provided list is too old.");
    }
    size_t from = cache_ring_seek(ck, revision), n = ck->ring_n - from;
    struct cache_event **events = n ? mem_alloc(n * sizeof(void *)) : NULL;
    for (size_t i = 0; i < n; i++)
        events[i] = cache_event_ref(cache_ring_get(ck, from + i));
    struct ptree *tree = ptree_ref(ck->tree);
    pthread_mutex_unlock(&c->lock);

    tree = undo(tree, events, n);
    for (size_t i = 0; i < n; i++)
        cache_event_unref(events[i]);
    free(events);
    *ret = (struct cache_snapshot){k, tree, revision};
    return 0;
}

void cache_pin(struct cache *c, const struct cache_snapshot *s)
{
    struct cache_kind *ck = cache_kind_of(c, s->kind);
    struct ptree *drop[CACHE_PINS + 1];
    size_t ndrop = 0;
    uint64_t now = env_mono(c->env);
    pthread_mutex_lock(&c->lock);
    struct cache_pinned *into = &ck->pins[0];
    for (size_t i = 0; i < CACHE_PINS; i++) {
        struct cache_pinned *p = &ck->pins[i];
        if (p->revision == s->revision) {
            into = p;
            break;
        }
        if (p->revision && now - p->mono > CACHE_KEEP_NS) {
            drop[ndrop++] = p->tree;
            *p = (struct cache_pinned){0};
        }
        if (p->mono < into->mono) // free ones have 0; else the longest unused
            into = p;
    }
    drop[ndrop++] = into->tree;
    *into = (struct cache_pinned){ptree_ref(s->tree), s->revision, now};
    pthread_mutex_unlock(&c->lock);
    for (size_t i = 0; i < ndrop; i++)
        ptree_unref(&cache_tree_ops, drop[i]);
}

struct object *cache_get_key(struct cache *c, const struct kind *k, struct str key)
{
    struct cache_snapshot s;
    cache_snapshot(c, k, &s);
    struct object *o = object_ref(ptree_get(&cache_tree_ops, s.tree, key));
    cache_snapshot_done(&s);
    return o;
}

static const struct kind *stored_as(const struct kind *k)
{
    return k->storage ? k->storage : k;
}

// prefix, namespace, '/', name into `out`; 0 when it does not fit.
static size_t key_write(char *out, size_t cap, const struct kind *k, struct str ns, struct str name)
{
    struct str prefix = stored_as(k)->storage_prefix;
    size_t need = prefix.n + (ns.n ? ns.n + 1 : 0) + name.n;
    if (need > cap)
        return 0;
    char *p = mempcpy(out, prefix.p, prefix.n);
    if (ns.n) {
        p = mempcpy(p, ns.p, ns.n);
        *p++ = '/';
    }
    if (name.n)
        p = mempcpy(p, name.p, name.n);
    return (size_t)(p - out);
}

struct str cache_key(struct arena *a, const struct kind *k, struct str ns, struct str name)
{
    size_t cap = stored_as(k)->storage_prefix.n + ns.n + name.n + 1;
    char *p = arena_alloc(a, cap);
    return str_n(p, key_write(p, cap, k, ns, name));
}

struct object *cache_get(struct cache *c, const struct kind *k, struct str ns, struct str name)
{
    char key[640];
    size_t n = key_write(key, sizeof key, k, ns, name);
    return n && name.n ? cache_get_key(c, k, str_n(key, n)) : NULL;
}

static struct object *cursor_check(struct cache_cursor *it, struct object *o)
{
    return o && str_starts(o->key, str_n(it->prefix, it->prefix_n)) ? o : NULL;
}

struct object *cache_first(struct cache_cursor *it, const struct cache_snapshot *s, struct str ns)
{
    it->prefix_n = key_write(it->prefix, sizeof it->prefix, s->kind, ns, STR_NULL);
    if (!it->prefix_n)
        return NULL;
    return cursor_check(
        it, ptree_seek(&it->at, &cache_tree_ops, s->tree, str_n(it->prefix, it->prefix_n)));
}

struct object *cache_first_after(struct cache_cursor *it, const struct cache_snapshot *s,
                                 struct str ns, struct str after)
{
    it->prefix_n = key_write(it->prefix, sizeof it->prefix, s->kind, ns, STR_NULL);
    if (!it->prefix_n)
        return NULL;
    struct str prefix = str_n(it->prefix, it->prefix_n);
    if (str_cmp(after, prefix) < 0)
        return cache_first(it, s, ns);
    struct object *o = ptree_seek(&it->at, &cache_tree_ops, s->tree, after);
    if (o && str_eq(o->key, after))
        o = ptree_next(&it->at);
    return cursor_check(it, o);
}

struct object *cache_next(struct cache_cursor *it)
{
    return cursor_check(it, ptree_next(&it->at));
}

// Rank of the end of a prefix: keys are bytes, and the byte after '/' ends every key below it.
static size_t rank_end(const struct cache_snapshot *s, struct str ns)
{
    char key[640];
    size_t n = key_write(key, sizeof key, s->kind, ns, STR_NULL);
    if (!n)
        return 0;
    key[n - 1]++;
    return ptree_rank(&cache_tree_ops, s->tree, str_n(key, n));
}

size_t cache_count(const struct cache_snapshot *s, struct str ns)
{
    char key[640];
    if (!ns.n)
        return ptree_count(s->tree);
    size_t n = key_write(key, sizeof key, s->kind, ns, STR_NULL);
    return n ? rank_end(s, ns) - ptree_rank(&cache_tree_ops, s->tree, str_n(key, n)) : 0;
}

size_t cache_count_after(const struct cache_snapshot *s, struct str ns, struct str key)
{
    size_t end = rank_end(s, ns), at = ptree_rank(&cache_tree_ops, s->tree, key);
    if (ptree_get(&cache_tree_ops, s->tree, key))
        at++;
    return end > at ? end - at : 0;
}
