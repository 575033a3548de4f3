// One node in a test: virtual clock, API and runtime in memory, the real agent. Included by tests.
#pragma GCC diagnostic ignored "-Wunused-function" // a test uses what it needs
#include "base/err.h"
#include "client/informer.h"
#include "fake_api.c"
#include "fake_runtime.c"
#include "node/agent.h"
#include "unit.h"
#include <stdlib.h>
#include <unistd.h>

struct world {
    struct env *env;
    struct loop *loop;
    struct fake_api *api;
    struct fake_runtime *rt;
    struct fake_client *client;
    struct informers *informers;
    struct node_agent *agent;
    char dir[64];
    const char *uid_prefix;   // of pods that are put: "uid-"
    struct str cert, key, ca; // PEM: the agent serves its API where they are set
};

#define START_REAL (1767225600LL * NS_PER_S) // 2026-01-01T00:00:00Z

static void settle(struct world *w)
{
    loop_run_until_idle(w->loop, 0);
}

static void advance(struct world *w, uint64_t seconds)
{
    loop_run_until_idle(w->loop, seconds * NS_PER_S);
}

static void agent_up(struct world *w)
{
    struct err e = ERR_INIT;
    char data[96], logs[96];
    snprintf(data, sizeof(data), "%s/data", w->dir);
    snprintf(logs, sizeof(logs), "%s/logs", w->dir);
    w->rt->dead = false;
    w->rt->die_after = -1;
    w->client = fake_client_new(w->api);
    w->rt->also_dead = &w->client->dead;
    w->informers = informers_new(&w->client->base, w->loop);
    struct node_agent_options o = {
        .env = w->env,
        .client = &w->client->base,
        .informers = w->informers,
        .loop = w->loop,
        .runtime = &w->rt->base,
        .node_name = STR("n1"),
        .data_dir = data,
        .log_dir = logs,
        .node_ip = STR("192.0.2.1"),
        .cluster_dns = STR("10.96.0.10"),
        .cluster_domain = STR("cluster.local"),
        .pids_limit = 4096,
        .api_port = w->cert.n ? NODE_AGENT_ANY_PORT : 0,
        .api_address = STR("127.0.0.1"),
        .serving_cert_pem = w->cert,
        .serving_key_pem = w->key,
        .client_ca_pem = w->ca,
    };
    if (node_agent_start(&o, &w->agent, &e) < 0)
        fail_msg("agent: %s", e.message);
    informers_start(w->informers);
    if (w->env->virtual_time)
        settle(w);
}

// crash: as kill -9 leaves things.
static void agent_down(struct world *w, bool crash)
{
    if (crash)
        w->client->dead = w->rt->dead = true;
    assert_int_equal(node_agent_stop(w->agent, 10 * NS_PER_S), 0);
    informers_free(w->informers);
    loop_run_until_idle(w->loop, 0);
    free(w->client);
    w->agent = NULL;
}

static void world_init_on(struct world *w, struct env *env)
{
    *w = (struct world){0};
    w->uid_prefix = "uid-";
    strncpy(w->dir, "/tmp/coracle-node-XXXXXX", sizeof(w->dir) - 1);
    assert_non_null(mkdtemp(w->dir));
    w->env = env;
    w->loop = loop_new(w->env);
    w->api = fake_api_new(w->loop);
    w->rt = fake_runtime_new(w->loop);
}

static void world_init(struct world *w)
{
    world_init_on(w, env_sim_new(7, START_REAL));
}

static void world_done(struct world *w)
{
    if (w->agent)
        agent_down(w, false);
    assert_int_equal(w->rt->double_starts, 0);
    fake_api_free(w->api);
    loop_free(w->loop);
    fake_runtime_free(w->rt);
    if (w->env->virtual_time)
        env_sim_free(w->env);
    char command[96];
    snprintf(command, sizeof(command), "%s", w->dir);
    struct err e = ERR_INIT;
    extern int volume_remove_all(const char *dir, struct err *e);
    assert_int_equal(volume_remove_all(command, &e), 0);
}

// The value at a path of an object's tree, as text; strings live until the next call.
static const char *field(struct world *w, const char *resource, const char *ns, const char *name,
                         const char *path)
{
    static struct arena a;
    arena_reset(&a);
    struct object *o = fake_api_find(w->api, resource, ns, name);
    if (!o)
        return "(none)";
    const struct value *v = object_tree(&a, o);
    struct str rest = str_of(path);
    while (rest.p && v) {
        struct str part = str_cut(&rest, '.');
        uint64_t index;
        if (value_is(v, VALUE_ARRAY) && str_to_u64(part, &index)) {
            v = value_item(v, index);
        } else if (value_is(v, VALUE_ARRAY)) { // by name or type
            const struct value *found = NULL;
            for (size_t i = 0; i < value_len(v); i++)
                if (str_eq(value_str_at(value_item(v, i), "type"), part) ||
                    str_eq(value_str_at(value_item(v, i), "name"), part))
                    found = value_item(v, i);
            v = found;
        } else {
            v = value_get(v, part);
        }
    }
    if (!v)
        return "(absent)";
    if (v->kind == VALUE_STRING)
        return arena_cstr(&a, value_string(v));
    return arena_cstr(&a, json_text(&a, v));
}

#define POD_FIELD(w, name, path) field((w), "pods", "default", (name), (path))

// An event of this reason whose message holds the text.
static bool has_event(struct world *w, const char *reason, const char *text)
{
    struct arena a = ARENA_INIT;
    bool found = false;
    map_each (&w->api->objects, s) {
        struct object *o = s->value;
        if (!str_eqc(o->kind->resource, "events"))
            continue;
        const struct value *v = object_tree(&a, o);
        found |= str_eqc(value_str_at(v, "reason"), reason) &&
                 str_find(value_str_at(v, "message"), str_of(text)) >= 0;
    }
    arena_done(&a);
    return found;
}

static void dump_events(struct world *w)
{
    struct arena a = ARENA_INIT;
    map_each (&w->api->objects, s) {
        struct object *o = s->value;
        if (!str_eqc(o->kind->resource, "events"))
            continue;
        const struct value *v = object_tree(&a, o);
        fprintf(stderr, "  event %.*s: %.*s\n", STR_ARG(value_str_at(v, "reason")),
                STR_ARG(value_str_at(v, "message")));
    }
    arena_done(&a);
}

// A pod "web" with one container "web"; `more` is spec's further JSON, `container` the container's.
static void put_pod(struct world *w, const char *name, const char *spec, const char *container)
{
    struct arena a = ARENA_INIT;
    fake_api_put(
        w->api,
        arena_cstr(
            &a,
            arena_printf(
                &a,
                "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s','uid':'%s%s','namespace':"
                "'default'},'spec':{'nodeName':'n1','restartPolicy':'Always',"
                "'terminationGracePeriodSeconds':30,'containers':[{'name':'web','image':"
                "'busybox','imagePullPolicy':'IfNotPresent'%s}]%s},'status':{'phase':"
                "'Pending'}}",
                name, w->uid_prefix, name, container, spec)));
    arena_done(&a);
}

static void delete_pod(struct world *w, const char *name, int64_t grace)
{
    struct err e = ERR_INIT;
    struct fake_client *c = fake_client_new(w->api);
    struct client_delete_options o = {.grace_period_seconds = grace};
    assert_int_equal(
        client_delete(&c->base, client_kind("", "pods"), STR("default"), str_of(name), &o, &e), 0);
    free(c);
}
