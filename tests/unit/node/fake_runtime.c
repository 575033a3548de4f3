// A runtime in memory for the pod worker's tests: it keeps sandboxes and containers (also when the
// agent that made them has gone), writes down every call that changes something, and lets the test
// play the processes. Included by tests, not linked.
//
// Killing the agent: after `die_after` changing calls every further call fails without any effect,
// as if its caller had been killed between two calls; fake_runtime_revive lets a new agent in.
#include "base/list.h"
#include "base/map.h"
#include "base/time.h"
#include "runtime/runtime.h"
#include <pthread.h>

struct fake_container {
    struct runtime_container c;
    char *sandbox;
    bool ignores_term; // only SIGKILL ends it
    int starts;        // must never pass 1
    char *env;         // "A=1 B=2 " as configured
    char *mounts;
    int64_t memory_limit, pids_limit;
    char *image;
};

struct fake_runtime {
    struct runtime base;
    struct arena a;
    struct loop *loop;
    struct fake_sandbox {
        struct runtime_sandbox s;
        bool stopped, removed;
    } * sandboxes;
    size_t nsandboxes;
    struct fake_container **containers; // removed ones are NULL
    size_t ncontainers;
    unsigned ids;
    char *calls[4096];
    size_t ncalls;
    int die_after;         // -1: never
    bool dead, *also_dead; // what dies with the agent: its client
    void (*fn)(void *ctx, struct str uid, struct str id);
    void *ctx;
    // What the test decides:
    struct map images; // name -> (void *)1
    int pull_failures; // of the next pulls
    const char *pull_error;
    struct map exec_codes; // first word of a command -> exit code + 1
    int create_failures, start_failures, sandbox_failures;
    bool ignore_term; // of containers created from now on
    int64_t image_uid;
    unsigned double_starts;
    const char *cannot_run;
    pthread_mutex_t lock; // recursive: guards all of it, for tests with threads
};

static void fake_unlock(pthread_mutex_t **lock)
{
    pthread_mutex_unlock(*lock);
}
#define FAKE_LOCKED(f)                                                                             \
    pthread_mutex_t *locked_ __attribute__((cleanup(fake_unlock))) = &(f)->lock;                   \
    pthread_mutex_lock(locked_)

static struct fake_runtime *fake_of(struct runtime *r)
{
    return container_of(r, struct fake_runtime, base);
}

// Writes the call down. Negative: the agent is dead, nothing happens.
static int fake_note(struct fake_runtime *f, struct err *e, const char *fmt, ...)
{
    if (f->dead)
        return err_set(e, ERR_UNAVAILABLE, "the agent is dead");
    va_list ap;
    va_start(ap, fmt);
    struct str s = arena_vprintf(&f->a, fmt, ap);
    va_end(ap);
    if (f->ncalls < 4096)
        f->calls[f->ncalls++] = arena_cstr(&f->a, s);
    if (f->die_after >= 0 && f->die_after-- == 0) {
        f->dead = true;
        if (f->also_dead)
            *f->also_dead = true;
        f->die_after = -1;
        f->ncalls--;
        return err_set(e, ERR_UNAVAILABLE, "the agent dies here");
    }
    return 0;
}

static struct fake_sandbox *fake_find_sandbox(struct fake_runtime *f, struct str id)
{
    for (size_t i = 0; i < f->nsandboxes; i++)
        if (str_eq(f->sandboxes[i].s.id, id) && !f->sandboxes[i].removed)
            return &f->sandboxes[i];
    return NULL;
}

static struct fake_container *fake_find(struct fake_runtime *f, struct str id)
{
    for (size_t i = 0; i < f->ncontainers; i++)
        if (f->containers[i] && str_eq(f->containers[i]->c.id, id))
            return f->containers[i];
    return NULL;
}

static int fake_version(struct runtime *r, struct arena *a, struct str *name, struct str *version,
                        struct err *e)
{
    (void)r, (void)a, (void)e;
    *name = STR("fake");
    *version = STR("1");
    return 0;
}

static int fake_check(struct runtime *r, struct err *e)
{
    const char *why = fake_of(r)->cannot_run;
    return why ? err_set(e, ERR_UNAVAILABLE, "%s", why) : 0;
}

static int fake_sandbox_run(struct runtime *r, struct arena *a,
                            const struct runtime_sandbox_config *c, struct runtime_sandbox *ret,
                            struct err *e)
{
    (void)a;
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    int rc = fake_note(f, e, "sandbox %.*s", STR_ARG(c->pod_name));
    if (rc < 0)
        return rc;
    if (f->sandbox_failures > 0) {
        f->sandbox_failures--;
        return err_set(e, ERR_INTERNAL, "no space for a sandbox");
    }
    if (c->handler.n && !str_eqc(c->handler, "fake"))
        return err_set(e, ERR_NOT_FOUND, "no runtime for \"%.*s\" is configured",
                       STR_ARG(c->handler));
    f->sandboxes = mem_realloc(f->sandboxes, (f->nsandboxes + 1) * sizeof(*f->sandboxes));
    struct fake_sandbox *s = &f->sandboxes[f->nsandboxes++];
    *s = (struct fake_sandbox){.s = {
                                   .id = arena_printf(&f->a, "s%u", ++f->ids),
                                   .pod_name = arena_str(&f->a, c->pod_name),
                                   .pod_namespace = arena_str(&f->a, c->pod_namespace),
                                   .pod_uid = arena_str(&f->a, c->pod_uid),
                                   .attempt = c->attempt,
                                   .ready = true,
                                   .created_ns = env_now(r->env),
                               }};
    *ret = s->s;
    return 0;
}

static int fake_set_ip(struct runtime *r, struct str id, struct str ip, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    int rc = fake_note(f, e, "ip %.*s", STR_ARG(id));
    struct fake_sandbox *s = rc < 0 ? NULL : fake_find_sandbox(f, id);
    if (s)
        s->s.ip = arena_str(&f->a, ip);
    return rc;
}

static void fake_set_exited(struct fake_runtime *f, struct fake_container *c, int code, int signal)
{
    c->c.state = RUNTIME_EXITED;
    c->c.exit_code = code;
    c->c.signal = signal;
    c->c.finished_ns = env_now(f->base.env);
    c->c.reason = code ? STR("Error") : STR("Completed");
}

static int fake_sandbox_stop(struct runtime *r, struct str id, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    int rc = fake_note(f, e, "stop-sandbox %.*s", STR_ARG(id));
    struct fake_sandbox *s = rc < 0 ? NULL : fake_find_sandbox(f, id);
    for (size_t i = 0; s && i < f->ncontainers; i++)
        if (f->containers[i] && str_eqc(id, f->containers[i]->sandbox) &&
            f->containers[i]->c.state == RUNTIME_RUNNING)
            fake_set_exited(f, f->containers[i], 137, 9);
    if (s)
        s->stopped = true, s->s.ready = false;
    return rc;
}

static int fake_container_remove(struct runtime *r, struct str id, struct err *e);

static int fake_sandbox_remove(struct runtime *r, struct str id, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    int rc = fake_note(f, e, "remove-sandbox %.*s", STR_ARG(id));
    struct fake_sandbox *s = rc < 0 ? NULL : fake_find_sandbox(f, id);
    if (s)
        s->removed = true;
    return rc;
}

static int fake_sandbox_list(struct runtime *r, struct arena *a, struct runtime_sandbox **ret,
                             size_t *n, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    if (f->dead)
        return err_set(e, ERR_UNAVAILABLE, "the agent is dead");
    *ret = arena_array(a, struct runtime_sandbox, f->nsandboxes + 1);
    *n = 0;
    for (size_t i = 0; i < f->nsandboxes; i++)
        if (!f->sandboxes[i].removed)
            (*ret)[(*n)++] = f->sandboxes[i].s;
    return 0;
}

static int fake_create_container(struct runtime *r, struct arena *a, struct str sandbox,
                                 const struct runtime_container_config *c, struct str *ret,
                                 struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    (void)a;
    int rc = fake_note(f, e, "create %.*s/%u", STR_ARG(c->name), c->attempt);
    if (rc < 0)
        return rc;
    if (f->create_failures > 0) {
        f->create_failures--;
        return err_set(e, ERR_INTERNAL, "no space for a container");
    }
    for (size_t i = 0; i < f->ncontainers; i++) {
        struct fake_container *o = f->containers[i];
        if (o && str_eqc(sandbox, o->sandbox) && str_eq(o->c.name, c->name) &&
            o->c.attempt == c->attempt)
            return err_set(e, ERR_ALREADY_EXISTS, "container %.*s/%u exists", STR_ARG(c->name),
                           c->attempt);
    }
    struct fake_container *n = arena_zalloc(&f->a, sizeof(*n));
    struct fake_sandbox *s = fake_find_sandbox(f, sandbox);
    n->c = (struct runtime_container){
        .id = arena_printf(&f->a, "c%u", ++f->ids),
        .sandbox_id = arena_str(&f->a, sandbox),
        .name = arena_str(&f->a, c->name),
        .pod_uid = s->s.pod_uid,
        .attempt = c->attempt,
        .state = RUNTIME_CREATED,
        .image_ref = arena_str(&f->a, c->image_ref),
        .created_ns = env_now(r->env),
    };
    n->sandbox = arena_cstr(&f->a, sandbox);
    n->ignores_term = f->ignore_term;
    n->memory_limit = c->memory_limit;
    n->pids_limit = c->pids_limit;
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < c->nenv; i++)
        buf_printf(&b, "%.*s=%.*s ", STR_ARG(c->env[i][0]), STR_ARG(c->env[i][1]));
    n->env = arena_cstr(&f->a, buf_view(&b));
    buf_reset(&b);
    for (size_t i = 0; i < c->nmounts; i++)
        buf_printf(&b, "%.*s<-%.*s%s ", STR_ARG(c->mounts[i].container_path),
                   STR_ARG(c->mounts[i].host_path), c->mounts[i].readonly ? ":ro" : "");
    n->mounts = arena_cstr(&f->a, buf_view(&b));
    buf_done(&b);
    f->containers = mem_realloc(f->containers, (f->ncontainers + 1) * sizeof(*f->containers));
    f->containers[f->ncontainers++] = n;
    *ret = n->c.id;
    return 0;
}

static int fake_start(struct runtime *r, struct str id, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    struct fake_container *c = fake_find(f, id);
    int rc = fake_note(f, e, "start %.*s/%u", STR_ARG(c->c.name), c->c.attempt);
    if (rc < 0)
        return rc;
    if (f->start_failures > 0) {
        f->start_failures--;
        fake_set_exited(f, c, 128, 0);
        c->c.reason = STR("StartError");
        c->c.message = STR("executable file not found in $PATH");
        return err_set(e, ERR_INTERNAL,
                       "failed to start container \"%.*s\": executable file not found in $PATH",
                       STR_ARG(c->c.name));
    }
    if (++c->starts > 1)
        f->double_starts++;
    for (size_t i = 0; i < f->ncontainers; i++) { // two runs of one container at once
        struct fake_container *o = f->containers[i];
        if (o && o != c && str_eq(o->c.name, c->c.name) && str_eqc(o->c.sandbox_id, c->sandbox) &&
            o->c.state == RUNTIME_RUNNING)
            f->double_starts++;
    }
    c->c.state = RUNTIME_RUNNING;
    c->c.started_ns = env_now(r->env);
    return 0;
}

static int fake_stop(struct runtime *r, struct str id, int64_t grace, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    struct fake_container *c = fake_find(f, id);
    if (!c)
        return err_set(e, ERR_NOT_FOUND, "no such container");
    int rc =
        fake_note(f, e, "stop %.*s/%u %lld", STR_ARG(c->c.name), c->c.attempt, (long long)grace);
    if (rc < 0)
        return rc;
    if (c->c.state != RUNTIME_RUNNING)
        return 0;
    if (c->ignores_term) {
        env_sim_advance(r->env, (uint64_t)grace * NS_PER_S);
        fake_set_exited(f, c, 137, 9);
    } else {
        fake_set_exited(f, c, 143, 15);
    }
    return 0;
}

static int fake_container_remove(struct runtime *r, struct str id, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    struct fake_container *c = fake_find(f, id);
    if (!c)
        return 0;
    int rc = fake_note(f, e, "remove %.*s/%u", STR_ARG(c->c.name), c->c.attempt);
    for (size_t i = 0; rc == 0 && i < f->ncontainers; i++)
        if (f->containers[i] == c)
            f->containers[i] = NULL;
    return rc;
}

static int fake_container_list(struct runtime *r, struct arena *a, struct str sandbox,
                               struct runtime_container **ret, size_t *n, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    if (f->dead)
        return err_set(e, ERR_UNAVAILABLE, "the agent is dead");
    *ret = arena_array(a, struct runtime_container, f->ncontainers + 1);
    *n = 0;
    for (size_t i = 0; i < f->ncontainers; i++)
        if (f->containers[i] && (!sandbox.p || str_eqc(sandbox, f->containers[i]->sandbox)))
            (*ret)[(*n)++] = f->containers[i]->c;
    return 0;
}

static int fake_exec_sync(struct runtime *r, struct arena *a, struct str id,
                          const struct str *command, size_t n, uint64_t timeout, size_t max,
                          struct str *output, int *code, struct err *e)
{
    (void)a, (void)timeout, (void)max;
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    struct fake_container *c = fake_find(f, id);
    if (!c || c->c.state != RUNTIME_RUNNING)
        return err_set(e, ERR_NOT_FOUND, "container is not running");
    int rc = fake_note(f, e, "exec %.*s %.*s", STR_ARG(c->c.name), n ? (int)command[0].n : 0,
                       n ? command[0].p : "");
    if (rc < 0)
        return rc;
    uintptr_t v = (uintptr_t)map_get(&f->exec_codes, command[0]);
    if (v == 125)
        return err_set(e, ERR_TIMEOUT, "timed out");
    *code = v ? (int)v - 1 : 0;
    *output = *code ? STR("it is broken") : STR("");
    return 0;
}

static int fake_image_pull(struct runtime *r, struct arena *a, struct str image,
                           const struct value *auth, struct image_info *ret, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    int rc = fake_note(f, e, "pull %.*s%s%.*s", STR_ARG(image), auth ? " as " : "",
                       STR_ARG(value_str_at(auth, "username")));
    if (rc < 0)
        return rc;
    if (f->pull_failures > 0) {
        f->pull_failures--;
        return err_set(e, ERR_NOT_FOUND, "%s", f->pull_error ? f->pull_error : "not found");
    }
    map_set(&f->images, image, (void *)1);
    *ret = (struct image_info){
        .id = arena_printf(a, "sha256:%.*s", STR_ARG(image)), .size = 1000, .uid = f->image_uid};
    return 0;
}

static int fake_image_status(struct runtime *r, struct arena *a, struct str image,
                             struct image_info *ret, struct err *e)
{
    struct fake_runtime *f = fake_of(r);
    FAKE_LOCKED(f);
    if (f->dead)
        return err_set(e, ERR_UNAVAILABLE, "the agent is dead");
    if (!map_has(&f->images, image))
        return err_set(e, ERR_NOT_FOUND, "no such image");
    *ret = (struct image_info){
        .id = arena_printf(a, "sha256:%.*s", STR_ARG(image)), .size = 1000, .uid = f->image_uid};
    return 0;
}

static int fake_image_list(struct runtime *r, struct arena *a, struct image_info **ret, size_t *n,
                           struct err *e)
{
    (void)r, (void)e;
    *ret = arena_array(a, struct image_info, 1);
    *n = 0;
    return 0;
}

static void fake_on_change(struct runtime *r, void (*fn)(void *, struct str, struct str), void *ctx)
{
    fake_of(r)->fn = fn;
    fake_of(r)->ctx = ctx;
}

static const struct runtime_ops fake_runtime_ops = {
    .name = "fake",
    .version = fake_version,
    .check = fake_check,
    .sandbox_run = fake_sandbox_run,
    .sandbox_set_ip = fake_set_ip,
    .sandbox_stop = fake_sandbox_stop,
    .sandbox_remove = fake_sandbox_remove,
    .sandbox_list = fake_sandbox_list,
    .container_create = fake_create_container,
    .container_start = fake_start,
    .container_stop = fake_stop,
    .container_remove = fake_container_remove,
    .container_list = fake_container_list,
    .exec_sync = fake_exec_sync,
    .image_pull = fake_image_pull,
    .image_status = fake_image_status,
    .image_list = fake_image_list,
    .on_change = fake_on_change,
};

static struct fake_runtime *fake_runtime_new(struct loop *l)
{
    struct fake_runtime *f = mem_zalloc(sizeof(*f));
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&f->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    f->base.ops = &fake_runtime_ops;
    f->base.env = loop_env(l);
    f->loop = l;
    f->die_after = -1;
    f->image_uid = -1;
    map_set(&f->images, STR("busybox"), (void *)1);
    return f;
}

static void fake_runtime_free(struct fake_runtime *f)
{
    map_done(&f->images);
    map_done(&f->exec_codes);
    free(f->sandboxes);
    free(f->containers);
    arena_done(&f->a);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

// ---- for tests ---------------------------------------------------------------------------------

// The newest run of a container; NULL: none.
static struct fake_container *fake_latest(struct fake_runtime *f, const char *name)
{
    struct fake_container *best = NULL;
    for (size_t i = 0; i < f->ncontainers; i++)
        if (f->containers[i] && str_eqc(f->containers[i]->c.name, name) &&
            (!best || f->containers[i]->c.attempt > best->c.attempt))
            best = f->containers[i];
    return best;
}

// The process ends by itself.
static void fake_exit(struct fake_runtime *f, const char *name, int code)
{
    FAKE_LOCKED(f);
    struct fake_container *c = fake_latest(f, name);
    if (!c || c->c.state != RUNTIME_RUNNING) {
        fprintf(stderr, "test: %s does not run\n", name);
        abort();
    }
    fake_set_exited(f, c, code, 0);
    if (f->fn)
        f->fn(f->ctx, c->c.pod_uid, c->c.id);
}

static unsigned fake_count(struct fake_runtime *f, const char *prefix)
{
    unsigned n = 0;
    for (size_t i = 0; i < f->ncalls; i++)
        n += strncmp(f->calls[i], prefix, strlen(prefix)) == 0;
    return n;
}

// Position of the first call with this text, or -1.
static int fake_index(struct fake_runtime *f, const char *text)
{
    for (size_t i = 0; i < f->ncalls; i++)
        if (strcmp(f->calls[i], text) == 0)
            return (int)i;
    return -1;
}

static void fake_dump(struct fake_runtime *f)
{
    for (size_t i = 0; i < f->ncalls; i++)
        fprintf(stderr, "  %s\n", f->calls[i]);
}

static unsigned fake_running(struct fake_runtime *f)
{
    FAKE_LOCKED(f);
    unsigned n = 0;
    for (size_t i = 0; i < f->ncontainers; i++)
        n += f->containers[i] && f->containers[i]->c.state == RUNTIME_RUNNING;
    return n;
}
