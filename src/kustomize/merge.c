// Strategic merge patches, as kustomize applies them. The directives and merge keys are those of
// object/patch.h; what differs from the API server's patch is the order (what a patch adds to a
// list comes first), that lists may have several keys (a port is known by its number and its
// protocol, the latter as far as anybody says it), and that nothing but $patch is a directive.
//
// Lists are matched by a hash of the first key: linear in what is given.
#include "base/err.h"
#include "kustomize/private.h"
#include "object/type.h"
#include "schema/schema.h"

struct strategic_merger {
    struct arena *a;
    struct err *e;
};
// Where in the types; all NULL: nothing is known, and lists are replaced.
struct place {
    const struct type *type;  // members are fields of it
    const struct field *each; // every member is a value of this map field
};
enum directive { MERGE, REPLACE, DELETE };

static struct value *nothing; // what a deleted value becomes: NULL

static struct place below(struct place p, struct str key, const struct field **ret)
{
    const struct field *f = p.each;
    *ret = NULL;
    if (p.type)
        f = type_field(p.type, key);
    if (!f)
        return (struct place){0};
    if (p.each)
        return (struct place){.type = f->kind == FIELD_MESSAGE ? f->type : NULL};
    *ret = f;
    if (f->shape == SHAPE_MAP)
        return (struct place){.each = f};
    return (struct place){.type = f->kind == FIELD_MESSAGE ? f->type : NULL};
}

static int directive_of(struct strategic_merger *m, const struct value *patch, enum directive *ret)
{
    struct str text = value_string(value_getc(patch, "$patch"));
    *ret = MERGE;
    if (!text.n || str_eqc(text, "merge"))
        return 0;
    if (str_eqc(text, "replace"))
        *ret = REPLACE;
    else if (str_eqc(text, "delete"))
        *ret = DELETE;
    else
        return err_set(m->e, ERR_INVALID, "unrecognized patch strategy: '%.*s'", STR_ARG(text));
    return 0;
}

static int merge(struct strategic_merger *m, struct place p, const struct field *field,
                 struct value *to, const struct value *patch, struct value **ret);

static int merge_members(struct strategic_merger *m, struct place p, struct value *to,
                         const struct value *patch)
{
    value_each_field (patch, f) {
        if (str_eqc(f->key, "$patch"))
            continue;
        const struct field *field;
        struct place next = below(p, f->key, &field);
        struct value *v = nothing;
        int rc = 0;
        if (f->value->kind != VALUE_NULL)
            rc = merge(m, next, field, value_get(to, f->key), f->value, &v);
        if (rc < 0)
            return rc;
        if (v)
            value_set(m->a, to, f->key, v);
        else
            value_del(to, f->key);
    }
    return 0;
}

static int merge_map(struct strategic_merger *m, struct place p, struct value *to,
                     const struct value *patch, struct value **ret)
{
    enum directive d;
    int rc = directive_of(m, patch, &d);
    *ret = nothing;
    if (rc < 0 || d == DELETE)
        return rc;
    if (!value_is(to, VALUE_OBJECT) || d == REPLACE)
        to = value_object(m->a);
    *ret = to;
    return merge_members(m, p, to, patch);
}

// Lists with keys.

#define KEYS_MAX 4
struct keyed {
    const struct value *list;
    const struct str *keys;
    size_t nkeys;
    uint32_t *heads, *next; // position + 1, by the first key
    uint32_t mask;
};

static struct str key_of(struct strategic_merger *m, const struct value *item, struct str key)
{
    const struct value *v = value_get(item, key);
    return v && v->kind != VALUE_NULL ? kustomize_scalar(m->a, v) : STR_NULL;
}

static struct keyed keyed_make(struct strategic_merger *m, const struct value *list,
                               const struct str *keys, size_t nkeys)
{
    struct keyed k = {.list = list, .keys = keys, .nkeys = nkeys};
    uint32_t n = 16;
    while (n < 2 * value_len(list))
        n *= 2;
    k.mask = n - 1;
    k.heads = arena_array(m->a, uint32_t, n);
    k.next = arena_array(m->a, uint32_t, value_len(list) + 1);
    for (size_t i = value_len(list); i-- > 0;) {
        uint32_t *head = &k.heads[str_hash(key_of(m, list->items[i], keys[0])) & k.mask];
        k.next[i] = *head;
        *head = (uint32_t)i + 1;
    }
    return k;
}

enum likeness {
    DIFFERENT,
    SAME,
    UNSAID
}; // UNSAID: the same but for keys that one side does not say

// The item with the same keys; or else one that does not differ in what both say.
static enum likeness keyed_find(struct strategic_merger *m, const struct keyed *k,
                                const struct value *item, size_t *ret_at)
{
    struct str first = key_of(m, item, k->keys[0]);
    enum likeness best = DIFFERENT;
    if (!first.n)
        return DIFFERENT;
    for (uint32_t at = k->heads[str_hash(first) & k->mask]; at; at = k->next[at - 1]) {
        const struct value *other = k->list->items[at - 1];
        enum likeness like = str_eq(key_of(m, other, k->keys[0]), first) ? SAME : DIFFERENT;
        for (size_t i = 1; like && i < k->nkeys; i++) {
            struct str x = key_of(m, item, k->keys[i]), y = key_of(m, other, k->keys[i]);
            if (!str_eq(x, y))
                like = x.n && y.n ? DIFFERENT : UNSAID;
        }
        if (like && best != SAME) {
            best = like;
            *ret_at = at - 1;
        }
        if (best == SAME)
            break;
    }
    return best;
}

// The second and further keys count only where somebody says them.
static size_t keys_said(struct strategic_merger *m, const struct str *keys, size_t n,
                        const struct value *x, const struct value *y)
{
    for (size_t k = 1; k < n; k++) {
        value_each_item (x, item)
            if (key_of(m, item, keys[k]).n)
                return n;
        value_each_item (y, item)
            if (key_of(m, item, keys[k]).n)
                return n;
    }
    return 1;
}

static bool empty_map(const struct value *v)
{
    return v && v->kind == VALUE_OBJECT && !v->n;
}

// With one key the items of the patch come in its order, then the rest; with several, what is new
// comes first and the rest keeps its order. An item of the patch that says a protocol where the
// object does not, or the reverse, is lost in the original, and so it is here.
static int merge_keyed(struct strategic_merger *m, struct place p, const struct str *keys,
                       size_t nkeys, struct value *to, const struct value *patch,
                       struct value **ret)
{
    struct value *out = value_array(m->a);
    nkeys = keys_said(m, keys, nkeys, to, patch);
    struct keyed k = keyed_make(m, to, keys, nkeys);
    bool *taken = arena_array(m->a, bool, value_len(to) + 1);
    value_each_item (patch, item) {
        struct value *v;
        size_t at = 0;
        enum likeness like = keyed_find(m, &k, item, &at);
        if (like == UNSAID)
            continue;
        int rc = merge(m, p, NULL, like ? to->items[at] : NULL, item, &v);
        if (rc < 0)
            return rc;
        bool gone = !v || v->kind == VALUE_NULL || empty_map(v);
        if (like && nkeys > 1 && !gone) {
            to->items[at] = v;
            continue;
        }
        taken[at] |= like != DIFFERENT;
        if (!gone)
            value_push(m->a, out, v);
    }
    for (size_t i = 0; i < value_len(to); i++)
        if (!taken[i])
            value_push(m->a, out, to->items[i]);
    *ret = out;
    return 0;
}

// Scalars: a set, those of the patch first.
static int merge_set(struct strategic_merger *m, const struct value *to, const struct value *patch,
                     struct value **ret)
{
    struct value *out = value_array(m->a), *seen = value_object(m->a);
    const struct value *lists[] = {patch, to};
    for (size_t i = 0; i < 2; i++)
        value_each_item (lists[i], item) {
            struct str text = kustomize_scalar(m->a, item);
            if (value_get(seen, text))
                continue;
            value_push_member(m->a, seen, text, item);
            value_push(m->a, out, item);
        }
    *ret = out;
    return 0;
}

// Takes an item that is nothing but a directive out of the patch.
static int list_directive(struct strategic_merger *m, const struct value *patch,
                          struct value **ret_rest, enum directive *ret)
{
    struct value *rest = value_array(m->a);
    *ret = MERGE;
    value_each_item (patch, item) {
        if (value_is(item, VALUE_OBJECT) && item->n == 1 && value_getc(item, "$patch")) {
            int rc = directive_of(m, item, ret);
            if (rc < 0)
                return rc;
        } else
            value_push(m->a, rest, item);
    }
    *ret_rest = rest;
    return 0;
}

static int merge_list(struct strategic_merger *m, struct place p, const struct field *field,
                      struct value *to, const struct value *patch, struct value **ret)
{
    if (!field || !(field->flags & PATCH_MERGE)) {
        *ret = value_clone(m->a, patch);
        return 0;
    }
    struct value *rest;
    enum directive d;
    int rc = list_directive(m, patch, &rest, &d);
    *ret = nothing;
    if (rc < 0 || d == DELETE)
        return rc;
    if (d == REPLACE || !value_is(to, VALUE_ARRAY))
        to = value_array(m->a);
    struct str keys[KEYS_MAX];
    size_t n = 0;
    for (const struct str *k = field->list_keys; k && k->p && n < KEYS_MAX; k++)
        keys[n++] = *k;
    if (!n && field->merge_key.n)
        keys[n++] = field->merge_key;
    return n ? merge_keyed(m, p, keys, n, to, rest, ret) : merge_set(m, to, rest, ret);
}

static int merge(struct strategic_merger *m, struct place p, const struct field *field,
                 struct value *to, const struct value *patch, struct value **ret)
{
    bool both = to && to->kind != VALUE_NULL;
    if (both && patch->kind != to->kind && (patch->kind >= VALUE_ARRAY || to->kind >= VALUE_ARRAY))
        return err_set(
            m->e, ERR_INVALID,
            "a strategic merge patch cannot turn a list, map or scalar into another%s%.*s",
            field ? ": " : "", STR_ARG(field ? field->name : STR_NULL));
    if (patch->kind == VALUE_OBJECT)
        return merge_map(m, p, to, patch, ret);
    if (patch->kind == VALUE_ARRAY)
        return merge_list(m, p, field, to, patch, ret);
    *ret = value_clone(m->a, patch);
    return 0;
}

int kustomize_merge(struct arena *a, struct str api_version, struct str kind, struct value *to,
                    const struct value *patch, struct value **ret, struct err *e)
{
    struct strategic_merger m = {a, e};
    const struct kind *k = kind_by_api_version(api_version, kind);
    return merge(&m, (struct place){.type = k ? k->type : NULL}, NULL, to, patch, ret);
}
