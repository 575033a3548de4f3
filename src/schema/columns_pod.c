// The cells of a pod. Its one-word status is the most read text of the system and follows the
// originals' printer exactly: the phase, unless something says more, in this order: the first init
// container that has not finished, else the last container that waits or has ended, and above all a
// deletion.
#include "base/time.h"
#include "schema/tables.h"

column_function column_pod_ready, column_pod_status, column_pod_restarts, column_pod_gates;

struct summary {
    struct str reason;
    int64_t restarts, last_restart; // last_restart: real time, INT64_MIN: never
    int64_t ready, total;
};

static bool condition_true(const struct value *pod, const char *type)
{
    value_each_item (value_at(pod, "status.conditions"), c)
        if (str_eqc(value_str_at(c, "type"), type))
            return str_eqc(value_str_at(c, "status"), "True");
    return false;
}

static bool is_sidecar(const struct value *pod, struct str name)
{
    value_each_item (value_at(pod, "spec.initContainers"), c)
        if (str_eq(value_str_at(c, "name"), name))
            return str_eqc(value_str_at(c, "restartPolicy"), "Always");
    return false;
}

static int64_t ended_at(const struct value *status)
{
    int64_t when;
    struct str text = value_str_at(status, "lastState.terminated.finishedAt");
    return time_parse_rfc3339(text, &when) ? when : INT64_MIN;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// "Error", or what the exit tells when there is no reason.
static struct str ended_reason(struct arena *a, const struct value *terminated, const char *prefix)
{
    struct str reason = value_str_at(terminated, "reason");
    int64_t signal = value_int_at(terminated, "signal", 0);
    if (reason.n)
        return arena_printf(a, "%s%.*s", prefix, STR_ARG(reason));
    if (signal)
        return arena_printf(a, "%sSignal:%lld", prefix, (long long)signal);
    return arena_printf(a, "%sExitCode:%lld", prefix,
                        (long long)value_int_at(terminated, "exitCode", 0));
}

// True: still initializing.
static bool init_containers(struct arena *a, const struct value *pod, struct summary *s,
                            int64_t *sidecar_restarts, int64_t *sidecar_last)
{
    const struct value *list = value_at(pod, "status.initContainerStatuses");
    for (size_t i = 0; i < value_len(list); i++) {
        const struct value *c = value_item(list, i);
        const struct value *terminated = value_at(c, "state.terminated");
        struct str waiting = value_str_at(c, "state.waiting.reason");
        bool sidecar = is_sidecar(pod, value_str_at(c, "name"));
        s->restarts += value_int_at(c, "restartCount", 0);
        s->last_restart = later(s->last_restart, ended_at(c));
        if (sidecar) {
            *sidecar_restarts += value_int_at(c, "restartCount", 0);
            *sidecar_last = later(*sidecar_last, ended_at(c));
        }
        if (terminated && !value_int_at(terminated, "exitCode", 0))
            continue;
        if (sidecar && value_bool_at(c, "started", false)) {
            s->ready += value_bool_at(c, "ready", false);
            continue;
        }
        if (terminated)
            s->reason = ended_reason(a, terminated, "Init:");
        else if (waiting.n && !str_eqc(waiting, "PodInitializing"))
            s->reason = arena_printf(a, "Init:%.*s", STR_ARG(waiting));
        else
            s->reason =
                arena_printf(a, "Init:%zu/%zu", i, value_len(value_at(pod, "spec.initContainers")));
        return true;
    }
    return false;
}

static void containers(struct arena *a, const struct value *pod, struct summary *s)
{
    const struct value *list = value_at(pod, "status.containerStatuses");
    bool running = false;
    for (size_t i = value_len(list); i-- > 0;) {
        const struct value *c = value_item(list, i);
        const struct value *terminated = value_at(c, "state.terminated");
        struct str waiting = value_str_at(c, "state.waiting.reason");
        s->restarts += value_int_at(c, "restartCount", 0);
        s->last_restart = later(s->last_restart, ended_at(c));
        if (waiting.n) {
            s->reason = waiting;
        } else if (terminated) {
            s->reason = ended_reason(a, terminated, "");
        } else if (value_bool_at(c, "ready", false) && value_at(c, "state.running")) {
            running = true;
            s->ready++;
        }
    }
    if (str_eqc(s->reason, "Completed") && running)
        s->reason = condition_true(pod, "Ready") ? STR("Running") : STR("NotReady");
}

static struct summary summarize(struct arena *a, const struct value *pod)
{
    struct summary s = {.reason = value_str_at(pod, "status.phase"), .last_restart = INT64_MIN};
    struct str phase = s.reason, why = value_str_at(pod, "status.reason");
    int64_t sidecar_restarts = 0, sidecar_last = INT64_MIN;
    if (why.n)
        s.reason = why;
    value_each_item (value_at(pod, "status.conditions"), c)
        if (str_eqc(value_str_at(c, "type"), "PodScheduled") &&
            str_eqc(value_str_at(c, "reason"), "SchedulingGated"))
            s.reason = STR("SchedulingGated");
    s.total = (int64_t)value_len(value_at(pod, "spec.containers"));
    value_each_item (value_at(pod, "spec.initContainers"), c)
        s.total += str_eqc(value_str_at(c, "restartPolicy"), "Always");
    bool initializing = init_containers(a, pod, &s, &sidecar_restarts, &sidecar_last);
    if (!initializing || condition_true(pod, "Initialized")) {
        s.restarts = sidecar_restarts;
        s.last_restart = sidecar_last;
        containers(a, pod, &s);
    }
    if (value_at(pod, "metadata.deletionTimestamp")) {
        if (str_eqc(why, "NodeLost"))
            s.reason = STR("Unknown");
        else if (!str_eqc(phase, "Succeeded") && !str_eqc(phase, "Failed"))
            s.reason = STR("Terminating");
    }
    return s;
}

struct value *column_pod_ready(struct arena *a, const struct value *pod, int64_t now)
{
    (void)now;
    struct summary s = summarize(a, pod);
    return value_str(a, arena_printf(a, "%lld/%lld", (long long)s.ready, (long long)s.total));
}

struct value *column_pod_status(struct arena *a, const struct value *pod, int64_t now)
{
    (void)now;
    return value_str(a, summarize(a, pod).reason);
}

struct value *column_pod_restarts(struct arena *a, const struct value *pod, int64_t now)
{
    struct summary s = summarize(a, pod);
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_i64(&b, s.restarts);
    if (s.restarts && s.last_restart != INT64_MIN) {
        buf_puts(&b, " (");
        duration_write_human(&b, elapsed(now, s.last_restart));
        buf_puts(&b, " ago)");
    }
    return value_str(a, arena_str(a, buf_view(&b)));
}

struct value *column_pod_gates(struct arena *a, const struct value *pod, int64_t now)
{
    (void)now;
    const struct value *gates = value_at(pod, "spec.readinessGates");
    size_t open = 0;
    if (!value_len(gates))
        return value_strc(a, "<none>");
    value_each_item (gates, g) {
        struct str type = value_str_at(g, "conditionType");
        open += condition_true(pod, arena_cstr(a, type));
    }
    return value_str(a, arena_printf(a, "%zu/%zu", open, value_len(gates)));
}
