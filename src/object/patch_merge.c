// JSON merge patch (RFC 7386), and the patch that makes one document out of another. Objects of any
// number of members are matched through a key index, so the cost is linear in both.
#include "object/key_index.h"
#include "object/patch.h"

static struct value *without_nulls(struct arena *a, const struct value *patch)
{
    if (!value_is(patch, VALUE_OBJECT))
        return (struct value *)patch;
    struct value *v = value_object(a);
    value_each_field (patch, m)
        if (m->value->kind != VALUE_NULL)
            value_push_member(a, v, m->key, without_nulls(a, m->value));
    return v;
}

static struct value *merged(struct arena *a, const struct value *doc, const struct value *patch)
{
    if (!value_is(doc, VALUE_OBJECT) || !value_is(patch, VALUE_OBJECT))
        return without_nulls(a, patch);
    _cleanup_key_index_ struct key_index in_patch = KEY_INDEX_INIT, in_doc = KEY_INDEX_INIT;
    key_index_object(&in_patch, patch);
    key_index_object(&in_doc, doc);
    struct value *v = value_object(a);
    value_each_field (doc, m) {
        ptrdiff_t at = key_index_find(&in_patch, m->key);
        const struct value *change = at < 0 ? NULL : patch->members[at].value;
        if (!change)
            value_push_member(a, v, m->key, m->value);
        else if (change->kind != VALUE_NULL)
            value_push_member(a, v, m->key, merged(a, m->value, change));
    }
    value_each_field (patch, m)
        if (m->value->kind != VALUE_NULL && key_index_find(&in_doc, m->key) < 0)
            value_push_member(a, v, m->key, without_nulls(a, m->value));
    return v;
}

int patch_merge(struct arena *a, const struct value *doc, const struct value *patch,
                struct value **ret, struct err *e)
{
    if (!patch)
        return err_set(e, ERR_BAD_REQUEST, "the merge patch is missing");
    *ret = merged(a, doc, patch);
    return 0;
}

struct value *patch_merge_diff(struct arena *a, const struct value *from, const struct value *to)
{
    if (!value_is(from, VALUE_OBJECT) || !value_is(to, VALUE_OBJECT))
        return (struct value *)to;
    _cleanup_key_index_ struct key_index in_from = KEY_INDEX_INIT, in_to = KEY_INDEX_INIT;
    key_index_object(&in_from, from);
    key_index_object(&in_to, to);
    struct value *patch = value_object(a);
    value_each_field (to, m) {
        ptrdiff_t at = key_index_find(&in_from, m->key);
        const struct value *was = at < 0 ? NULL : from->members[at].value;
        if (!was || !value_eq(was, m->value))
            value_push_member(a, patch, m->key, patch_merge_diff(a, was, m->value));
    }
    value_each_field (from, m)
        if (key_index_find(&in_to, m->key) < 0)
            value_push_member(a, patch, m->key, value_null(a));
    return patch;
}
