// The status writer: sends what status.c made to the API. Its queue is keyed by pod, so changes
// that come while a write is under way are sent together afterwards. A write is an update of the
// status of the object at the revision it was compared with; a conflict means that the pod has
// changed meanwhile: it is read again and compared again. When the pod's end has been written, the
// writer deletes the object.
#include "base/log.h"
#include "node/pod_worker.h"
#include "object/json.h"

// What differs between the API's status and ours, nulls counting as absent.
static bool same_status(const struct value *have, const struct value *want);

static bool same_item(const struct value *x, const struct value *y)
{
    if (!x || x->kind == VALUE_NULL)
        return !y || y->kind == VALUE_NULL;
    if (!y || y->kind == VALUE_NULL)
        return false;
    if (x->kind == VALUE_OBJECT && y->kind == VALUE_OBJECT)
        return same_status(x, y);
    if (x->kind == VALUE_ARRAY && y->kind == VALUE_ARRAY) {
        if (x->n != y->n)
            return false;
        for (size_t i = 0; i < x->n; i++)
            if (!same_item(x->items[i], y->items[i]))
                return false;
        return true;
    }
    return value_eq(x, y);
}

static bool same_status(const struct value *have, const struct value *want)
{
    value_each_field (have, f) {
        if (!same_item(f->value, value_get(want, f->key)))
            return false;
    }
    value_each_field (want, f) {
        if (!same_item(f->value, value_get(have, f->key)))
            return false;
    }
    return true;
}

// Conditions that somebody else has added since the status was made are carried over.
static void keep_foreign_conditions(struct arena *a, const struct value *have, struct value *want)
{
    struct value *list = value_getc(want, "conditions");
    if (!list) {
        list = value_array(a);
        value_setc(a, want, "conditions", list);
    }
    static const char *const own[] = {"PodReadyToStartContainers", "Initialized", "Ready",
                                      "ContainersReady"};
    value_each_item (value_getc(have, "conditions"), c) {
        struct str type = value_str_at(c, "type");
        bool mine = false;
        for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
            mine |= str_eqc(type, own[i]);
        if (mine)
            continue;
        bool found = false;
        for (size_t i = 0; i < value_len(list); i++)
            if (str_eq(value_str_at(value_item(list, i), "type"), type)) {
                list->items[i] = c; // the other's word is newer
                found = true;
            }
        if (!found)
            value_push(a, list, c);
    }
}

static void note_written(struct pod_worker *w, uint64_t made, struct object *answer)
{
    pthread_mutex_lock(&w->lock);
    w->status_written = made;
    struct object *former = NULL;
    if (answer) {
        former = w->written;
        w->written = object_ref(answer);
    }
    pthread_mutex_unlock(&w->lock);
    object_unref(former);
}

static int delete_pod(struct node_agent *agent, struct pod_worker *w, struct err *e)
{
    struct client_delete_options o = {
        .grace_period_seconds = 0,
        .uid = str_of(w->uid),
    };
    return client_delete(agent->client, KIND("", "pods"), str_of(w->ns), str_of(w->name), &o, e);
}

static bool gone(const struct err *e)
{
    return err_is(e, ERR_NOT_FOUND);
}

enum reconcile_result pod_status_write(void *ctx, struct arena *a, struct str uid,
                                       uint64_t *after_ns, struct err *e)
{
    (void)after_ns;
    struct node_agent *agent = ctx;
    struct pod_worker *w = atomic_load(&agent->stopping) ? NULL : pod_worker_find(agent, uid);
    if (!w)
        return RECONCILE_DONE;
    pthread_mutex_lock(&w->lock);
    // The informer may lag behind our own last write.
    struct object *newest =
        w->written && w->pod && w->written->revision > w->pod->revision ? w->written : w->pod;
    struct object *base = newest ? object_ref(newest) : NULL;
    struct blob *text = blob_ref(w->status);
    uint64_t made = w->status_made;
    bool erase = w->delete_when_written, removed = w->removed;
    pthread_mutex_unlock(&w->lock);

    enum reconcile_result result = RECONCILE_DONE;
    struct value *want = NULL;
    int rc = 0;
    if (!base || removed)
        goto out;
    if (text) {
        BUG_ON(json_parse(a, blob_view(text), NULL, &want, NULL) < 0);
        struct value *pod = value_clone(a, object_tree(a, base));
        const struct value *have = value_getc(pod, "status");
        keep_foreign_conditions(a, have, want);
        if (same_status(have, want)) {
            note_written(w, made, NULL);
        } else {
            value_setc(a, pod, "status", want);
            struct object *answer = NULL;
            rc = client_update_status(agent->client, KIND("", "pods"), pod, &answer, e);
            if (rc == 0)
                note_written(w, made, answer);
            if (answer)
                object_unref(answer);
        }
    }
    if (rc < 0 && err_is(e, ERR_CONFLICT)) {
        // Read it again: the informer will have it, but the next try need not wait for that.
        struct object *fresh = NULL;
        _cleanup_err_ struct err mine = ERR_INIT;
        if (client_get(agent->client, KIND("", "pods"), str_of(w->ns), str_of(w->name), &fresh,
                       &mine) == 0) {
            bool same_pod = str_eq(value_str_at(object_metadata(a, fresh), "uid"), str_of(w->uid));
            if (same_pod)
                note_written(w, w->status_written, fresh);
            object_unref(fresh);
            result = same_pod ? RECONCILE_RETRY : RECONCILE_DONE;
        } else {
            result = gone(&mine) ? RECONCILE_DONE : RECONCILE_RETRY;
        }
        goto out;
    }
    if (rc < 0) {
        result = gone(e) ? RECONCILE_DONE : RECONCILE_RETRY;
        goto out;
    }
    if (erase) {
        rc = delete_pod(agent, w, e);
        // A conflict is another pod of the same name: ours is gone.
        if (rc < 0 && !gone(e) && !err_is(e, ERR_CONFLICT))
            result = RECONCILE_RETRY;
    }
out:
    blob_unref(text);
    object_unref(base);
    pod_worker_unref(w);
    return result;
}
