// See condition.h.
#include "client/condition.h"
#include "client/meta.h"

struct value *condition_find(const struct value *conditions, const char *type)
{
    value_each_item (conditions, one) {
        if (str_eqc(value_str_at(one, "type"), type))
            return one;
    }
    return NULL;
}

bool condition_is(const struct value *conditions, const char *type, const char *status)
{
    return str_eqc(value_str_at(condition_find(conditions, type), "status"), status);
}

void condition_remove(struct value *conditions, const char *type)
{
    for (size_t i = value_len(conditions); i-- > 0;) {
        if (str_eqc(value_str_at(value_item(conditions, i), "type"), type))
            value_remove(conditions, i);
    }
}

struct value *condition_list(struct arena *a, const struct value *old)
{
    struct value *list = value_array(a);
    value_each_item (old, one)
        value_push(a, list, one);
    return list;
}

bool condition_set(struct env *env, struct arena *a, struct value *conditions,
                   const struct condition *c)
{
    struct value *was = condition_find(conditions, c->type), *now = value_object(a);
    struct str since = value_str_at(was, "lastTransitionTime");
    value_each_field (was, f) // fields of the kind's own stay
        value_set(a, now, f->key, f->value);
    bool same_status = was && str_eqc(value_str_at(was, "status"), c->status);
    value_put(a, now, "type", str_of(c->type));
    value_put(a, now, "status", str_of(c->status));
    if (c->observed_generation)
        value_put_int(a, now, "observedGeneration", c->observed_generation);
    value_put(a, now, "lastTransitionTime", same_status && since.n ? since : meta_now(env, a));
    value_delc(now, "reason");
    value_delc(now, "message");
    if (c->reason)
        value_put(a, now, "reason", str_of(c->reason));
    if (c->message.n)
        value_put(a, now, "message", c->message);
    if (was && value_eq(was, now))
        return false;
    for (size_t i = 0; i < value_len(conditions); i++) {
        if (conditions->items[i] == was) {
            conditions->items[i] = now;
            return true;
        }
    }
    value_push(a, conditions, now);
    return true;
}
