// LimitRanger: a namespace's LimitRanges give containers the requests and limits that they leave
// out, and hold containers, pods and claims between minimum and maximum. All faults of a pod are
// told at once.
#include "apiserver/admission.h"
#include "object/quantity.h"

static struct value *sub_object(struct arena *a, struct value *v, const char *key)
{
    struct value *x = value_getc(v, key);
    if (!value_is(x, VALUE_OBJECT))
        value_setc(a, v, key, x = value_object(a));
    return x;
}

static void fill(struct arena *a, struct value *container, const char *which,
                 const struct value *defaults)
{
    value_each_field (defaults, m) {
        struct value *to = sub_object(a, sub_object(a, container, "resources"), which);
        if (!value_get(to, m->key))
            value_set(a, to, m->key, value_str(a, value_string(m->value)));
    }
}

static void fill_all(struct arena *a, struct value *containers, const struct value *limit)
{
    value_each_item (containers, c) {
        fill(a, c, "limits", value_getc(limit, "default"));
        fill(a, c, "requests", value_getc(limit, "defaultRequest"));
    }
}

struct faults {
    struct buf text;
    size_t n;
};

static void fault(struct faults *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fault(struct faults *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (f->n++)
        buf_puts(&f->text, ", ");
    buf_vprintf(&f->text, fmt, ap);
    va_end(ap);
}

// One amount against its bound. `per`: "Container", "Pod".
static void bound(struct faults *f, const char *word, const char *per, struct str resource,
                  const struct value *bound, const struct value *amount, bool is_minimum)
{
    struct quantity b, q;
    struct str text = value_string(amount);
    if (!quantity_parse(value_string(bound), &b))
        return;
    if (!text.n || !quantity_parse(text, &q)) {
        fault(f, "%s %.*s usage per %s is %.*s.  No %s is specified", word, STR_ARG(resource), per,
              STR_ARG(value_string(bound)), is_minimum ? "request" : "limit");
        return;
    }
    int c = quantity_cmp(&q, &b);
    if (is_minimum ? c < 0 : c > 0)
        fault(f, "%s %.*s usage per %s is %.*s, but %s is %.*s", word, STR_ARG(resource), per,
              STR_ARG(value_string(bound)), is_minimum ? "request" : "limit", STR_ARG(text));
}

static void check(struct faults *f, const struct value *limit, const char *per,
                  const struct value *resources)
{
    const struct value *min = value_getc(limit, "min"), *max = value_getc(limit, "max");
    value_each_field (min, m)
        bound(f, "minimum", per, m->key, m->value,
              value_get(value_getc(resources, "requests"), m->key), true);
    value_each_field (max, m)
        bound(f, "maximum", per, m->key, m->value,
              value_get(value_getc(resources, "limits"), m->key), false);
}

static void check_containers(struct faults *f, const struct value *limit,
                             const struct value *containers)
{
    value_each_item (containers, c)
        check(f, limit, "Container", value_getc(c, "resources"));
}

// The sums over a pod's containers, as a resources object; a resource that one of them leaves out
// is left out.
static struct value *pod_sums(struct arena *a, const struct value *containers)
{
    static const char *const sides[] = {"requests", "limits"};
    struct value *ret = value_object(a);
    const struct value *first = value_getc(value_item(containers, 0), "resources");
    for (size_t s = 0; s < 2; s++) {
        struct value *sums = sub_object(a, ret, sides[s]);
        const struct value *names = value_getc(first, sides[s]);
        value_each_field (names, m) {
            struct quantity sum = {0}, q;
            bool all = true;
            value_each_item (containers, c) {
                struct str t = value_string(
                    value_get(value_getc(value_getc(c, "resources"), sides[s]), m->key));
                all &= t.n && quantity_parse(t, &q);
                if (all)
                    quantity_add(&sum, &q);
            }
            _cleanup_buf_ struct buf b = BUF_INIT;
            quantity_write(&b, &sum);
            if (all)
                value_set(a, sums, m->key, value_str(a, arena_str(a, buf_view(&b))));
        }
    }
    return ret;
}

static void apply(struct op *op, const struct value *limit, struct faults *f, bool fill_only)
{
    struct str type = value_str_at(limit, "type");
    struct value *containers = value_at(op->new, "spec.containers");
    struct value *init = value_at(op->new, "spec.initContainers");
    bool pod = op_is(op, "", "pods");
    if (fill_only) {
        if (pod && str_eqc(type, "Container") && op->creating) {
            fill_all(op->a, containers, limit);
            fill_all(op->a, init, limit);
        }
        return;
    }
    if (pod && str_eqc(type, "Container")) {
        check_containers(f, limit, containers);
        check_containers(f, limit, init);
    } else if (pod && str_eqc(type, "Pod")) {
        check(f, limit, "Pod", pod_sums(op->a, containers));
    } else if (!pod && str_eqc(type, "PersistentVolumeClaim")) {
        struct value *r = value_object(op->a),
                     *asked = value_at(op->new, "spec.resources.requests");
        if (asked) {
            value_setc(op->a, r, "requests", asked);
            value_setc(op->a, r, "limits", asked);
        }
        check(f, limit, "PersistentVolumeClaim", r);
    }
}

int admit_limits(struct op *op, struct err *e)
{
    if (op->request->subresource.n || !op->creating ||
        (!op_is(op, "", "pods") && !op_is(op, "", "persistentvolumeclaims")))
        return 0;
    const struct kind *k = kind_by_resource(STR_NULL, STR("v1"), STR("limitranges"));
    _cleanup_snapshot_ struct cache_snapshot snap = {0};
    struct cache_cursor it;
    struct faults f = {0};
    cache_snapshot(op->server->cache, k, &snap);
    for (int fill_only = 1; fill_only >= 0; fill_only--)
        for (struct object *o = cache_first(&it, &snap, op->ns); o; o = cache_next(&it)) {
            const struct value *limits =
                value_at(value_clone(op->a, object_tree(op->a, o)), "spec.limits");
            value_each_item (limits, l)
                apply(op, l, &f, fill_only);
        }
    int r = 0;
    if (f.n == 1)
        r = api_forbidden(e, op->kind, op->name, "%.*s", STR_ARG(buf_view(&f.text)));
    else if (f.n)
        r = api_forbidden(e, op->kind, op->name, "[%.*s]", STR_ARG(buf_view(&f.text)));
    buf_done(&f.text);
    return r;
}
