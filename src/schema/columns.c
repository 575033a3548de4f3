// Tables for people, the generic part: paths and the columns that every kind has. The functions of
// particular kinds (a pod's status, a job's duration) are in columns_*.c.
//
// A cell of a column with a path is the value there, as JSON has it; what stands behind `|` in the
// path is shown when nothing is there ("spec.nodeName|<none>").
#include "schema/columns.h"
#include "base/time.h"
#include "schema/tables.h"

struct value *column_age(struct arena *a, const struct value *object, int64_t now);

static struct str unknown = STR("<unknown>");

// The age of a time text, for people.
static struct value *age_of(struct arena *a, struct str text, int64_t now)
{
    int64_t then;
    if (!text.n || !time_parse_rfc3339(text, &then))
        return value_str(a, unknown);
    _cleanup_buf_ struct buf b = BUF_INIT;
    duration_write_human(&b, elapsed(now, then));
    return value_str(a, arena_str(a, buf_view(&b)));
}

struct value *column_age(struct arena *a, const struct value *object, int64_t now)
{
    return age_of(a, value_str_at(object, "metadata.creationTimestamp"), now);
}

struct value *schema_table_columns(struct arena *a, const struct kind *kind)
{
    struct value *columns = value_array(a);
    for (size_t i = 0; i < kind->ncolumns; i++) {
        const struct column *c = &kind->columns[i];
        struct value *v = value_object(a);
        value_setc(a, v, "name", value_str(a, c->name));
        value_setc(a, v, "type", value_str(a, c->type));
        value_setc(a, v, "format", value_str(a, c->format));
        value_setc(a, v, "description", value_str(a, c->description));
        value_setc(a, v, "priority", value_int(a, c->priority));
        value_push(a, columns, v);
    }
    return columns;
}

// One step of a path: what it selects out of `from` goes into `to`.
static void path_step(struct arena *a, const struct value *from, struct str step, struct value *to)
{
    struct str name = step, index = STR_NULL;
    ptrdiff_t bracket = str_chr(step, '[');
    if (bracket >= 0) {
        name = str_sub(step, 0, (size_t)bracket);
        index = str_from(step, (size_t)bracket + 1);
        index.n -= str_ends(index, STR("]"));
    }
    struct value *v = name.n ? value_get(from, name) : (struct value *)from;
    if (!v)
        return;
    if (bracket < 0) {
        value_push(a, to, v);
        return;
    }
    struct str key = STR_NULL, want = STR_NULL;
    uint64_t number = 0;
    bool all = str_eqc(index, "*");
    if (str_starts(index, STR("?(@."))) { // ?(@.type=="Ready")
        struct str expression = str_from(index, 4);
        ptrdiff_t equals = str_find(expression, STR("=="));
        if (equals < 0)
            return;
        key = str_trim(str_sub(expression, 0, (size_t)equals));
        want = str_trim(str_from(expression, (size_t)equals + 2));
        if (str_ends(want, STR(")")))
            want.n--;
        want = str_trim(want);
        if (want.n >= 2 && (want.p[0] == '"' || want.p[0] == '\''))
            want = str_sub(want, 1, want.n - 2);
    } else if (!all && !str_to_u64(index, &number)) {
        // ['key.with.dots']
        if (index.n >= 2 && (index.p[0] == '"' || index.p[0] == '\'')) {
            v = value_get(v, str_sub(index, 1, index.n - 2));
            if (v)
                value_push(a, to, v);
        }
        return;
    }
    size_t at = 0;
    value_each_item (v, item) {
        if (key.p ? str_eq(value_string(value_get(item, key)), want) : all || at == number)
            value_push(a, to, item);
        at++;
    }
}

// Cuts the next step off a path: up to a dot that is not inside brackets.
static struct str path_cut(struct str *path)
{
    size_t depth = 0, i = 0;
    for (; i < path->n; i++) {
        if (path->p[i] == '[')
            depth++;
        else if (path->p[i] == ']' && depth)
            depth--;
        else if (path->p[i] == '.' && !depth)
            break;
    }
    struct str step = str_sub(*path, 0, i);
    *path = i < path->n ? str_from(*path, i + 1) : STR_NULL;
    // "a[0][1]": the rest of the brackets is a step without a name
    ptrdiff_t next = str_find(step, STR("]["));
    if (next >= 0) {
        size_t skip = (size_t)(next + 1);
        *path = (struct str){step.p + skip,
                             path->p ? (size_t)(path->p + path->n - step.p) - skip : step.n - skip};
        step.n = skip;
    }
    return step;
}

static void cell_text(struct buf *b, const struct value *v)
{
    switch (v->kind) {
    case VALUE_STRING:
        buf_str(b, value_string(v));
        break;
    case VALUE_INT:
        buf_i64(b, v->i);
        break;
    case VALUE_BOOL:
        buf_puts(b, v->b ? "true" : "false");
        break;
    default:
        break;
    }
}

struct value *schema_path(struct arena *a, const struct value *object, struct str path)
{
    struct value *now = value_array(a);
    value_push(a, now, (struct value *)object);
    if (str_starts(path, STR(".")))
        path = str_from(path, 1);
    while (path.n) {
        struct str step = path_cut(&path);
        struct value *next = value_array(a);
        value_each_item (now, v)
            path_step(a, v, step, next);
        now = next;
    }
    if (!now->n)
        return value_null(a);
    if (now->n == 1)
        return now->items[0];
    _cleanup_buf_ struct buf b = BUF_INIT;
    value_each_item (now, v) {
        if (b.n)
            buf_char(&b, ',');
        cell_text(&b, v);
    }
    return value_str(a, arena_str(a, buf_view(&b)));
}

// What a cell shows when nothing is at its path: the text behind `|`, in the column's type.
static struct value *otherwise(struct arena *a, const struct column *c, struct str text)
{
    int64_t n;
    if (str_eqc(c->type, "integer") && str_to_i64(text, &n))
        return value_int(a, n);
    if (str_eqc(c->type, "boolean") && (str_eqc(text, "false") || str_eqc(text, "true")))
        return value_bool(a, str_eqc(text, "true"));
    return text.p ? value_str(a, text) : value_strc(a, "");
}

struct value *schema_table_row(struct arena *a, const struct kind *kind, const struct value *object,
                               int64_t now)
{
    struct value *row = value_array(a);
    for (size_t i = 0; i < kind->ncolumns; i++) {
        const struct column *c = &kind->columns[i];
        if (c->function) {
            value_push(a, row, c->function(a, object, now));
            continue;
        }
        struct str fallback = str_of(c->path), path = str_cut(&fallback, '|');
        struct value *v = schema_path(a, object, path);
        if (v->kind == VALUE_NULL || (v->kind == VALUE_STRING && !v->n))
            v = otherwise(a, c, fallback);
        value_push(a, row, v);
    }
    return row;
}
