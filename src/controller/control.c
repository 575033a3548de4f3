// The shared rules; see control.h.
#include "controller/control.h"
#include "base/map.h"

void key_split(struct str key, struct str *ret_ns, struct str *ret_name)
{
    ptrdiff_t slash = str_chr(key, '/');
    *ret_ns = slash < 0 ? STR_NULL : str_sub(key, 0, (size_t)slash);
    *ret_name = str_from(key, (size_t)(slash + 1));
}

struct str key_of(struct arena *a, const struct object *o)
{
    struct str ns = object_namespace(o), name = object_name(o);
    return ns.n ? arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : arena_str(a, name);
}

void enqueue_object(struct work_queue *q, const struct object *o)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    work_queue_add(q, key_of(&a, o));
}

// Trees.

void put(struct arena *a, struct value *object, const char *key, struct str s)
{
    value_setc(a, object, key, value_str(a, s));
}

void put_int(struct arena *a, struct value *object, const char *key, int64_t i)
{
    value_setc(a, object, key, value_int(a, i));
}

void put_nonzero(struct arena *a, struct value *object, const char *key, int64_t i)
{
    if (i)
        put_int(a, object, key, i);
    else
        value_delc(object, key);
}

struct value *object_at(struct arena *a, struct value *object, const char *path)
{
    struct value *v = value_at(object, path);
    if (!value_is(v, VALUE_OBJECT)) {
        v = value_object(a);
        value_set_at(a, object, path, v);
    }
    return v;
}

struct str now_text(struct control *c, struct arena *a)
{
    return time_rfc3339(a, env_now(c->env), 0);
}

int64_t time_at(const struct value *object, const char *path)
{
    int64_t t = 0;
    time_parse_rfc3339(value_str_at(object, path), &t);
    return t;
}

struct str meta_uid(const struct value *tree)
{
    return value_str_at(tree, "metadata.uid");
}

bool meta_deleting(const struct value *tree)
{
    return value_str_at(tree, "metadata.deletionTimestamp").n > 0;
}

// Owners.

const struct value *controller_ref(const struct value *tree)
{
    const struct value *owners = value_at(tree, "metadata.ownerReferences");
    value_each_item (owners, owner) {
        if (value_bool_at(owner, "controller", false))
            return owner;
    }
    return NULL;
}

struct value *owner_reference(struct arena *a, const struct kind *k, const struct value *owner)
{
    struct value *ref = value_object(a);
    put(a, ref, "apiVersion", kind_api_version(k));
    put(a, ref, "kind", k->kind);
    put(a, ref, "name", value_str_at(owner, "metadata.name"));
    put(a, ref, "uid", meta_uid(owner));
    value_setc(a, ref, "controller", value_bool(a, true));
    value_setc(a, ref, "blockOwnerDeletion", value_bool(a, true));
    return ref;
}

bool is_controlled_by(const struct value *tree, struct str uid)
{
    const struct value *ref = controller_ref(tree);
    return ref && str_eq(value_str_at(ref, "uid"), uid);
}

void index_orphans(struct arena *a, const struct object *o,
                   void (*emit)(void *ctx, struct str value), void *ctx)
{
    if (str_find(blob_view(o->json), STR("\"ownerReferences\"")) >= 0) {
        struct value *owners = value_getc(object_metadata(a, o), "ownerReferences");
        value_each_item (owners, owner) {
            if (value_bool_at(owner, "controller", false))
                return;
        }
    }
    emit(ctx, object_namespace(o));
}

// A patch that only takes while the object is the one that was looked at.
static struct value *uid_patch(struct arena *a, const struct value *tree)
{
    struct value *patch = value_object(a);
    value_set_at(a, patch, "metadata.uid", value_str(a, meta_uid(tree)));
    return patch;
}

int release_object(struct control *c, struct arena *a, const struct kind *k,
                   const struct value *tree, struct str owner_uid, struct err *e)
{
    struct value *patch = uid_patch(a, tree), *owners = value_array(a), *gone = value_object(a);
    put(a, gone, "$patch", STR("delete"));
    put(a, gone, "uid", owner_uid);
    value_push(a, owners, gone);
    value_set_at(a, patch, "metadata.ownerReferences", owners);
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_patch(c->client, k, value_str_at(tree, "metadata.namespace"),
                          value_str_at(tree, "metadata.name"), STR_NULL, PATCH_TYPE_STRATEGIC,
                          patch, NULL, &why);
    // Gone already, or another object of the same name: nothing of ours is left on it.
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND) && !err_is(&why, ERR_INVALID) &&
        !err_is(&why, ERR_CONFLICT)) {
        err_move(e, &why);
        return rc;
    }
    return 0;
}

int adopt_object(struct control *c, struct arena *a, const struct kind *k,
                 const struct kind *owner_kind, const struct value *owner, const struct value *tree,
                 struct object **ret, struct err *e)
{
    struct value *patch = uid_patch(a, tree), *owners = value_array(a);
    value_push(a, owners, owner_reference(a, owner_kind, owner));
    value_set_at(a, patch, "metadata.ownerReferences", owners);
    return client_patch(c->client, k, value_str_at(tree, "metadata.namespace"),
                        value_str_at(tree, "metadata.name"), STR_NULL, PATCH_TYPE_STRATEGIC, patch,
                        ret, e);
}

// Whether the owner may adopt, by a look past the cache: it must still be itself and not be
// deleted.
int may_adopt(struct control *c, struct arena *a, const struct kind *owner_kind,
              const struct value *owner, struct err *e)
{
    _cleanup_object_ struct object *live = NULL;
    int rc = client_get(c->client, owner_kind, value_str_at(owner, "metadata.namespace"),
                        value_str_at(owner, "metadata.name"), &live, e);
    if (rc < 0)
        return rc;
    const struct value *meta = object_metadata(a, live);
    if (!str_eq(value_str_at(meta, "uid"), meta_uid(owner)))
        return err_set(e, ERR_CONFLICT, "the original %.*s is gone", STR_ARG(owner_kind->kind));
    if (value_str_at(meta, "deletionTimestamp").n)
        return err_set(e, ERR_CONFLICT, "the %.*s has just been deleted",
                       STR_ARG(owner_kind->kind));
    return 0;
}

int claim_objects(struct control *c, struct arena *a, struct informer *from,
                  const struct kind *owner_kind, const struct value *owner,
                  const struct selector *selector, struct claimed **ret, size_t *ret_n,
                  struct err *e)
{
    struct str uid = meta_uid(owner);
    bool deleting = meta_deleting(owner), checked = false;
    _cleanup_objects_ struct object_list owned = {0}, orphans = {0};
    informer_by_index(from, "controller-uid", uid, &owned);
    informer_by_index(from, "orphans", value_str_at(owner, "metadata.namespace"), &orphans);
    struct claimed *list = arena_array(a, struct claimed, owned.n + orphans.n + 1);
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < owned.n; i++) {
        struct value *tree = object_tree(a, owned.items[i]);
        if (selector_matches(selector, value_at(tree, "metadata.labels")))
            list[n++] = (struct claimed){object_ref(owned.items[i]), tree};
        else if (!deleting && (rc = release_object(c, a, owned.items[i]->kind, tree, uid, e)) < 0)
            goto fail;
    }
    for (size_t i = 0; i < orphans.n && !deleting; i++) {
        const struct value *meta = object_metadata(a, orphans.items[i]);
        if (!selector_matches(selector, value_getc(meta, "labels")) ||
            value_str_at(meta, "deletionTimestamp").n)
            continue;
        struct value *tree = object_tree(a, orphans.items[i]);
        if (!checked && (rc = may_adopt(c, a, owner_kind, owner, e)) < 0)
            goto fail;
        checked = true;
        _cleanup_err_ struct err why = ERR_INIT;
        struct object *adopted = NULL;
        rc = adopt_object(c, a, orphans.items[i]->kind, owner_kind, owner, tree, &adopted, &why);
        if (rc == 0) {
            list[n++] = (struct claimed){adopted, object_tree(a, adopted)};
        } else if (!err_is(&why, ERR_NOT_FOUND) && !err_is(&why, ERR_CONFLICT) &&
                   !err_is(&why, ERR_INVALID)) {
            err_move(e, &why);
            goto fail;
        }
    }
    *ret = list;
    *ret_n = n;
    return 0;
fail:
    claimed_done(list, n);
    return rc;
}

void claimed_done(struct claimed *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        object_unref(list[i].object);
}

// Conditions.

struct value *condition_find(const struct value *conditions, const char *type)
{
    value_each_item (conditions, one) {
        if (str_eqc(value_str_at(one, "type"), type))
            return one;
    }
    return NULL;
}

bool condition_is(const struct value *conditions, const char *type, const char *status)
{
    return str_eqc(value_str_at(condition_find(conditions, type), "status"), status);
}

void condition_remove(struct value *conditions, const char *type)
{
    for (size_t i = value_len(conditions); i-- > 0;) {
        if (str_eqc(value_str_at(value_item(conditions, i), "type"), type))
            value_remove(conditions, i);
    }
}

// Pods.

static const struct value *ready_condition(const struct value *pod)
{
    return condition_find(value_at(pod, "status.conditions"), "Ready");
}

bool pod_ready(const struct value *pod)
{
    return str_eqc(value_str_at(ready_condition(pod), "status"), "True");
}

int64_t pod_ready_since(const struct value *pod)
{
    return pod_ready(pod) ? time_at(ready_condition(pod), "lastTransitionTime") : 0;
}

bool pod_finished(const struct value *pod)
{
    struct str phase = value_str_at(pod, "status.phase");
    return str_eqc(phase, "Succeeded") || str_eqc(phase, "Failed");
}

struct value *pod_from_template(struct arena *a, const struct kind *owner_kind,
                                const struct value *owner, const struct value *template)
{
    static const char *const kept[] = {"labels", "annotations", "finalizers"};
    struct value *pod = value_object(a), *meta = value_object(a), *owners = value_array(a);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        struct value *v = value_getc(value_getc(template, "metadata"), kept[i]);
        if (v)
            value_setc(a, meta, kept[i], v);
    }
    put(a, meta, "generateName",
        arena_printf(a, "%.*s-", STR_ARG(value_str_at(owner, "metadata.name"))));
    put(a, meta, "namespace", value_str_at(owner, "metadata.namespace"));
    value_push(a, owners, owner_reference(a, owner_kind, owner));
    value_setc(a, meta, "ownerReferences", owners);
    put(a, pod, "kind", STR("Pod"));
    put(a, pod, "apiVersion", STR("v1"));
    value_setc(a, pod, "metadata", meta);
    struct value *spec = value_getc(template, "spec");
    value_setc(a, pod, "spec", spec ? spec : value_object(a));
    return pod;
}

int64_t scaled_value(const struct value *v, int64_t total, bool round_up, int64_t otherwise)
{
    struct str text = value_string(v);
    uint64_t percent;
    if (!v || v->kind == VALUE_NULL)
        return otherwise;
    if (!text.n)
        return value_int_or(v, otherwise);
    if (!str_ends(text, STR("%")) || !str_to_u64(str_sub(text, 0, text.n - 1), &percent) ||
        percent > 1000000)
        return otherwise;
    int64_t product = (int64_t)percent * total;
    return round_up ? (product + 99) / 100 : product / 100;
}

// Expectations.

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

void expect_revision(struct expectations *x, struct str key, uint64_t revision)
{
    if (!revision)
        return;
    pthread_mutex_lock(&x->lock);
    if ((uintptr_t)map_get(&x->revisions, key) < revision)
        map_set(&x->revisions, key, (void *)(uintptr_t)revision);
    pthread_mutex_unlock(&x->lock);
}

bool expectation_met(struct expectations *x, struct str key, uint64_t applied)
{
    pthread_mutex_lock(&x->lock);
    bool met = (uintptr_t)map_get(&x->revisions, key) <= applied;
    if (met)
        map_del(&x->revisions, key);
    pthread_mutex_unlock(&x->lock);
    return met;
}

void expectation_forget(struct expectations *x, struct str key)
{
    pthread_mutex_lock(&x->lock);
    map_del(&x->revisions, key);
    pthread_mutex_unlock(&x->lock);
}

size_t collectable_kinds(const struct kind **ret, size_t room)
{
    const unsigned need = VERB_LIST | VERB_WATCH | VERB_DELETE;
    size_t n = 0;
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);
        if ((k->verbs & need) != need || k->flags & KIND_VIRTUAL ||
            (k->storage && k->storage != k) || str_eqc(k->resource, "events"))
            continue;
        BUG_ON(n == room);
        ret[n++] = k;
    }
    return n;
}

// Calls.

int create_pod(struct control *c, struct str ns, const struct value *pod, struct object **ret,
               struct err *e)
{
    return client_create(c->client, KIND("", "pods"), ns, pod, ret, e);
}

int delete_with_uid(struct control *c, const struct kind *k, const struct value *tree,
                    enum propagation propagation, int64_t grace, uint64_t *ret_revision,
                    struct err *e)
{
    _cleanup_answer_ struct api_answer answer = {0};
    struct api_request r = {
        .verb = VERB_DELETE,
        .kind = k,
        .ns = value_str_at(tree, "metadata.namespace"),
        .name = value_str_at(tree, "metadata.name"),
        .propagation = propagation,
        .grace_period_seconds = grace,
        .precondition_uid = meta_uid(tree),
    };
    int rc = client_call(c->client, &r, &answer, e);
    if (rc == 0 && ret_revision)
        *ret_revision = answer.revision;
    return rc;
}

bool namespace_terminating(const struct err *e)
{
    for (size_t i = 0; i < e->ncauses; i++) {
        if (strcmp(e->causes[i].reason, "NamespaceTerminating") == 0)
            return true;
    }
    return false;
}
