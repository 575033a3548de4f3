// JSON Patch (RFC 6902), with the liberties of the library that the originals use, because clients
// rely on them: an index may be negative (from the end), and `test` with null holds for what is not
// there.
//
// The containers of the document are copied once at the start (their scalars are shared) and then
// changed in place: ten thousand operations on a large document copy it once, not ten thousand
// times. What `copy` adds is counted against the size of a request, so that copying a thing into
// itself cannot double its way through memory, and no operation may nest deeper than the readers
// allow.
#include "object/json.h"
#include "object/patch.h"

enum { MAX_OPERATIONS = 10000, MAX_COPIED = 3 << 20, MAX_WORK = 10 << 20 };

struct patcher {
    struct arena *a;
    struct err *e;
    struct value *doc;
    size_t copied;
    size_t work; // values looked at, and a sixteenth of those passed by
};

// A place: a member or an index of `parent`. parent NULL: the root.
struct place {
    struct value *parent;
    struct str key;
    size_t depth; // containers above it
};

static struct value *copy_containers(struct arena *a, const struct value *v)
{
    if (!value_is(v, VALUE_ARRAY) && !value_is(v, VALUE_OBJECT))
        return (struct value *)v;
    struct value *c = arena_alloc(a, sizeof *c);
    *c = *v;
    c->cap = v->n;
    if (v->kind == VALUE_ARRAY) {
        c->items = arena_alloc(a, v->n * sizeof *c->items);
        for (uint32_t i = 0; i < v->n; i++)
            c->items[i] = copy_containers(a, v->items[i]);
    } else {
        c->members = arena_alloc(a, v->n * sizeof *c->members);
        for (uint32_t i = 0; i < v->n; i++)
            c->members[i] =
                (struct member){v->members[i].key, copy_containers(a, v->members[i].value)};
    }
    return c;
}

// Containers within containers, or a number past JSON_DEPTH once the patch has cost too much:
// moving a large part to and fro ten thousand times is no way to keep the server busy.
static size_t depth_of(struct patcher *p, const struct value *v)
{
    size_t deepest = 0, n;
    if (!value_is(v, VALUE_ARRAY) && !value_is(v, VALUE_OBJECT))
        return 0;
    p->work += v->n + 1;
    if (p->work > MAX_WORK)
        return JSON_DEPTH + 1;
    for (uint32_t i = 0; i < v->n; i++)
        if ((n = depth_of(p, v->kind == VALUE_ARRAY ? v->items[i] : v->members[i].value)) > deepest)
            deepest = n;
    return deepest + 1;
}

// Looking a member up and moving the items of an array are cheap for each that is passed by, but
// ten thousand operations may each pass a hundred thousand.
static void passed_by(struct patcher *p, const struct value *container)
{
    p->work += value_len(container) / 16 + 1;
}

static int too_deep(struct patcher *p, const char *op, struct str path)
{
    if (p->work > MAX_WORK)
        return err_set(p->e, ERR_TOO_LARGE, "the JSON patch takes too much work");
    return err_set(p->e, ERR_INVALID, "error in %s for path: '%.*s': exceeded max depth", op,
                   STR_ARG(path));
}

// ~1 is a slash and ~0 a tilde.
static struct str unescape(struct arena *a, struct str s)
{
    if (str_chr(s, '~') < 0)
        return s;
    char *out = arena_alloc(a, s.n);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool escape = s.p[i] == '~' && i + 1 < s.n && (s.p[i + 1] == '0' || s.p[i + 1] == '1');
        out[n++] = escape ? (s.p[++i] == '0' ? '~' : '/') : s.p[i];
    }
    return str_n(out, n);
}

// An index below `limit`; negative ones count from it. -1: none.
static ptrdiff_t index_of(struct str s, size_t limit)
{
    int64_t i;
    if (!str_to_i64(s, &i))
        return -1;
    if (i < 0)
        i += (int64_t)limit;
    return i >= 0 && i < (int64_t)limit ? (ptrdiff_t)i : -1;
}

static struct value *child(const struct value *parent, struct str key)
{
    if (value_is(parent, VALUE_OBJECT))
        return value_get(parent, key);
    ptrdiff_t i = value_is(parent, VALUE_ARRAY) ? index_of(key, parent->n) : -1;
    return i < 0 ? NULL : parent->items[i];
}

// Finds the parent of what `path` names. false: there is no such container.
static bool locate(struct patcher *p, struct str path, struct place *ret)
{
    *ret = (struct place){0};
    if (!path.n)
        return true;
    if (path.p[0] != '/')
        return false;
    struct str rest = str_from(path, 1);
    struct value *at = p->doc;
    for (;;) {
        ret->depth++;
        if (!value_is(at, VALUE_ARRAY) && !value_is(at, VALUE_OBJECT))
            return false;
        ptrdiff_t slash = str_chr(rest, '/');
        struct str key = unescape(p->a, slash < 0 ? rest : str_sub(rest, 0, (size_t)slash));
        if (slash < 0) {
            passed_by(p, at);
            ret->parent = at;
            ret->key = key.p ? key : STR("");
            return true;
        }
        if (at->kind == VALUE_OBJECT)
            passed_by(p, at);
        at = child(at, key);
        rest = str_from(rest, (size_t)slash + 1);
    }
}

static int missing_path(struct patcher *p, const char *op, struct str path)
{
    return err_set(p->e, ERR_INVALID,
                   "%s operation does not apply: doc is missing path: \"%.*s\": missing value", op,
                   STR_ARG(path));
}

static int bad_index(struct patcher *p, const char *op, struct str path, struct str key)
{
    return err_set(
        p->e, ERR_INVALID,
        "error in %s for path: '%.*s': Unable to access invalid index: %.*s: invalid index "
        "referenced",
        op, STR_ARG(path), STR_ARG(key));
}

static int add(struct patcher *p, const char *op, struct str path, struct value *v)
{
    struct place at;
    if (!locate(p, path, &at))
        return missing_path(p, op, path);
    if (at.depth + depth_of(p, v) > JSON_DEPTH)
        return too_deep(p, op, path);
    if (!at.parent) {
        p->doc = v;
        return 0;
    }
    if (at.parent->kind == VALUE_OBJECT) {
        value_set(p->a, at.parent, at.key, v);
        return 0;
    }
    ptrdiff_t i = at.parent->n;
    if (!str_eqc(at.key, "-"))
        i = index_of(at.key, at.parent->n + 1);
    if (i < 0)
        return bad_index(p, op, path, at.key);
    value_insert(p->a, at.parent, (size_t)i, v);
    return 0;
}

static int take(struct patcher *p, const char *op, struct str path, struct value **ret)
{
    struct place at;
    if (!locate(p, path, &at) || !at.parent)
        return missing_path(p, op, path);
    struct value *v = child(at.parent, at.key);
    if (at.parent->kind == VALUE_OBJECT) {
        if (!v)
            return err_set(p->e, ERR_INVALID,
                           "error in %s for path: '%.*s': Unable to remove nonexistent key: %.*s: "
                           "missing value",
                           op, STR_ARG(path), STR_ARG(at.key));
        value_del(at.parent, at.key);
    } else {
        ptrdiff_t i = index_of(at.key, at.parent->n);
        if (i < 0)
            return bad_index(p, op, path, at.key);
        value_remove(at.parent, (size_t)i);
    }
    if (ret)
        *ret = v;
    return 0;
}

static int replace(struct patcher *p, struct str path, struct value *v)
{
    struct place at;
    if (!locate(p, path, &at))
        return missing_path(p, "replace", path);
    if (at.depth + depth_of(p, v) > JSON_DEPTH)
        return too_deep(p, "replace", path);
    if (!at.parent) {
        p->doc = v;
        return 0;
    }
    if (!child(at.parent, at.key))
        return err_set(p->e, ERR_INVALID,
                       "replace operation does not apply: doc is missing key: %.*s: missing value",
                       STR_ARG(path));
    if (at.parent->kind == VALUE_OBJECT)
        value_set(p->a, at.parent, at.key, v);
    else
        at.parent->items[index_of(at.key, at.parent->n)] = v;
    return 0;
}

static int test(struct patcher *p, struct str path, const struct value *want)
{
    struct place at;
    if (!locate(p, path, &at))
        return missing_path(p, "test", path);
    const struct value *is = at.parent ? child(at.parent, at.key) : p->doc;
    if (!is && value_is(want, VALUE_NULL))
        return 0;
    if (!value_eq(is, want))
        return err_set(p->e, ERR_INVALID, "testing value %.*s failed: test failed", STR_ARG(path));
    return 0;
}

static int copy(struct patcher *p, struct str from, struct str path)
{
    struct place at;
    struct value *v = NULL;
    if (locate(p, from, &at))
        v = at.parent ? child(at.parent, at.key) : p->doc;
    if (!v)
        return err_set(p->e, ERR_INVALID,
                       "copy operation does not apply: doc is missing from path: \"%.*s\": missing "
                       "value",
                       STR_ARG(from));
    _cleanup_buf_ struct buf text = BUF_MAX(MAX_COPIED);
    json_write(&text, v);
    p->copied += text.n;
    if (!buf_ok(&text) || p->copied > MAX_COPIED)
        return err_set(p->e, ERR_TOO_LARGE,
                       "Unable to complete the copy, the accumulated size increase of copy exceeds "
                       "the limit %d",
                       MAX_COPIED);
    return add(p, "copy", path, copy_containers(p->a, v));
}

// 0, or an error that the patch document itself is wrong.
static int need(struct patcher *p, const struct value *op, const char *name, size_t i,
                struct str *ret)
{
    const struct value *v = value_getc(op, name);
    if (!value_is(v, VALUE_STRING))
        return err_set(p->e, ERR_BAD_REQUEST, "operation %zu of the JSON patch has no \"%s\"", i,
                       name);
    *ret = value_string(v);
    return 0;
}

static int apply(struct patcher *p, const struct value *op, size_t i)
{
    struct str name, path, from;
    if (!value_is(op, VALUE_OBJECT))
        return err_set(p->e, ERR_BAD_REQUEST, "operation %zu of the JSON patch is not an object",
                       i);
    int r = need(p, op, "op", i, &name);
    if (r < 0 || (r = need(p, op, "path", i, &path)) < 0)
        return r;
    bool moves = str_eqc(name, "move") || str_eqc(name, "copy");
    if (moves && (r = need(p, op, "from", i, &from)) < 0)
        return r;
    struct value *v = value_getc(op, "value");
    bool has_value = str_eqc(name, "add") || str_eqc(name, "replace") || str_eqc(name, "test");
    if (has_value && !v)
        return err_set(p->e, ERR_BAD_REQUEST, "operation %zu of the JSON patch has no \"value\"",
                       i);
    if (str_eqc(name, "add"))
        return add(p, "add", path, copy_containers(p->a, v));
    if (str_eqc(name, "replace"))
        return replace(p, path, copy_containers(p->a, v));
    if (str_eqc(name, "test"))
        return test(p, path, v);
    if (str_eqc(name, "remove"))
        return take(p, "remove", path, NULL);
    if (str_eqc(name, "copy"))
        return copy(p, from, path);
    if (!str_eqc(name, "move"))
        return err_set(p->e, ERR_BAD_REQUEST, "Unexpected kind: %.*s", STR_ARG(name));
    r = take(p, "move", from, &v);
    return r < 0 ? r : add(p, "move", path, v);
}

int patch_json(struct arena *a, const struct value *doc, const struct value *ops,
               struct value **ret, struct err *e)
{
    if (!value_is(ops, VALUE_ARRAY))
        return err_set(e, ERR_BAD_REQUEST, "a JSON patch is an array of operations");
    if (ops->n > MAX_OPERATIONS)
        return err_set(e, ERR_TOO_LARGE,
                       "The allowed maximum operations in a JSON patch is %d, got %u",
                       MAX_OPERATIONS, ops->n);
    struct patcher p = {.a = a, .e = e, .doc = copy_containers(a, doc)};
    for (size_t i = 0; i < ops->n; i++) {
        int r = apply(&p, ops->items[i], i);
        if (r < 0)
            return r;
        if (p.work > MAX_WORK)
            return err_set(e, ERR_TOO_LARGE, "the JSON patch takes too much work");
    }
    *ret = p.doc;
    return 0;
}
