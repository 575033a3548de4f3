// The garbage collector: deletes what has lost its last owner, and carries out foreground and
// orphan deletion.
//
// There is no graph of its own: every kind has an informer (shared with whoever else wants it) with
// an index from owner UID to objects, and an owner is looked up by the name in the reference. So
// the graph is the informers' copies, and costs the index alone.
//
// An object comes here (key "kind ns/name") when it changes and has owners, when it is being
// deleted with a finalizer that is ours, and when an owner or a dependent of it has gone. Then:
//
//   being deleted, finalizer "orphan"
//       take the reference out of each dependent, then the finalizer
//   being deleted, finalizer "foregroundDeletion"
//       delete the dependents; once none blocks, take out the finalizer (in a cycle of owners that
//       all wait for each other, none blocks)
//   an owner remains
//       drop the references to owners that are gone (or only wait for us)
//   none remains
//       delete it: as its finalizers say, else in the background; in the foreground where an owner
//       waits for it and it has dependents itself
//
// An owner counts as gone only after a look past the cache: it may be newer than the cache is.
// Owners of a kind that is not served here, and namespaced owners of cluster-wide objects, are
// never judged gone.
#include "controller/control.h"

struct garbage_kind {
    struct garbage *owner;
    const struct kind *kind;
    size_t index; // in kinds[]; part of the key
    struct informer *informer;
    struct informer_handler handler;
};

struct garbage {
    struct control *control;
    struct garbage_kind *kinds;
    size_t nkinds;
    struct work_queue *queue;
};

enum { CYCLE_MAX = 64 }; // owners above an object, as far as cycles are looked for

#define FOREGROUND "foregroundDeletion"
#define ORPHAN     "orphan"

static void enqueue(struct garbage_kind *k, const struct object *o)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str key = meta_key(&a, o);
    work_queue_add(k->owner->queue, arena_printf(&a, "%zu %.*s", k->index, STR_ARG(key)));
}

static bool has_finalizer(const struct value *meta, const char *name)
{
    const struct value *list = value_getc(meta, "finalizers");
    value_each_item (list, f) {
        if (str_eqc(value_string(f), name))
            return true;
    }
    return false;
}

// Dependents, over all kinds.

struct dependent {
    struct garbage_kind *kind;
    struct object *object;
    struct value *meta;
    bool blocks; // blockOwnerDeletion
};
struct dependents {
    struct dependent *items;
    size_t n;
};

static void dependents_done(struct dependents *d)
{
    for (size_t i = 0; i < d->n; i++)
        object_unref(d->items[i].object);
}

static void find_dependents(struct garbage *g, struct arena *a, struct str uid,
                            struct dependents *ret)
{
    *ret = (struct dependents){0};
    for (size_t k = 0; k < g->nkinds; k++) {
        _cleanup_objects_ struct object_list list;
        informer_by_index(g->kinds[k].informer, "owner-uid", uid, &list);
        if (!list.n)
            continue;
        size_t size = ret->n * sizeof *ret->items;
        ret->items = arena_grow(a, ret->items, size, size + list.n * sizeof *ret->items);
        for (size_t i = 0; i < list.n; i++) {
            struct dependent *d = &ret->items[ret->n++];
            *d = (struct dependent){&g->kinds[k], object_ref(list.items[i]), NULL, false};
            d->meta = object_metadata(a, d->object);
            const struct value *owners = value_getc(d->meta, "ownerReferences");
            value_each_item (owners, owner) {
                if (str_eq(value_str_at(owner, "uid"), uid))
                    d->blocks = d->blocks || value_bool_at(owner, "blockOwnerDeletion", false);
            }
        }
    }
}

// Owners.

enum owner_state {
    OWNER_SOLID, // there, or not ours to judge
    OWNER_GONE,
    OWNER_WAITING, // being deleted in the foreground: waits for its dependents
};

static struct garbage_kind *kind_of_reference(struct garbage *g, const struct value *owner)
{
    struct str version = value_str_at(owner, "apiVersion"), kind = value_str_at(owner, "kind");
    ptrdiff_t slash = str_chr(version, '/');
    struct str group = slash < 0 ? STR("") : str_sub(version, 0, (size_t)slash);
    for (size_t i = 0; i < g->nkinds; i++) {
        if (str_eq(g->kinds[i].kind->kind, kind) && str_eq(g->kinds[i].kind->group, group))
            return &g->kinds[i];
    }
    return NULL;
}

static enum owner_state judge(const struct value *meta, struct str uid)
{
    if (!str_eq(value_str_at(meta, "uid"), uid))
        return OWNER_GONE;
    return value_str_at(meta, "deletionTimestamp").n && has_finalizer(meta, FOREGROUND)
               ? OWNER_WAITING
               : OWNER_SOLID;
}

static int owner_state(struct garbage *g, struct arena *a, const struct object *o,
                       const struct value *owner, enum owner_state *ret, struct err *e)
{
    struct garbage_kind *k = kind_of_reference(g, owner);
    struct str ns = object_namespace(o), name = value_str_at(owner, "name");
    struct str uid = value_str_at(owner, "uid");
    *ret = OWNER_SOLID;
    if (!k)
        return 0;
    if (!(k->kind->flags & KIND_NAMESPACED))
        ns = STR_NULL;
    else if (!ns.n)
        return 0;
    _cleanup_object_ struct object *cached = informer_get_ns(k->informer, ns, name), *live = NULL;
    if (cached) {
        *ret = judge(object_metadata(a, cached), uid);
        if (*ret != OWNER_GONE)
            return 0;
    }
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_get(g->control->client, k->kind, ns, name, &live, &why);
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
        err_move(e, &why);
        return rc;
    }
    *ret = live ? judge(object_metadata(a, live), uid) : OWNER_GONE;
    return 0;
}

// Writes. All are conditional: on the uid, and where a list is replaced on the version it was read
// at.

static int patch(struct garbage *g, const struct kind *k, const struct object *o,
                 const struct value *body, struct err *e)
{
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_patch(g->control->client, k, object_namespace(o), object_name(o), STR_NULL,
                          PATCH_TYPE_MERGE, body, NULL, &why);
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
        err_move(e, &why);
        return rc;
    }
    return 0;
}

static struct value *conditional_patch(struct arena *a, const struct object *o,
                                       const struct value *meta)
{
    struct value *body = value_object(a);
    value_set_at(a, body, "metadata.uid", value_str(a, value_str_at(meta, "uid")));
    value_set_at(a, body, "metadata.resourceVersion",
                 value_str(a, arena_printf(a, "%llu", (unsigned long long)o->revision)));
    return body;
}

static int replace_owners(struct garbage *g, struct arena *a, const struct kind *k,
                          const struct object *o, const struct value *meta, struct value *owners,
                          struct err *e)
{
    struct value *body = conditional_patch(a, o, meta);
    value_set_at(a, body, "metadata.ownerReferences", value_len(owners) ? owners : value_null(a));
    return patch(g, k, o, body, e);
}

static int delete_object(struct garbage *g, const struct kind *k, const struct object *o,
                         const struct value *meta, enum propagation policy, struct err *e)
{
    struct client_delete_options opt = {
        .propagation = policy, .grace_period_seconds = -1, .uid = value_str_at(meta, "uid")};
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_delete(g->control->client, k, object_namespace(o), object_name(o), &opt, &why);
    // A conflict: another object of that name, which will come by itself.
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND) && !err_is(&why, ERR_CONFLICT)) {
        err_move(e, &why);
        return rc;
    }
    return 0;
}

// The three things that may have to be done with an object.

static int orphan_dependents(struct garbage *g, struct arena *a, const struct object *o,
                             const struct value *meta, struct err *e)
{
    struct str uid = value_str_at(meta, "uid");
    struct dependents d;
    int rc = 0;
    find_dependents(g, a, uid, &d);
    for (size_t i = 0; i < d.n && rc == 0; i++) {
        struct value *left = value_array(a);
        const struct value *owners = value_getc(d.items[i].meta, "ownerReferences");
        value_each_item (owners, owner) {
            if (!str_eq(value_str_at(owner, "uid"), uid))
                value_push(a, left, owner);
        }
        rc = replace_owners(g, a, d.items[i].kind->kind, d.items[i].object, d.items[i].meta, left,
                            e);
    }
    dependents_done(&d);
    return rc < 0 ? rc : finalizer_remove(g->control->client, a, o, ORPHAN, e);
}

// Objects that wait, in foreground deletion, for o to go: its blocked owners, theirs, and so on. A
// dependent that is among them waits for o while o waits for it: a cycle, which would stand for
// ever, so it does not count as blocking. The walk goes up, where references are few.
static void find_waiting_for(struct garbage *g, struct arena *a, const struct object *o,
                             const struct value *meta, struct map *uids)
{
    const struct value *owners = value_getc(meta, "ownerReferences");
    value_each_item (owners, owner) {
        struct garbage_kind *k = kind_of_reference(g, owner);
        struct str uid = value_str_at(owner, "uid");
        if (!k || !value_bool_at(owner, "blockOwnerDeletion", false) || map_has(uids, uid))
            continue;
        struct str ns = k->kind->flags & KIND_NAMESPACED ? object_namespace(o) : STR_NULL;
        _cleanup_object_ struct object *there =
            informer_get_ns(k->informer, ns, value_str_at(owner, "name"));
        const struct value *owner_meta = there ? object_metadata(a, there) : NULL;
        if (!owner_meta || judge(owner_meta, uid) != OWNER_WAITING || uids->n >= CYCLE_MAX)
            continue;
        map_set(uids, uid, g);
        find_waiting_for(g, a, there, owner_meta, uids);
    }
}

static int delete_dependents(struct garbage *g, struct arena *a, const struct object *o,
                             const struct value *meta, struct err *e)
{
    struct dependents d;
    size_t blocking = 0;
    struct map waiting = MAP_INIT;
    find_dependents(g, a, value_str_at(meta, "uid"), &d);
    find_waiting_for(g, a, o, meta, &waiting);
    for (size_t i = 0; i < d.n; i++) {
        blocking += d.items[i].blocks && !map_has(&waiting, value_str_at(d.items[i].meta, "uid"));
        if (!value_str_at(d.items[i].meta, "deletionTimestamp").n)
            enqueue(d.items[i].kind, d.items[i].object);
    }
    dependents_done(&d);
    map_done(&waiting);
    return blocking ? 0 : finalizer_remove(g->control->client, a, o, FOREGROUND, e);
}

static int judge_object(struct garbage *g, struct arena *a, struct garbage_kind *k,
                        const struct object *o, const struct value *meta, struct err *e)
{
    const struct value *owners = value_getc(meta, "ownerReferences");
    struct value *solid = value_array(a);
    bool waiting = false;
    if (!value_len(owners))
        return 0;
    value_each_item (owners, owner) {
        enum owner_state state;
        int rc = owner_state(g, a, o, owner, &state, e);
        if (rc < 0)
            return rc;
        if (state == OWNER_SOLID)
            value_push(a, solid, owner);
        waiting = waiting || state == OWNER_WAITING;
    }
    if (value_len(solid) == value_len(owners))
        return 0;
    if (value_len(solid))
        return replace_owners(g, a, k->kind, o, meta, solid, e);
    enum propagation policy = has_finalizer(meta, ORPHAN)       ? PROPAGATION_ORPHAN
                              : has_finalizer(meta, FOREGROUND) ? PROPAGATION_FOREGROUND
                                                                : PROPAGATION_BACKGROUND;
    if (waiting) {
        struct dependents d;
        find_dependents(g, a, value_str_at(meta, "uid"), &d);
        if (d.n)
            policy = PROPAGATION_FOREGROUND;
        dependents_done(&d);
    }
    return delete_object(g, k->kind, o, meta, policy, e);
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct garbage *g = ctx;
    uint64_t index;
    (void)after_ns;
    struct str name = key;
    BUG_ON(!str_to_u64(str_cut(&name, ' '), &index) || index >= g->nkinds);
    struct garbage_kind *k = &g->kinds[index];
    _cleanup_object_ struct object *o = informer_get(k->informer, name);
    if (!o)
        return RECONCILE_DONE;
    const struct value *meta = object_metadata(a, o);
    int rc = 0;
    if (!value_str_at(meta, "deletionTimestamp").n)
        rc = judge_object(g, a, k, o, meta, e);
    else if (has_finalizer(meta, ORPHAN))
        rc = orphan_dependents(g, a, o, meta, e);
    else if (has_finalizer(meta, FOREGROUND))
        rc = delete_dependents(g, a, o, meta, e);
    return rc < 0 ? RECONCILE_RETRY : RECONCILE_DONE;
}

// Handlers.

// A cheap look at the bytes: most objects have neither owners nor a deletion in progress.
static bool concerns_us(const struct object *o)
{
    struct str json = blob_view(o->json);
    return str_find(json, STR("\"ownerReferences\"")) >= 0 ||
           str_find(json, STR("\"deletionTimestamp\"")) >= 0;
}

// An owner in foreground deletion waits for its dependents to go.
static void enqueue_owners(struct garbage_kind *k, const struct object *o)
{
    if (str_find(blob_view(o->json), STR("\"ownerReferences\"")) < 0)
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *owners = value_getc(object_metadata(&a, o), "ownerReferences");
    value_each_item (owners, owner) {
        struct garbage_kind *ok = kind_of_reference(k->owner, owner);
        if (!ok)
            continue;
        struct str ns = ok->kind->flags & KIND_NAMESPACED ? object_namespace(o) : STR_NULL;
        _cleanup_object_ struct object *there =
            informer_get_ns(ok->informer, ns, value_str_at(owner, "name"));
        if (there && str_find(blob_view(there->json), STR("\"" FOREGROUND "\"")) >= 0)
            enqueue(ok, there);
    }
}

static void on_change(void *ctx, struct object *old, struct object *new)
{
    struct garbage_kind *k = ctx;
    if (new) {
        if (concerns_us(new))
            enqueue(k, new);
        if (old)
            enqueue_owners(k, old); // it may have stopped blocking one
        return;
    }
    enqueue_owners(k, old);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct dependents d;
    find_dependents(k->owner, &a, value_str_at(object_metadata(&a, old), "uid"), &d);
    for (size_t i = 0; i < d.n; i++)
        enqueue(d.items[i].kind, d.items[i].object);
    dependents_done(&d);
}

static void *make(struct control *control)
{
    const struct kind *all[COLLECTABLE_MAX];
    struct garbage *g = mem_zalloc(sizeof *g);
    g->control = control;
    g->nkinds = control_collectable_kinds(all, COLLECTABLE_MAX);
    g->kinds = mem_zalloc(g->nkinds * sizeof *g->kinds);
    for (size_t i = 0; i < g->nkinds; i++) {
        struct garbage_kind *k = &g->kinds[i];
        *k = (struct garbage_kind){g, all[i], i, informers_get(control->informers, all[i]), {0}};
        k->handler = (struct informer_handler){on_change, k, NULL};
        informer_add_index(k->informer, "owner-uid", informer_index_owner);
    }
    g->queue = work_queue_new(control->executor, "garbage", 4, reconcile, g);
    return g;
}

static void run(void *self)
{
    struct garbage *g = self;
    for (size_t i = 0; i < g->nkinds; i++)
        informer_add_handler(g->kinds[i].informer, &g->kinds[i].handler);
}

static void stop(void *self)
{
    struct garbage *g = self;
    for (size_t i = 0; i < g->nkinds; i++)
        informer_remove_handler(g->kinds[i].informer, &g->kinds[i].handler);
    work_queue_free(g->queue);
    free(g->kinds);
    free(g);
}

const struct controller_row garbage_controller = {"garbage", make, run, stop};
