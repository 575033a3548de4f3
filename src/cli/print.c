// The forms of -o. Each is a row: how it begins, and what prints it.
#include "cli/print.h"
#include "base/env.h"
#include "base/guard.h"
#include "cli/jsonpath.h"
#include "cli/table.h"
#include "object/json.h"
#include "object/yaml.h"
#include "schema/columns.h"

struct print {
    struct cli *c;
    struct arena *a;
    struct str rest; // behind '=' of the form
    const struct print_list *lists;
    size_t nlists;
    const struct print_options *opt;
    struct buf out;
};

struct str print_name(struct arena *a, const struct kind *k, struct str name)
{
    const char *dot = k->group.n ? "." : "";
    return arena_printf(a, "%.*s%s%.*s/%.*s", STR_ARG(k->singular), dot, STR_ARG(k->group),
                        STR_ARG(name));
}

static struct str cell_text(struct arena *a, const struct value *v)
{
    if (!v || v->kind == VALUE_NULL)
        return STR("<none>");
    return v->kind == VALUE_STRING ? value_string(v) : json_text(a, v);
}

// --- tables ---

static struct str upper(struct arena *a, struct str s)
{
    char *p = arena_cstr(a, s);
    for (size_t i = 0; i < s.n; i++)
        p[i] = p[i] >= 'a' && p[i] <= 'z' ? (char)(p[i] - 'a' + 'A') : p[i];
    return str_n(p, s.n);
}

static void table_of(struct print *p, const struct print_list *l, bool wide)
{
    const struct kind *k = l->kind;
    bool ns = p->opt->with_namespace && (k->flags & KIND_NAMESPACED);
    size_t shown = ns;
    for (size_t i = 0; i < k->ncolumns; i++)
        shown += wide || k->columns[i].priority == 0;
    struct table t;
    table_init(&t, p->a, shown);
    if (!p->opt->no_headers) {
        if (ns)
            table_cell(&t, STR("NAMESPACE"));
        for (size_t i = 0; i < k->ncolumns; i++)
            if (wide || k->columns[i].priority == 0)
                table_cell(&t, upper(p->a, k->columns[i].name));
    }
    int64_t now = env_now(env_system());
    for (size_t i = 0; i < l->n; i++) {
        struct value *row = schema_table_row(p->a, k, l->items[i], now);
        if (ns)
            table_cell(&t, value_str_at(l->items[i], "metadata.namespace"));
        for (size_t j = 0; j < k->ncolumns; j++) {
            const struct column *c = &k->columns[j];
            struct str text = cell_text(p->a, value_item(row, j));
            if (p->opt->with_kind && str_eqc(c->format, "name"))
                text = print_name(p->a, k, text);
            if (wide || c->priority == 0)
                table_cell(&t, text);
        }
    }
    table_write(&p->out, &t);
}

static int print_tables(struct print *p, bool wide)
{
    bool first = true;
    for (size_t i = 0; i < p->nlists; i++) {
        if (!p->lists[i].n)
            continue;
        if (!first)
            buf_char(&p->out, '\n');
        first = false;
        table_of(p, &p->lists[i], wide);
    }
    return 0;
}

static int form_table(struct print *p, struct err *e)
{
    (void)e;
    return print_tables(p, false);
}

static int form_wide(struct print *p, struct err *e)
{
    (void)e;
    return print_tables(p, true);
}

// --- whole objects ---

static int by_key(const void *a, const void *b)
{
    return str_cmp(((const struct member *)a)->key, ((const struct member *)b)->key);
}

void print_sort_keys(struct value *v)
{
    value_each_item (v, item)
        print_sort_keys(item);
    value_each_field (v, f)
        print_sort_keys(f->value);
    if (value_is(v, VALUE_OBJECT) && v->n > 1)
        qsort(v->members, v->n, sizeof *v->members, by_key);
}

// The one object, or a List of all.
static struct value *whole(struct print *p)
{
    if (p->opt->single && p->nlists == 1 && p->lists[0].n == 1)
        return p->lists[0].items[0];
    struct value *list = value_object(p->a), *items = value_array(p->a);
    for (size_t i = 0; i < p->nlists; i++)
        for (size_t j = 0; j < p->lists[i].n; j++)
            value_push(p->a, items, p->lists[i].items[j]);
    value_setc(p->a, list, "apiVersion", value_strc(p->a, "v1"));
    value_setc(p->a, list, "items", items);
    value_setc(p->a, list, "kind", value_strc(p->a, "List"));
    value_set_at(p->a, list, "metadata.resourceVersion", value_strc(p->a, ""));
    return list;
}

static int form_json(struct print *p, struct err *e)
{
    (void)e;
    struct value *v = whole(p);
    print_sort_keys(v);
    json_write_pretty(&p->out, v, 4);
    buf_char(&p->out, '\n');
    return 0;
}

static int form_yaml(struct print *p, struct err *e)
{
    (void)e;
    yaml_write(&p->out, whole(p));
    return 0;
}

static int form_name(struct print *p, struct err *e)
{
    (void)e;
    for (size_t i = 0; i < p->nlists; i++)
        for (size_t j = 0; j < p->lists[i].n; j++) {
            struct str name = value_str_at(p->lists[i].items[j], "metadata.name");
            buf_str(&p->out, print_name(p->a, p->lists[i].kind, name));
            buf_char(&p->out, '\n');
        }
    return 0;
}

static int form_jsonpath(struct print *p, struct err *e)
{
    struct value *v = whole(p);
    print_sort_keys(v);
    return jsonpath_write(&p->out, p->a, p->rest, v, e);
}

static int form_custom(struct print *p, struct err *e)
{
    struct str rest = p->rest, paths[64], names[64];
    size_t n = 0;
    while (rest.p && n < ARRAY_LEN(paths)) {
        paths[n] = str_cut(&rest, ',');
        names[n] = str_cut(&paths[n], ':');
        if (!names[n].n || !paths[n].n)
            return err_set(e, ERR_BAD_REQUEST,
                           "custom-columns: expected <header>:<json-path-expr> instead of %.*s",
                           STR_ARG(p->rest));
        n++;
    }
    if (!n || rest.p)
        return err_set(e, ERR_BAD_REQUEST, "custom-columns: from 1 to 64 columns");
    struct table t;
    table_init(&t, p->a, n);
    for (size_t i = 0; i < n && !p->opt->no_headers; i++)
        table_cell(&t, names[i]);
    for (size_t i = 0; i < p->nlists; i++)
        for (size_t j = 0; j < p->lists[i].n; j++)
            for (size_t k = 0; k < n; k++) {
                _cleanup_buf_ struct buf text = BUF_INIT;
                bool found = false;
                int r = jsonpath_column(&text, p->a, paths[k], p->lists[i].items[j], &found, e);
                if (r < 0)
                    return r;
                table_cell(&t, found ? arena_str(p->a, buf_view(&text)) : STR("<none>"));
            }
    table_write(&p->out, &t);
    return 0;
}

// --- the table of forms ---

static const struct form {
    const char *name; // with '=': it takes a text
    int (*run)(struct print *p, struct err *e);
} forms[] = {
    {"", form_table},
    {"wide", form_wide},
    {"json", form_json},
    {"yaml", form_yaml},
    {"name", form_name},
    {"jsonpath=", form_jsonpath},
    {"custom-columns=", form_custom},
};

static const struct form *find(struct str output, struct str *ret_rest)
{
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct str name = str_of(forms[i].name);
        bool takes = str_ends(name, STR("="));
        if (takes ? str_starts(output, name) : str_eq(output, name)) {
            *ret_rest = str_from(output, name.n);
            return &forms[i];
        }
    }
    return NULL;
}

int print_check(const struct cli *c, struct err *e)
{
    struct str rest;
    if (find(str_of(c->output), &rest))
        return 0;
    return err_set(e, ERR_BAD_REQUEST,
                   "unable to match a printer suitable for the output format \"%s\", allowed "
                   "formats are: custom-columns=, json, jsonpath=, name, wide, yaml",
                   c->output);
}

int print_objects(struct cli *c, const struct print_list *lists, size_t n,
                  const struct print_options *opt, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct print p = {.c = c, .a = &a, .lists = lists, .nlists = n, .opt = opt};
    const struct form *f = find(str_of(c->output), &p.rest);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < lists[i].n; j++)
            value_del_at(lists[i].items[j], "metadata.managedFields");
    int r = f ? f->run(&p, e) : print_check(c, e);
    if (r == 0 && !buf_ok(&p.out))
        r = err_set(e, ERR_TOO_LARGE, "the output is too large");
    if (r == 0)
        fwrite(p.out.p, 1, p.out.n, c->out);
    buf_done(&p.out);
    return r;
}
