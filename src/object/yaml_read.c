// YAML into a value tree, on libyaml's events.
//
// libyaml does the syntax; what a scalar means is yaml_scalar.c's business, and this file builds
// the tree: anchors, aliases, merge keys, tags, and keys made into strings as sigs.k8s.io/yaml
// makes them. An alias becomes a copy, since trees may be changed; copies are paid from one budget
// of YAML_NODES nodes for a document, so that nine lines of "billion laughs" end in an error.
//
// Errors are worded as go-yaml words them ("yaml: line 3: …"), because people search for that text.
#include "base/map.h"
#include "object/base64.h"
#include "object/json.h"
#include "object/key_index.h"
#include "object/yaml.h"
#include "object/yaml_scalar.h"
#include <math.h>
#include <yaml.h>

struct yaml_reader {
    yaml_parser_t parser;
    bool started, ended, failed;
    bool core; // go-yaml v3's scalars
};

struct anchor {
    struct value *value; // NULL: still being read, so an alias to it would contain itself
};

struct frame { // where we are, for the paths of duplicates
    const struct frame *up;
    struct str key; // .p NULL: `index` of a sequence
    size_t index;
};

struct builder {
    struct yaml_reader *r;
    struct arena *a;
    struct value *duplicates;
    struct err *e;
    struct err *faults; // duplicate keys where nobody collects them
    struct map anchors; // name -> struct anchor, the latest of that name
    size_t budget;
};

static int fail(struct builder *b, size_t line, const char *fmt, struct str what)
{
    char text[400];
    snprintf(text, sizeof text, fmt, STR_ARG(str_sub(what, 0, 200)));
    b->r->failed = true;
    return err_set(b->e, ERR_BAD_REQUEST, "yaml: line %zu: %s", line, text);
}

static int next_event(struct builder *b, yaml_event_t *ev)
{
    yaml_parser_t *p = &b->r->parser;
    if (yaml_parser_parse(p, ev))
        return 0;
    b->r->failed = true;
    if (p->error == YAML_MEMORY_ERROR)
        return err_set(b->e, ERR_TOO_LARGE, "yaml: out of memory");
    size_t line = p->problem_mark.line ? p->problem_mark.line : p->context_mark.line;
    const char *problem = p->problem ? p->problem : "unknown problem parsing YAML content";
    if (p->error == YAML_READER_ERROR)
        return err_set(b->e, ERR_BAD_REQUEST, "yaml: %s (byte %zu)", problem, p->problem_offset);
    return err_set(b->e, ERR_BAD_REQUEST, "yaml: line %zu: %s", line + 1, problem);
}

static int spend(struct builder *b, size_t line, size_t nodes)
{
    if (nodes > b->budget)
        return fail(b, line, "document contains excessive aliasing or too many nodes%.*s",
                    STR_NULL);
    b->budget -= nodes;
    return 0;
}

// What copying v costs: a node each, and one more for every 64 bytes of text.
static size_t count(const struct value *v)
{
    size_t n = 1 + (v->kind == VALUE_STRING ? v->n / 64 : 0);
    value_each_item (v, it)
        n += count(it);
    value_each_field (v, m)
        n += 1 + m->key.n / 64 + count(m->value);
    return n;
}

static struct str copy(struct builder *b, const void *p, size_t n)
{
    return arena_str(b->a, str_n(p, n));
}

static struct anchor *anchor_open(struct builder *b, const yaml_char_t *name)
{
    if (!name)
        return NULL;
    struct anchor *anchor = arena_new(b->a, struct anchor);
    map_set(&b->anchors, str_of((const char *)name), anchor);
    return anchor;
}

static int alias(struct builder *b, const yaml_event_t *ev, int depth, struct value **ret)
{
    struct str name = str_of((const char *)ev->data.alias.anchor);
    size_t line = ev->start_mark.line + 1;
    struct anchor *anchor = map_get(&b->anchors, name);
    if (!anchor)
        return fail(b, line, "unknown anchor '%.*s' referenced", name);
    const struct value *v = anchor->value;
    if (!v)
        return fail(b, line, "anchor '%.*s' value contains itself", name);
    int r = spend(b, line, count(v));
    if (r < 0)
        return r;
    if (value_depth(v) + (size_t)depth > YAML_DEPTH)
        return fail(b, line, "exceeded max depth%.*s", STR_NULL);
    *ret = value_clone(b->a, v);
    return 0;
}

// The text of a tag without "tag:yaml.org,2002:", or whole.
static struct str tag_of(const yaml_event_t *ev)
{
    struct str tag = str_of((const char *)ev->data.scalar.tag);
    struct str standard = STR("tag:yaml.org,2002:");
    return str_starts(tag, standard) ? str_from(tag, standard.n) : tag;
}

static int base64(struct builder *b, const yaml_event_t *ev, struct value **ret)
{
    _cleanup_buf_ struct buf bytes = BUF_INIT;
    size_t line = ev->start_mark.line + 1;
    if (!base64_decode(&bytes, str_n(ev->data.scalar.value, ev->data.scalar.length)))
        return fail(b, line, "!!binary value contains invalid base64 data%.*s", STR_NULL);
    if (!json_utf8_valid(buf_view(&bytes)))
        return fail(b, line, "!!binary value is not UTF-8 text%.*s", STR_NULL);
    *ret = value_str(b->a, copy(b, bytes.p, bytes.n));
    return 0;
}

static struct value *number(struct builder *b, struct yaml_scalar s)
{
    switch (s.kind) {
    case YAML_INT:
        return value_int(b->a, s.i);
    case YAML_UINT: {
        struct value *v = value_float(b->a, (double)s.u);
        struct str text = arena_printf(b->a, "%llu", (unsigned long long)s.u);
        v->text = text.p;
        v->n = v->cap = (uint32_t)text.n;
        return v;
    }
    default:
        // What JSON would say of a whole float, say 1.0 or 1e3, is an integer.
        if (s.f == floor(s.f) && fabs(s.f) < 9223372036854775808.0)
            return value_int(b->a, (int64_t)s.f);
        return value_float(b->a, s.f);
    }
}

// go-yaml v3: yes, no, on, off are words, and a date is a time.
static void core_scalar(struct arena *a, struct str *text, struct yaml_scalar *s)
{
    if (s->kind == YAML_BOOL && !str_ieq(*text, STR("true")) && !str_ieq(*text, STR("false")))
        s->kind = YAML_STRING;
    if (s->kind == YAML_TIMESTAMP && text->n == sizeof "2006-01-02" - 1)
        *text = arena_printf(a, "%.*sT00:00:00Z", STR_ARG(*text));
}

static int scalar(struct builder *b, const yaml_event_t *ev, struct value **ret)
{
    struct str text = str_n(ev->data.scalar.value, ev->data.scalar.length);
    struct str tag = tag_of(ev);
    size_t line = ev->start_mark.line + 1;
    bool plain = ev->data.scalar.plain_implicit;
    if (!tag.n || str_eqc(tag, "!")) {
        tag = plain && !tag.n ? STR_NULL : STR("str");
    } else if (str_eqc(tag, "binary")) {
        return base64(b, ev, ret);
    } else if (!str_eqc(tag, "str") && !str_eqc(tag, "bool") && !str_eqc(tag, "int") &&
               !str_eqc(tag, "float") && !str_eqc(tag, "null") && !str_eqc(tag, "timestamp")) {
        tag = STR("str"); // a tag of somebody's own: the text
    }
    struct yaml_scalar s = {.kind = YAML_STRING};
    if (!str_eqc(tag, "str"))
        s = yaml_resolve(text);
    if (b->r->core)
        core_scalar(b->a, &text, &s);
    static const char *const names[] = {[YAML_STRING] = "str",
                                        [YAML_NULL] = "null",
                                        [YAML_BOOL] = "bool",
                                        [YAML_INT] = "int",
                                        [YAML_UINT] = "int",
                                        [YAML_FLOAT] = "float",
                                        [YAML_TIMESTAMP] = "timestamp",
                                        [YAML_MERGE] = "merge"};
    bool widened = str_eqc(tag, "float") && (s.kind == YAML_INT || s.kind == YAML_UINT);
    if (tag.n && !str_eqc(tag, names[s.kind]) && !widened) {
        b->r->failed = true;
        return err_set(b->e, ERR_BAD_REQUEST,
                       "yaml: line %zu: cannot decode !!%s `%.*s` as a !!%.*s", line, names[s.kind],
                       STR_ARG(str_sub(text, 0, 100)), STR_ARG(tag));
    }
    switch (s.kind) {
    case YAML_NULL:
        *ret = value_null(b->a);
        return 0;
    case YAML_BOOL:
        *ret = value_bool(b->a, s.b);
        return 0;
    case YAML_INT:
    case YAML_UINT:
    case YAML_FLOAT:
        if (s.kind == YAML_FLOAT && !isfinite(s.f))
            return fail(b, line, "json: unsupported value: %.*s",
                        isnan(s.f) ? STR("NaN")
                        : s.f > 0  ? STR("+Inf")
                                   : STR("-Inf"));
        *ret = number(b, s);
        return 0;
    default:
        *ret = value_str(b->a, copy(b, text.p, text.n));
        return 0;
    }
}

// A key as sigs.k8s.io/yaml makes it a string: numbers and booleans by their value.
static int key_text(struct builder *b, const struct value *k, size_t line, struct str *ret)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    switch (k->kind) {
    case VALUE_STRING:
        *ret = value_string(k);
        return 0;
    case VALUE_BOOL:
        *ret = k->b ? STR("true") : STR("false");
        return 0;
    case VALUE_INT:
    case VALUE_FLOAT:
        json_write(&out, k);
        *ret = arena_str(b->a, buf_view(&out));
        return 0;
    case VALUE_NULL:
        return fail(b, line, "unsupported map key of type: null%.*s", STR_NULL);
    default:
        return fail(b, line, "invalid map key: %.*s", json_text(b->a, k));
    }
}

static void path_of(struct buf *out, const struct frame *f)
{
    if (!f)
        return;
    path_of(out, f->up);
    if (f->key.p) {
        if (out->n)
            buf_char(out, '.');
        buf_str(out, f->key);
    } else {
        buf_printf(out, "[%zu]", f->index);
    }
}

static void duplicate(struct builder *b, const struct frame *up, struct str key, size_t line)
{
    if (!b->duplicates) {
        if (b->faults->ncauses < JSON_DUPLICATES)
            err_cause(b->faults, "FieldValueDuplicate", STR_NULL,
                      "line %zu: key \"%.*s\" already set in map", line,
                      STR_ARG(str_sub(key, 0, 300)));
        return;
    }
    if (b->duplicates->n >= JSON_DUPLICATES)
        return;
    _cleanup_buf_ struct buf out = BUF_MAX(4096); // cut short where keys are absurd
    struct frame last = {.up = up, .key = key.p ? key : STR("")};
    path_of(&out, &last);
    value_push(b->a, b->duplicates, value_str(b->a, arena_str(b->a, buf_view(&out))));
}

static int node(struct builder *b, yaml_event_t *ev, const struct frame *f, int depth,
                struct value **ret);

static int sequence(struct builder *b, const struct frame *up, int depth, struct value *list)
{
    struct frame f = {.up = up};
    for (;; f.index++) {
        yaml_event_t ev;
        int r = next_event(b, &ev);
        if (r < 0)
            return r;
        if (ev.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&ev);
            return 0;
        }
        struct value *item;
        r = node(b, &ev, &f, depth, &item);
        yaml_event_delete(&ev);
        if (r < 0)
            return r;
        value_push(b->a, list, item);
    }
}

// Puts the members of a `<<` value behind what the mapping says itself; of several mappings the
// first that has a key gives it.
static int merge(struct builder *b, const struct value *from, struct value *map,
                 struct key_index *keys, size_t line)
{
    if (value_is(from, VALUE_ARRAY)) {
        value_each_item (from, it) {
            if (!value_is(it, VALUE_OBJECT))
                return fail(b, line, "map merge requires map or sequence of maps as the value%.*s",
                            STR_NULL);
            int r = merge(b, it, map, keys, line);
            if (r < 0)
                return r;
        }
        return 0;
    }
    if (!value_is(from, VALUE_OBJECT))
        return fail(b, line, "map merge requires map or sequence of maps as the value%.*s",
                    STR_NULL);
    value_each_field (from, m) {
        if (key_index_add(keys, m->key) >= 0)
            continue;
        value_push_member(b->a, map, m->key, m->value);
    }
    return 0;
}

static int mapping_entries(struct builder *b, const struct frame *up, int depth, struct value *map,
                           struct key_index *keys)
{
    struct frame f = {.up = up};
    struct value *merges = NULL; // in the order of the text, with their lines
    for (;;) {
        yaml_event_t ev;
        struct value *k, *v;
        struct str key;
        int r = next_event(b, &ev);
        if (r < 0)
            return r;
        size_t line = ev.start_mark.line + 1;
        if (ev.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&ev);
            break;
        }
        bool is_merge = ev.type == YAML_SCALAR_EVENT && ev.data.scalar.plain_implicit &&
                        str_eqc(str_n(ev.data.scalar.value, ev.data.scalar.length), "<<");
        f.key = STR("");
        r = node(b, &ev, &f, depth, &k);
        yaml_event_delete(&ev);
        if (r < 0 || (r = key_text(b, k, line, &key)) < 0)
            return r;
        f.key = key.p ? key : STR("");
        r = next_event(b, &ev);
        if (r < 0)
            return r;
        r = node(b, &ev, &f, depth, &v);
        yaml_event_delete(&ev);
        if (r < 0)
            return r;
        if (is_merge) {
            if (!merges)
                merges = value_array(b->a);
            value_push(b->a, merges, v);
            value_push(b->a, merges, value_int(b->a, (int64_t)line));
            continue;
        }
        ptrdiff_t at = key_index_add(keys, key);
        if (at >= 0) {
            duplicate(b, up, key, line);
            map->members[at].value = v;
        } else {
            value_push_member(b->a, map, key, v);
        }
    }
    for (size_t i = 0; i < value_len(merges); i += 2) {
        int r = merge(b, merges->items[i], map, keys, (size_t)merges->items[i + 1]->i);
        if (r < 0)
            return r;
    }
    return 0;
}

// The node that begins with *ev, which the caller deletes.
static int node(struct builder *b, yaml_event_t *ev, const struct frame *f, int depth,
                struct value **ret)
{
    size_t line = ev->start_mark.line + 1;
    struct anchor *anchor = NULL;
    int r = spend(b, line, 1);
    if (r < 0)
        return r;
    switch (ev->type) {
    case YAML_ALIAS_EVENT:
        return alias(b, ev, depth, ret);
    case YAML_SCALAR_EVENT:
        anchor = anchor_open(b, ev->data.scalar.anchor);
        r = scalar(b, ev, ret);
        break;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT: {
        if (depth >= YAML_DEPTH)
            return fail(b, line, "exceeded max depth%.*s", STR_NULL);
        if (ev->type == YAML_SEQUENCE_START_EVENT) {
            anchor = anchor_open(b, ev->data.sequence_start.anchor);
            *ret = value_array(b->a);
            r = sequence(b, f, depth + 1, *ret);
            break;
        }
        anchor = anchor_open(b, ev->data.mapping_start.anchor);
        *ret = value_object(b->a);
        struct key_index *keys = mem_zalloc(sizeof *keys);
        r = mapping_entries(b, f, depth + 1, *ret, keys);
        key_index_done(keys);
        free(keys);
        break;
    }
    default:
        return fail(b, line, "unexpected event%.*s", STR_NULL);
    }
    if (r == 0 && anchor)
        anchor->value = *ret;
    return r;
}

struct yaml_reader *yaml_open_core(struct str in)
{
    struct yaml_reader *r = yaml_open(in);
    r->core = true;
    return r;
}

struct yaml_reader *yaml_open(struct str in)
{
    struct yaml_reader *r = mem_zalloc(sizeof *r);
    BUG_ON(!yaml_parser_initialize(&r->parser));
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)(in.p ? in.p : ""), in.n);
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    return r;
}

void yaml_close(struct yaml_reader *r)
{
    if (!r)
        return;
    yaml_parser_delete(&r->parser);
    free(r);
}

static int document(struct builder *b, struct value **ret)
{
    for (;;) {
        yaml_event_t ev;
        struct value *v = NULL;
        int r = next_event(b, &ev);
        if (r < 0)
            return r;
        yaml_event_type_t type = ev.type;
        if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT ||
            type == YAML_DOCUMENT_END_EVENT) {
            yaml_event_delete(&ev);
            continue;
        }
        if (type == YAML_STREAM_END_EVENT) {
            yaml_event_delete(&ev);
            b->r->ended = true;
            return 0;
        }
        r = node(b, &ev, NULL, 0, &v);
        yaml_event_delete(&ev);
        if (r < 0)
            return r;
        *ret = v;
        return 1;
    }
}

int yaml_next(struct yaml_reader *r, struct arena *a, struct value *duplicates, struct value **ret,
              struct err *e)
{
    if (r->ended)
        return 0;
    if (r->failed)
        return err_set(e, ERR_BAD_REQUEST, "yaml: the stream is broken");
    struct err faults = ERR_INIT;
    struct builder b = {
        .r = r, .a = a, .duplicates = duplicates, .e = e, .faults = &faults, .budget = YAML_NODES};
    struct value *v = NULL;
    int rc = document(&b, &v);
    map_done(&b.anchors);
    if (rc == 1 && faults.ncauses) {
        _cleanup_buf_ struct buf text = BUF_INIT;
        for (size_t i = 0; i < faults.ncauses; i++)
            buf_printf(&text, "\n  %s", faults.causes[i].message);
        rc = err_set(e, ERR_BAD_REQUEST, "yaml: unmarshal errors:%s", buf_cstr(&text));
    }
    err_done(&faults);
    if (rc == 1)
        *ret = v;
    return rc;
}

int yaml_parse(struct arena *a, struct str in, struct value *duplicates, struct value **ret,
               struct err *e)
{
    struct yaml_reader *r = yaml_open(in);
    struct value *v = NULL, *more;
    int rc = yaml_next(r, a, duplicates, &v, e);
    if (rc == 1) {
        do // an empty document behind a last "---" is none
            rc = yaml_next(r, a, duplicates, &more, e);
        while (rc == 1 && more->kind == VALUE_NULL);
        if (rc == 1)
            rc = err_set(e, ERR_BAD_REQUEST, "yaml: more than one document");
    } else if (rc == 0) {
        v = value_null(a);
    }
    yaml_close(r);
    if (rc < 0)
        return rc;
    *ret = v;
    return 0;
}
