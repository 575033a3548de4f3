// Go's view of values: truth, types, kinds.
#include "template/template_value.h"

struct value *template_int_value(struct arena *a, enum template_int size, int64_t i)
{
    struct value *v = value_int(a, i);
    v->cap = size;
    return v;
}

struct value *template_time_value(struct arena *a, struct template_time t)
{
    struct value *v = arena_new(a, struct value);
    struct template_time *kept = arena_new(a, struct template_time);
    *kept = t;
    v->kind = TEMPLATE_TIME;
    v->s = (const char *)kept;
    return v;
}

struct value *template_thing_value(struct arena *a, struct template_thing *thing)
{
    struct value *v = arena_new(a, struct value);
    v->kind = TEMPLATE_HOST;
    v->s = (const char *)thing;
    return v;
}

bool template_true(const struct value *v)
{
    if (!v)
        return false;
    switch (v->kind) {
    case VALUE_NULL:
        return false;
    case VALUE_BOOL:
        return v->b;
    case VALUE_INT:
        return v->i != 0;
    case VALUE_FLOAT:
        return v->f != 0;
    case VALUE_STRING:
    case VALUE_ARRAY:
    case VALUE_OBJECT:
        return v->n != 0;
    case TEMPLATE_HOST: {
        const struct template_thing *t = template_thing_of(v);
        return !t->type->map || value_len(t->fields) > 0;
    }
    default:
        return true;
    }
}

const char *template_type_name(const struct value *v)
{
    static const char *const ints[] = {"int64", "int", "int32", "uint8", "time.Duration"};
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_NULL:
        return "<nil>";
    case VALUE_BOOL:
        return "bool";
    case VALUE_INT:
        return ints[v->cap];
    case VALUE_FLOAT:
        return "float64";
    case VALUE_STRING:
        return v->b ? "[]uint8" : "string";
    case VALUE_ARRAY:
        return v->b ? "[]string" : "[]interface {}";
    case VALUE_OBJECT:
        return v->b ? "map[string]string" : "map[string]interface {}";
    case TEMPLATE_TIME:
        return "time.Time";
    default:
        return template_thing_of(v)->type->name;
    }
}

const char *template_kind_name(const struct value *v)
{
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_NULL:
        return "invalid";
    case VALUE_INT:
        return v->cap == TEMPLATE_DURATION ? "int64" : template_type_name(v);
    case VALUE_STRING:
        return v->b ? "slice" : "string";
    case VALUE_ARRAY:
        return "slice";
    case VALUE_OBJECT:
        return "map";
    case TEMPLATE_TIME:
        return "struct";
    case TEMPLATE_HOST: {
        const struct template_type *t = template_thing_of(v)->type;
        return t->map ? "map" : t->name[0] == '*' ? "ptr" : t->name[0] == '[' ? "slice" : "struct";
    }
    default:
        return template_type_name(v);
    }
}

int template_compare_keys(const void *a, const void *b)
{
    const struct member *x = *(const struct member *const *)a,
                        *y = *(const struct member *const *)b;
    return str_cmp(x->key, y->key);
}

struct member **template_sorted(struct arena *a, const struct value *object)
{
    size_t n = value_is(object, VALUE_OBJECT) ? object->n : 0;
    struct member **order = arena_array(a, struct member *, n + 1);
    for (size_t i = 0; i < n; i++)
        order[i] = &object->members[i];
    qsort(order, n, sizeof *order, template_compare_keys);
    return order;
}

struct value *template_plain(struct arena *a, const struct value *v)
{
    struct value *out;
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_ARRAY:
        out = value_array(a);
        for (uint32_t i = 0; i < v->n; i++)
            value_push(a, out, template_plain(a, v->items[i]));
        return out;
    case VALUE_OBJECT:
        out = value_object(a);
        for (uint32_t i = 0; i < v->n; i++)
            value_push_member(a, out, v->members[i].key, template_plain(a, v->members[i].value));
        return out;
    case TEMPLATE_TIME: {
        const struct template_time *t = template_time_of(v);
        struct civil c = zone_civil(t->zone, t->seconds);
        int32_t offset = c.offset / 60, o = offset < 0 ? -offset : offset;
        struct str zone =
            c.offset ? arena_printf(a, "%c%02d:%02d", offset < 0 ? '-' : '+', o / 60, o % 60)
                     : STR("Z");
        struct str fraction = STR("");
        if (t->ns) {
            fraction = arena_printf(a, ".%09d", t->ns);
            while (fraction.p[fraction.n - 1] == '0')
                fraction.n--;
        }
        return value_str(a, arena_printf(a, "%04lld-%02d-%02dT%02d:%02d:%02d%.*s%.*s",
                                         (long long)c.year, c.month, c.day, c.hour, c.minute,
                                         c.second, STR_ARG(fraction), STR_ARG(zone)));
    }
    case TEMPLATE_HOST:
        return template_plain(a, template_thing_of(v)->fields);
    case VALUE_NULL:
        return value_null(a);
    default:
        return (struct value *)(uintptr_t)v;
    }
}
