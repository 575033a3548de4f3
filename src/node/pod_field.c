// Downward API. Two tables' worth of logic: plain fields are rows (where the value stands in the
// object), the subscripted ones (labels, annotations) and resources are the two functions below.
// The formats are the originals': labels as sorted `key="value"` lines with Go's %q, amounts of cpu
// rounded up to the divisor.
#include "node/pod_field.h"
#include "base/buf.h"
#include "object/base64.h"
#include "object/quantity.h"

static const struct {
    const char *path, *at;
} plain_fields[] = {
    {"metadata.name", "metadata.name"},
    {"metadata.namespace", "metadata.namespace"},
    {"metadata.uid", "metadata.uid"},
    {"spec.nodeName", "spec.nodeName"},
    {"spec.serviceAccountName", "spec.serviceAccountName"},
};

// Go's strconv.Quote for the strings that label values and annotations can hold.
static void write_go_quoted(struct buf *b, struct str s)
{
    buf_char(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        switch (c) {
        case '"':
            buf_puts(b, "\\\"");
            break;
        case '\\':
            buf_puts(b, "\\\\");
            break;
        case '\n':
            buf_puts(b, "\\n");
            break;
        case '\t':
            buf_puts(b, "\\t");
            break;
        case '\r':
            buf_puts(b, "\\r");
            break;
        default:
            if (c < 0x20 || c == 0x7f)
                buf_printf(b, "\\x%02x", c);
            else
                buf_char(b, (char)c);
        }
    }
    buf_char(b, '"');
}

static int compare_members(const void *a, const void *b)
{
    return str_cmp(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static struct str format_map(struct arena *a, const struct value *map)
{
    size_t n = value_len(map);
    if (!n || map->kind != VALUE_OBJECT)
        return STR("");
    struct member *sorted = arena_array(a, struct member, n);
    memcpy(sorted, map->members, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), compare_members);
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(&b, '\n');
        buf_str(&b, sorted[i].key);
        buf_char(&b, '=');
        write_go_quoted(&b, value_string(sorted[i].value));
    }
    return arena_str(a, buf_view(&b));
}

// metadata.labels['KEY'] -> KEY; false: no subscript of this field.
static bool subscript(struct str path, struct str field, struct str *ret_key)
{
    if (!str_starts(path, field))
        return false;
    struct str rest = str_from(path, field.n);
    if (!str_starts(rest, STR("['")) || !str_ends(rest, STR("']")) || rest.n < 5)
        return false;
    *ret_key = str_sub(rest, 2, rest.n - 4);
    return true;
}

int pod_field_ref(struct arena *a, const struct pod_facts *facts, struct str path, struct str *ret,
                  struct err *e)
{
    for (size_t i = 0; i < sizeof(plain_fields) / sizeof(plain_fields[0]); i++)
        if (str_eqc(path, plain_fields[i].path)) {
            *ret = value_str_at(facts->pod, plain_fields[i].at);
            return 0;
        }
    struct str key;
    const struct value *labels = value_at(facts->pod, "metadata.labels");
    const struct value *annotations = value_at(facts->pod, "metadata.annotations");
    if (str_eqc(path, "metadata.labels"))
        *ret = format_map(a, labels);
    else if (str_eqc(path, "metadata.annotations"))
        *ret = format_map(a, annotations);
    else if (subscript(path, STR("metadata.labels"), &key))
        *ret = value_string(value_get(labels, key));
    else if (subscript(path, STR("metadata.annotations"), &key))
        *ret = value_string(value_get(annotations, key));
    else if (str_eqc(path, "status.hostIP") || str_eqc(path, "status.hostIPs"))
        *ret = facts->host_ip;
    else if (str_eqc(path, "status.podIP") || str_eqc(path, "status.podIPs"))
        *ret = facts->pod_ip;
    else
        return err_set(e, ERR_INVALID, "unsupported fieldPath: %.*s", STR_ARG(path));
    return 0;
}

const struct value *pod_container_spec(const struct value *pod, struct str name)
{
    static const char *const lists[] = {"spec.containers", "spec.initContainers",
                                        "spec.ephemeralContainers"};
    for (size_t i = 0; i < 3; i++) {
        const struct value *list = value_at(pod, lists[i]);
        value_each_item (list, c)
            if (str_eq(value_str_at(c, "name"), name))
                return c;
    }
    return NULL;
}

static bool amount(const struct value *container, const char *list, struct str name,
                   struct quantity *ret)
{
    const struct value *v = value_get(value_at(container, list), name);
    return v && quantity_parse(value_string(v), ret);
}

int pod_resource_ref(struct arena *a, const struct pod_facts *facts, const struct value *container,
                     const struct value *ref, struct str *ret, struct err *e)
{
    struct str container_name = value_str_at(ref, "containerName");
    if (container_name.n) {
        container = pod_container_spec(facts->pod, container_name);
        if (!container)
            return err_set(e, ERR_INVALID, "container %.*s not found", STR_ARG(container_name));
    }
    struct str resource = value_str_at(ref, "resource");
    bool limits = str_starts(resource, STR("limits."));
    if (!limits && !str_starts(resource, STR("requests.")))
        return err_set(e, ERR_INVALID, "unsupported container resource : %.*s", STR_ARG(resource));
    struct str name = str_from(resource, limits ? 7 : 9);
    bool cpu = str_eqc(name, "cpu");
    if (!cpu && !str_eqc(name, "memory") && !str_eqc(name, "ephemeral-storage") &&
        !str_starts(name, STR("hugepages-")))
        return err_set(e, ERR_INVALID, "unsupported container resource : %.*s", STR_ARG(resource));

    struct quantity q = {0}, divisor = {0};
    if (!amount(container, limits ? "resources.limits" : "resources.requests", name, &q)) {
        const struct value *node = value_get(facts->allocatable, name);
        if (limits && node)
            quantity_parse(value_string(node), &q);
    }
    const struct value *d = value_getc(ref, "divisor");
    if (d)
        quantity_parse(value_string(d), &divisor);
    if (divisor.nano == 0)
        divisor.nano = 1000000000;
    int64_t by = cpu ? quantity_milli(&divisor) : quantity_value(&divisor);
    int64_t have = cpu ? quantity_milli(&q) : quantity_value(&q);
    if (by <= 0)
        by = 1;
    *ret = arena_printf(a, "%lld", (long long)(have / by + (have % by > 0)));
    return 0;
}

bool pod_data_decode(struct arena *a, struct str text, struct str *ret)
{
    return base64_bytes(a, text, ret);
}
