// Starting and stopping one container.
//
// A start is a row of steps: wait for back-off, image, configuration (environment, mounts,
// security, limits), create, start, postStart. Each sync goes as far as it can and leaves the
// reason in waiting_reason. An agent that dies between create and start finds the container CREATED
// and starts that one; between start and postStart, the hook is not run again (as upstream).
#include "base/env.h"
#include "node/environment.h"
#include "node/pod_dns.h"
#include "node/pod_resources.h"
#include "node/pod_security.h"
#include "node/pod_worker.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_RETRY (10 * NS_PER_S)
// What is left at least after a preStop hook that used up the grace period (upstream's minimum).
#define GRACE_AFTER_HOOK 2

void pod_container_wait(struct container_view *c, const char *reason, struct str message)
{
    pod_set(&c->mem->waiting_reason, str_of(reason));
    pod_set(&c->mem->waiting_message, message);
}

// ---- configuration -----------------------------------------------------------------------------

static int get_object(void *ctx, struct arena *a, const char *resource, struct str ns,
                      struct str name, const struct value **ret, struct err *e)
{
    struct node_agent *agent = ctx;
    _cleanup_object_ struct object *o = NULL;
    int rc = node_objects_get(agent->objects, resource, ns, name, &o, e);
    if (rc < 0)
        return rc;
    *ret = value_clone(a, object_tree(a, o));
    return 0;
}

static int make_env(struct pod_sync *s, const struct container_view *c, struct str (**ret)[2],
                    size_t *ret_n, struct err *e)
{
    struct str ns = str_of(s->w->ns);
    bool links = value_bool_at(s->pod, "spec.enableServiceLinks", true);
    _cleanup_objects_ struct object_list mine = {0};
    _cleanup_object_ struct object *api = NULL;
    informer_list(s->agent->service_informer, ns, &mine);
    const struct value **services = arena_array(s->a, const struct value *, mine.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < mine.n; i++) {
        const struct value *v = value_clone(s->a, object_tree(s->a, mine.items[i]));
        if (environment_wants_service(v, ns, links))
            services[n++] = v;
    }
    if (!str_eqc(ns, "default")) {
        api = informer_get_ns(s->agent->service_informer, STR("default"), STR("kubernetes"));
        const struct value *v = api ? value_clone(s->a, object_tree(s->a, api)) : NULL;
        if (v && environment_wants_service(v, ns, links))
            services[n++] = v;
    }
    struct environment_sources sources = {
        .facts = &s->facts,
        .get = get_object,
        .ctx = s->agent,
        .services = services,
        .nservices = n,
    };
    return environment_make(s->a, &sources, c->spec, ret, ret_n, e);
}

static const struct str *expand_list(struct pod_sync *s, const struct value *list,
                                     const struct runtime_container_config *c, size_t *ret_n)
{
    size_t n = value_len(list);
    struct str *out = arena_array(s->a, struct str, n + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = environment_expand(s->a, value_string(value_item(list, i)), c->env, c->nenv);
    *ret_n = n;
    return out;
}

static char *termination_file(struct pod_sync *s, struct str container, uint32_t attempt)
{
    return volumes_pod_path(
        s->agent->volumes, s->a, str_of(s->w->uid),
        arena_cstr(s->a, arena_printf(s->a, "containers/%.*s/%u", STR_ARG(container), attempt)));
}

static bool mounts_at(const struct runtime_mount *m, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqc(m[i].container_path, path))
            return true;
    return false;
}

// Volumes, /etc/hosts, the termination message.
static int make_mounts(struct pod_sync *s, const struct container_view *c, uint32_t attempt,
                       struct runtime_container_config *config, struct err *e)
{
    struct runtime_mount *of_volumes = NULL;
    size_t n = 0;
    int rc = volumes_container_mounts(s->agent->volumes, s->a, &s->facts, c->spec, config->env,
                                      config->nenv, &of_volumes, &n, e);
    if (rc < 0)
        return rc;
    struct runtime_mount *m = arena_array(s->a, struct runtime_mount, n + 2);
    memcpy(m, of_volumes, n * sizeof(*m));
    if (!mounts_at(m, n, "/etc/hosts"))
        m[n++] = (struct runtime_mount){
            .container_path = STR("/etc/hosts"),
            .host_path =
                str_of(volumes_pod_path(s->agent->volumes, s->a, str_of(s->w->uid), "etc-hosts")),
        };
    struct str path = value_str_at(c->spec, "terminationMessagePath");
    if (!path.n)
        path = STR("/dev/termination-log");
    char *file = termination_file(s, c->name, attempt);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_set(e, ERR_INTERNAL, "making %s: %m", file);
    fchmod(fd, 0666); // any user of the container may write it, whatever the umask
    close(fd);
    m[n++] = (struct runtime_mount){.container_path = path, .host_path = str_of(file)};
    config->mounts = m;
    config->nmounts = n;
    return 0;
}

static int make_config(struct pod_sync *s, const struct container_view *c, uint32_t attempt,
                       const struct image_info *image, struct runtime_container_config *config,
                       struct err *e)
{
    struct str(*env)[2] = NULL;
    *config = (struct runtime_container_config){
        .name = c->name,
        .attempt = attempt,
        .image_ref = image->id,
        .working_dir = value_str_at(c->spec, "workingDir"),
        .log_path = arena_printf(s->a, "%.*s/%u.log", STR_ARG(c->name), attempt),
        .stdin_open = value_bool_at(c->spec, "stdin", false),
        .stdin_once = value_bool_at(c->spec, "stdinOnce", false),
        .tty = value_bool_at(c->spec, "tty", false),
    };
    int rc = pod_security_apply(s->a, s->pod, c->spec, image, config, e);
    if (rc == 0)
        rc = make_env(s, c, &env, &config->nenv, e);
    config->env = env;
    if (rc == 0)
        rc = make_mounts(s, c, attempt, config, e);
    if (rc < 0)
        return rc;
    config->command = expand_list(s, value_getc(c->spec, "command"), config, &config->ncommand);
    config->args = expand_list(s, value_getc(c->spec, "args"), config, &config->nargs);
    struct pod_container_resources res;
    pod_container_resources(s->pod, c->spec, s->agent->node_memory, &res);
    config->cpu_shares = res.cpu_shares;
    config->cpu_quota_us = res.cpu_quota_us;
    config->cpu_period_us = res.cpu_period_us;
    config->memory_limit = res.memory_limit;
    config->pids_limit = s->agent->o.pids_limit;
    config->oom_score_adj = res.oom_score_adj;
    return 0;
}

// ---- start -------------------------------------------------------------------------------------

static enum start_result refuse(struct pod_sync *s, struct container_view *c, const char *reason,
                                struct str message)
{
    // The same failure again is not a new event each time: the recorder counts, but the words are
    // the same, so it is sent as upstream sends it.
    pod_event(s, c->name, "Warning", "Failed", "Error: %.*s", STR_ARG(message));
    pod_container_wait(c, reason, message);
    c->mem->not_before = s->now + CONFIG_RETRY;
    pod_sync_due(s, c->mem->not_before);
    return START_FAILED;
}

struct hook_job {
    struct pod_worker *w;
    struct object *pod;
    struct str container, id, pod_ip;
    struct arena a;
};

static void run_post_start(void *arg)
{
    struct hook_job *j = arg;
    struct pod_worker *w = j->w;
    const struct value *spec = pod_container_spec(object_tree(&j->a, j->pod), j->container);
    _cleanup_err_ struct err e = ERR_INIT;
    int rc = pod_hook_run(w->agent, &j->a, value_at(spec, "lifecycle.postStart"), spec, j->id,
                          j->pod_ip, 0, &e);
    if (rc < 0)
        pod_worker_event(w, j->container, "Warning", "FailedPostStartHook",
                         STR("PostStartHook failed"));
    pthread_mutex_lock(&w->lock);
    struct pod_container *m = pod_container_get(w, j->container);
    m->hook_running = false;
    m->hook_failed = rc < 0;
    pthread_mutex_unlock(&w->lock);
    pod_worker_wake(w);
    object_unref(j->pod);
    pod_worker_unref(w);
    arena_done(&j->a);
    free(j);
}

static void start_hook(struct pod_sync *s, struct container_view *c, struct str id)
{
    if (!value_at(c->spec, "lifecycle.postStart"))
        return;
    struct hook_job *j = mem_zalloc(sizeof(*j));
    j->w = pod_worker_ref(s->w);
    j->pod = object_ref(s->object);
    j->container = arena_str(&j->a, c->name);
    j->id = arena_str(&j->a, id);
    j->pod_ip = arena_str(&j->a, s->facts.pod_ip);
    pthread_mutex_lock(&s->w->lock);
    c->mem->hook_running = true;
    c->mem->hook_failed = false;
    pthread_mutex_unlock(&s->w->lock);
    job_pool_run(s->agent->jobs, run_post_start, j);
}

// Keeps the run before the new one (for `logs --previous`), removes older ones.
static void collect_runs(struct pod_sync *s, const struct container_view *c, uint32_t attempt)
{
    for (size_t i = 0; i < s->nall; i++) {
        const struct runtime_container *r = &s->all[i];
        if (!str_eq(r->name, c->name) || r->attempt + 1 >= attempt || r->state == RUNTIME_RUNNING)
            continue;
        s->agent->runtime->ops->container_remove(s->agent->runtime, r->id, NULL);
        unlink(termination_file(s, c->name, r->attempt));
    }
}

enum start_result pod_container_start(struct pod_sync *s, struct container_view *c,
                                      uint32_t attempt)
{
    struct runtime *r = s->agent->runtime;
    struct pod_container *m = c->mem;
    _cleanup_err_ struct err e = ERR_INIT;
    if (s->now < m->not_before) {
        pod_sync_due(s, m->not_before);
        return START_FAILED;
    }
    bool created = c->now && c->now->state == RUNTIME_CREATED && c->now->attempt == attempt;
    struct str id = created ? c->now->id : STR_NULL;
    if (!created) {
        struct image_info image = {0};
        struct runtime_container_config config;
        enum start_result got = pod_image_ensure(s, c, &image);
        if (got != START_DONE)
            return got;
        if (make_config(s, c, attempt, &image, &config, &e) < 0)
            return refuse(s, c, "CreateContainerConfigError", str_of(e.message));
        if (r->ops->container_create(r, s->a, str_of(s->w->sandbox_id), &config, &id, &e) < 0)
            return refuse(s, c, "CreateContainerError", str_of(e.message));
        pod_event(s, c->name, "Normal", "Created", "Created container: %.*s", STR_ARG(c->name));
        pod_set(&m->spec_image, value_str_at(c->spec, "image"));
        pthread_mutex_lock(&s->w->lock);
        m->image = IMAGE_UNKNOWN; // the next start asks the policy again
        pthread_mutex_unlock(&s->w->lock);
    }
    m->restart_counted = false;
    if (r->ops->container_start(r, id, &e) < 0) {
        // The run exists and has failed: its back-off counts as for one that exited.
        pod_event(s, c->name, "Warning", "Failed", "Error: %s", e.message);
        pod_container_wait(c, "RunContainerError", str_of(e.message));
        pod_sync_due(s, s->now + NS_PER_S);
        collect_runs(s, c, attempt);
        return START_FAILED;
    }
    pod_event(s, c->name, "Normal", "Started", "Started container %.*s", STR_ARG(c->name));
    pod_container_wait(c, NULL, STR_NULL);
    start_hook(s, c, id);
    collect_runs(s, c, attempt);
    return START_DONE;
}

// ---- stop --------------------------------------------------------------------------------------

struct stop_job {
    struct pod_worker *w;
    struct object *pod; // NULL: an orphan's
    struct str container, id, pod_ip;
    int64_t grace;
    bool overtaking; // another stop, with its hook, runs already
    struct arena a;
};

static void run_pre_stop(struct stop_job *j)
{
    struct pod_worker *w = j->w;
    const struct value *spec =
        j->pod ? pod_container_spec(object_tree(&j->a, j->pod), j->container) : NULL;
    const struct value *hook = value_at(spec, "lifecycle.preStop");
    if (!hook || j->overtaking || j->grace <= 0)
        return;
    uint64_t start = env_mono(w->agent->env);
    _cleanup_err_ struct err e = ERR_INIT;
    if (pod_hook_run(w->agent, &j->a, hook, spec, j->id, j->pod_ip, (uint64_t)j->grace * NS_PER_S,
                     &e) < 0)
        pod_worker_event(w, j->container, "Warning", "FailedPreStopHook",
                         STR("PreStopHook failed"));
    j->grace -= (int64_t)((env_mono(w->agent->env) - start) / NS_PER_S);
    if (j->grace < GRACE_AFTER_HOOK)
        j->grace = GRACE_AFTER_HOOK;
}

static void run_stop(void *arg)
{
    struct stop_job *j = arg;
    struct pod_worker *w = j->w;
    struct runtime *r = w->agent->runtime;
    _cleanup_err_ struct err e = ERR_INIT;
    run_pre_stop(j);
    int rc = r->ops->container_stop(r, j->id, j->grace, &e);
    if (rc < 0 && !err_is(&e, ERR_NOT_FOUND))
        pod_worker_event(w, j->container, "Warning", "FailedKillPod",
                         arena_printf(&j->a, "error killing container: %s", e.message));
    else
        rc = 0;
    pthread_mutex_lock(&w->lock);
    struct pod_container *m = pod_container_get(w, j->container);
    m->stopping--;
    if (rc < 0)
        m->stop_not_before = env_mono(w->agent->env) + 5 * NS_PER_S;
    pthread_mutex_unlock(&w->lock);
    pod_worker_wake(w);
    object_unref(j->pod);
    pod_worker_unref(w);
    arena_done(&j->a);
    free(j);
}

void pod_container_stop(struct pod_sync *s, struct container_view *c, int64_t grace,
                        const char *message)
{
    struct pod_worker *w = s->w;
    struct pod_container *m = c->mem;
    pthread_mutex_lock(&w->lock);
    bool running = m->stopping > 0;
    bool start = running ? grace < m->stopping_grace : s->now >= m->stop_not_before;
    if (start) {
        m->stopping++;
        m->stopping_grace = grace;
    } else if (!running) {
        pod_sync_due(s, m->stop_not_before);
    }
    pthread_mutex_unlock(&w->lock);
    if (!start)
        return;
    if (!running)
        pod_event(s, c->name, "Normal", "Killing", message ? "%s" : "Stopping container %s",
                  message ? message : m->name);
    struct stop_job *j = mem_zalloc(sizeof(*j));
    j->w = pod_worker_ref(w);
    j->pod = s->object ? object_ref(s->object) : NULL;
    j->container = arena_str(&j->a, c->name);
    j->id = arena_str(&j->a, c->now->id);
    j->pod_ip = arena_str(&j->a, s->facts.pod_ip);
    j->grace = grace;
    j->overtaking = running;
    job_pool_run(s->agent->jobs, run_stop, j);
}
