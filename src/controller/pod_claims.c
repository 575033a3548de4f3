// See pod_claims.h.
#include "controller/pod_claims.h"

static int adopt(struct control *c, struct arena *a, const struct kind *owner_kind,
                 const struct value *owner, const struct pod_facts *p, uint64_t *ret_revision,
                 struct err *e)
{
    _cleanup_object_ struct object *adopted = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = owner_adopt(c->client, a, KIND("", "pods"), owner_kind, owner,
                         object_tree(a, p->object), &adopted, &why);
    if (rc == 0) {
        *ret_revision = adopted->revision;
    } else if (!err_is(&why, ERR_NOT_FOUND) && !err_is(&why, ERR_CONFLICT) &&
               !err_is(&why, ERR_INVALID)) {
        err_move(e, &why);
        return rc;
    }
    return 0;
}

int pod_claims_take(struct control *c, struct arena *a, const struct kind *owner_kind,
                    const struct value *owner, const struct selector *selector,
                    bool (*fits)(const struct value *owner, const struct pod_facts *p),
                    struct pod_claims *ret, struct err *e)
{
    _cleanup_pods_ struct pod_list orphans = {0};
    bool checked = false;
    int rc = 0;
    *ret = (struct pod_claims){0};
    pod_cache_by_controller(c->pods, a, meta_uid(owner), &ret->owned);
    ret->items = arena_array(a, struct pod_facts *, ret->owned.n + 1);
    for (size_t i = 0; i < ret->owned.n; i++) {
        struct pod_facts *p = ret->owned.items[i];
        if (selector_matches(selector, p->labels) && (!fits || fits(owner, p)))
            ret->items[ret->n++] = p;
        else if (!meta_deleting(owner) &&
                 (rc = owner_release(c->client, a, KIND("", "pods"), object_tree(a, p->object),
                                     meta_uid(owner), e)) < 0)
            return rc;
    }
    if (meta_deleting(owner))
        return 0;
    pod_cache_orphans(c->pods, a, value_str_at(owner, "metadata.namespace"), &orphans);
    for (size_t i = 0; i < orphans.n; i++) {
        struct pod_facts *p = orphans.items[i];
        if (!facts_active(p) || !selector_matches(selector, p->labels) || (fits && !fits(owner, p)))
            continue;
        if (!checked && (rc = owner_may_adopt(c->client, a, owner_kind, owner, e)) < 0)
            return rc;
        checked = true;
        if ((rc = adopt(c, a, owner_kind, owner, p, &ret->adopted, e)) < 0)
            return rc;
    }
    return 0;
}

void pod_claims_done(struct pod_claims *c)
{
    pod_list_done(&c->owned);
}
