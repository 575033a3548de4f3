// Strategic merge patch: a merge patch that knows from the type tables which lists are merged, and
// by which key. This is what `kubectl apply`, `edit` and `set` send, so the order of merged lists
// and the words of the errors are those of apimachinery's strategicpatch, seen through kubectl.
//
// Directives in a patch:
//   $patch: delete | replace   in an object: empty it, or put the patch in its place;
//                              in an item of a merged list: remove the item with that merge key, or
//                              put the other items of the patch in the place of the whole list
//   $retainKeys: [k, …]        remove every member that is not named
//   $deleteFromPrimitiveList/f remove these scalars from the list f
//   $setElementOrder/f         the order of the merged list f: of scalars, or of objects with the
//                              merge key alone
//
// Order of a merged list: the items that the patch names come in the patch's order (or in that of
// $setElementOrder); the others keep the live order; where both are known in the live list, that
// decides how the two interleave.
//
// Neither document nor patch is changed: results share what did not change. Lists are matched
// through hashes of the merge key, so the cost is near linear in what is sent.
#include "object/go_text.h"
#include "object/key_index.h"
#include "object/patch.h"

#define DELETE_PREFIX "$deleteFromPrimitiveList"
#define ORDER_PREFIX  "$setElementOrder"

struct merger {
    struct arena *a;
    struct err *e;
};

// Where in the types we are. Neither: nothing is known, objects merge and lists are replaced.
struct where {
    const struct type *type;  // members are fields of it
    const struct field *each; // every member is a value of this map field
};

// Positions of a list by merge key (or by the item itself), for lists of any length.
struct rank {
    const struct value *list;
    struct str key;
    uint32_t *slots; // position + 1; NULL: short, scan
    uint32_t nslots;
};

static const struct value *rank_value(const struct rank *r, size_t i)
{
    const struct value *item = r->list->items[i];
    return r->key.n ? value_get(item, r->key) : item;
}

static ptrdiff_t rank_find(const struct rank *r, const struct value *v)
{
    if (!r->slots) {
        for (size_t i = 0; i < value_len(r->list); i++)
            if (rank_value(r, i) && value_eq(rank_value(r, i), v))
                return (ptrdiff_t)i;
        return -1;
    }
    uint32_t mask = r->nslots - 1;
    for (uint32_t i = (uint32_t)value_hash(v) & mask; r->slots[i]; i = (i + 1) & mask)
        if (value_eq(rank_value(r, r->slots[i] - 1), v))
            return (ptrdiff_t)r->slots[i] - 1;
    return -1;
}

static struct rank rank_make(struct arena *a, const struct value *list, struct str key)
{
    struct rank r = {.list = list, .key = key};
    size_t n = value_len(list);
    if (n <= 16)
        return r;
    r.nslots = 64;
    while (r.nslots < 2 * n)
        r.nslots *= 2;
    r.slots = arena_zalloc(a, r.nslots * sizeof *r.slots);
    uint32_t mask = r.nslots - 1;
    for (uint32_t at = 0; at < n; at++) {
        const struct value *v = rank_value(&r, at);
        if (!v || rank_find(&r, v) >= 0)
            continue; // the first of equals counts
        uint32_t i = (uint32_t)value_hash(v) & mask;
        while (r.slots[i])
            i = (i + 1) & mask;
        r.slots[i] = at + 1;
    }
    return r;
}

static int fail(struct merger *m, enum err_reason reason, const char *text)
{
    return err_set(m->e, reason, "%s", text);
}

static int no_merge_key(struct merger *m, const struct value *item, struct str key)
{
    _cleanup_buf_ struct buf text = BUF_MAX(1 << 16);
    go_text(&text, item);
    return err_set(m->e, ERR_BAD_REQUEST, "map: %s does not contain declared merge key: %.*s",
                   buf_cstr(&text), STR_ARG(key));
}

static int bad_directive(struct merger *m, const struct value *directive, const struct value *in)
{
    _cleanup_buf_ struct buf what = BUF_MAX(1 << 12), map = BUF_MAX(1 << 16);
    go_text(&what, directive);
    go_text(&map, in);
    return err_set(m->e, ERR_BAD_REQUEST, "unknown patch type: %s in map: %s", buf_cstr(&what),
                   buf_cstr(&map));
}

static int not_a_list(struct merger *m, const struct value *v)
{
    return err_set(m->e, ERR_BAD_REQUEST, "expected a []interface {}, but received a %s",
                   go_type(v));
}

// The field behind a key, where types are known.
static int lookup(struct merger *m, struct where w, struct str key, const struct field **ret)
{
    *ret = NULL;
    if (!w.type)
        return 0;
    *ret = type_field(w.type, key);
    if (*ret || w.type->preserve_unknown)
        return 0;
    ptrdiff_t dot = str_rchr(w.type->name, '.');
    return err_set(m->e, ERR_BAD_REQUEST,
                   "unable to find api field in struct %.*s for the json field \"%.*s\"",
                   STR_ARG(str_from(w.type->name, (size_t)(dot + 1))), STR_ARG(key));
}

static struct where inside(struct where w, const struct field *f)
{
    if (w.each) // a value of a map
        return (struct where){.type = w.each->kind == FIELD_MESSAGE ? w.each->type : NULL};
    if (!f)
        return (struct where){0};
    if (f->shape == SHAPE_MAP)
        return (struct where){.each = f};
    return (struct where){.type = f->kind == FIELD_MESSAGE ? f->type : NULL};
}

static bool is_directive(struct str key)
{
    return str_eqc(key, "$patch") || str_eqc(key, "$retainKeys") ||
           str_starts(key, STR(DELETE_PREFIX)) || str_starts(key, STR(ORDER_PREFIX));
}

// A part of the patch that meets nothing in the document: its directives and nulls have no object.
// NULL: something with $patch, which speaks of what is not there.
static struct value *plain(struct arena *a, const struct value *patch)
{
    if (value_is(patch, VALUE_ARRAY)) {
        struct value *v = value_array(a);
        value_each_item (patch, it) {
            struct value *item = plain(a, it);
            if (item)
                value_push(a, v, item);
        }
        return v;
    }
    if (!value_is(patch, VALUE_OBJECT))
        return (struct value *)patch;
    if (value_getc(patch, "$patch"))
        return NULL;
    struct value *v = value_object(a);
    value_each_field (patch, m) {
        if (is_directive(m->key) || m->value->kind == VALUE_NULL)
            continue;
        struct value *member = plain(a, m->value);
        if (member)
            value_push_member(a, v, m->key, member);
    }
    return v;
}

// All items of both lists are of one type, and no lists. *ret is a sample, NULL when both are
// empty.
static int element_type(struct merger *m, const struct value *a, const struct value *b,
                        const struct value **ret)
{
    *ret = NULL;
    for (int side = 0; side < 2; side++)
        value_each_item (side ? b : a, it) {
            if (!*ret && it->kind == VALUE_ARRAY)
                return fail(m, ERR_INVALID, "lists of lists are not supported");
            if (!*ret)
                *ret = it;
            if ((*ret)->kind == it->kind)
                continue;
            _cleanup_buf_ struct buf text = BUF_MAX(1 << 16);
            buf_char(&text, '[');
            if (a)
                go_text(&text, a);
            buf_puts(&text, a && b ? " " : "");
            if (b)
                go_text(&text, b);
            buf_char(&text, ']');
            return err_set(m->e, ERR_BAD_REQUEST, "list element types are not identical: %s",
                           buf_cstr(&text));
        }
    return 0;
}

struct placed {
    struct value *item;
    ptrdiff_t at; // in the order that sorts it
    size_t was;   // before sorting, for stability
};

static int placed_order(const void *pa, const void *pb)
{
    const struct placed *a = pa, *b = pb;
    if (a->at != b->at)
        return a->at < b->at ? -1 : 1;
    return a->was < b->was ? -1 : a->was > b->was;
}

// The items of `merged`: those that `order` names in its order, the others in that of `live`, both
// interleaved by `live`.
static struct value *arranged(struct merger *m, const struct value *merged,
                              const struct value *order, const struct value *live, struct str key)
{
    struct rank in_order = rank_make(m->a, order, key), in_live = rank_make(m->a, live, key);
    size_t n = value_len(merged), nnamed = 0, nothers = 0;
    struct placed *named = arena_alloc(m->a, (n + 1) * sizeof *named);
    struct placed *others = arena_alloc(m->a, (n + 1) * sizeof *others);
    for (size_t i = 0; i < n; i++) {
        struct value *item = merged->items[i];
        const struct value *v = key.n ? value_get(item, key) : item;
        ptrdiff_t at = v ? rank_find(&in_order, v) : -1;
        if (at >= 0)
            named[nnamed++] = (struct placed){item, at, i};
        else
            others[nothers++] = (struct placed){item, v ? rank_find(&in_live, v) : -1, i};
    }
    qsort(named, nnamed, sizeof *named, placed_order);
    qsort(others, nothers, sizeof *others, placed_order);
    struct value *out = value_array(m->a);
    size_t i = 0, j = 0;
    while (i < nothers || j < nnamed) {
        bool other = j == nnamed;
        if (i < nothers && j < nnamed && others[i].at >= 0) {
            const struct value *item = named[j].item;
            ptrdiff_t at = rank_find(&in_live, key.n ? value_get(item, key) : item);
            other = at >= 0 && others[i].at < at;
        }
        value_push(m->a, out, other ? others[i++].item : named[j++].item);
    }
    return out;
}

static int merge_map(struct merger *m, const struct value *doc, const struct value *patch,
                     struct where w, struct value **ret);

static struct value *merged_scalars(struct merger *m, const struct value *live,
                                    const struct value *patch)
{
    struct value *all = value_array(m->a), *out = value_array(m->a);
    value_each_item (live, it)
        value_push(m->a, all, it);
    value_each_item (patch, it)
        value_push(m->a, all, it);
    struct rank first = rank_make(m->a, all, STR_NULL);
    for (size_t i = 0; i < all->n; i++)
        if (rank_find(&first, all->items[i]) == (ptrdiff_t)i)
            value_push(m->a, out, all->items[i]);
    return arranged(m, out, patch, live, STR_NULL);
}

static struct value *without(struct merger *m, const struct value *list, const struct value *gone)
{
    struct rank r = rank_make(m->a, gone, STR_NULL);
    struct value *out = value_array(m->a);
    value_each_item (list, it)
        if (rank_find(&r, it) < 0)
            value_push(m->a, out, it);
    return out;
}

// Takes the items with $patch out of a patch list: what is left of the live list, and of the patch.
static int special_items(struct merger *m, const struct value *live, const struct value *patch,
                         struct str key, struct value **ret_live, struct value **ret_patch)
{
    struct value *rest = value_array(m->a), *gone = value_array(m->a);
    bool replace = false;
    value_each_item (patch, it) {
        const struct value *directive = value_getc(it, "$patch");
        struct str what = value_string(directive);
        if (!directive) {
            value_push(m->a, rest, it);
        } else if (str_eqc(what, "delete")) {
            struct value *v = value_get(it, key);
            if (!v)
                return no_merge_key(m, it, key);
            value_push(m->a, gone, v);
        } else if (str_eqc(what, "replace")) {
            replace = true;
        } else if (str_eqc(what, "merge")) {
            return fail(m, ERR_BAD_REQUEST, "merging lists cannot yet be specified in the patch");
        } else {
            return bad_directive(m, directive, it);
        }
    }
    *ret_patch = rest;
    *ret_live = value_array(m->a);
    if (replace)
        return 0;
    struct rank r = rank_make(m->a, gone, STR_NULL);
    value_each_item (live, it) {
        const struct value *v = value_get(it, key);
        if (!v || rank_find(&r, v) < 0)
            value_push(m->a, *ret_live, it);
    }
    return 0;
}

static int merge_objects(struct merger *m, const struct value *live, const struct value *patch,
                         struct str key, struct where w, struct value **ret)
{
    struct value *kept = NULL, *rest = NULL;
    int r = special_items(m, live, patch, key, &kept, &rest);
    if (r < 0)
        return r;
    // New items are appended as they come; a key that the patch has twice meets itself.
    struct value *out = value_array(m->a);
    value_each_item (kept, it)
        value_push(m->a, out, it);
    struct rank in_kept = rank_make(m->a, kept, key), in_rest = rank_make(m->a, rest, key);
    size_t *fresh_at = arena_alloc(m->a, (rest->n + 1) * sizeof *fresh_at);
    for (size_t i = 0; i < rest->n; i++) {
        struct value *it = rest->items[i];
        const struct value *v = value_get(it, key);
        if (!v)
            return no_merge_key(m, it, key);
        ptrdiff_t at = rank_find(&in_kept, v);
        if (at < 0) {
            size_t first = (size_t)rank_find(&in_rest, v);
            if (first == i) {
                struct value *item = plain(m->a, it);
                fresh_at[i] = out->n;
                value_push(m->a, out, item ? item : value_object(m->a));
                continue;
            }
            at = (ptrdiff_t)fresh_at[first];
        }
        r = merge_map(m, out->items[at], it, w, &out->items[at]);
        if (r < 0)
            return r;
    }
    // $patch within an item may have emptied it of its key.
    value_each_item (out, it)
        if (!value_get(it, key))
            return no_merge_key(m, it, key);
    *ret = arranged(m, out, rest, kept, key);
    return 0;
}

static int merge_list(struct merger *m, const struct value *live, const struct value *patch,
                      const struct field *f, struct where w, struct value **ret)
{
    if (!f || !(f->flags & PATCH_MERGE)) {
        *ret = plain(m->a, patch);
        return 0;
    }
    const struct value *sample;
    int r = element_type(m, live, patch, &sample);
    if (r < 0)
        return r;
    if (!sample) {
        *ret = (struct value *)live;
        return 0;
    }
    if (sample->kind != VALUE_OBJECT) {
        *ret = merged_scalars(m, live, patch);
        return 0;
    }
    if (!f->merge_key.n)
        return err_set(m->e, ERR_BAD_REQUEST, "cannot merge lists without merge key for %.*s",
                       STR_ARG(f->name));
    return merge_objects(m, live, patch, f->merge_key, inside(w, f), ret);
}

// The items of a patch list must come in the order that $setElementOrder gives, deletions aside.
static int check_order(struct merger *m, const struct value *patch, const struct value *order,
                       struct str key)
{
    size_t p = 0, o = 0, np = value_len(patch), no = value_len(order);
    if (!np || !no)
        return 0;
    while (p < np && o < no) {
        const struct value *item = patch->items[p], *named = order->items[o];
        if (value_getc(item, "$patch")) {
            p++;
            continue;
        }
        if (key.n && !value_get(item, key))
            return no_merge_key(m, item, key);
        if (key.n && !value_get(named, key))
            return no_merge_key(m, named, key);
        if (key.n ? value_eq(value_get(item, key), value_get(named, key)) : value_eq(item, named))
            p++;
        o++;
    }
    while (p < np && value_getc(patch->items[p], "$patch"))
        p++;
    if (p == np)
        return 0;
    _cleanup_buf_ struct buf is = BUF_MAX(1 << 16), want = BUF_MAX(1 << 16);
    go_text(&is, patch);
    go_text(&want, order);
    return err_set(m->e, ERR_BAD_REQUEST,
                   "The order in patch list:\n%s\n doesn't match " ORDER_PREFIX " list:\n%s\n",
                   buf_cstr(&is), buf_cstr(&want));
}

// The result under construction: members by position, taken away by setting them NULL.
struct draft {
    struct value *out;
    struct key_index index;
};

static struct value **draft_at(struct draft *d, struct str key)
{
    ptrdiff_t at = key_index_find(&d->index, key);
    return at < 0 || !d->out->members[at].value ? NULL : &d->out->members[at].value;
}

static void draft_set(struct merger *m, struct draft *d, struct str key, struct value *v)
{
    ptrdiff_t at = key_index_add(&d->index, key);
    if (at >= 0)
        d->out->members[at].value = v;
    else
        value_push_member(m->a, d->out, key, v);
}

static int retain_keys(struct merger *m, struct draft *d, const struct value *patch)
{
    static const char wrong[] = "invalid patch format of retainKeys";
    const struct value *list = value_getc(patch, "$retainKeys");
    if (!list)
        return 0;
    if (list->kind != VALUE_ARRAY)
        return fail(m, ERR_BAD_REQUEST, wrong);
    _cleanup_key_index_ struct key_index keep = KEY_INDEX_INIT;
    value_each_item (list, it)
        key_index_add(&keep, value_string(it));
    value_each_field (patch, it)
        if (it->value->kind != VALUE_NULL && !is_directive(it->key) &&
            key_index_find(&keep, it->key) < 0)
            return fail(m, ERR_BAD_REQUEST, wrong);
    value_each_field (d->out, it)
        if (key_index_find(&keep, it->key) < 0)
            it->value = NULL;
    return 0;
}

// "$prefix/field" -> field.
static int directive_field(struct merger *m, struct str key, struct str prefix, const char *wrong,
                           struct str *ret)
{
    if (key.n <= prefix.n || key.p[prefix.n] != '/')
        return fail(m, ERR_BAD_REQUEST, wrong);
    *ret = str_from(key, prefix.n + 1);
    return 0;
}

// One $setElementOrder/field: merges the list too, so *ret_field is done with.
static int set_order(struct merger *m, struct draft *d, const struct member *directive,
                     const struct value *patch_list, struct str name, struct where w)
{
    const struct value *order = directive->value, *sample;
    if (order->kind != VALUE_ARRAY)
        return not_a_list(m, order);
    struct value **live = draft_at(d, name), *merged = NULL;
    if (live && (*live)->kind != VALUE_ARRAY)
        return not_a_list(m, *live);
    if (patch_list && patch_list->kind != VALUE_ARRAY)
        return not_a_list(m, patch_list);
    const struct field *f;
    int r = lookup(m, w, name, &f);
    if (r < 0)
        return r;
    struct str key = f ? f->merge_key : STR_NULL;
    r = check_order(m, patch_list, order, key);
    if (r < 0)
        return r;
    if (!live && !patch_list)
        return 0;
    const struct value *before = live ? *live : NULL;
    if (live && patch_list) {
        r = merge_list(m, *live, patch_list, f, w, &merged);
        if (r < 0)
            return r;
    } else {
        merged = live ? *live : plain(m->a, patch_list);
    }
    r = element_type(m, before, patch_list, &sample);
    if (r < 0)
        return r;
    if (key.n) {
        value_each_item (merged, it)
            if (!value_get(it, key))
                return no_merge_key(m, it, key);
        value_each_item (order, it)
            if (!value_get(it, key))
                return no_merge_key(m, it, key);
    }
    draft_set(m, d, name, arranged(m, merged, order, before, key));
    return 0;
}

// An ordinary member of the patch, or a list of scalars to delete.
static int merge_member(struct merger *m, struct draft *d, struct str name, const struct value *v,
                        bool delete_list, struct where w)
{
    struct value **live = draft_at(d, name);
    if (v->kind == VALUE_NULL) {
        if (live)
            *live = NULL;
        return 0;
    }
    if (delete_list) {
        if (live && (*live)->kind == VALUE_ARRAY && v->kind == VALUE_ARRAY) {
            const struct value *sample;
            int r = element_type(m, *live, v, &sample);
            if (r < 0)
                return r;
            *live = without(m, *live, v);
        }
        return 0;
    }
    bool both = live && (*live)->kind == v->kind;
    if (both && (v->kind == VALUE_OBJECT || v->kind == VALUE_ARRAY)) {
        const struct field *f;
        struct value *merged = NULL;
        int r = lookup(m, w, name, &f);
        if (r < 0)
            return r;
        r = v->kind == VALUE_OBJECT ? merge_map(m, *live, v, inside(w, f), &merged)
                                    : merge_list(m, *live, v, f, w, &merged);
        if (r == 0)
            *live = merged;
        return r;
    }
    struct value *taken = plain(m->a, v);
    if (taken)
        draft_set(m, d, name, taken);
    return 0;
}

static int merge_members(struct merger *m, struct draft *d, const struct value *patch,
                         struct where w)
{
    int r = retain_keys(m, d, patch);
    if (r < 0)
        return r;
    _cleanup_key_index_ struct key_index in_patch = KEY_INDEX_INIT;
    key_index_object(&in_patch, patch);
    bool *done = arena_zalloc(m->a, patch->n + 1);
    for (uint32_t i = 0; i < patch->n; i++) {
        const struct member *it = &patch->members[i];
        struct str name;
        if (!str_starts(it->key, STR(ORDER_PREFIX)))
            continue;
        done[i] = true;
        r = directive_field(m, it->key, STR(ORDER_PREFIX),
                            "invalid patch format of setElementOrder list", &name);
        if (r < 0)
            return r;
        ptrdiff_t at = key_index_find(&in_patch, name);
        const struct value *list = at < 0 ? NULL : patch->members[at].value;
        if (list && list->kind == VALUE_NULL) // the list goes away
            continue;
        r = set_order(m, d, it, list, name, w);
        if (r < 0)
            return r;
        if (at >= 0)
            done[at] = true;
    }
    for (int deletions = 1; deletions >= 0; deletions--)
        for (uint32_t i = 0; i < patch->n; i++) {
            const struct member *it = &patch->members[i];
            struct str name = it->key;
            if (done[i] || str_starts(name, STR(DELETE_PREFIX)) != (deletions == 1) ||
                str_eqc(name, "$retainKeys"))
                continue;
            if (deletions)
                r = directive_field(m, it->key, STR(DELETE_PREFIX),
                                    "invalid patch format of primitive list", &name);
            if (r == 0)
                r = merge_member(m, d, name, it->value, deletions, w);
            if (r < 0)
                return r;
        }
    return 0;
}

static int merge_map(struct merger *m, const struct value *doc, const struct value *patch,
                     struct where w, struct value **ret)
{
    const struct value *directive = value_getc(patch, "$patch");
    if (directive) {
        struct str what = value_string(directive);
        struct value *v = value_object(m->a);
        *ret = v;
        if (str_eqc(what, "delete"))
            return 0;
        if (!str_eqc(what, "replace"))
            return bad_directive(m, directive, patch);
        value_each_field (patch, it) {
            struct value *member = is_directive(it->key) ? NULL : plain(m->a, it->value);
            if (member && member->kind != VALUE_NULL)
                value_push_member(m->a, v, it->key, member);
        }
        return 0;
    }
    struct draft d = {.out = value_object(m->a)};
    value_each_field (doc, it) {
        key_index_add(&d.index, it->key);
        value_push_member(m->a, d.out, it->key, it->value);
    }
    int r = merge_members(m, &d, patch, w);
    key_index_done(&d.index);
    if (r < 0)
        return r;
    uint32_t n = 0;
    for (uint32_t i = 0; i < d.out->n; i++)
        if (d.out->members[i].value)
            d.out->members[n++] = d.out->members[i];
    d.out->n = n;
    *ret = d.out;
    return 0;
}

int patch_strategic(struct arena *a, const struct type *type, const struct value *doc,
                    const struct value *patch, struct value **ret, struct err *e)
{
    struct merger m = {a, e};
    if (!value_is(doc, VALUE_OBJECT) || !value_is(patch, VALUE_OBJECT))
        return err_set(e, ERR_BAD_REQUEST, "invalid JSON document");
    struct value *v = NULL;
    int r = merge_map(&m, doc, patch, (struct where){.type = type}, &v);
    if (r == 0)
        *ret = v;
    return r;
}
