// See owner.h.
#include "client/owner.h"
#include "client/meta.h"

const struct value *owner_controller(const struct value *tree)
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
    value_put(a, ref, "apiVersion", kind_api_version(k));
    value_put(a, ref, "kind", k->kind);
    value_put(a, ref, "name", value_str_at(owner, "metadata.name"));
    value_put(a, ref, "uid", meta_uid(owner));
    value_setc(a, ref, "controller", value_bool(a, true));
    value_setc(a, ref, "blockOwnerDeletion", value_bool(a, true));
    return ref;
}

bool owner_controls(const struct value *tree, struct str uid)
{
    const struct value *ref = owner_controller(tree);
    return ref && str_eq(value_str_at(ref, "uid"), uid);
}

void owner_index_orphans(struct arena *a, const struct object *o,
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

int owner_release(struct client *c, struct arena *a, const struct kind *k, const struct value *tree,
                  struct str owner_uid, struct err *e)
{
    struct value *patch = uid_patch(a, tree), *owners = value_array(a), *gone = value_object(a);
    value_put(a, gone, "$patch", STR("delete"));
    value_put(a, gone, "uid", owner_uid);
    value_push(a, owners, gone);
    value_set_at(a, patch, "metadata.ownerReferences", owners);
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_patch(c, k, value_str_at(tree, "metadata.namespace"),
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

int owner_adopt(struct client *c, struct arena *a, const struct kind *k,
                const struct kind *owner_kind, const struct value *owner, const struct value *tree,
                struct object **ret, struct err *e)
{
    struct value *patch = uid_patch(a, tree), *owners = value_array(a);
    value_push(a, owners, owner_reference(a, owner_kind, owner));
    value_set_at(a, patch, "metadata.ownerReferences", owners);
    return client_patch(c, k, value_str_at(tree, "metadata.namespace"),
                        value_str_at(tree, "metadata.name"), STR_NULL, PATCH_TYPE_STRATEGIC, patch,
                        ret, e);
}

// Whether the owner may adopt, by a look past the cache: it must still be itself and not be
// deleted.
int owner_may_adopt(struct client *c, struct arena *a, const struct kind *owner_kind,
                    const struct value *owner, struct err *e)
{
    _cleanup_object_ struct object *live = NULL;
    int rc = client_get(c, owner_kind, value_str_at(owner, "metadata.namespace"),
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

int owner_claim(struct client *c, struct arena *a, struct informer *from,
                const struct kind *owner_kind, const struct value *owner,
                const struct selector *selector, struct owner_claimed **ret, size_t *ret_n,
                struct err *e)
{
    struct str uid = meta_uid(owner);
    bool deleting = meta_deleting(owner), checked = false;
    _cleanup_objects_ struct object_list owned = {0}, orphans = {0};
    informer_by_index(from, "controller-uid", uid, &owned);
    informer_by_index(from, "orphans", value_str_at(owner, "metadata.namespace"), &orphans);
    struct owner_claimed *list = arena_array(a, struct owner_claimed, owned.n + orphans.n + 1);
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < owned.n; i++) {
        struct value *tree = object_tree(a, owned.items[i]);
        if (selector_matches(selector, value_at(tree, "metadata.labels")))
            list[n++] = (struct owner_claimed){object_ref(owned.items[i]), tree};
        else if (!deleting && (rc = owner_release(c, a, owned.items[i]->kind, tree, uid, e)) < 0)
            goto fail;
    }
    for (size_t i = 0; i < orphans.n && !deleting; i++) {
        const struct value *meta = object_metadata(a, orphans.items[i]);
        if (!selector_matches(selector, value_getc(meta, "labels")) ||
            value_str_at(meta, "deletionTimestamp").n)
            continue;
        struct value *tree = object_tree(a, orphans.items[i]);
        if (!checked && (rc = owner_may_adopt(c, a, owner_kind, owner, e)) < 0)
            goto fail;
        checked = true;
        _cleanup_err_ struct err why = ERR_INIT;
        struct object *adopted = NULL;
        rc = owner_adopt(c, a, orphans.items[i]->kind, owner_kind, owner, tree, &adopted, &why);
        if (rc == 0) {
            list[n++] = (struct owner_claimed){adopted, object_tree(a, adopted)};
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
    owner_claimed_done(list, n);
    return rc;
}

void owner_claimed_done(struct owner_claimed *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        object_unref(list[i].object);
}
