// The prober. A container's probes form a group; each probe that the container has runs by the
// loop's timer:
//
//     initial delay -> run -> (period) -> run -> …
//
// Startup comes first: while it has not succeeded the other two do not run. After a failure of
// startup or liveness has been determined the group pauses until the container is another one
// (another id): the pod worker ends it. Thresholds count results in a row; a probe that could not
// be made (an error, not a failure) counts as nothing, as upstream.
//
// Threads: groups, probes and timers are the loop's. `lock` guards the map of results, which other
// threads read. A job of an exec probe brings its result back by loop_call and finds its group by
// number, so a group may go meanwhile.
#include "node/probe.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/time.h"
#include "node/probe_net.h"

#define OUTPUT_MAX (10 << 10)

static const struct {
    const char *field, *name;
    enum probe_result initial;
} kinds[PROBE_KINDS] = {
    [PROBE_STARTUP] = {"startupProbe", "Startup", PROBE_UNKNOWN},
    [PROBE_LIVENESS] = {"livenessProbe", "Liveness", PROBE_SUCCESS},
    [PROBE_READINESS] = {"readinessProbe", "Readiness", PROBE_FAILURE},
};

struct results {
    uint8_t of[PROBE_KINDS]; // enum probe_result
};

struct group;
struct probe {
    struct group *group;
    enum probe_kind kind;
    const struct value *spec; // NULL: the container has none
    uint64_t period, timeout;
    int success_threshold, failure_threshold;
    struct loop_timer timer;
    struct probe_attempt *attempt; // HTTP or TCP, under way
    bool running, off;
    enum probe_result last;
    int in_a_row;
};

struct group {
    struct prober *prober;
    struct list link;
    uint64_t number;
    struct arena a;
    struct str uid, container, id, ip;
    const struct value *spec;
    struct probe probes[PROBE_KINDS];
    bool paused;
};

struct prober {
    struct prober_options o;
    struct probe_net *net;
    struct list groups; // the loop's
    bool closed;        // messages that are still queued begin nothing
    uint64_t numbers;
    pthread_mutex_t lock; // guards results
    struct map results;   // container id -> struct results
};

// ---- results -----------------------------------------------------------------------------------

enum probe_result prober_result(struct prober *p, struct str container_id, enum probe_kind kind)
{
    pthread_mutex_lock(&p->lock);
    const struct results *r = map_get(&p->results, container_id);
    enum probe_result result = r ? r->of[kind] : PROBE_UNKNOWN;
    pthread_mutex_unlock(&p->lock);
    return result;
}

// true: it was another one before.
static bool set_result(struct probe *x, enum probe_result result)
{
    struct prober *p = x->group->prober;
    bool changed = false;
    pthread_mutex_lock(&p->lock);
    struct results *r = map_get(&p->results, x->group->id);
    if (r && r->of[x->kind] != result) {
        r->of[x->kind] = (uint8_t)result;
        changed = true;
    }
    pthread_mutex_unlock(&p->lock);
    return changed;
}

// ---- runs (on the loop) ------------------------------------------------------------------------

static void arm(struct probe *x, uint64_t in)
{
    loop_timer_in(x->group->prober->o.loop, &x->timer, in);
}

static void complain(struct probe *x, bool error, struct str text)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct prober *p = x->group->prober;
    p->o.unhealthy(p->o.ctx, x->group->uid, x->group->container,
                   arena_printf(&a, "%s probe %s: %.*s", kinds[x->kind].name,
                                error ? "errored" : "failed", STR_ARG(text)));
}

static void start_others(struct group *g)
{
    for (int k = PROBE_LIVENESS; k < PROBE_KINDS; k++)
        if (g->probes[k].spec && !g->probes[k].off && !loop_timer_armed(&g->probes[k].timer) &&
            !g->probes[k].running)
            arm(&g->probes[k], 1);
}

// One run is over. error: it could not be made.
static void finish(struct probe *x, enum probe_result result, bool error, struct str text)
{
    struct group *g = x->group;
    struct prober *p = g->prober;
    x->running = false;
    if (x->off || g->paused)
        return;
    if (error || result == PROBE_FAILURE)
        complain(x, error, text);
    if (!error) {
        x->in_a_row = result == x->last ? x->in_a_row + 1 : 1;
        x->last = result;
        int needed = result == PROBE_SUCCESS ? x->success_threshold : x->failure_threshold;
        if (x->in_a_row >= needed) {
            bool changed = set_result(x, result);
            if (result == PROBE_FAILURE && x->kind != PROBE_READINESS)
                g->paused = true; // until the container is another one
            if (result == PROBE_SUCCESS && x->kind == PROBE_STARTUP) {
                x->off = true; // once is enough
                start_others(g);
            }
            if (changed)
                p->o.changed(p->o.ctx, g->uid);
        }
    }
    if (!x->off && !g->paused)
        arm(x, x->period);
}

struct exec_job {
    struct prober *prober;
    struct arena a;
    uint64_t number;
    enum probe_kind kind;
    struct str id;
    struct str *command;
    size_t ncommand;
    uint64_t timeout;
    // Result:
    enum probe_result result;
    bool error;
    struct str text;
};

static void exec_back(void *arg)
{
    struct exec_job *j = arg;
    list_each (&j->prober->groups, l) {
        struct group *g = container_of(l, struct group, link);
        if (g->number == j->number) {
            finish(&g->probes[j->kind], j->result, j->error, j->text);
            break;
        }
    }
    arena_done(&j->a);
    free(j);
}

static void exec_job(void *arg)
{
    struct exec_job *j = arg;
    struct runtime *r = j->prober->o.runtime;
    _cleanup_err_ struct err e = ERR_INIT;
    struct str output = STR_NULL;
    int code = 0;
    int rc = r->ops->exec_sync(r, &j->a, j->id, j->command, j->ncommand, j->timeout, OUTPUT_MAX,
                               &output, &code, &e);
    if (rc < 0 && err_is(&e, ERR_TIMEOUT)) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        duration_write(&b, (int64_t)j->timeout);
        j->result = PROBE_FAILURE;
        j->text = arena_printf(&j->a, "command timed out: \"%.*s\" timed out after %.*s",
                               STR_ARG(arena_join(&j->a, j->command, j->ncommand, STR(" "))),
                               STR_ARG(buf_view(&b)));
    } else if (rc < 0) {
        j->error = true;
        j->text = arena_str(&j->a, str_of(e.message));
    } else {
        j->result = code == 0 ? PROBE_SUCCESS : PROBE_FAILURE;
        j->text = output;
    }
    loop_call(j->prober->o.loop, exec_back, j);
}

static void run_exec(struct probe *x, const struct value *exec)
{
    struct group *g = x->group;
    const struct value *list = value_getc(exec, "command");
    struct exec_job *j = mem_zalloc(sizeof(*j));
    j->prober = g->prober;
    j->number = g->number;
    j->kind = x->kind;
    j->timeout = x->timeout;
    j->id = arena_str(&j->a, g->id);
    j->ncommand = value_len(list);
    j->command = arena_array(&j->a, struct str, j->ncommand + 1);
    for (size_t i = 0; i < j->ncommand; i++)
        j->command[i] = arena_str(&j->a, value_string(value_item(list, i)));
    job_pool_run(g->prober->o.jobs, exec_job, j);
}

static void net_done(void *ctx, bool ok, struct str text)
{
    struct probe *x = ctx;
    x->attempt = NULL;
    finish(x, ok ? PROBE_SUCCESS : PROBE_FAILURE, false, text);
}

static int64_t port_number(const struct group *g, const struct value *port)
{
    if (!value_is(port, VALUE_STRING))
        return value_int_or(port, 0);
    const struct value *ports = value_getc(g->spec, "ports");
    for (size_t i = 0; i < value_len(ports); i++)
        if (str_eq(value_str_at(value_item(ports, i), "name"), value_string(port)))
            return value_int_at(value_item(ports, i), "containerPort", 0);
    uint64_t n = 0;
    return str_to_u64(value_string(port), &n) && n <= 65535 ? (int64_t)n : 0;
}

static void on_timer(struct loop_timer *t)
{
    struct probe *x = container_of(t, struct probe, timer);
    struct group *g = x->group;
    if (g->paused || x->off)
        return;
    const struct probe *startup = &g->probes[PROBE_STARTUP];
    if (x->kind != PROBE_STARTUP && startup->spec && startup->last != PROBE_SUCCESS)
        return; // start_others comes back to it
    x->running = true;
    const struct value *how;
    if ((how = value_getc(x->spec, "exec"))) {
        run_exec(x, how);
    } else if ((how = value_getc(x->spec, "httpGet"))) {
        struct str host = value_str_at(how, "host");
        x->attempt =
            probe_net_http(g->prober->net, host.n ? host : g->ip,
                           port_number(g, value_getc(how, "port")), how, x->timeout, net_done, x);
    } else if ((how = value_getc(x->spec, "tcpSocket"))) {
        struct str host = value_str_at(how, "host");
        x->attempt =
            probe_net_tcp(g->prober->net, host.n ? host : g->ip,
                          port_number(g, value_getc(how, "port")), x->timeout, net_done, x);
    } else {
        finish(x, PROBE_UNKNOWN, true,
               value_getc(x->spec, "grpc") ? STR("gRPC probes are not supported by this node")
                                           : STR("missing probe handler"));
    }
}

// ---- groups ------------------------------------------------------------------------------------

static void probe_end(struct probe *x)
{
    x->off = true;
    loop_timer_cancel(x->group->prober->o.loop, &x->timer);
    if (x->attempt)
        probe_net_cancel(x->attempt);
    x->attempt = NULL;
}

static void group_free(struct group *g)
{
    for (int k = 0; k < PROBE_KINDS; k++)
        probe_end(&g->probes[k]);
    list_remove(&g->link);
    arena_done(&g->a);
    free(g);
}

static uint64_t seconds(const struct value *spec, const char *field, int64_t otherwise)
{
    int64_t s = value_int_at(spec, field, otherwise);
    return (uint64_t)(s > 0 ? s : otherwise) * NS_PER_S;
}

struct watch_message {
    struct group *group;
    uint64_t first_in; // time that the container has already run
};

static void group_begin(void *arg)
{
    struct watch_message *m = arg;
    struct group *g = m->group;
    struct prober *p = g->prober;
    g->number = ++p->numbers;
    list_push(&p->groups, &g->link);
    for (int k = 0; k < PROBE_KINDS; k++) {
        g->probes[k].group = g;
        g->probes[k].kind = (enum probe_kind)k;
        g->probes[k].timer.fn = on_timer;
    }
    if (p->closed) {
        group_free(g);
        free(m);
        return;
    }
    for (int k = 0; k < PROBE_KINDS; k++) {
        struct probe *x = &g->probes[k];
        x->spec = value_getc(g->spec, kinds[k].field);
        if (!x->spec)
            continue;
        x->period = seconds(x->spec, "periodSeconds", 10);
        x->timeout = seconds(x->spec, "timeoutSeconds", 1);
        x->success_threshold = (int)value_int_at(x->spec, "successThreshold", 1);
        x->failure_threshold = (int)value_int_at(x->spec, "failureThreshold", 3);
        int64_t delay = value_int_at(x->spec, "initialDelaySeconds", 0);
        uint64_t first = delay > 0 ? (uint64_t)delay * NS_PER_S : 0;
        arm(x, first > m->first_in ? first - m->first_in : 1);
    }
    free(m);
}

void prober_watch(struct prober *p, const struct probe_target *t)
{
    pthread_mutex_lock(&p->lock);
    bool known = map_has(&p->results, t->container_id);
    if (!known) {
        struct results *r = mem_zalloc(sizeof(*r));
        for (int k = 0; k < PROBE_KINDS; k++)
            r->of[k] = value_getc(t->spec, kinds[k].field) ? kinds[k].initial : PROBE_SUCCESS;
        map_set(&p->results, t->container_id, r);
    }
    pthread_mutex_unlock(&p->lock);
    if (known)
        return;
    struct group *g = mem_zalloc(sizeof(*g));
    g->prober = p;
    list_init(&g->link);
    g->uid = arena_str(&g->a, t->pod_uid);
    g->container = arena_str(&g->a, t->container);
    g->id = arena_str(&g->a, t->container_id);
    g->ip = arena_str(&g->a, t->ip);
    g->spec = value_clone(&g->a, t->spec);
    struct watch_message *m = mem_zalloc(sizeof(*m));
    m->group = g;
    int64_t ago = env_now(loop_env(p->o.loop)) - t->started_ns;
    m->first_in = ago > 0 ? (uint64_t)ago : 0;
    loop_call(p->o.loop, group_begin, m);
}

struct forget_message {
    struct prober *prober;
    unsigned kinds;
    char id[];
};

static void group_forget(void *arg)
{
    struct forget_message *m = arg;
    list_each_safe (&m->prober->groups, l) {
        struct group *g = container_of(l, struct group, link);
        if (!str_eqc(g->id, m->id))
            continue;
        if ((m->kinds & ((1u << PROBE_KINDS) - 1)) == (1u << PROBE_KINDS) - 1) {
            group_free(g);
            continue;
        }
        for (int k = 0; k < PROBE_KINDS; k++)
            if (m->kinds & 1u << k)
                probe_end(&g->probes[k]);
    }
    free(m);
}

void prober_forget(struct prober *p, struct str id, unsigned which)
{
    if ((which & ((1u << PROBE_KINDS) - 1)) == (1u << PROBE_KINDS) - 1) {
        pthread_mutex_lock(&p->lock);
        free(map_del(&p->results, id));
        pthread_mutex_unlock(&p->lock);
    }
    struct forget_message *m = mem_zalloc(sizeof(*m) + id.n + 1);
    m->prober = p;
    m->kinds = which;
    memcpy(m->id, id.p, id.n);
    loop_call(p->o.loop, group_forget, m);
}

struct prober *prober_new(const struct prober_options *o)
{
    struct prober *p = mem_zalloc(sizeof(*p));
    p->o = *o;
    list_init(&p->groups);
    pthread_mutex_init(&p->lock, NULL);
    p->net = probe_net_new(o->loop, o->http);
    return p;
}

static void free_later(void *arg)
{
    struct prober *p = arg;
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void prober_free(struct prober *p)
{
    if (!p)
        return;
    p->closed = true;
    list_each_safe (&p->groups, l) {
        group_free(container_of(l, struct group, link));
    }
    probe_net_free(p->net);
    p->net = NULL;
    map_each (&p->results, s)
        free(s->value);
    map_done(&p->results);
    // Messages and results of jobs may still be queued on the loop: free behind them.
    loop_call(p->o.loop, free_later, p);
}
