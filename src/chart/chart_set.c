// The grammar of --set (helm's strvals): keys with dots and [indices], values up to a comma, lists
// in braces, a backslash quotes. Typed: true, false, null and integers without a leading zero.
#include "base/env.h"
#include "chart/chart.h"
#include "object/json.h"
#include "template/sprig.h"

#define SET_INDEX_MAX 65536
#define SET_DEPTH_MAX 30

struct chart_setter {
    struct arena *a;
    struct str s;
    size_t at;
    enum chart_set_mode mode;
    struct err *e;
};

// Up to one of the stops, which is taken; *stop is it, or 0 at the end.
static struct str word(struct chart_setter *p, const char *stops, char *stop)
{
    struct buf b = BUF_INIT;
    *stop = 0;
    while (p->at < p->s.n) {
        char c = p->s.p[p->at++];
        if (c == '\\' && p->at < p->s.n && p->mode != CHART_SET_LITERAL) {
            buf_char(&b, p->s.p[p->at++]);
            continue;
        }
        if (c && strchr(stops, c)) {
            *stop = c;
            break;
        }
        buf_char(&b, c);
    }
    struct str out = arena_str(p->a, buf_view(&b));
    buf_done(&b);
    return out.p ? out : STR("");
}

static struct value *typed(struct chart_setter *p, struct str s)
{
    int64_t i;
    if (p->mode != CHART_SET_TYPED)
        return value_str(p->a, s);
    if (str_ieq(s, STR("true")) || str_ieq(s, STR("false")))
        return value_bool(p->a, (s.p[0] | 32) == 't');
    if (str_ieq(s, STR("null")))
        return value_null(p->a);
    if (str_eqc(s, "0"))
        return template_int_value(p->a, TEMPLATE_INT64, 0);
    if (s.n && s.p[0] != '0' && str_to_i64(s.p[0] == '+' ? str_from(s, 1) : s, &i))
        return template_int_value(p->a, TEMPLATE_INT64, i);
    return value_str(p->a, s);
}

static int read_value(struct chart_setter *p, struct value **ret)
{
    char stop;
    if (p->mode == CHART_SET_JSON) {
        size_t used;
        int r = json_parse_prefix(p->a, str_from(p->s, p->at), NULL, ret, &used, p->e);
        if (r < 0)
            return r;
        sprig_floats(*ret);
        p->at += used;
        if (p->at < p->s.n && p->s.p[p->at] == ',')
            p->at++;
        return 0;
    }
    if (p->mode == CHART_SET_LITERAL) {
        *ret = value_str(p->a, str_from(p->s, p->at));
        p->at = p->s.n;
        return 0;
    }
    if (p->mode == CHART_SET_FILE) {
        struct str data, path = word(p, ",", &stop);
        int r = file_read_all(p->a, arena_cstr(p->a, path), CHART_FILE_MAX, &data, p->e);
        *ret = r < 0 ? NULL : value_str(p->a, data);
        return r;
    }
    if (p->at < p->s.n && p->s.p[p->at] == '{') {
        struct value *list = value_array(p->a);
        p->at++;
        do {
            struct str item = word(p, ",}", &stop);
            if (!stop)
                return err_set(p->e, ERR_INVALID, "list must terminate with '}'");
            if (stop == '}' && !list->n && !item.n)
                break;
            value_push(p->a, list, typed(p, item));
        } while (stop == ',');
        if (p->at < p->s.n && p->s.p[p->at] == ',')
            p->at++;
        *ret = list;
        return 0;
    }
    *ret = typed(p, word(p, ",", &stop));
    return 0;
}

static int set_key(struct chart_setter *p, struct value *object, int depth);

static int read_index(struct chart_setter *p, size_t *ret)
{
    char stop;
    uint64_t i;
    struct str text = word(p, "]", &stop);
    if (!stop || !str_to_u64(str_trim(text), &i))
        return err_set(p->e, ERR_INVALID,
                       "error parsing index: strconv.Atoi: parsing \"%.*s\": invalid syntax",
                       STR_ARG(text));
    if (i > SET_INDEX_MAX)
        return err_set(p->e, ERR_INVALID,
                       "index of %llu is greater than maximum supported index of %d",
                       (unsigned long long)i, SET_INDEX_MAX);
    *ret = i;
    return 0;
}

// Behind "[": the element, and what follows it.
static int set_item(struct chart_setter *p, struct value *list, int depth)
{
    size_t i = 0;
    int r = read_index(p, &i);
    if (r < 0)
        return r;
    if (depth > SET_DEPTH_MAX)
        return err_set(
            p->e, ERR_INVALID,
            "value name nested level is greater than maximum supported nested level of %d",
            SET_DEPTH_MAX);
    while (list->n <= i)
        value_push(p->a, list, value_null(p->a));
    char c = p->at < p->s.n ? p->s.p[p->at++] : 0;
    struct value *v = list->items[i];
    switch (c) {
    case '=':
        r = read_value(p, &v);
        break;
    case '[':
        if (!value_is(v, VALUE_ARRAY))
            v = value_array(p->a);
        r = set_item(p, v, depth + 1);
        break;
    case '.':
        if (!value_is(v, VALUE_OBJECT))
            v = value_object(p->a);
        r = set_key(p, v, depth + 1);
        break;
    default:
        return err_set(p->e, ERR_INVALID, "unexpected data at end of array index");
    }
    if (r == 0)
        list->items[i] = v;
    return r;
}

static int set_key(struct chart_setter *p, struct value *object, int depth)
{
    char stop;
    if (depth > SET_DEPTH_MAX)
        return err_set(
            p->e, ERR_INVALID,
            "value name nested level is greater than maximum supported nested level of %d",
            SET_DEPTH_MAX);
    struct str key = word(p, ".[,=", &stop);
    struct value *v = value_get(object, key);
    int r;
    switch (stop) {
    case 0:
        return key.n ? err_set(p->e, ERR_INVALID, "key \"%.*s\" has no value", STR_ARG(key)) : 0;
    case ',':
        return err_set(p->e, ERR_INVALID, "key \"%.*s\" has no value (cannot end with ,)",
                       STR_ARG(key));
    case '[':
        if (!value_is(v, VALUE_ARRAY))
            v = value_array(p->a);
        r = set_item(p, v, depth + 1);
        break;
    case '.':
        if (!value_is(v, VALUE_OBJECT))
            v = value_object(p->a);
        r = set_key(p, v, depth + 1);
        break;
    default:
        r = read_value(p, &v);
    }
    if (r == 0)
        value_set(p->a, object, key, v);
    return r;
}

int chart_set(struct arena *a, struct value *values, struct str text, enum chart_set_mode mode,
              struct err *e)
{
    struct chart_setter p = {.a = a, .s = arena_str(a, text), .mode = mode, .e = e};
    while (p.at < p.s.n) {
        int r = set_key(&p, values, 0);
        if (r < 0)
            return err_wrap(e, e, "failed parsing --set%s data",
                            mode == CHART_SET_STRING    ? "-string"
                            : mode == CHART_SET_JSON    ? "-json"
                            : mode == CHART_SET_FILE    ? "-file"
                            : mode == CHART_SET_LITERAL ? "-literal"
                                                        : "");
    }
    return 0;
}
