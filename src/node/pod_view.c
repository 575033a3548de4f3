// What is: the containers of the pod's spec, each with its newest run and the one before it, as the
// runtime has them. Everything that decides (pod_active.c, pod_end.c) and everything that reports
// (status.c) looks through this picture and at nothing else.
//
// After a reboot the runtime knows nothing of runs that the API's status still shows. Such a run is
// made up from that status ("lost"): a container that had exited keeps its exit code, one that had
// been running counts as exited with 137. So a pod with restartPolicy Never does not run a second
// time, and counters go on.
#include "node/pod_worker.h"

struct pod_container *pod_container_get(struct pod_worker *w, struct str name)
{
    list_each (&w->containers, l) {
        struct pod_container *m = container_of(l, struct pod_container, link);
        if (str_eqc(name, m->name))
            return m;
    }
    struct pod_container *m = mem_zalloc(sizeof(*m));
    m->name = mem_cstr(name);
    m->image_uid = -1;
    list_push(&w->containers, &m->link);
    return m;
}

static const struct value *api_status(const struct value *pod, const char *list, struct str name)
{
    const struct value *statuses = value_at(pod, list);
    for (size_t i = 0; i < value_len(statuses); i++)
        if (str_eq(value_str_at(value_item(statuses, i), "name"), name))
            return value_item(statuses, i);
    return NULL;
}

static int64_t api_time(const struct value *state, const char *field)
{
    int64_t t;
    return time_parse_rfc3339(value_str_at(state, field), &t) ? t : 0;
}

// A run that only the API's status knows of; NULL: it never ran.
static struct runtime_container *make_lost(struct pod_sync *s, const struct value *status,
                                           struct str name)
{
    const struct value *ended = value_at(status, "state.terminated");
    const struct value *running = value_at(status, "state.running");
    if (!ended && !running)
        ended = value_at(status, "lastState.terminated");
    if (!ended && !running)
        return NULL;
    struct runtime_container *c = arena_new(s->a, struct runtime_container);
    struct str id = value_str_at(status, "containerID");
    ptrdiff_t slashes = str_find(id, STR("://"));
    c->id = slashes >= 0 ? str_from(id, (size_t)slashes + 3) : id;
    c->name = name;
    c->pod_uid = str_of(s->w->uid);
    c->attempt = (uint32_t)value_int_at(status, "restartCount", 0);
    c->state = RUNTIME_EXITED;
    c->image_ref = value_str_at(status, "imageID");
    c->image_name = value_str_at(status, "image");
    c->started_ns = api_time(ended ? ended : running, "startedAt");
    c->finished_ns = ended ? api_time(ended, "finishedAt") : env_now(s->agent->env);
    c->exit_code = ended ? (int32_t)value_int_at(ended, "exitCode", 137) : 137;
    c->reason = ended ? value_str_at(ended, "reason") : STR("ContainerStatusUnknown");
    c->message = ended ? value_str_at(ended, "message")
                       : STR("The container could not be located when the pod was terminated");
    return c;
}

// The run before `now` that the runtime has forgotten, as after a reboot: what the API's status
// says of it, which may not have heard of `now` yet.
static struct runtime_container *make_former(struct pod_sync *s, const struct value *status,
                                             const struct container_view *c)
{
    if (value_int_at(status, "restartCount", 0) < c->now->attempt)
        return make_lost(s, status, c->name);
    const struct value *last = value_at(status, "lastState.terminated");
    if (!last)
        return NULL;
    struct value *former = value_object(s->a), *state = value_object(s->a);
    value_setc(s->a, state, "terminated", (struct value *)last);
    value_setc(s->a, former, "state", state);
    value_setc(s->a, former, "restartCount", value_int(s->a, (int64_t)c->now->attempt - 1));
    value_setc(s->a, former, "containerID", value_str(s->a, value_str_at(last, "containerID")));
    return make_lost(s, former, c->name);
}

static void match_runs(struct pod_sync *s, struct container_view *c)
{
    for (size_t i = 0; i < s->nall; i++) {
        const struct runtime_container *r = &s->all[i];
        if (!str_eq(r->name, c->name))
            continue;
        if (!c->now || r->attempt > c->now->attempt) {
            c->before = c->now;
            c->now = r;
        } else if (!c->before || r->attempt > c->before->attempt) {
            c->before = r;
        }
    }
    if (c->kind == CONTAINER_EPHEMERAL || (c->now && (c->before || !c->now->attempt)))
        return;
    const struct value *status = api_status(
        s->pod,
        c->kind == CONTAINER_MAIN ? "status.containerStatuses" : "status.initContainerStatuses",
        c->name);
    if (c->now) {
        c->before = make_former(s, status, c);
        return;
    }
    c->now = make_lost(s, status, c->name);
    c->lost = c->now != NULL;
}

static void add_list(struct pod_sync *s, const char *path, enum container_kind kind)
{
    const struct value *list = value_at(s->pod, path);
    for (size_t i = 0; i < value_len(list); i++) {
        struct container_view *c = &s->c[s->n++];
        c->spec = value_item(list, i);
        c->name = value_str_at(c->spec, "name");
        c->kind =
            kind == CONTAINER_INIT && str_eqc(value_str_at(c->spec, "restartPolicy"), "Always")
                ? CONTAINER_SIDECAR
                : kind;
        pthread_mutex_lock(&s->w->lock); // jobs walk the list
        c->mem = pod_container_get(s->w, c->name);
        pthread_mutex_unlock(&s->w->lock);
        match_runs(s, c);
    }
}

int pod_view_make(struct pod_sync *s, struct err *e)
{
    struct pod_worker *w = s->w;
    s->all = NULL;
    s->nall = s->n = 0;
    s->facts.pod_ip = w->ip ? arena_str(s->a, str_of(w->ip)) : STR_NULL;
    if (w->sandbox_id) {
        int rc = s->agent->runtime->ops->container_list(
            s->agent->runtime, s->a, str_of(w->sandbox_id), &s->all, &s->nall, e);
        if (rc < 0)
            return rc;
    }
    size_t max = value_len(value_at(s->pod, "spec.initContainers")) +
                 value_len(value_at(s->pod, "spec.containers")) +
                 value_len(value_at(s->pod, "spec.ephemeralContainers"));
    s->c = arena_array(s->a, struct container_view, max + 1);
    add_list(s, "spec.initContainers", CONTAINER_INIT);
    add_list(s, "spec.containers", CONTAINER_MAIN);
    add_list(s, "spec.ephemeralContainers", CONTAINER_EPHEMERAL);
    return 0;
}

bool pod_container_is_running(const struct container_view *c)
{
    return c->now && c->now->state == RUNTIME_RUNNING;
}

bool pod_container_is_exited(const struct container_view *c)
{
    return c->now && (c->now->state == RUNTIME_EXITED || c->now->state == RUNTIME_UNKNOWN);
}

bool pod_container_stopping(struct pod_sync *s, const struct container_view *c)
{
    pthread_mutex_lock(&s->w->lock);
    bool stopping = c->mem->stopping > 0;
    pthread_mutex_unlock(&s->w->lock);
    return stopping;
}

static bool hook_pending(struct pod_sync *s, const struct container_view *c)
{
    pthread_mutex_lock(&s->w->lock);
    bool pending = c->mem->hook_running;
    pthread_mutex_unlock(&s->w->lock);
    return pending;
}

bool pod_container_is_started(struct pod_sync *s, const struct container_view *c)
{
    if (!pod_container_is_running(c) || hook_pending(s, c))
        return false;
    return !value_getc(c->spec, "startupProbe") ||
           prober_result(s->agent->prober, c->now->id, PROBE_STARTUP) == PROBE_SUCCESS;
}

bool pod_container_is_ready(struct pod_sync *s, const struct container_view *c)
{
    if (c->kind == CONTAINER_EPHEMERAL)
        return false;
    if (c->kind == CONTAINER_INIT)
        return pod_container_is_exited(c) && !c->lost && c->now->exit_code == 0;
    if (!pod_container_is_started(s, c))
        return false;
    return !value_getc(c->spec, "readinessProbe") ||
           prober_result(s->agent->prober, c->now->id, PROBE_READINESS) == PROBE_SUCCESS;
}

bool pod_container_wants_restart(const struct pod_sync *s, const struct container_view *c)
{
    struct str policy = value_str_at(s->pod, "spec.restartPolicy");
    switch (c->kind) {
    case CONTAINER_EPHEMERAL:
        return false;
    case CONTAINER_SIDECAR:
        return true;
    case CONTAINER_INIT: // a failed one is tried again, unless the pod never restarts
        return c->now->exit_code != 0 && !str_eqc(policy, "Never");
    case CONTAINER_MAIN:
        break;
    }
    if (str_eqc(policy, "Never"))
        return false;
    return !str_eqc(policy, "OnFailure") || c->now->exit_code != 0;
}
