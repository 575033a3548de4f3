// get and list, from the watch cache.
//
// A list reads one snapshot: the current one, or the one that a continue token or resourceVersion
// names. The token is base64url of
// {"v":"meta.k8s.io/v1","rv":REVISION,"start":"NAMESPACE/NAME\u0000"}, as the originals' is; rv -1
// means that the first pages' version is gone and the client has agreed to go on with the present
// one.
#include "apiserver/registry_read.h"
#include "apiserver/convert.h"
#include "apiserver/strategy.h"
#include "base/time.h"
#include "object/json.h"

#define TOKEN_MAX 4096

struct object *shown_as(const struct kind *k, struct object *o)
{
    if (!convert_needed(k))
        return object_ref(o);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v = object_tree(&a, o);
    struct object *ret;
    convert_from_storage(&a, k, v);
    int r = object_from_value(k, o->key, o->revision, v, &ret, NULL);
    BUG_ON(r < 0); // what is published has metadata
    return ret;
}

static int revision_parse(struct str s, uint64_t *ret, struct err *e)
{
    *ret = 0;
    if (!s.n || str_to_u64(s, ret))
        return 0;
    return err_set(e, ERR_BAD_REQUEST,
                   "resourceVersion: Invalid value: \"%.*s\": must be an unsigned decimal number",
                   STR_ARG(s));
}

int op_get(struct op *op, struct err *e)
{
    if (op->sub_ops && op->sub_ops->get)
        return op->sub_ops->get(op, e);
    uint64_t least; // the state may be newer than what is asked for, not older
    int r = revision_parse(op->request->resource_version, &least, e);
    if (r >= 0)
        r = cache_reached(op->server->cache, least, e);
    if (r < 0)
        return r;
    _cleanup_object_ struct object *o =
        cache_get(op->server->cache, op->kind, op->ns, op->request->name);
    if (!o)
        return api_not_found(e, op->kind, op->request->name);
    op->call->answer.object = shown_as(op->kind, o);
    op->call->answer.revision = o->revision;
    return OP_DONE;
}

// ---- continue tokens

static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static struct str b64_encode(struct arena *a, struct str in)
{
    char *out = arena_alloc(a, (in.n + 2) / 3 * 4), *p = out;
    for (size_t i = 0; i < in.n; i += 3) {
        uint32_t left = (uint32_t)(in.n - i), v = (uint32_t)(uint8_t)in.p[i] << 16;
        v |= left > 1 ? (uint32_t)(uint8_t)in.p[i + 1] << 8 : 0;
        v |= left > 2 ? (uint32_t)(uint8_t)in.p[i + 2] : 0;
        *p++ = b64[v >> 18];
        *p++ = b64[v >> 12 & 63];
        if (left > 1)
            *p++ = b64[v >> 6 & 63];
        if (left > 2)
            *p++ = b64[v & 63];
    }
    return str_n(out, (size_t)(p - out));
}

static bool b64_decode(struct arena *a, struct str in, struct str *ret)
{
    while (in.n && in.p[in.n - 1] == '=')
        in.n--;
    char *out = arena_alloc(a, in.n + 1), *p = out;
    uint32_t v = 0, bits = 0;
    for (size_t i = 0; i < in.n; i++) {
        const char *at = memchr(b64, in.p[i], 64);
        if (!at)
            return false;
        v = v << 6 | (uint32_t)(at - b64);
        bits += 6;
        if (bits >= 8)
            *p++ = (char)(v >> (bits -= 8));
    }
    *ret = str_n(out, (size_t)(p - out));
    return true;
}

// The part of a key that a token names: without the kind's prefix.
static struct str token_make(struct arena *a, const struct kind *k, int64_t revision,
                             struct str last_key)
{
    struct str prefix = k->storage ? k->storage->storage_prefix : k->storage_prefix;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "{\"v\":\"meta.k8s.io/v1\",\"rv\":");
    buf_i64(&b, revision);
    buf_puts(&b, ",\"start\":");
    struct str start = str_from(last_key, prefix.n);
    char *nul = arena_alloc(a, start.n + 1);
    memcpy(nul, start.p, start.n);
    nul[start.n] = 0;
    json_write_string(&b, str_n(nul, start.n + 1));
    buf_char(&b, '}');
    return b64_encode(a, buf_view(&b));
}

static int token_parse(struct arena *a, const struct kind *k, struct str token,
                       struct list_position *ret, struct err *e)
{
    struct str text;
    struct value *v = NULL;
    const char *bad = "continue key is not valid: %s";
    if (token.n > TOKEN_MAX || !b64_decode(a, token, &text) ||
        json_parse(a, text, NULL, &v, NULL) < 0)
        return err_set(e, ERR_BAD_REQUEST, bad, "it is not one that this server made");
    if (!str_eqc(value_str_at(v, "v"), "meta.k8s.io/v1"))
        return err_set(e, ERR_BAD_REQUEST, bad, "server does not recognize this encoded version");
    struct str start = value_str_at(v, "start");
    int64_t rv = value_int_at(v, "rv", 0);
    if (!start.n || start.p[start.n - 1] || memchr(start.p, 0, start.n - 1) || !rv)
        return err_set(e, ERR_BAD_REQUEST, bad, "encoded start key empty or revision missing");
    struct str prefix = k->storage ? k->storage->storage_prefix : k->storage_prefix;
    ret->after = arena_printf(a, "%.*s%.*s", STR_ARG(prefix), (int)start.n - 1, start.p);
    ret->inconsistent = rv < 0;
    ret->revision = rv < 0 ? 0 : (uint64_t)rv;
    ret->mode = rv < 0 ? LIST_RECENT : LIST_EXACT;
    return 0;
}

// ---- positions

static int options_invalid(struct err *e, const char *reason, const char *field, const char *text)
{
    err_set(e, ERR_INVALID, "ListOptions.meta.k8s.io \"\" is invalid: %s: %s", field, text);
    err_details(e, STR_NULL, STR("meta.k8s.io"), STR("ListOptions"));
    err_cause(e, reason, str_of(field), "%s", text);
    return -422;
}

int list_position(struct arena *a, const struct api_request *r, struct list_position *ret,
                  struct err *e)
{
    struct str match = r->resource_version_match;
    *ret = (struct list_position){0};
    if (r->send_initial_events)
        return options_invalid(e, "FieldValueForbidden", "sendInitialEvents",
                               "Forbidden: sendInitialEvents is forbidden for list");
    if (match.n && !r->resource_version.n)
        return options_invalid(
            e, "FieldValueForbidden", "resourceVersionMatch",
            "Forbidden: resourceVersionMatch is forbidden unless resourceVersion "
            "is provided");
    if (match.n && r->continue_token.n)
        return options_invalid(e, "FieldValueForbidden", "resourceVersionMatch",
                               "Forbidden: resourceVersionMatch is forbidden when continue is "
                               "provided");
    bool exact = str_eqc(match, "Exact");
    if (match.n && !exact && !str_eqc(match, "NotOlderThan"))
        return options_invalid(e, "FieldValueNotSupported", "resourceVersionMatch",
                               "Unsupported value: supported values: \"Exact\", \"NotOlderThan\"");
    if (exact && str_eqc(r->resource_version, "0"))
        return options_invalid(e, "FieldValueForbidden", "resourceVersionMatch",
                               "Forbidden: resourceVersionMatch \"exact\" is forbidden for "
                               "resourceVersion \"0\"");
    if (r->continue_token.n) {
        if (r->resource_version.n && !str_eqc(r->resource_version, "0"))
            return err_set(e, ERR_BAD_REQUEST,
                           "specifying resource version is not allowed when using continue");
        return token_parse(a, r->kind, r->continue_token, ret, e);
    }
    int code = revision_parse(r->resource_version, &ret->revision, e);
    // The originals read a bare resourceVersion with a limit as Exact.
    if (exact || (!match.n && r->limit > 0 && ret->revision))
        ret->mode = LIST_EXACT;
    return code;
}

int watch_position(const struct api_request *r, uint64_t *ret_revision, struct err *e)
{
    struct str match = r->resource_version_match;
    bool not_older = str_eqc(match, "NotOlderThan");
    if (r->send_initial_events && !not_older)
        return options_invalid(e, "FieldValueForbidden", "resourceVersionMatch",
                               "Forbidden: sendInitialEvents requires setting resourceVersionMatch "
                               "to NotOlderThan");
    if (match.n && !r->send_initial_events)
        return options_invalid(e, "FieldValueForbidden", "resourceVersionMatch",
                               "Forbidden: resourceVersionMatch is forbidden for watch unless "
                               "sendInitialEvents is provided");
    if (r->continue_token.n)
        return options_invalid(e, "FieldValueForbidden", "continue",
                               "Forbidden: continue is forbidden for watch");
    int code = revision_parse(r->resource_version, ret_revision, e);
    if (code >= 0 && r->send_initial_events)
        *ret_revision = 0;
    return code;
}

// ---- list

struct collect {
    struct op *op;
    struct selection selection;
    struct arena scratch;
    size_t cap;
};

static bool wanted(struct collect *c, struct object *o)
{
    const struct selection *s = &c->selection;
    if (!selection_key(s, o))
        return false;
    if (!selection_needs_tree(s))
        return true;
    bool convert = s->nfields && convert_needed(c->op->kind);
    struct value *v;
    if (s->nfields) {
        v = object_tree(&c->scratch, o);
        if (convert)
            convert_from_storage(&c->scratch, c->op->kind, v);
    } else {
        v = value_object(&c->scratch);
        value_setc(&c->scratch, v, "metadata", object_metadata(&c->scratch, o));
    }
    bool ret = selection_tree(s, v);
    arena_reset(&c->scratch);
    return ret;
}

static void collect(struct collect *c, struct object *o)
{
    struct api_answer *an = &c->op->call->answer;
    if (an->nitems == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        an->items = mem_realloc(an->items, c->cap * sizeof *an->items);
    }
    an->items[an->nitems++] = shown_as(c->op->kind, o);
}

static int take_snapshot(struct op *op, const struct list_position *at, struct cache_snapshot *ret,
                         struct err *e)
{
    struct cache *cache = op->server->cache;
    int r;
    if (at->mode == LIST_RECENT) {
        r = cache_reached(cache, at->revision, e);
        if (r >= 0)
            cache_snapshot(cache, op->kind, ret);
        return r;
    }
    r = cache_snapshot_at(cache, op->kind, at->revision, ret, e);
    if (r < 0 && err_is(e, ERR_EXPIRED) && at->after.n) {
        struct str token = token_make(op->a, op->kind, -1, at->after);
        err_done(e);
        err_set(
            e, ERR_EXPIRED,
            "The provided continue parameter is too old to display a consistent list result. "
            "You can start a new list without the continue parameter, or use the continue token "
            "in this response to retrieve the remainder of the results. Continuing with the "
            "provided token results in an inconsistent list - objects that were created, "
            "modified, or deleted between the time the first chunk was returned and now may "
            "show up in the list.");
        if (e)
            e->continue_token = mem_cstr(token);
        return -410;
    }
    return r;
}

int op_list(struct op *op, struct err *e)
{
    const struct api_request *r = op->request;
    struct api_answer *an = &op->call->answer;
    struct collect c = {.op = op};
    struct list_position at;
    _cleanup_snapshot_ struct cache_snapshot snap = {0};
    int code = list_position(op->a, r, &at, e);
    if (code >= 0)
        code =
            selection_parse(op->a, op->kind, r->label_selector, r->field_selector, &c.selection, e);
    if (code >= 0)
        code = take_snapshot(op, &at, &snap, e);
    if (code < 0)
        return code;

    // A namespace asked for by field is one asked for by path; a name of a known place is a lookup.
    struct str ns = op->ns.n ? op->ns : c.selection.ns;
    an->remaining = -1;
    an->revision = snap.revision;
    bool namespaced = op->kind->flags & KIND_NAMESPACED;
    if (c.selection.name.n && (ns.n || !namespaced)) {
        struct str key = cache_key(op->a, op->kind, ns, c.selection.name);
        struct object *o = ptree_get(cache_objects_ops(), snap.tree, key);
        if (o && wanted(&c, o))
            collect(&c, o);
        arena_done(&c.scratch);
        return OP_DONE;
    }

    struct cache_cursor it;
    struct object *o =
        at.after.n ? cache_first_after(&it, &snap, ns, at.after) : cache_first(&it, &snap, ns);
    bool more = false;
    struct str last = STR_NULL;
    for (; o; o = cache_next(&it)) {
        if (!wanted(&c, o))
            continue;
        if (r->limit > 0 && an->nitems == (size_t)r->limit) {
            more = true;
            break;
        }
        collect(&c, o);
        last = o->key;
    }
    arena_done(&c.scratch);
    if (more) {
        cache_pin(op->server->cache, &snap);
        an->continue_token =
            token_make(&an->arena, op->kind, at.inconsistent ? -1 : (int64_t)snap.revision, last);
        if (selection_empty(&c.selection))
            an->remaining = (int64_t)cache_count_after(&snap, ns, last);
    }
    return OP_DONE;
}
