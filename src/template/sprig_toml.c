// toToml, as helm's encoder writes it: a table's plain values first, then its tables, each indented
// by its depth; keys sorted; floats with a point.
#include "template/sprig.h"
#include "text/go_quote.h"

#define TOML_DEPTH 100

static void key_write(struct buf *b, struct str key)
{
    bool bare = key.n > 0;
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        bare &=
            c == '_' || c == '-' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
    }
    if (bare)
        buf_str(b, key);
    else
        go_quote(b, key);
}

static bool is_table(const struct value *v)
{
    return value_is(v, VALUE_OBJECT);
}

static bool is_tables(const struct value *v)
{
    if (!value_is(v, VALUE_ARRAY) || !v->n)
        return false;
    value_each_item (v, item) {
        if (!is_table(item))
            return false;
    }
    return true;
}

static bool plain_write(struct arena *a, struct buf *b, const struct value *v, int depth);

static bool inline_write(struct arena *a, struct buf *b, const struct value *v, int depth)
{
    struct member **order = template_sorted(a, v);
    buf_char(b, '{');
    for (uint32_t i = 0; i < v->n; i++) {
        buf_puts(b, i ? ", " : "");
        key_write(b, order[i]->key);
        buf_puts(b, " = ");
        if (!plain_write(a, b, order[i]->value, depth + 1))
            return false;
    }
    buf_char(b, '}');
    return true;
}

static bool plain_write(struct arena *a, struct buf *b, const struct value *v, int depth)
{
    if (depth > TOML_DEPTH)
        return false;
    switch (v->kind) {
    case VALUE_NULL:
        return false; // TOML has no null
    case VALUE_FLOAT: {
        size_t at = b->n;
        template_float(b, v->f, v->f > -1e15 && v->f < 1e15 ? 'f' : 'e', -1);
        if (!memchr(b->p + at, '.', b->n - at) && !memchr(b->p + at, 'e', b->n - at))
            buf_puts(b, ".0");
        return true;
    }
    case VALUE_STRING:
        go_quote(b, value_string(v));
        return true;
    case VALUE_ARRAY:
        buf_char(b, '[');
        for (uint32_t i = 0; i < v->n; i++) {
            buf_puts(b, i ? ", " : "");
            if (!plain_write(a, b, v->items[i], depth + 1))
                return false;
        }
        buf_char(b, ']');
        return true;
    case VALUE_OBJECT:
        return inline_write(a, b, v, depth);
    default:
        template_print(b, v);
        return true;
    }
}

static void indent(struct buf *b, int depth)
{
    for (int i = 0; i < depth; i++)
        buf_puts(b, "  ");
}

static bool table_write(struct arena *a, struct buf *b, const struct value *v, struct str path,
                        int depth)
{
    struct member **order = template_sorted(a, v);
    if (depth > TOML_DEPTH)
        return false;
    for (uint32_t i = 0; i < v->n; i++) {
        const struct value *item = order[i]->value;
        if (is_table(item) || is_tables(item) || value_is(item, VALUE_NULL))
            continue;
        indent(b, depth);
        key_write(b, order[i]->key);
        buf_puts(b, " = ");
        if (!plain_write(a, b, item, depth))
            return false;
        buf_char(b, '\n');
    }
    for (uint32_t i = 0; i < v->n; i++) {
        const struct value *item = order[i]->value;
        if (!is_table(item) && !is_tables(item))
            continue;
        _cleanup_buf_ struct buf name = BUF_INIT;
        buf_str(&name, path);
        buf_puts(&name, path.n ? "." : "");
        key_write(&name, order[i]->key);
        struct str full = arena_str(a, buf_view(&name));
        bool many = is_tables(item);
        for (uint32_t k = 0; k < (many ? item->n : 1); k++) {
            if (depth == 0 && b->n)
                buf_char(b, '\n');
            indent(b, depth);
            buf_puts(b, many ? "[[" : "[");
            buf_str(b, full);
            buf_puts(b, many ? "]]\n" : "]\n");
            if (!table_write(a, b, many ? item->items[k] : item, full, depth + 1))
                return false;
        }
    }
    return true;
}

static struct value *fn_to_toml(struct template_call *c, struct value **args, size_t n)
{
    (void)n;
    struct arena *a = template_arena(c);
    struct buf b = BUF_MAX((size_t)64 << 20);
    struct value *v = template_plain(a, args[0]);
    if (!is_table(v) || !table_write(a, &b, v, STR(""), 0)) {
        buf_done(&b);
        return value_strc(a, "toml: top-level values must be Go maps or structs");
    }
    return sprig_take(c, &b);
}

static const struct template_function rows[] = {
    {"mustToToml", "a", fn_to_toml},
    {"toToml", "a", fn_to_toml},
};
const struct template_functions sprig_toml = {rows, sizeof rows / sizeof *rows};
