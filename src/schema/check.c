// Faults: how they are worded and collected. The wording is that of the originals' field.Error
// (apimachinery util/validation/field), because clients, tests and people match it.
#include "schema/check.h"
#include "object/json.h"
#include "object/key_index.h"
#include <arpa/inet.h>

size_t check_push_str(struct check *c, struct str field)
{
    size_t mark = c->path.n;
    if (mark && field.n && field.p[0] != '[')
        buf_char(&c->path, '.');
    buf_str(&c->path, field);
    return mark;
}

size_t check_push(struct check *c, const char *field)
{
    return check_push_str(c, str_of(field));
}

size_t check_push_index(struct check *c, const char *field, size_t index)
{
    size_t mark = field ? check_push(c, field) : c->path.n;
    buf_printf(&c->path, "[%zu]", index);
    return mark;
}

size_t check_push_key(struct check *c, const char *field, struct str key)
{
    size_t mark = field ? check_push(c, field) : c->path.n;
    buf_char(&c->path, '[');
    buf_str(&c->path, key);
    buf_char(&c->path, ']');
    return mark;
}

void check_pop(struct check *c, size_t mark)
{
    c->path.n = mark;
}

// The first n bytes, or a few less so that no character is cut.
static struct str cut(struct str s, size_t n)
{
    if (s.n <= n)
        return s;
    while (n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n--;
    return str_sub(s, 0, n);
}

// More faults than this help nobody. Number and bytes are bounded because the caller chooses the
// object: what is past the bound is counted and not worded.
#define FAULTS_MAX      256
#define FAULT_BYTES_MAX (256 * 1024)
#define PATH_SHOWN_MAX  2048

bool check_full(const struct check *c)
{
    return c->faults >= FAULTS_MAX || c->bytes >= FAULT_BYTES_MAX;
}

static void report(struct check *c, const char *field, const char *reason, struct str body)
{
    size_t mark = field ? check_push(c, field) : c->path.n;
    struct str path = cut(buf_view(&c->path), PATH_SHOWN_MAX);
    c->faults++;
    c->bytes += path.n + body.n;
    err_cause(c->e, reason, path, "%.*s", STR_ARG(body));
    check_pop(c, mark);
}

// Whether to go on: a fault too many is only counted.
static bool one_more(struct check *c)
{
    if (!check_full(c))
        return true;
    c->faults++;
    return false;
}

// As Go's %q, as far as strings from JSON need it.
static void quote(struct buf *b, struct str s)
{
    json_write_string(b, s);
}

// Values in messages are cut there: a megabyte of somebody's data is no message.
#define SHOWN_MAX 4096

static void show(struct buf *b, const struct value *v)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (!v)
        buf_puts(&text, "\"\"");
    else if (v->kind == VALUE_STRING)
        quote(&text, cut(value_string(v), SHOWN_MAX));
    else
        json_write(&text, v);
    buf_str(b, cut(buf_view(&text), SHOWN_MAX));
    if (text.n > SHOWN_MAX)
        buf_puts(b, "…");
}

void check_required(struct check *c, const char *field, const char *detail)
{
    if (!one_more(c))
        return;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "Required value");
    if (detail && *detail)
        buf_printf(&b, ": %s", detail);
    report(c, field, "FieldValueRequired", buf_view(&b));
}

void check_invalid(struct check *c, const char *field, const struct value *bad, const char *fmt,
                   ...)
{
    if (!one_more(c))
        return;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "Invalid value: ");
    show(&b, bad);
    buf_puts(&b, ": ");
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    report(c, field, "FieldValueInvalid", buf_view(&b));
}

void check_bad(struct check *c, const char *field, const char *sentence)
{
    if (!one_more(c))
        return;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_printf(&b, "Invalid value: %s", sentence);
    report(c, field, "FieldValueInvalid", buf_view(&b));
}

void check_not_supported(struct check *c, const char *field, const struct value *bad,
                         const struct str *values)
{
    if (!one_more(c))
        return;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "Unsupported value: ");
    show(&b, bad);
    for (size_t i = 0; values && values[i].p; i++) {
        buf_puts(&b, i ? ", " : ": supported values: ");
        quote(&b, values[i]);
    }
    report(c, field, "FieldValueNotSupported", buf_view(&b));
}

void check_duplicate(struct check *c, const char *field, const struct value *bad)
{
    check_duplicate_because(c, field, bad, NULL);
}

void check_duplicate_because(struct check *c, const char *field, const struct value *bad,
                             const char *detail)
{
    if (!one_more(c))
        return;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "Duplicate value: ");
    show(&b, bad);
    if (detail)
        buf_printf(&b, ": %s", detail);
    report(c, field, "FieldValueDuplicate", buf_view(&b));
}

void check_not_found(struct check *c, const char *field, const struct value *bad,
                     const char *detail)
{
    if (!one_more(c))
        return;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "Not found: ");
    show(&b, bad);
    if (detail && *detail)
        buf_printf(&b, ": %s", detail);
    report(c, field, "FieldValueNotFound", buf_view(&b));
}

void check_forbidden(struct check *c, const char *field, const char *fmt, ...)
{
    if (!one_more(c))
        return;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "Forbidden: ");
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    report(c, field, "FieldValueForbidden", buf_view(&b));
}

void check_too_long(struct check *c, const char *field, size_t maximum)
{
    if (!one_more(c))
        return;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_printf(&b, "Too long: may not be more than %zu byte%s", maximum, maximum == 1 ? "" : "s");
    report(c, field, "FieldValueTooLong", buf_view(&b));
}

void check_too_many(struct check *c, const char *field, size_t n, size_t maximum)
{
    if (!one_more(c))
        return;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_printf(&b, "Too many: %zu: must have at most %zu item%s", n, maximum,
               maximum == 1 ? "" : "s");
    report(c, field, "FieldValueTooMany", buf_view(&b));
}

void check_format(struct check *c, const char *field, const struct value *v, enum rule_format f)
{
    struct value *messages = check_full(c) ? NULL : value_array(c->arena);
    if (schema_format_ok(c->arena, f, value_string(v), messages))
        return;
    c->faults += !messages;
    value_each_item (messages, m)
        check_invalid(c, field, v, "%.*s", STR_ARG(value_string(m)));
}

// The text that stands for a value in a set of values.
struct str check_key_of(struct check *c, const struct value *v)
{
    return value_is(v, VALUE_STRING) ? value_string(v) : v ? json_text(c->arena, v) : STR_NULL;
}

void check_unique(struct check *c, const struct value *list, const char *key)
{
    _cleanup_key_index_ struct key_index seen = KEY_INDEX_INIT;
    value_each_item (list, item) {
        const struct value *v = key ? value_getc(item, key) : item;
        struct str text = check_key_of(c, v);
        if (!text.n || key_index_add(&seen, text) < 0)
            continue;
        size_t mark = check_push_index(c, NULL, item_i);
        check_duplicate(c, key, v);
        check_pop(c, mark);
    }
}

// Absent, null, empty string, empty list and empty object are all Go's zero value.
static bool is_empty(const struct value *v)
{
    return !v || v->kind == VALUE_NULL || (v->kind == VALUE_STRING && !v->n) ||
           ((v->kind == VALUE_ARRAY || v->kind == VALUE_OBJECT) && !v->n);
}

void check_immutable(struct check *c, const struct value *object, const struct value *old,
                     const char *field)
{
    const struct value *now = value_at(object, field), *then = value_at(old, field);
    if ((is_empty(now) && is_empty(then)) || (now && then && value_eq(now, then)))
        return;
    check_invalid(c, field, now ? now : value_null(c->arena), FIELD_IS_IMMUTABLE);
}

void check_selector(struct check *c, const char *field, const struct value *selector)
{
    static const struct str operators[] = {STR("In"), STR("NotIn"), STR("Exists"),
                                           STR("DoesNotExist"), STR_NULL};
    size_t mark = field ? check_push(c, field) : c->path.n;
    value_each_field (value_getc(selector, "matchLabels"), m) {
        size_t inner = check_push(c, "matchLabels");
        check_format(c, NULL, value_str(c->arena, m->key), FORMAT_QUALIFIED_NAME);
        check_format(c, NULL, m->value, FORMAT_LABEL_VALUE);
        check_pop(c, inner);
    }
    const struct value *list = value_getc(selector, "matchExpressions");
    for (size_t i = 0; i < value_len(list); i++) {
        const struct value *r = value_item(list, i), *values = value_getc(r, "values");
        size_t inner = check_push_index(c, "matchExpressions", i);
        struct str op = value_str_at(r, "operator");
        if (str_eq(op, operators[0]) || str_eq(op, operators[1])) {
            if (!value_len(values))
                check_required(c, "values", "must be specified when `operator` is 'In' or 'NotIn'");
        } else if (str_eq(op, operators[2]) || str_eq(op, operators[3])) {
            if (value_len(values))
                check_forbidden(
                    c, "values",
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        } else {
            check_invalid(c, "operator", value_getc(r, "operator"),
                          "not a valid selector operator");
        }
        check_format(c, "key", value_getc(r, "key"), FORMAT_QUALIFIED_NAME);
        for (size_t j = 0; j < value_len(values); j++) {
            size_t deep = check_push_index(c, "values", j);
            check_format(c, NULL, value_item(values, j), FORMAT_LABEL_VALUE);
            check_pop(c, deep);
        }
        check_pop(c, inner);
    }
    check_pop(c, mark);
}

bool check_range_parse(struct str cidr, struct check_range *ret)
{
    struct str rest = cidr, address = str_cut(&rest, '/');
    char text[INET6_ADDRSTRLEN];
    uint64_t bits;
    *ret = (struct check_range){.of = 32};
    if (!address.n || address.n >= sizeof text || !str_to_u64(rest, &bits))
        return false;
    memcpy(text, address.p, address.n);
    text[address.n] = 0;
    if (inet_pton(AF_INET, text, ret->address) != 1) {
        ret->of = 128;
        if (inet_pton(AF_INET6, text, ret->address) != 1)
            return false;
    }
    ret->bits = (int)bits;
    return bits <= (uint64_t)ret->of;
}

bool check_range_holds(const struct check_range *outer, const struct check_range *inner)
{
    if (outer->of != inner->of || outer->bits > inner->bits)
        return false;
    for (int i = 0; i < outer->bits; i++)
        if ((outer->address[i / 8] ^ inner->address[i / 8]) & (0x80 >> i % 8))
            return false;
    return true;
}
