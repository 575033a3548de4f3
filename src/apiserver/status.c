// See status.h. The order of members is that of the originals, for the sake of people who read raw
// answers.
#include "apiserver/status.h"

static void put(struct arena *a, struct value *v, const char *key, const char *text)
{
    if (text && *text)
        value_setc(a, v, key, value_strc(a, text));
}

static struct value *details_of(struct arena *a, const struct err *e)
{
    struct value *d = value_object(a);
    put(a, d, "name", e->details_name);
    put(a, d, "group", e->details_group);
    put(a, d, "kind", e->details_kind);
    put(a, d, "uid", e->details_uid);
    if (e->ncauses) {
        struct value *list = value_array(a);
        for (size_t i = 0; i < e->ncauses; i++) {
            struct value *c = value_object(a);
            put(a, c, "reason", e->causes[i].reason);
            put(a, c, "message", e->causes[i].message);
            put(a, c, "field", e->causes[i].field);
            value_push(a, list, c);
        }
        value_setc(a, d, "causes", list);
    }
    if (e->retry_after_seconds)
        value_setc(a, d, "retryAfterSeconds", value_int(a, e->retry_after_seconds));
    return d;
}

struct value *status_of(struct arena *a, const struct err *e)
{
    struct value *s = value_object(a), *meta = value_object(a), *d = details_of(a, e);
    put(a, meta, "continue", e->continue_token);
    value_setc(a, s, "kind", value_strc(a, "Status"));
    value_setc(a, s, "apiVersion", value_strc(a, "v1"));
    value_setc(a, s, "metadata", meta);
    value_setc(a, s, "status", value_strc(a, "Failure"));
    put(a, s, "message", e->message);
    put(a, s, "reason", err_reason_name(e->reason));
    if (value_len(d) || e->reason == ERR_NOT_FOUND)
        value_setc(a, s, "details", d);
    value_setc(a, s, "code", value_int(a, err_http(e->reason)));
    return s;
}
