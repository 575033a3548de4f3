// `coracle describe`: an object in full, for people, with the events about it. One way for every
// kind: the fields as they are, in words, as kubectl describes kinds that it has no page for.
#include "base/env.h"
#include "base/guard.h"
#include "base/time.h"
#include "cli/flags.h"
#include "cli/objects.h"
#include "cli/print.h"
#include "cli/table.h"
#include "client/client.h"
#include "object/json.h"

enum { INDENT = 2, DEPTH_MAX = 64 };

struct describe {
    struct cli *c;
    struct arena *a;
    struct buf out;
};

// "hostIP" becomes "Host IP", "nodeName" "Node Name".
static struct str title(struct arena *a, struct str key)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < key.n; i++) {
        char ch = key.p[i];
        bool upper = ch >= 'A' && ch <= 'Z';
        bool before_upper = i && key.p[i - 1] >= 'A' && key.p[i - 1] <= 'Z';
        if (upper && i && !before_upper)
            buf_char(&b, ' ');
        buf_char(&b, !i && ch >= 'a' && ch <= 'z' ? (char)(ch - 'a' + 'A') : ch);
    }
    struct str s = arena_str(a, buf_view(&b));
    buf_done(&b);
    return s;
}

static bool is_branch(const struct value *v)
{
    return (value_is(v, VALUE_OBJECT) || value_is(v, VALUE_ARRAY)) && value_len(v) > 0;
}

static void pad(struct buf *b, size_t n)
{
    while (n-- > 0)
        buf_char(b, ' ');
}

// A scalar on one line; of a text with more lines the others stand below, indented as the first.
static void leaf(struct describe *d, const struct value *v, size_t column)
{
    struct str text =
        value_is(v, VALUE_STRING) ? value_string(v)
        : value_is(v, VALUE_OBJECT) || value_is(v, VALUE_ARRAY) || value_is(v, VALUE_NULL)
            ? STR("<none>")
            : json_text(d->a, v);
    for (size_t i = 0; i < text.n; i++) {
        unsigned char ch = (unsigned char)text.p[i];
        if (ch == '\n' && i + 1 < text.n) {
            buf_char(&d->out, '\n');
            pad(&d->out, column);
        } else if (ch != '\n') {
            buf_char(&d->out, ch < 0x20 || ch == 0x7f ? '?' : (char)ch);
        }
    }
    buf_char(&d->out, '\n');
}

static void tree(struct describe *d, const struct value *object, size_t indent, int depth)
{
    if (depth > DEPTH_MAX)
        return;
    size_t width = 0;
    value_each_field (object, f)
        if (!is_branch(f->value)) {
            size_t n = title(d->a, f->key).n;
            width = n > width ? n : width;
        }
    value_each_field (object, f) {
        struct str key = title(d->a, f->key);
        pad(&d->out, indent);
        buf_printf(&d->out, "%.*s:", STR_ARG(key));
        if (!is_branch(f->value)) {
            pad(&d->out, width - key.n + 2);
            leaf(d, f->value, indent + width + 3);
            continue;
        }
        buf_char(&d->out, '\n');
        if (value_is(f->value, VALUE_OBJECT))
            tree(d, f->value, indent + INDENT, depth + 1);
        value_each_item (f->value, item) {
            if (value_is(item, VALUE_OBJECT)) {
                if (item_i)
                    buf_char(&d->out, '\n');
                tree(d, item, indent + INDENT, depth + 1);
            } else {
                pad(&d->out, indent + INDENT);
                leaf(d, item, indent + INDENT);
            }
        }
    }
}

// "Labels:       a=b" and the others below. What kubectl keeps for itself in an annotation is left
// out: it repeats the object, a Secret's data included.
static void pairs(struct describe *d, const char *name, const char *sign, const struct value *map)
{
    size_t i = 0;
    buf_printf(&d->out, "%-14s", name);
    value_each_field (map, f) {
        if (str_eqc(f->key, "kubectl.kubernetes.io/last-applied-configuration"))
            continue;
        pad(&d->out, i++ ? 14 : 0);
        buf_printf(&d->out, "%.*s%s", STR_ARG(f->key), sign);
        leaf(d, f->value, 14);
    }
    if (!i)
        buf_puts(&d->out, "<none>\n");
}

static void head(struct describe *d, const struct kind *k, const struct value *v)
{
    static const struct {
        const char *name, *path;
    } lines[] = {{"Name:", "metadata.name"}, {"Namespace:", "metadata.namespace"}};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct str s = value_str_at(v, lines[i].path);
        buf_printf(&d->out, "%-14s%.*s\n", lines[i].name, STR_ARG(s.n ? s : STR("<none>")));
    }
    pairs(d, "Labels:", "=", value_at(v, "metadata.labels"));
    pairs(d, "Annotations:", ": ", value_at(v, "metadata.annotations"));
    buf_printf(&d->out, "%-14s%.*s\n%-14s%.*s\n", "API Version:", STR_ARG(k->api_version),
               "Kind:", STR_ARG(k->kind));
}

static struct str age(struct arena *a, const struct value *event)
{
    int64_t then;
    struct str last = value_str_at(event, "lastTimestamp");
    if (!last.n)
        last = value_str_at(event, "eventTime");
    if (!time_parse_rfc3339(last, &then))
        return STR("<unknown>");
    _cleanup_buf_ struct buf b = BUF_INIT;
    int64_t passed = env_now(env_system()) - then;
    duration_write_human(&b, passed > 0 ? passed : 0);
    return arena_str(a, buf_view(&b));
}

static void events(struct describe *d, const struct value *v)
{
    struct str selector =
        arena_printf(d->a, "involvedObject.uid=%.*s", STR_ARG(value_str_at(v, "metadata.uid")));
    struct str ns = value_str_at(v, "metadata.namespace");
    _cleanup_answer_ struct api_answer answer = {0};
    _cleanup_err_ struct err e = ERR_INIT;
    if (client_list(d->c->client, KIND("", "events"), ns, STR_NULL, selector, &answer, &e) < 0) {
        buf_printf(&d->out, "Events:       <unknown: %s>\n", e.message);
        return;
    }
    if (!answer.nitems) {
        buf_puts(&d->out, "Events:       <none>\n");
        return;
    }
    static const char *const headers[] = {"  Type", "Reason", "Age", "From", "Message",
                                          "  ----", "------", "---", "----", "-------"};
    struct table t;
    table_init(&t, d->a, 5);
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        table_cell(&t, str_of(headers[i]));
    for (size_t i = 0; i < answer.nitems; i++) {
        struct value *o = object_tree(d->a, answer.items[i]);
        struct str from = value_str_at(o, "source.component");
        if (!from.n)
            from = value_str_at(o, "reportingComponent");
        table_cell(&t, arena_printf(d->a, "  %.*s", STR_ARG(value_str_at(o, "type"))));
        table_cell(&t, value_str_at(o, "reason"));
        table_cell(&t, age(d->a, o));
        table_cell(&t, from);
        table_cell(&t, value_str_at(o, "message"));
    }
    buf_puts(&d->out, "Events:\n");
    table_write(&d->out, &t);
}

static void describe(struct describe *d, const struct kind *k, const struct object *o)
{
    struct value *v = value_clone(d->a, object_tree(d->a, o));
    struct value *rest = value_object(d->a), *metadata = value_object(d->a);
    if (d->out.n)
        buf_puts(&d->out, "\n\n");
    head(d, k, v);
    static const char *const in_head[] = {"name",        "namespace",     "labels",
                                          "annotations", "managedFields", "selfLink"};
    value_each_field (value_getc(v, "metadata"), f) {
        bool shown = false;
        for (size_t i = 0; i < ARRAY_LEN(in_head); i++)
            shown = shown || str_eqc(f->key, in_head[i]);
        if (!shown)
            value_push_member(d->a, metadata, f->key, f->value);
    }
    value_setc(d->a, rest, "metadata", metadata);
    bool secret = str_eqc(k->kind, "Secret"); // sizes, not what is secret
    value_each_field (v, f) {
        if (str_eqc(f->key, "kind") || str_eqc(f->key, "apiVersion") || str_eqc(f->key, "metadata"))
            continue;
        if (secret && str_eqc(f->key, "data"))
            value_each_field (f->value, datum)
                datum->value = value_str(d->a, arena_printf(d->a, "%zu characters of base64",
                                                            value_string(datum->value).n));
        value_push_member(d->a, rest, f->key, f->value);
    }
    tree(d, rest, 0, 0);
    events(d, v);
}

static int run(struct describe *d, const struct object_args *args, struct err *e)
{
    struct cli *c = d->c;
    int status = CLI_OK;
    for (size_t i = 0; i < args->n; i++) {
        const struct object_arg *arg = &args->at[i];
        struct str ns = arg->kind->flags & KIND_NAMESPACED ? c->ns : STR_NULL;
        _cleanup_answer_ struct api_answer answer = {0};
        _cleanup_object_ struct object *o = NULL;
        int r = arg->name.n ? client_get(c->client, arg->kind, ns, arg->name, &o, e)
                            : client_list(c->client, arg->kind, ns, STR_NULL, STR_NULL, &answer, e);
        if (r < 0) {
            status = cli_fail(c, e);
            continue;
        }
        if (o)
            describe(d, arg->kind, o);
        for (size_t j = 0; j < answer.nitems; j++)
            describe(d, arg->kind, answer.items[j]);
    }
    fwrite(d->out.p, 1, d->out.n, c->out);
    return status;
}

int verb_describe(struct cli *c, int argc, char **argv)
{
    const struct flag flags[] = {CLI_ALL_NAMESPACES_FLAG(c), CLI_CLUSTER_FLAGS(c)};
    const struct usage usage = {.synopsis = "coracle describe KIND [NAME…] | KIND/NAME… [flags]",
                                .text = "Shows objects in full, for people, with their events.",
                                .examples = "  coracle describe pod web\n"
                                            "  coracle describe node/node-1",
                                .flags = flags,
                                .nflags = ARRAY_LEN(flags)};
    int nargs, parsed = flags_parse(&usage, argc, argv, &nargs);
    if (parsed != 0)
        return parsed > 0 ? CLI_OK : CLI_USAGE;
    _cleanup_err_ struct err e = ERR_INIT;
    struct object_args *args = arena_new(c->arena, struct object_args);
    if (objects_parse(c->arena, argv + 1, nargs, args, &e) < 0)
        return cli_usage(c, "describe", "%s", e.message);
    if (cli_connect(c, &e) < 0)
        return cli_error(c, &e);
    struct describe d = {.c = c, .a = c->arena};
    int status = run(&d, args, &e);
    buf_done(&d.out);
    return status;
}
