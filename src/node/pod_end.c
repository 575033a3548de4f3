// TERMINATING and TERMINATED: everything that was made is unmade, in the order that lets the pod
// finish its work: hooks and signals to containers first (main ones at once, sidecars after them in
// reverse order), then network, sandbox, volumes; records and logs only when the API object goes.
#include "base/log.h"
#include "node/pod_worker.h"

#define RETRY_FIRST (500 * NS_PER_MS)
#define RETRY_MAX   (60 * NS_PER_S)

static void retry(struct pod_sync *s, const char *what, const struct err *e)
{
    struct pod_worker *w = s->w;
    if (!w->retry_delay) // once per trouble
        log_warn("node", "pod could not be taken down yet pod=%s/%s step=\"%s\" error=\"%s\"",
                 w->ns, w->name, what, e->message ? e->message : "");
    w->retry_delay = !w->retry_delay                  ? RETRY_FIRST
                     : w->retry_delay * 2 > RETRY_MAX ? RETRY_MAX
                                                      : w->retry_delay * 2;
    pod_event(s, STR_NULL, "Warning", "FailedKillPod", "error killing pod: %s",
              e->message ? e->message : what);
    pod_sync_due(s, s->now + w->retry_delay);
}

int64_t pod_grace_seconds(const struct pod_sync *s)
{
    if (!s->pod)
        return 1; // nobody knows the pod any more
    const struct value *deleted = value_at(s->pod, "metadata.deletionTimestamp");
    int64_t grace = value_int_at(s->pod, "spec.terminationGracePeriodSeconds", 30);
    if (deleted)
        grace = value_int_at(s->pod, "metadata.deletionGracePeriodSeconds", grace);
    else if (s->removed)
        grace = 1;
    // A former agent has begun to stop it: the grace period goes on, it does not begin anew.
    int64_t end;
    if (s->w->resumed && deleted && time_parse_rfc3339(value_string(deleted), &end)) {
        int64_t left = (end - env_now(s->agent->env)) / NS_PER_S;
        grace = left < grace ? left : grace;
    }
    return grace < 1 ? 1 : grace;
}

// Containers that the runtime has and the spec does not (an orphan's, or of another spec) get a
// view too.
static void add_unknown(struct pod_sync *s)
{
    struct container_view *all = arena_array(s->a, struct container_view, s->n + s->nall + 1);
    memcpy(all, s->c, s->n * sizeof(*all));
    size_t n = s->n;
    for (size_t i = 0; i < s->nall; i++) {
        bool known = false;
        for (size_t k = 0; k < n; k++)
            known |= all[k].now == &s->all[i] || all[k].before == &s->all[i];
        if (known || s->all[i].state != RUNTIME_RUNNING)
            continue;
        pthread_mutex_lock(&s->w->lock);
        struct pod_container *m = pod_container_get(s->w, s->all[i].name);
        pthread_mutex_unlock(&s->w->lock);
        all[n++] = (struct container_view){
            .kind = CONTAINER_MAIN,
            .name = s->all[i].name,
            .mem = m,
            .now = &s->all[i],
        };
    }
    s->c = all;
    s->n = n;
}

static bool still_up(struct pod_sync *s, const struct container_view *c)
{
    return (c->now && !c->lost && c->now->state != RUNTIME_EXITED &&
            c->now->state != RUNTIME_CREATED) ||
           pod_container_stopping(s, c);
}

// true: nothing runs any more.
static bool stop_containers(struct pod_sync *s)
{
    int64_t grace = pod_grace_seconds(s);
    bool main_up = false;
    for (size_t i = 0; i < s->n; i++) {
        struct container_view *c = &s->c[i];
        // Liveness must not interfere with an orderly end; readiness goes on as upstream.
        if (c->mem->probed_id)
            prober_forget(s->agent->prober, str_of(c->mem->probed_id),
                          1u << PROBE_LIVENESS | 1u << PROBE_STARTUP);
        if (c->kind == CONTAINER_SIDECAR || !still_up(s, c))
            continue;
        main_up = true;
        pod_container_stop(s, c, grace, NULL);
    }
    if (main_up)
        return false;
    for (size_t i = s->n; i-- > 0;) {
        struct container_view *c = &s->c[i];
        if (c->kind == CONTAINER_SIDECAR && still_up(s, c)) {
            pod_container_stop(s, c, grace, NULL);
            return false;
        }
    }
    return true;
}

static void forget_probes(struct pod_sync *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->c[i].mem->probed_id) {
            prober_forget(s->agent->prober, str_of(s->c[i].mem->probed_id), ~0u);
            pod_set(&s->c[i].mem->probed_id, STR_NULL);
        }
}

static int release_network(struct pod_sync *s, struct err *e)
{
    struct pod_worker *w = s->w;
    if (!s->agent->o.network || !w->sandbox_id || value_bool_at(s->pod, "spec.hostNetwork", false))
        return 0;
    struct pod_network_request r = {
        .sandbox_id = str_of(w->sandbox_id),
        .netns_path = str_of(w->netns),
        .pod_namespace = str_of(w->ns),
        .pod_name = str_of(w->name),
        .pod_uid = str_of(w->uid),
    };
    return pod_network_del(s->agent->o.network, &r, e);
}

void pod_terminating_sync(struct pod_sync *s)
{
    struct pod_worker *w = s->w;
    struct runtime *r = s->agent->runtime;
    _cleanup_err_ struct err e = ERR_INIT;
    if (pod_view_make(s, &e) < 0) {
        retry(s, "listing containers", &e);
        return;
    }
    add_unknown(s);
    if (!stop_containers(s))
        return;
    forget_probes(s);
    for (size_t i = 0; i < w->nstale; i++)
        if (r->ops->sandbox_stop(r, str_of(w->stale_sandboxes[i]), &e) < 0) {
            retry(s, "stopping a former sandbox", &e);
            return;
        }
    if (release_network(s, &e) < 0) {
        retry(s, "releasing the network", &e);
        return;
    }
    if (w->sandbox_id && r->ops->sandbox_stop(r, str_of(w->sandbox_id), &e) < 0) {
        retry(s, "stopping the sandbox", &e);
        return;
    }
    w->networked = false;
    pod_worker_set_state(w, POD_TERMINATED);
}

static int erase(struct pod_sync *s, struct err *e)
{
    struct pod_worker *w = s->w;
    struct runtime *r = s->agent->runtime;
    for (; w->nstale; w->nstale--) {
        int rc = r->ops->sandbox_remove(r, str_of(w->stale_sandboxes[w->nstale - 1]), e);
        if (rc < 0)
            return rc;
        free(w->stale_sandboxes[w->nstale - 1]);
    }
    for (size_t i = 0; w->sandbox_id && i < s->nall; i++) {
        int rc = r->ops->container_remove(r, s->all[i].id, e);
        if (rc < 0 && !err_is(e, ERR_NOT_FOUND))
            return rc;
        err_done(e);
        *e = ERR_INIT;
    }
    if (w->sandbox_id) {
        int rc = r->ops->sandbox_remove(r, str_of(w->sandbox_id), e);
        if (rc < 0)
            return rc;
    }
    int rc = volumes_tear_down(s->agent->volumes, str_of(w->uid), true, e);
    if (rc < 0)
        return rc;
    char *logs = arena_cstr(
        s->a, arena_printf(s->a, "%s/%s_%s_%s", s->agent->o.log_dir, w->ns, w->name, w->uid));
    rc = volume_remove_all(logs, e);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&w->lock);
    pod_set(&w->sandbox_id, STR_NULL);
    pthread_mutex_unlock(&w->lock);
    return 0;
}

void pod_terminated_sync(struct pod_sync *s)
{
    struct pod_worker *w = s->w;
    _cleanup_err_ struct err e = ERR_INIT;
    if (w->erased) {
        if (s->removed || !s->pod)
            pod_worker_set_state(w, POD_GONE);
        return;
    }
    if (pod_view_make(s, &e) < 0) {
        retry(s, "listing containers", &e);
        return;
    }
    if (!w->cleaned) {
        if (volumes_tear_down(s->agent->volumes, str_of(w->uid), false, &e) < 0) {
            retry(s, "taking down volumes", &e);
            return;
        }
        w->cleaned = true;
    }
    if (!s->removed && s->pod && !value_at(s->pod, "metadata.deletionTimestamp"))
        return; // ended, but kept for people to look at
    // The last status is made while the runtime still has the records; then they go.
    pod_status_update(s);
    if (erase(s, &e) < 0) {
        retry(s, "removing containers", &e);
        return;
    }
    w->erased = true;
    if (s->removed || !s->pod) {
        pod_worker_set_state(w, POD_GONE);
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->delete_when_written = true;
    pthread_mutex_unlock(&w->lock);
    work_queue_add(s->agent->statuses, str_of(w->uid));
}
