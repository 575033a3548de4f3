// Cells of particular kinds that are more than a value at a path: workloads, services and what
// stands behind them, nodes, events. Wording and limits are those of the originals' printers, which
// people's eyes and scripts know.
#include "base/time.h"
#include "object/selector.h"
#include "schema/tables.h"

column_function column_template_containers, column_template_images, column_template_labels,
    column_template_node_selector, column_selector, column_cron_containers, column_cron_images,
    column_cron_selector, column_cron_active, column_cron_last, column_job_status,
    column_job_completions, column_job_duration, column_ready_of_replicas, column_service_external,
    column_service_ports, column_service_selector, column_ingress_hosts, column_ingress_address,
    column_ingress_ports, column_ingress_class_parameters, column_endpoints, column_slice_ports,
    column_slice_endpoints, column_node_status, column_node_roles, column_event_last,
    column_event_first, column_event_object, column_event_source, column_event_message,
    column_event_count;

static struct value *text_of(struct arena *a, struct buf *b)
{
    return value_str(a, arena_str(a, buf_view(b)));
}

static struct value *none_or(struct arena *a, struct buf *b)
{
    return b->n ? text_of(a, b) : value_strc(a, "<none>");
}

static void add(struct buf *b, const char *separator, struct str s)
{
    if (b->n)
        buf_puts(b, separator);
    buf_str(b, s);
}

// "5m" since the time text; false: no time there.
static bool since(struct buf *b, struct str time, int64_t now)
{
    int64_t then;
    if (!time_parse_rfc3339(time, &then))
        return false;
    duration_write_human(b, elapsed(now, then));
    return true;
}

// ---- pod templates
// ------------------------------------------------------------------------------------

static struct value *each_container(struct arena *a, const struct value *containers,
                                    const char *key)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    value_each_item (containers, c)
        add(&b, ",", value_str_at(c, key));
    return text_of(a, &b);
}

static const struct value *template_of(const struct value *object)
{
    const struct value *t = value_at(object, "spec.template");
    return t ? t : value_getc(object, "template"); // PodTemplate
}

struct value *column_template_containers(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return each_container(a, value_at(template_of(o), "spec.containers"), "name");
}

struct value *column_template_images(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return each_container(a, value_at(template_of(o), "spec.containers"), "image");
}

static struct value *labels(struct arena *a, const struct value *map)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    value_each_field (map, m)
        add(&b, ",",
            arena_printf(a, "%.*s=%.*s", STR_ARG(m->key), STR_ARG(value_string(m->value))));
    return none_or(a, &b);
}

struct value *column_template_labels(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return labels(a, value_at(template_of(o), "metadata.labels"));
}

struct value *column_template_node_selector(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return labels(a, value_at(template_of(o), "spec.nodeSelector"));
}

// A LabelSelector, or (replication controllers) a plain map.
static struct value *selector_text(struct arena *a, const struct value *v)
{
    struct selector *s;
    if (!v)
        return value_strc(a, "<none>");
    if (!value_getc(v, "matchLabels") && !value_getc(v, "matchExpressions"))
        return labels(a, v);
    if (selector_from_value(a, v, &s, NULL) < 0)
        return value_strc(a, "<invalid>");
    _cleanup_buf_ struct buf b = BUF_INIT;
    selector_write(&b, s);
    return none_or(a, &b);
}

struct value *column_selector(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return selector_text(a, value_at(o, "spec.selector"));
}

// ---- batch
// --------------------------------------------------------------------------------------------

struct value *column_cron_containers(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return each_container(a, value_at(o, "spec.jobTemplate.spec.template.spec.containers"), "name");
}

struct value *column_cron_images(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return each_container(a, value_at(o, "spec.jobTemplate.spec.template.spec.containers"),
                          "image");
}

struct value *column_cron_selector(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return selector_text(a, value_at(o, "spec.jobTemplate.spec.selector"));
}

struct value *column_cron_active(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return value_int(a, (int64_t)value_len(value_at(o, "status.active")));
}

struct value *column_cron_last(struct arena *a, const struct value *o, int64_t now)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    since(&b, value_str_at(o, "status.lastScheduleTime"), now);
    return none_or(a, &b);
}

static bool job_condition(const struct value *job, const char *type)
{
    value_each_item (value_at(job, "status.conditions"), c)
        if (str_eqc(value_str_at(c, "type"), type))
            return str_eqc(value_str_at(c, "status"), "True");
    return false;
}

struct value *column_job_status(struct arena *a, const struct value *job, int64_t now)
{
    (void)now;
    static const struct {
        const char *condition, *text;
    } table[] = {
        {"Complete", "Complete"},
        {"Failed", "Failed"},
        {NULL, "Terminating"},
        {"Suspended", "Suspended"},
        {"FailureTarget", "FailureTarget"},
        {"SuccessCriteriaMet", "SuccessCriteriaMet"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].condition ? job_condition(job, table[i].condition)
                               : !!value_at(job, "metadata.deletionTimestamp"))
            return value_strc(a, table[i].text);
    return value_strc(a, "Running");
}

struct value *column_job_completions(struct arena *a, const struct value *job, int64_t now)
{
    (void)now;
    long long done = value_int_at(job, "status.succeeded", 0);
    long long at_once = value_int_at(job, "spec.parallelism", 0);
    const struct value *want = value_at(job, "spec.completions");
    struct str s = want ? arena_printf(a, "%lld/%lld", done, (long long)value_int_or(want, 0))
                   : at_once > 1 ? arena_printf(a, "%lld/1 of %lld", done, at_once)
                                 : arena_printf(a, "%lld/1", done);
    return value_str(a, s);
}

struct value *column_job_duration(struct arena *a, const struct value *job, int64_t now)
{
    int64_t end;
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (!time_parse_rfc3339(value_str_at(job, "status.completionTime"), &end))
        end = now;
    since(&b, value_str_at(job, "status.startTime"), end);
    return text_of(a, &b);
}

struct value *column_ready_of_replicas(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return value_str(a, arena_printf(a, "%lld/%lld",
                                     (long long)value_int_at(o, "status.readyReplicas", 0),
                                     (long long)value_int_at(o, "spec.replicas", 0)));
}

// ---- services
// -----------------------------------------------------------------------------------------

static void ingress_points(struct buf *b, const struct value *list)
{
    value_each_item (list, point) {
        struct str ip = value_str_at(point, "ip");
        add(b, ",", ip.n ? ip : value_str_at(point, "hostname"));
    }
}

struct value *column_service_external(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct str type = value_str_at(o, "spec.type");
    if (str_eqc(type, "ExternalName"))
        return value_str(a, value_str_at(o, "spec.externalName"));
    bool balancer = str_eqc(type, "LoadBalancer");
    if (balancer)
        ingress_points(&b, value_at(o, "status.loadBalancer.ingress"));
    value_each_item (value_at(o, "spec.externalIPs"), ip)
        add(&b, ",", value_string(ip));
    if (!b.n && balancer)
        return value_strc(a, "<pending>");
    return none_or(a, &b);
}

struct value *column_service_ports(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    _cleanup_buf_ struct buf b = BUF_INIT;
    value_each_item (value_at(o, "spec.ports"), p) {
        if (b.n)
            buf_char(&b, ',');
        buf_i64(&b, value_int_at(p, "port", 0));
        if (value_int_at(p, "nodePort", 0) > 0)
            buf_printf(&b, ":%lld", (long long)value_int_at(p, "nodePort", 0));
        buf_char(&b, '/');
        buf_str(&b, value_str_at(p, "protocol"));
    }
    return none_or(a, &b);
}

struct value *column_service_selector(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return labels(a, value_at(o, "spec.selector"));
}

// Three are shown, the others counted.
#define LIST_MAX 3

static struct value *with_more(struct arena *a, struct buf *b, size_t count)
{
    if (count > LIST_MAX)
        buf_printf(b, " + %zu more...", count - LIST_MAX);
    return text_of(a, b);
}

struct value *column_ingress_hosts(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    _cleanup_buf_ struct buf b = BUF_INIT;
    const struct value *rules = value_at(o, "spec.rules");
    size_t shown = 0;
    value_each_item (rules, rule) {
        struct str host = value_str_at(rule, "host");
        if (host.n && shown < LIST_MAX) {
            add(&b, ",", host);
            shown++;
        }
    }
    if (!shown)
        return value_strc(a, "*");
    return with_more(a, &b, shown == LIST_MAX ? value_len(rules) : 0);
}

struct value *column_ingress_address(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    _cleanup_buf_ struct buf b = BUF_INIT;
    ingress_points(&b, value_at(o, "status.loadBalancer.ingress"));
    return text_of(a, &b);
}

struct value *column_ingress_ports(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return value_strc(a, value_len(value_at(o, "spec.tls")) ? "80, 443" : "80");
}

struct value *column_ingress_class_parameters(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *p = value_at(o, "spec.parameters");
    if (!p)
        return value_strc(a, "<none>");
    struct str group = value_str_at(p, "apiGroup");
    return value_str(a, arena_printf(a, "%.*s%s%.*s/%.*s", STR_ARG(value_str_at(p, "kind")),
                                     group.n ? "." : "", STR_ARG(group),
                                     STR_ARG(value_str_at(p, "name"))));
}

struct value *column_endpoints(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    _cleanup_buf_ struct buf b = BUF_INIT;
    const struct value *subsets = value_getc(o, "subsets");
    size_t count = 0;
    if (!value_len(subsets))
        return value_strc(a, "<none>");
    value_each_item (subsets, subset) {
        const struct value *ports = value_getc(subset, "ports");
        for (size_t i = 0; i < (value_len(ports) ? value_len(ports) : 1); i++) {
            value_each_item (value_getc(subset, "addresses"), address) {
                struct str ip = value_str_at(address, "ip");
                bool six = str_chr(ip, ':') >= 0;
                if (count++ >= LIST_MAX)
                    continue;
                add(&b, ",",
                    value_len(ports)
                        ? arena_printf(a, six ? "[%.*s]:%lld" : "%.*s:%lld", STR_ARG(ip),
                                       (long long)value_int_at(value_item(ports, i), "port", 0))
                        : ip);
            }
        }
    }
    return with_more(a, &b, count);
}

struct value *column_slice_ports(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    _cleanup_buf_ struct buf b = BUF_INIT;
    const struct value *ports = value_getc(o, "ports");
    if (!value_len(ports))
        return value_strc(a, "<unset>");
    for (size_t i = 0; i < value_len(ports) && i < LIST_MAX; i++) {
        const struct value *p = value_item(ports, i);
        struct str name = value_str_at(p, "name");
        add(&b, ",",
            value_getc(p, "port") ? arena_printf(a, "%lld", (long long)value_int_at(p, "port", 0))
            : name.n              ? name
                                  : STR("*"));
    }
    return with_more(a, &b, value_len(ports));
}

struct value *column_slice_endpoints(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    _cleanup_buf_ struct buf b = BUF_INIT;
    size_t count = 0;
    value_each_item (value_getc(o, "endpoints"), endpoint)
        value_each_item (value_getc(endpoint, "addresses"), address)
            if (count++ < LIST_MAX)
                add(&b, ",", value_string(address));
    return count ? with_more(a, &b, count) : value_strc(a, "<unset>");
}

// ---- nodes
// --------------------------------------------------------------------------------------------

struct value *column_node_status(struct arena *a, const struct value *node, int64_t now)
{
    (void)now;
    const char *ready = "Unknown";
    value_each_item (value_at(node, "status.conditions"), c)
        if (str_eqc(value_str_at(c, "type"), "Ready"))
            ready = str_eqc(value_str_at(c, "status"), "True") ? "Ready" : "NotReady";
    bool closed = value_bool_at(node, "spec.unschedulable", false);
    return value_str(a, arena_printf(a, "%s%s", ready, closed ? ",SchedulingDisabled" : ""));
}

struct value *column_node_roles(struct arena *a, const struct value *node, int64_t now)
{
    (void)now;
    static const struct str prefix = STR("node-role.kubernetes.io/");
    struct str roles[16];
    size_t n = 0;
    value_each_field (value_at(node, "metadata.labels"), m) {
        struct str role = STR_NULL;
        if (str_starts(m->key, prefix))
            role = str_from(m->key, prefix.n);
        else if (str_eqc(m->key, "kubernetes.io/role"))
            role = value_string(m->value);
        if (!role.n || n == sizeof roles / sizeof *roles)
            continue;
        size_t at = n++; // sorted
        for (; at && str_cmp(roles[at - 1], role) > 0; at--)
            roles[at] = roles[at - 1];
        roles[at] = role;
    }
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        add(&b, ",", roles[i]);
    return none_or(a, &b);
}

// ---- events
// ------------------------------------------------------------------------------------------- Both
// views of one store: core/v1 has involvedObject and message, events.k8s.io regarding and note.

static struct value *first_seen(struct arena *a, const struct value *e, int64_t now)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (since(&b, value_str_at(e, "firstTimestamp"), now) ||
        since(&b, value_str_at(e, "deprecatedFirstTimestamp"), now) ||
        since(&b, value_str_at(e, "eventTime"), now))
        return text_of(a, &b);
    return value_strc(a, "<unknown>");
}

struct value *column_event_first(struct arena *a, const struct value *e, int64_t now)
{
    return first_seen(a, e, now);
}

struct value *column_event_last(struct arena *a, const struct value *e, int64_t now)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (since(&b, value_str_at(e, "series.lastObservedTime"), now) ||
        since(&b, value_str_at(e, "lastTimestamp"), now) ||
        since(&b, value_str_at(e, "deprecatedLastTimestamp"), now))
        return text_of(a, &b);
    return first_seen(a, e, now);
}

struct value *column_event_object(struct arena *a, const struct value *e, int64_t now)
{
    (void)now;
    const struct value *o = value_getc(e, "involvedObject");
    if (!o)
        o = value_getc(e, "regarding");
    struct str name = value_str_at(o, "name");
    char *kind = arena_cstr(a, value_str_at(o, "kind"));
    for (char *p = kind; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p += 'a' - 'A';
    return value_str(a, arena_printf(a, "%s%s%.*s", kind, name.n ? "/" : "", STR_ARG(name)));
}

static struct str first_text(const struct value *e, const char *one, const char *other,
                             const char *third)
{
    struct str s = value_str_at(e, one);
    if (!s.n)
        s = value_str_at(e, other);
    return s.n ? s : value_str_at(e, third);
}

struct value *column_event_source(struct arena *a, const struct value *e, int64_t now)
{
    (void)now;
    struct str component =
        first_text(e, "source.component", "deprecatedSource.component", "reportingComponent");
    if (!component.n)
        component = value_str_at(e, "reportingController");
    struct str host = first_text(e, "source.host", "deprecatedSource.host", "reportingInstance");
    if (!host.n)
        return value_str(a, component);
    return value_str(a, arena_printf(a, "%.*s, %.*s", STR_ARG(component), STR_ARG(host)));
}

struct value *column_event_message(struct arena *a, const struct value *e, int64_t now)
{
    (void)now;
    return value_str(a, str_trim(first_text(e, "message", "note", "message")));
}

struct value *column_event_count(struct arena *a, const struct value *e, int64_t now)
{
    (void)now;
    int64_t n = value_int_at(e, "series.count", 0);
    if (!n)
        n = value_int_at(e, "count", 0);
    if (!n)
        n = value_int_at(e, "deprecatedCount", 0);
    return value_int(a, n ? n : 1);
}
