// The status of a pod, as kubelet reports it: container statuses from the picture of pod_view.c,
// the phase from these, the conditions from both. Nothing here changes anything but the status
// handed to the writer.
//
// Conditions of others (PodScheduled, readiness gates, DisruptionTarget) are kept as the API has
// them. A condition's lastTransitionTime moves only when its status changes.
#include "node/logs.h"
#include "node/pod_resources.h"
#include "node/pod_worker.h"
#include "object/json.h"

#define MESSAGE_MAX       4096 // of a termination message file
#define MESSAGE_LOG_LINES 80   // FallbackToLogsOnError
#define MESSAGE_LOG_MAX   2048

#define SET(object, key, v) value_setc(a, (object), (key), (v))
#define STRV(s)             value_str(a, (s))
#define CSTRV(s)            value_strc(a, (s))

static struct value *time_value(struct arena *a, int64_t ns)
{
    return ns > 0 ? value_str(a, time_rfc3339(a, ns, 0)) : value_null(a);
}

// ---- container statuses ------------------------------------------------------------------------

static struct str container_id(struct pod_sync *s, const struct runtime_container *r)
{
    struct str id = r->id;
    return id.n ? arena_printf(s->a, "%s://%.*s", s->agent->runtime->ops->name, STR_ARG(id))
                : STR("");
}

// A terminated container's message: its file, or the end of its log where the policy says so.
static struct str termination_message(struct pod_sync *s, const struct container_view *c,
                                      const struct runtime_container *r)
{
    if (r->message.n)
        return str_sub(r->message, 0, MESSAGE_MAX);
    char *path = volumes_pod_path(
        s->agent->volumes, s->a, str_of(s->w->uid),
        arena_cstr(s->a, arena_printf(s->a, "containers/%.*s/%u", STR_ARG(c->name), r->attempt)));
    struct str text = STR_NULL;
    // A container can write without end: only the beginning is read.
    if (logs_read_head(s->a, path, MESSAGE_MAX, &text) == 0 && text.n)
        return text;
    if (r->exit_code != 0 && r->log_path.n &&
        str_eqc(value_str_at(c->spec, "terminationMessagePolicy"), "FallbackToLogsOnError") &&
        logs_read_tail(s->a, arena_cstr(s->a, r->log_path), MESSAGE_LOG_LINES, MESSAGE_LOG_MAX,
                       &text) == 0)
        return text;
    return STR_NULL;
}

static struct value *terminated_state(struct pod_sync *s, const struct container_view *c,
                                      const struct runtime_container *r)
{
    struct arena *a = s->a;
    struct value *t = value_object(a), *state = value_object(a);
    struct str reason = r->reason.n         ? r->reason
                        : r->oom_killed     ? STR("OOMKilled")
                        : r->exit_code == 0 ? STR("Completed")
                                            : STR("Error");
    SET(t, "exitCode", value_int(a, r->exit_code));
    if (r->signal)
        SET(t, "signal", value_int(a, r->signal));
    SET(t, "reason", STRV(reason));
    struct str message = termination_message(s, c, r);
    if (message.n)
        SET(t, "message", STRV(message));
    SET(t, "startedAt", time_value(a, r->started_ns));
    SET(t, "finishedAt", time_value(a, r->finished_ns));
    if (r->id.n)
        SET(t, "containerID", STRV(container_id(s, r)));
    SET(state, "terminated", t);
    return state;
}

static struct value *waiting_state(struct pod_sync *s, const char *reason, const char *message)
{
    struct arena *a = s->a;
    struct value *w = value_object(a), *state = value_object(a);
    SET(w, "reason", CSTRV(reason));
    if (message)
        SET(w, "message", STRV(arena_str(a, str_of(message))));
    SET(state, "waiting", w);
    return state;
}

static bool hook_running(struct pod_sync *s, const struct container_view *c)
{
    pthread_mutex_lock(&s->w->lock);
    bool running = c->mem->hook_running;
    pthread_mutex_unlock(&s->w->lock);
    return running;
}

// The container could not be located when the pod ended, or never ran at all.
static struct value *unknown_end(struct pod_sync *s)
{
    struct arena *a = s->a;
    struct value *t = value_object(a), *state = value_object(a);
    SET(t, "exitCode", value_int(a, 137));
    SET(t, "reason", CSTRV("ContainerStatusUnknown"));
    SET(t, "message", CSTRV("The container could not be located when the pod was terminated"));
    SET(t, "startedAt", value_null(a));
    SET(t, "finishedAt", value_null(a));
    SET(state, "terminated", t);
    return state;
}

// Of a pod that has ended: containers before this one (in the order of the spec) were begun, as far
// as anybody can tell; one of them that left no trace has an unknown end. Those from it on never
// had their turn and go on waiting (kubelet's TerminatePod: the init containers up to the last one
// that left a trace, at least the first; the others once the init containers are through).
static size_t begun_until(struct pod_sync *s)
{
    size_t ninit = 0, last = 0;
    bool through = true;
    for (size_t i = 0; i < s->n && s->c[i].kind <= CONTAINER_SIDECAR; i++) {
        ninit++;
        if (s->c[i].now)
            last = i + 1;
        if (s->c[i].kind == CONTAINER_INIT)
            through = pod_container_is_exited(&s->c[i]) && s->c[i].now->exit_code == 0;
        else
            through = s->c[i].now != NULL;
    }
    for (size_t i = ninit; i < s->n; i++)
        through = through || s->c[i].now;
    return through ? s->n : last ? last : 1;
}

static struct value *container_state(struct pod_sync *s, const struct container_view *c,
                                     bool has_init, bool ended)
{
    struct arena *a = s->a;
    const struct pod_container *m = c->mem;
    const char *initial = c->kind == CONTAINER_EPHEMERAL ? "ContainerCreating"
                          : has_init                     ? "PodInitializing"
                                                         : "ContainerCreating";
    if (c->now && c->now->state == RUNTIME_RUNNING && !hook_running(s, c)) {
        struct value *r = value_object(a), *state = value_object(a);
        SET(r, "startedAt", time_value(a, c->now->started_ns));
        SET(state, "running", r);
        return state;
    }
    bool exited = pod_container_is_exited(c);
    // Exited and kept from its next run by something: that is what it waits for.
    if (exited && (ended || !m->waiting_reason || !pod_container_wants_restart(s, c)))
        return terminated_state(s, c, c->now);
    if (ended && (size_t)(c - s->c) < begun_until(s))
        return unknown_end(s);
    return waiting_state(s, m->waiting_reason ? m->waiting_reason : initial, m->waiting_message);
}

static struct value *container_status(struct pod_sync *s, const struct container_view *c,
                                      bool has_init, bool ended)
{
    struct arena *a = s->a;
    struct value *v = value_object(a);
    const struct runtime_container *now = c->now;
    bool created = now && now->state == RUNTIME_CREATED;
    SET(v, "name", STRV(c->name));
    struct value *state = container_state(s, c, has_init, ended);
    SET(v, "state", state);
    const struct runtime_container *last =
        pod_container_is_exited(c) && value_getc(state, "waiting") ? now : c->before;
    SET(v, "lastState",
        last && (last->state == RUNTIME_EXITED || last->state == RUNTIME_UNKNOWN)
            ? terminated_state(s, c, last)
            : value_object(a));
    SET(v, "ready",
        value_bool(a, !ended || c->kind == CONTAINER_INIT ? pod_container_is_ready(s, c) : false));
    // A run that is only created is not counted before it has begun.
    SET(v, "restartCount", value_int(a, now ? now->attempt : 0));
    struct str image = value_str_at(c->spec, "image");
    SET(v, "image", STRV(now && now->image_name.n && !created ? now->image_name : image));
    SET(v, "imageID", STRV(now && !created ? now->image_ref : STR("")));
    if (now && now->id.n && !created)
        SET(v, "containerID", STRV(container_id(s, now)));
    bool started = !ended && pod_container_is_started(s, c);
    if (c->kind != CONTAINER_EPHEMERAL)
        SET(v, "started", value_bool(a, started));
    return v;
}

// ---- phase -------------------------------------------------------------------------------------

struct tally {
    unsigned waiting, running, stopped, succeeded, total;
    unsigned init_pending, init_failed;
};

static void tally_init(const struct pod_sync *s, const struct container_view *c,
                       const struct value *status, struct tally *t)
{
    const struct value *ended = value_at(status, "state.terminated");
    bool never = str_eqc(value_str_at(s->pod, "spec.restartPolicy"), "Never");
    if (c->kind == CONTAINER_SIDECAR) {
        if (!value_bool_at(status, "started", false) && !ended)
            t->init_pending++;
        return;
    }
    if (ended) {
        if (value_int_at(ended, "exitCode", 0) != 0) {
            if (never)
                t->init_failed++;
            else
                t->init_pending++;
        }
        return;
    }
    t->init_pending++;
}

static void tally_main(const struct value *status, struct tally *t)
{
    t->total++;
    const struct value *state = value_getc(status, "state");
    const struct value *ended = value_getc(state, "terminated");
    if (value_getc(state, "running")) {
        t->running++;
    } else if (ended) {
        t->stopped++;
        t->succeeded += value_int_at(ended, "exitCode", 0) == 0;
    } else if (value_at(status, "lastState.terminated")) {
        t->stopped++; // between two runs
    } else {
        t->waiting++;
    }
}

static const char *phase_of(const struct pod_sync *s, const struct tally *t, bool ended)
{
    struct str policy = value_str_at(s->pod, "spec.restartPolicy");
    bool began = t->running || t->stopped;
    if (t->init_failed && str_eqc(policy, "Never"))
        return "Failed";
    if (ended && !t->running)
        return t->stopped == t->succeeded && t->stopped == t->total ? "Succeeded" : "Failed";
    if ((t->init_pending && !began) || t->waiting)
        return "Pending";
    if (t->running)
        return "Running";
    if (!t->stopped)
        return "Pending";
    if (str_eqc(policy, "Never"))
        return t->stopped == t->succeeded ? "Succeeded" : "Failed";
    if (str_eqc(policy, "OnFailure") && t->stopped == t->succeeded)
        return "Succeeded";
    return "Running";
}

// ---- conditions --------------------------------------------------------------------------------

static const struct value *find_condition(const struct value *list, const char *type)
{
    for (size_t i = 0; i < value_len(list); i++)
        if (str_eqc(value_str_at(value_item(list, i), "type"), type))
            return value_item(list, i);
    return NULL;
}

static void add_condition(struct pod_sync *s, struct value *list, const char *type, bool status,
                          const char *reason, struct str message)
{
    struct arena *a = s->a;
    const char *text = status ? "True" : "False";
    const struct value *old = find_condition(value_at(s->pod, "status.conditions"), type);
    bool same = str_eqc(value_str_at(old, "status"), text) && value_getc(old, "lastTransitionTime");
    struct value *c = value_object(a);
    SET(c, "type", CSTRV(type));
    int64_t generation = value_int_at(s->pod, "metadata.generation", 0);
    if (generation)
        SET(c, "observedGeneration", value_int(a, generation));
    SET(c, "status", CSTRV(text));
    SET(c, "lastProbeTime", value_null(a));
    SET(c, "lastTransitionTime",
        same ? value_getc(old, "lastTransitionTime") : time_value(a, env_now(s->agent->env)));
    if (reason)
        SET(c, "reason", CSTRV(reason));
    if (message.n)
        SET(c, "message", STRV(message));
    value_push(a, list, c);
}

// "containers with unready status: [a b]", or empty.
static struct str names_text(struct pod_sync *s, const char *what,
                             bool (*wrong)(struct pod_sync *, const struct container_view *))
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < s->n; i++)
        if (wrong(s, &s->c[i])) {
            buf_puts(&b, b.n ? " " : "");
            buf_str(&b, s->c[i].name);
        }
    return b.n ? arena_printf(s->a, "containers with %s status: [%.*s]", what,
                              STR_ARG(buf_view(&b)))
               : STR_NULL;
}

static bool is_unready(struct pod_sync *s, const struct container_view *c)
{
    return (c->kind == CONTAINER_MAIN || c->kind == CONTAINER_SIDECAR) &&
           !pod_container_is_ready(s, c);
}

static bool is_uninitialized(struct pod_sync *s, const struct container_view *c)
{
    if (c->kind == CONTAINER_INIT)
        return !pod_container_is_ready(s, c);
    return c->kind == CONTAINER_SIDECAR && !pod_container_is_started(s, c);
}

static struct str missing_gates(struct pod_sync *s)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    const struct value *gates = value_at(s->pod, "spec.readinessGates");
    const struct value *have = value_at(s->pod, "status.conditions");
    for (size_t i = 0; i < value_len(gates); i++) {
        struct str type = value_str_at(value_item(gates, i), "conditionType");
        const struct value *c = find_condition(have, arena_cstr(s->a, type));
        if (c && str_eqc(value_str_at(c, "status"), "True"))
            continue;
        if (b.n)
            buf_puts(&b, ", ");
        if (c)
            buf_printf(&b, "the status of pod readiness gate \"%.*s\" is not \"True\", but %.*s",
                       STR_ARG(type), STR_ARG(value_str_at(c, "status")));
        else
            buf_printf(&b, "corresponding condition of pod readiness gate \"%.*s\" does not exist.",
                       STR_ARG(type));
    }
    return arena_str(s->a, buf_view(&b));
}

static struct value *make_conditions(struct pod_sync *s, const char *phase, const struct tally *t)
{
    struct pod_worker *w = s->w;
    struct value *list = value_array(s->a);
    bool succeeded = strcmp(phase, "Succeeded") == 0, failed = strcmp(phase, "Failed") == 0;
    bool began = t->running || t->stopped;
    struct str uninitialized = began ? STR_NULL : names_text(s, "incomplete", is_uninitialized);
    struct str unready = names_text(s, "unready", is_unready);

    add_condition(s, list, "PodReadyToStartContainers", w->networked, NULL, STR_NULL);
    if (succeeded)
        add_condition(s, list, "Initialized", true, "PodCompleted", STR_NULL);
    else if (uninitialized.n)
        add_condition(s, list, "Initialized", false, "ContainersNotInitialized", uninitialized);
    else
        add_condition(s, list, "Initialized", true, NULL, STR_NULL);

    const char *reason = succeeded ? "PodCompleted" : failed ? "PodFailed" : NULL;
    struct str gates = missing_gates(s);
    if (reason)
        add_condition(s, list, "Ready", false, reason, STR_NULL);
    else if (unready.n)
        add_condition(s, list, "Ready", false, "ContainersNotReady", unready);
    else if (gates.n)
        add_condition(s, list, "Ready", false, "ReadinessGatesNotReady", gates);
    else
        add_condition(s, list, "Ready", true, NULL, STR_NULL);
    if (reason)
        add_condition(s, list, "ContainersReady", false, reason, STR_NULL);
    else if (unready.n)
        add_condition(s, list, "ContainersReady", false, "ContainersNotReady", unready);
    else
        add_condition(s, list, "ContainersReady", true, NULL, STR_NULL);

    const struct value *have = value_at(s->pod, "status.conditions");
    value_each_item (have, c) {
        if (!find_condition(list, arena_cstr(s->a, value_str_at(c, "type"))))
            value_push(s->a, list, c);
    }
    return list;
}

// ---- the whole ---------------------------------------------------------------------------------

static void add_ips(struct arena *a, struct value *status, const char *one, const char *many,
                    struct str ip)
{
    if (!ip.n)
        return;
    struct value *item = value_object(a), *list = value_array(a);
    SET(status, one, STRV(ip));
    SET(item, "ip", STRV(ip));
    value_push(a, list, item);
    SET(status, many, list);
}

// A pod that was refused before anything was made.
static struct value *rejected_status(struct pod_sync *s)
{
    struct arena *a = s->a;
    struct value *status = value_object(a);
    SET(status, "phase", CSTRV(s->w->end_phase));
    const struct value *conditions = value_at(s->pod, "status.conditions");
    if (conditions)
        SET(status, "conditions", value_clone(a, conditions));
    SET(status, "message", STRV(arena_str(a, str_of(s->w->end_message))));
    SET(status, "reason", STRV(arena_str(a, str_of(s->w->end_reason))));
    SET(status, "startTime", time_value(a, s->w->started_real));
    SET(status, "qosClass", CSTRV(pod_qos_name(pod_qos_class(s->pod))));
    return status;
}

struct value *pod_status_make(struct pod_sync *s)
{
    struct arena *a = s->a;
    struct pod_worker *w = s->w;
    bool ended = w->state >= POD_TERMINATED;
    if (ended && w->end_phase && !w->sandbox_id && !s->nall && w->end_reason &&
        strcmp(w->end_reason, "DeadlineExceeded") != 0)
        return rejected_status(s);

    struct value *main = value_array(a), *init = value_array(a), *ephemeral = value_array(a);
    bool has_init = value_len(value_at(s->pod, "spec.initContainers")) > 0;
    struct tally t = {0};
    for (size_t i = 0; i < s->n; i++) {
        const struct container_view *c = &s->c[i];
        bool is_init = c->kind == CONTAINER_INIT || c->kind == CONTAINER_SIDECAR;
        struct value *status = container_status(s, c, has_init, ended);
        value_push(a, is_init ? init : c->kind == CONTAINER_MAIN ? main : ephemeral, status);
        if (is_init)
            tally_init(s, c, status, &t);
        else if (c->kind == CONTAINER_MAIN)
            tally_main(status, &t);
    }
    struct str former = value_str_at(s->pod, "status.phase");
    const char *phase = w->end_phase && ended ? w->end_phase : phase_of(s, &t, ended);
    if (str_eqc(former, "Succeeded")) // an end is an end
        phase = "Succeeded";
    if (str_eqc(former, "Failed"))
        phase = "Failed";

    struct value *status = value_object(a);
    int64_t generation = value_int_at(s->pod, "metadata.generation", 0);
    if (generation)
        SET(status, "observedGeneration", value_int(a, generation));
    SET(status, "phase", CSTRV(phase));
    SET(status, "conditions", make_conditions(s, phase, &t));
    const struct value *was = value_getc(s->pod, "status");
    if (w->end_message)
        SET(status, "message", STRV(arena_str(a, str_of(w->end_message))));
    else if (ended && value_getc(was, "message"))
        SET(status, "message", value_getc(was, "message"));
    if (w->end_reason)
        SET(status, "reason", STRV(arena_str(a, str_of(w->end_reason))));
    else if (ended && value_getc(was, "reason"))
        SET(status, "reason", value_getc(was, "reason"));
    add_ips(a, status, "hostIP", "hostIPs", s->agent->o.node_ip);
    // The address shows until the last container has gone; upstream keeps it in the last status.
    struct str ip = w->ip ? arena_str(a, str_of(w->ip)) : value_str_at(was, "podIP");
    add_ips(a, status, "podIP", "podIPs", ip);
    const struct value *start = value_getc(was, "startTime");
    if (start)
        SET(status, "startTime", value_clone(a, start));
    else if (w->started_real)
        SET(status, "startTime", time_value(a, w->started_real));
    if (has_init)
        SET(status, "initContainerStatuses", init);
    SET(status, "containerStatuses", main);
    if (value_len(ephemeral))
        SET(status, "ephemeralContainerStatuses", ephemeral);
    SET(status, "qosClass", CSTRV(pod_qos_name(pod_qos_class(s->pod))));
    static const char *const kept[] = {"nominatedNodeName", "resize", "resourceClaimStatuses"};
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if (value_getc(was, kept[i]))
            SET(status, kept[i], value_getc(was, kept[i]));
    return status;
}

void pod_status_update(struct pod_sync *s)
{
    struct pod_worker *w = s->w;
    if (!s->pod || s->removed || w->erased)
        return;
    _cleanup_err_ struct err e = ERR_INIT;
    if (pod_view_make(s, &e) < 0)
        return; // the sync that found this out comes again
    struct str text = json_text(s->a, pod_status_make(s));
    pthread_mutex_lock(&w->lock);
    bool same = w->status && str_eq(blob_view(w->status), text);
    if (!same) {
        blob_unref(w->status);
        w->status = blob_new(text);
        w->status_made++;
    }
    bool pending = w->status_made != w->status_written;
    pthread_mutex_unlock(&w->lock);
    if (pending)
        work_queue_add(s->agent->statuses, str_of(w->uid));
}
