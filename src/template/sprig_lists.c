// Sprig's lists and what tests values.
#include "template/sprig.h"

#define ARENA(c) template_arena(c)
#define FN(name) static struct value *name(struct template_call *c, struct value **args, size_t n)
#define UNUSED_N (void)n
#define LIST_MAX 10000000

bool sprig_empty(const struct value *v)
{
    return !v || (v->kind != TEMPLATE_TIME && !template_true(v));
}

bool sprig_equal(const struct value *a, const struct value *b)
{
    if (!a || !b || a->kind != b->kind)
        return (!a || a->kind == VALUE_NULL) && (!b || b->kind == VALUE_NULL);
    switch (a->kind) {
    case VALUE_INT:
        return a->i == b->i && a->cap == b->cap;
    case VALUE_ARRAY:
        if (a->n != b->n)
            return false;
        for (uint32_t i = 0; i < a->n; i++)
            if (!sprig_equal(a->items[i], b->items[i]))
                return false;
        return true;
    case VALUE_OBJECT:
        if (a->n != b->n)
            return false;
        for (uint32_t i = 0; i < a->n; i++) {
            const struct value *other = value_get(b, a->members[i].key);
            if (!other || !sprig_equal(a->members[i].value, other))
                return false;
        }
        return true;
    case TEMPLATE_TIME:
    case TEMPLATE_HOST:
        return a->s == b->s;
    default:
        return value_eq(a, b);
    }
}

// A list, or NULL after a fault.
static const struct value *need_list(struct template_call *c, const struct value *v,
                                     const char *what)
{
    if (value_is(v, VALUE_ARRAY))
        return v;
    if (!v || v->kind == VALUE_NULL)
        template_fail(c, "reflect: call of reflect.Value.Type on zero Value");
    else
        template_fail(c, "Cannot %s type %s", what, template_kind_name(v));
    return NULL;
}

static struct value *copy(struct template_call *c, const struct value *list, size_t from, size_t to)
{
    struct value *out = value_array(ARENA(c));
    for (size_t i = from; i < to; i++)
        value_push(ARENA(c), out, list->items[i]);
    return out;
}

FN(fn_list)
{
    struct value *out = value_array(ARENA(c));
    for (size_t i = 0; i < n; i++)
        value_push(ARENA(c), out, args[i]);
    return out;
}

FN(fn_append)
{
    UNUSED_N;
    const struct value *l = need_list(c, args[0], "push on");
    if (!l)
        return NULL;
    struct value *out = copy(c, l, 0, l->n);
    value_push(ARENA(c), out, args[1]);
    return out;
}

FN(fn_prepend)
{
    UNUSED_N;
    const struct value *l = need_list(c, args[0], "prepend on");
    if (!l)
        return NULL;
    struct value *out = value_array(ARENA(c));
    value_push(ARENA(c), out, args[1]);
    for (uint32_t i = 0; i < l->n; i++)
        value_push(ARENA(c), out, l->items[i]);
    return out;
}

FN(fn_concat)
{
    struct value *out = value_array(ARENA(c));
    for (size_t k = 0; k < n; k++) {
        const struct value *l = need_list(c, args[k], "concat");
        if (!l)
            return NULL;
        for (uint32_t i = 0; i < l->n; i++)
            value_push(ARENA(c), out, l->items[i]);
    }
    return out;
}

FN(fn_first)
{
    UNUSED_N;
    const struct value *l = need_list(c, args[0], "find first on");
    return l && l->n ? l->items[0] : NULL;
}
FN(fn_last)
{
    UNUSED_N;
    const struct value *l = need_list(c, args[0], "find last on");
    return l && l->n ? l->items[l->n - 1] : NULL;
}
FN(fn_rest)
{
    UNUSED_N;
    const struct value *l = need_list(c, args[0], "find rest on");
    return l && l->n ? copy(c, l, 1, l->n) : NULL;
}
FN(fn_initial)
{
    UNUSED_N;
    const struct value *l = need_list(c, args[0], "find initial on");
    return l && l->n ? copy(c, l, 0, l->n - 1) : NULL;
}
FN(fn_reverse)
{
    UNUSED_N;
    const struct value *l = need_list(c, args[0], "find reverse on");
    if (!l)
        return NULL;
    struct value *out = value_array(ARENA(c));
    for (uint32_t i = l->n; i-- > 0;)
        value_push(ARENA(c), out, l->items[i]);
    return out;
}

FN(fn_compact)
{
    UNUSED_N;
    const struct value *l = need_list(c, args[0], "compact on");
    if (!l)
        return NULL;
    struct value *out = value_array(ARENA(c));
    for (uint32_t i = 0; i < l->n; i++)
        if (!sprig_empty(l->items[i]))
            value_push(ARENA(c), out, l->items[i]);
    return out;
}

static bool within(const struct value *list, const struct value *v)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (sprig_equal(list->items[i], v))
            return true;
    return false;
}

FN(fn_uniq)
{
    UNUSED_N;
    const struct value *l = need_list(c, args[0], "find uniq on");
    if (!l)
        return NULL;
    struct value *out = value_array(ARENA(c));
    for (uint32_t i = 0; i < l->n; i++)
        if (!within(out, l->items[i]))
            value_push(ARENA(c), out, l->items[i]);
    return out;
}

FN(fn_without)
{
    const struct value *l = need_list(c, args[0], "find without on");
    if (!l)
        return NULL;
    struct value *out = value_array(ARENA(c));
    for (uint32_t i = 0; i < l->n; i++) {
        bool omit = false;
        for (size_t k = 1; k < n; k++)
            omit |= sprig_equal(l->items[i], args[k]);
        if (!omit)
            value_push(ARENA(c), out, l->items[i]);
    }
    return out;
}

FN(fn_has)
{
    UNUSED_N;
    if (args[1]->kind == VALUE_NULL)
        return value_bool(ARENA(c), false);
    const struct value *l = need_list(c, args[1], "find has on");
    return l ? value_bool(ARENA(c), within(l, args[0])) : NULL;
}

FN(fn_slice)
{
    const struct value *l = args[0];
    if (!value_is(l, VALUE_ARRAY))
        return template_fail(c, "list should be type of slice or array but %s",
                             template_kind_name(l));
    if (!l->n)
        return NULL;
    int64_t from = n > 1 ? sprig_int(args[1]) : 0, to = n > 2 ? sprig_int(args[2]) : l->n;
    if (from < 0 || to > l->n || from > to)
        return template_fail(c, "reflect.Value.Slice: slice index out of bounds");
    return copy(c, l, (size_t)from, (size_t)to);
}

FN(fn_chunk)
{
    UNUSED_N;
    int64_t size = args[0]->i;
    const struct value *l = need_list(c, args[1], "chunk");
    if (!l)
        return NULL;
    if (size < 1)
        return template_fail(c, "runtime error: integer divide by zero");
    struct value *out = value_array(ARENA(c));
    for (size_t i = 0; i < l->n; i += (size_t)size)
        value_push(ARENA(c), out, copy(c, l, i, i + (size_t)size < l->n ? i + (size_t)size : l->n));
    return out;
}

static int text_order(const void *a, const void *b)
{
    return str_cmp(value_string(*(struct value *const *)a),
                   value_string(*(struct value *const *)b));
}

FN(fn_sort_alpha)
{
    UNUSED_N;
    struct value *l = sprig_texts(c, args[0]);
    qsort(l->items, l->n, sizeof *l->items, text_order);
    return l;
}

static struct value *counted(struct template_call *c, int64_t start, int64_t stop, int64_t step)
{
    struct value *out = value_array(ARENA(c));
    if (!step || (start < stop) != (step > 0))
        return out;
    for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
        if (out->n >= LIST_MAX)
            return template_fail(c, "list is longer than %d", LIST_MAX);
        value_push(ARENA(c), out, template_int_value(ARENA(c), TEMPLATE_INT, i));
    }
    return out;
}

FN(fn_until)
{
    UNUSED_N;
    return counted(c, 0, args[0]->i, args[0]->i < 0 ? -1 : 1);
}
FN(fn_until_step)
{
    UNUSED_N;
    return counted(c, args[0]->i, args[1]->i, args[2]->i);
}

FN(fn_seq)
{
    int64_t start = 1, step = 1, end;
    if (!n || n > 3)
        return value_strc(ARENA(c), "");
    end = args[n - 1]->i;
    if (n > 1)
        start = args[0]->i;
    if (end < start)
        step = -1;
    if (n == 3) {
        step = args[1]->i;
        if (!step || (step > 0 && end < start) || (step < 0 && end > start))
            return value_strc(ARENA(c), "");
    }
    struct buf b = BUF_MAX((size_t)16 << 20);
    for (int64_t i = start; step > 0 ? i <= end : i >= end; i += step) {
        if (!buf_ok(&b))
            break;
        buf_puts(&b, b.n ? " " : "");
        buf_i64(&b, i);
    }
    return sprig_take(c, &b);
}

// ---- Tests of values ----

FN(fn_default)
{
    (void)c;
    return n < 2 || sprig_empty(args[1]) ? args[0] : args[1];
}
FN(fn_empty)
{
    UNUSED_N;
    return value_bool(ARENA(c), sprig_empty(args[0]));
}
FN(fn_coalesce)
{
    (void)c;
    for (size_t i = 0; i < n; i++)
        if (!sprig_empty(args[i]))
            return args[i];
    return NULL;
}
// param: 1 all, 0 any
FN(fn_all)
{
    bool all = template_param(c);
    for (size_t i = 0; i < n; i++)
        if (sprig_empty(args[i]) == all)
            return value_bool(ARENA(c), !all);
    return value_bool(ARENA(c), all);
}
FN(fn_ternary)
{
    (void)c;
    UNUSED_N;
    return args[2]->b ? args[0] : args[1];
}
FN(fn_type_of)
{
    UNUSED_N;
    return value_strc(ARENA(c), template_type_name(args[0]));
}
FN(fn_type_is)
{
    UNUSED_N;
    return value_bool(ARENA(c), str_eqc(value_string(args[0]), template_type_name(args[1])));
}
FN(fn_type_is_like)
{
    UNUSED_N;
    struct str want = value_string(args[0]), is = str_of(template_type_name(args[1]));
    return value_bool(ARENA(c), str_eq(want, is) ||
                                    (is.n && is.p[0] == '*' && str_eq(want, str_from(is, 1))));
}
FN(fn_kind_of)
{
    UNUSED_N;
    return value_strc(ARENA(c), template_kind_name(args[0]));
}
FN(fn_kind_is)
{
    UNUSED_N;
    return value_bool(ARENA(c), str_eqc(value_string(args[0]), template_kind_name(args[1])));
}
FN(fn_deep_equal)
{
    UNUSED_N;
    return value_bool(ARENA(c), sprig_equal(args[0], args[1]));
}

static const struct template_function rows[] = {
    {"all", "a*", fn_all, 1},
    {"any", "a*", fn_all, 0},
    {"append", "aa", fn_append},
    {"chunk", "ia", fn_chunk},
    {"coalesce", "a*", fn_coalesce},
    {"compact", "a", fn_compact},
    {"concat", "a*", fn_concat},
    {"deepEqual", "aa", fn_deep_equal},
    {"default", "aa*", fn_default},
    {"empty", "a", fn_empty},
    {"first", "a", fn_first},
    {"has", "aa", fn_has},
    {"initial", "a", fn_initial},
    {"kindIs", "sa", fn_kind_is},
    {"kindOf", "a", fn_kind_of},
    {"last", "a", fn_last},
    {"list", "a*", fn_list},
    {"mustAppend", "aa", fn_append},
    {"mustChunk", "ia", fn_chunk},
    {"mustCompact", "a", fn_compact},
    {"mustFirst", "a", fn_first},
    {"mustHas", "aa", fn_has},
    {"mustInitial", "a", fn_initial},
    {"mustLast", "a", fn_last},
    {"mustPrepend", "aa", fn_prepend},
    {"mustPush", "aa", fn_append},
    {"mustRest", "a", fn_rest},
    {"mustReverse", "a", fn_reverse},
    {"mustSlice", "aa*", fn_slice},
    {"mustUniq", "a", fn_uniq},
    {"mustWithout", "aa*", fn_without},
    {"prepend", "aa", fn_prepend},
    {"push", "aa", fn_append},
    {"rest", "a", fn_rest},
    {"reverse", "a", fn_reverse},
    {"seq", "i*", fn_seq},
    {"slice", "aa*", fn_slice},
    {"sortAlpha", "a", fn_sort_alpha},
    {"ternary", "aab", fn_ternary},
    {"tuple", "a*", fn_list},
    {"typeIs", "sa", fn_type_is},
    {"typeIsLike", "sa", fn_type_is_like},
    {"typeOf", "a", fn_type_of},
    {"uniq", "a", fn_uniq},
    {"until", "i", fn_until},
    {"untilStep", "iii", fn_until_step},
    {"without", "aa*", fn_without},
};
const struct template_functions sprig_lists = {rows, sizeof rows / sizeof *rows};
