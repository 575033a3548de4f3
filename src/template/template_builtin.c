// The functions of text/template itself.
#include "template/template_value.h"
#include "text/go_quote.h"
#include "text/unicode.h"
#include "text/utf8.h"

#define ARENA(call) template_arena(call)

static struct value *text_value(struct template_call *c, struct buf *b)
{
    struct value *v = value_str(ARENA(c), arena_str(ARENA(c), buf_view(b)));
    buf_done(b);
    return v;
}

static struct value *fn_not(struct template_call *c, struct value **args, size_t n)
{
    (void)n;
    return value_bool(ARENA(c), !template_true(args[0]));
}

// and, or: decided by the execution itself.
static struct value *fn_never(struct template_call *c, struct value **args, size_t n)
{
    (void)args;
    (void)n;
    return template_fail(c, "is no function");
}

static struct value *fn_len(struct template_call *c, struct value **args, size_t n)
{
    (void)n;
    const struct value *v = args[0];
    switch (v->kind) {
    case VALUE_NULL:
        return template_fail(c, "len of nil pointer");
    case VALUE_STRING:
    case VALUE_ARRAY:
    case VALUE_OBJECT:
        return template_int_value(ARENA(c), TEMPLATE_INT, v->n);
    case TEMPLATE_HOST:
        if (template_thing_of(v)->type->map)
            return template_int_value(ARENA(c), TEMPLATE_INT,
                                      (int64_t)value_len(template_thing_of(v)->fields));
        break;
    default:
        break;
    }
    return template_fail(c, "len of type %s", template_type_name(v));
}

// ---- index, slice ----

static bool index_number(struct template_call *c, const struct value *i, size_t cap, size_t *ret)
{
    if (i->kind == VALUE_NULL)
        return template_fail(c, "cannot index slice/array with nil"), false;
    if (i->kind != VALUE_INT)
        return template_fail(c, "cannot index slice/array with type %s", template_type_name(i)),
               false;
    if (i->i < 0 || (uint64_t)i->i > cap)
        return template_fail(c, "index out of range: %lld", (long long)i->i), false;
    *ret = (size_t)i->i;
    return true;
}

static struct value *fn_index(struct template_call *c, struct value **args, size_t n)
{
    struct value *v = args[0];
    if (v->kind == VALUE_NULL)
        return template_fail(c, "index of untyped nil");
    for (size_t i = 1; i < n; i++) {
        size_t at;
        if (v && v->kind == TEMPLATE_HOST && template_thing_of(v)->type->map)
            v = template_thing_of(v)->fields;
        switch (v ? v->kind : VALUE_NULL) {
        case VALUE_NULL:
            return template_fail(c, "index of nil pointer");
        case VALUE_ARRAY:
            if (!index_number(c, args[i], v->n, &at))
                return NULL;
            if (at >= v->n)
                return template_fail(c, "reflect: slice index out of range");
            v = v->items[at];
            break;
        case VALUE_STRING:
            if (!index_number(c, args[i], v->n, &at))
                return NULL;
            if (at >= v->n)
                return template_fail(c, "reflect: string index out of range");
            v = template_int_value(ARENA(c), TEMPLATE_UINT8, (unsigned char)v->s[at]);
            break;
        case VALUE_OBJECT:
            if (args[i]->kind == VALUE_NULL)
                return template_fail(c, "value is nil; should be of type string");
            if (args[i]->kind != VALUE_STRING)
                return template_fail(c, "value has type %s; should be string",
                                     template_type_name(args[i]));
            v = value_get(v, value_string(args[i]));
            break;
        default:
            return template_fail(c, "can't index item of type %s", template_type_name(v));
        }
    }
    return v;
}

static struct value *fn_slice(struct template_call *c, struct value **args, size_t n)
{
    const struct value *v = args[0];
    if (n > 4)
        return template_fail(c, "too many slice indexes: %zu", n - 1);
    if (v->kind == VALUE_NULL)
        return template_fail(c, "slice of untyped nil");
    if (v->kind == VALUE_STRING && n == 4)
        return template_fail(c, "cannot 3-index slice a string");
    if (v->kind != VALUE_STRING && v->kind != VALUE_ARRAY)
        return template_fail(c, "can't slice item of type %s", template_type_name(v));
    size_t at[3] = {0, v->n, v->n};
    for (size_t i = 1; i < n; i++)
        if (!index_number(c, args[i], v->n, &at[i - 1]))
            return NULL;
    if (at[0] > at[1] || (n == 4 && at[1] > at[2]))
        return template_fail(c, "invalid slice index: %zu > %zu", at[0] > at[1] ? at[0] : at[1],
                             at[0] > at[1] ? at[1] : at[2]);
    if (v->kind == VALUE_STRING)
        return value_str(ARENA(c), str_n(v->s + at[0], at[1] - at[0]));
    struct value *out = value_array(ARENA(c));
    out->b = v->b;
    for (size_t i = at[0]; i < at[1]; i++)
        value_push(ARENA(c), out, v->items[i]);
    return out;
}

// ---- Comparison ----

enum template_basic { BASIC_INVALID, BASIC_BOOL, BASIC_INT, BASIC_FLOAT, BASIC_STRING };

static enum template_basic basic(const struct value *v)
{
    switch (v->kind) {
    case VALUE_BOOL:
        return BASIC_BOOL;
    case VALUE_INT:
        return BASIC_INT;
    case VALUE_FLOAT:
        return BASIC_FLOAT;
    case VALUE_STRING:
        return v->b ? BASIC_INVALID : BASIC_STRING;
    default:
        return BASIC_INVALID;
    }
}

// 1: equal, 0: not, -1: a fault.
static int equal(struct template_call *c, const struct value *a, const struct value *b)
{
    enum template_basic ka = basic(a), kb = basic(b);
    bool anil = a->kind == VALUE_NULL, bnil = b->kind == VALUE_NULL;
    if (ka != kb) {
        if (anil || bnil)
            return 0;
        template_fail(c, "incompatible types for comparison: %s and %s", template_type_name(a),
                      template_type_name(b));
        return -1;
    }
    switch (ka) {
    case BASIC_BOOL:
        return a->b == b->b;
    case BASIC_INT:
        return a->i == b->i;
    case BASIC_FLOAT:
        return a->f == b->f;
    case BASIC_STRING:
        return str_eq(str_n(a->s, a->n), str_n(b->s, b->n));
    default:
        if (anil || bnil)
            return anil == bnil;
        struct str text = template_text(ARENA(c), b);
        template_fail(c, "non-comparable type %.*s: %s", STR_ARG(text), template_type_name(b));
        return -1;
    }
}

static struct value *fn_eq(struct template_call *c, struct value **args, size_t n)
{
    if (n < 2)
        return template_fail(c, "missing argument for comparison");
    for (size_t i = 1; i < n; i++) {
        int r = equal(c, args[0], args[i]);
        if (r)
            return r < 0 ? NULL : value_bool(ARENA(c), true);
    }
    return value_bool(ARENA(c), false);
}

static struct value *fn_ne(struct template_call *c, struct value **args, size_t n)
{
    (void)n;
    int r = equal(c, args[0], args[1]);
    return r < 0 ? NULL : value_bool(ARENA(c), !r);
}

// -1, 0, 1; 2: a fault.
static int order(struct template_call *c, const struct value *a, const struct value *b)
{
    enum template_basic ka = basic(a), kb = basic(b);
    if (ka == BASIC_INVALID || kb == BASIC_INVALID) {
        template_fail(c, "invalid type for comparison");
        return 2;
    }
    if (ka != kb) {
        template_fail(c, "incompatible types for comparison: %s and %s", template_type_name(a),
                      template_type_name(b));
        return 2;
    }
    switch (ka) {
    case BASIC_INT:
        return a->i < b->i ? -1 : a->i > b->i;
    case BASIC_FLOAT:
        return a->f < b->f ? -1 : a->f > b->f;
    case BASIC_STRING: {
        int r = str_cmp(str_n(a->s, a->n), str_n(b->s, b->n));
        return r < 0 ? -1 : r > 0;
    }
    default:
        template_fail(c, "invalid type for comparison");
        return 2;
    }
}

// param: bits of what is accepted: 1 less, 2 equal, 4 greater.
static struct value *fn_order(struct template_call *c, struct value **args, size_t n)
{
    (void)n;
    int r = order(c, args[0], args[1]);
    return r == 2 ? NULL : value_bool(ARENA(c), template_param(c) >> (r + 1) & 1);
}

// ---- Printing ----

static struct value *fn_printf(struct template_call *c, struct value **args, size_t n)
{
    struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    template_sprintf(&b, value_string(args[0]), args + 1, n - 1);
    return text_value(c, &b);
}

static struct value *fn_print(struct template_call *c, struct value **args, size_t n)
{
    struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    template_sprint(&b, args, n);
    return text_value(c, &b);
}

static struct value *fn_println(struct template_call *c, struct value **args, size_t n)
{
    struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, i ? " " : "");
        template_print(&b, args[i]);
    }
    buf_char(&b, '\n');
    return text_value(c, &b);
}

// ---- Escaping ----

static struct str one_text(struct template_call *c, struct value **args, size_t n)
{
    if (n == 1 && value_is(args[0], VALUE_STRING))
        return value_string(args[0]);
    struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    template_sprint(&b, args, n);
    struct str s = arena_str(ARENA(c), buf_view(&b));
    buf_done(&b);
    return s;
}

static struct value *fn_html(struct template_call *c, struct value **args, size_t n)
{
    struct str s = one_text(c, args, n);
    struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    for (size_t i = 0; i < s.n; i++)
        switch (s.p[i]) {
        case '\0':
            buf_puts(&b, "\xef\xbf\xbd");
            break;
        case '"':
            buf_puts(&b, "&#34;");
            break;
        case '\'':
            buf_puts(&b, "&#39;");
            break;
        case '&':
            buf_puts(&b, "&amp;");
            break;
        case '<':
            buf_puts(&b, "&lt;");
            break;
        case '>':
            buf_puts(&b, "&gt;");
            break;
        default:
            buf_char(&b, s.p[i]);
        }
    return text_value(c, &b);
}

static struct value *fn_js(struct template_call *c, struct value **args, size_t n)
{
    struct str s = one_text(c, args, n);
    struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    for (size_t at = 0, width; at < s.n; at += width) {
        uint32_t r = utf8_at(s, at, &width);
        if (r == '\\' || r == '\'' || r == '"')
            buf_printf(&b, "\\%c", (char)r);
        else if (r < ' ' || r == '<' || r == '>' || r == '&' || r == '=')
            buf_printf(&b, "\\u%04X", r);
        else if (r < 128 || go_printable(r))
            buf_add(&b, s.p + at, width);
        else
            buf_printf(&b, "\\u%04X", r);
    }
    return text_value(c, &b);
}

static struct value *fn_urlquery(struct template_call *c, struct value **args, size_t n)
{
    struct str s = one_text(c, args, n);
    struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char u = (unsigned char)s.p[i];
        bool plain = (u >= '0' && u <= '9') || ((u | 32) >= 'a' && (u | 32) <= 'z' && u < 128) ||
                     (u && strchr("-_.~", u));
        if (u == ' ')
            buf_char(&b, '+');
        else if (plain)
            buf_char(&b, (char)u);
        else
            buf_printf(&b, "%%%02X", u);
    }
    return text_value(c, &b);
}

static struct value *fn_call(struct template_call *c, struct value **args, size_t n)
{
    (void)n;
    if (args[0]->kind == VALUE_NULL)
        return template_fail(c, "call of nil");
    return template_fail(c, "non-function %s of type %s", "value", template_type_name(args[0]));
}

static const struct template_function rows[] = {
    {"and", "aa*", fn_never},
    {"call", "aa*", fn_call},
    {"eq", "aa*", fn_eq},
    {"ge", "aa", fn_order, 6},
    {"gt", "aa", fn_order, 4},
    {"html", "a*", fn_html},
    {"index", "aa*", fn_index},
    {"js", "a*", fn_js},
    {"le", "aa", fn_order, 3},
    {"len", "a", fn_len},
    {"lt", "aa", fn_order, 1},
    {"ne", "aa", fn_ne},
    {"not", "a", fn_not},
    {"or", "aa*", fn_never},
    {"print", "a*", fn_print},
    {"printf", "sa*", fn_printf},
    {"println", "a*", fn_println},
    {"slice", "aa*", fn_slice},
    {"urlquery", "a*", fn_urlquery},
};
const struct template_functions template_builtins = {rows, sizeof rows / sizeof *rows};
