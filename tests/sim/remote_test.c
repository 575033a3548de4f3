// The remote transport against the real API server over HTTPS on loopback, entered with a
// kubeconfig. (Not a simulation: real sockets and time. It stands here because it needs both ends.)
#include "apiserver/apiserver.h"
#include "apiserver/auth.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/informer.h"
#include "client/kubeconfig.h"
#include "client/remote.h"
#include "object/json.h"
#include "unit.h"
#include "wire/http.h"
#include <ftw.h>
#include <unistd.h>

struct cluster {
    char dir[64];
    struct env *env;
    struct store *store;
    struct pki *pki;
    struct apiserver *server;
    struct tls_server *tls;
    struct loop *loop; // the server's
    pthread_t thread;
    struct http_server *http;
    struct client *client;
    struct arena arena;
};

#define MUST(e, call)                                                                              \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, (e).message ? (e).message : "failed");                       \
    } while (0)

static void *run(void *loop)
{
    loop_run(loop);
    return NULL;
}

static int setup(void **state)
{
    struct cluster *c = mem_zalloc(sizeof *c);
    _cleanup_err_ struct err e = ERR_INIT;
    struct str local = STR("127.0.0.1");
    snprintf(c->dir, sizeof c->dir, "/tmp/remote-test-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    c->env = env_system();
    c->store = store_memory_new(c->env);
    const char *pki_dir = arena_printf(&c->arena, "%s/pki%c", c->dir, 0).p;
    struct pki_options pki = {.dir = pki_dir,
                              .addresses = &local,
                              .naddresses = 1,
                              .service_ip = STR("10.96.0.1"),
                              .cluster_domain = STR("cluster.local")};
    MUST(e, pki_open(c->env, &pki, &c->pki, &e));
    struct apiserver_options opt = {.env = c->env,
                                    .store = c->store,
                                    .pki = c->pki,
                                    .advertise_address = local,
                                    .port = 6443,
                                    .service_cidr = STR("10.96.0.0/12"),
                                    .pod_cidr = STR("10.244.0.0/16"),
                                    .cluster_domain = STR("cluster.local"),
                                    .node_port_first = 30000,
                                    .node_port_last = 32767,
                                    .version = STR("v1.34.0+coracle")};
    MUST(e, apiserver_new(&opt, &c->server, &e));
    MUST(e, tls_server_new(c->pki->server_cert, c->pki->server_key, c->pki->ca_cert, &c->tls, &e));
    c->loop = loop_new(c->env);
    struct http_server_options http = {.tls = c->tls};
    MUST(e, http_server_new(&c->loop, 1, STR("127.0.0.1:0"), apiserver_http_handler(c->server),
                            &http, &c->http, &e));
    c->thread = thread_start("server", run, c->loop);

    struct str url = arena_printf(&c->arena, "https://127.0.0.1:%u", http_server_port(c->http));
    struct str text =
        pki_kubeconfig(&c->arena, c->pki, url, STR("admin"), c->pki->admin_cert, c->pki->admin_key);
    const char *path = arena_printf(&c->arena, "%s/kubeconfig%c", c->dir, 0).p;
    MUST(e, file_write_all(path, text, 0600, &e));
    struct kubeconfig k;
    MUST(e, kubeconfig_load(&c->arena, path, STR_NULL, &k, &e));
    assert_true(str_eq(k.server, url));
    struct client_remote_options remote = {.env = c->env,
                                           .url = k.server,
                                           .ca_pem = k.ca_pem,
                                           .cert_pem = k.cert_pem,
                                           .key_pem = k.key_pem,
                                           .name = STR("test")};
    MUST(e, client_remote_new(&remote, &c->client, &e));
    *state = c;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void stopped(void *arg)
{
    completion_signal(arg);
}

static int teardown(void **state)
{
    struct cluster *c = *state;
    struct completion done;
    client_free(c->client);
    completion_init(&done);
    http_server_stop(c->http, NS_PER_S, stopped, &done);
    completion_wait(&done);
    completion_done(&done);
    loop_stop(c->loop);
    pthread_join(c->thread, NULL);
    loop_free(c->loop);
    apiserver_free(c->server);
    store_close(c->store);
    tls_server_free(c->tls);
    pki_free(c->pki);
    nftw(c->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    arena_done(&c->arena);
    free(c);
    return 0;
}

static struct value *config_map(struct arena *a, const char *name, const char *text)
{
    struct value *v = value_object(a);
    value_setc(a, v, "kind", value_strc(a, "ConfigMap"));
    value_setc(a, v, "apiVersion", value_strc(a, "v1"));
    value_set_at(a, v, "metadata.name", value_strc(a, name));
    value_set_at(a, v, "metadata.namespace", value_strc(a, "default"));
    value_set_at(a, v, "data.key", value_strc(a, text));
    return v;
}

static void test_verbs(void **state)
{
    struct cluster *c = *state;
    const struct kind *k = client_kind("", "configmaps");
    struct str ns = STR("default"), name = STR("a");
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct object *o;
    MUST(e, client_create(c->client, k, ns, config_map(&a, "a", "one"), &o, &e));
    assert_true(o->revision > 0);
    assert_true(str_eq(object_name(o), name));
    assert_true(str_eq(object_namespace(o), ns));
    object_unref(o);

    assert_int_equal(client_create(c->client, k, ns, config_map(&a, "a", "one"), NULL, &e), -409);
    assert_int_equal(e.reason, ERR_ALREADY_EXISTS);
    assert_string_equal(e.message, "configmaps \"a\" already exists");
    err_done(&e);
    e = ERR_INIT;

    MUST(e, client_get(c->client, k, ns, name, &o, &e));
    struct value *tree = object_tree(&a, o);
    value_set_at(&a, tree, "data.key", value_strc(&a, "two"));
    MUST(e, client_update(c->client, k, tree, NULL, &e));
    assert_int_equal(client_update(c->client, k, tree, NULL, &e),
                     -409); // the version is an old one now
    assert_int_equal(e.reason, ERR_CONFLICT);
    err_done(&e);
    e = ERR_INIT;
    object_unref(o);

    struct value *patch = value_object(&a);
    value_set_at(&a, patch, "data.more", value_strc(&a, "ü / ? &"));
    MUST(e, client_patch(c->client, k, ns, name, STR_NULL, PATCH_TYPE_MERGE, patch, &o, &e));
    assert_true(str_eqc(value_str_at(object_tree(&a, o), "data.more"), "ü / ? &"));
    assert_true(str_eqc(value_str_at(object_tree(&a, o), "data.key"), "two"));
    object_unref(o);

    MUST(e, client_create(c->client, k, ns, config_map(&a, "b", "x"), NULL, &e));
    struct api_answer list;
    MUST(e, client_list(c->client, k, ns, STR_NULL, STR("metadata.name=b"), &list, &e));
    assert_int_equal(list.nitems, 1);
    assert_true(str_eqc(object_name(list.items[0]), "b"));
    assert_true(list.revision >= list.items[0]->revision);
    assert_ptr_equal(list.items[0]->kind, k);
    api_answer_done(&list);

    struct client_delete_options opt = {.grace_period_seconds = -1, .uid = STR("not-this-one")};
    assert_int_equal(client_delete(c->client, k, ns, name, &opt, &e), -409);
    err_done(&e);
    e = ERR_INIT;
    MUST(e, client_delete(c->client, k, ns, name, NULL, &e));
    assert_int_equal(client_get(c->client, k, ns, name, &o, &e), -404);
    assert_string_equal(e.message, "configmaps \"a\" not found");
    assert_string_equal(e.details_name, "a");
}

static void test_invalid_has_causes(void **state)
{
    struct cluster *c = *state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v = config_map(&a, "Not_A_Name", "x");
    assert_int_equal(
        client_create(c->client, client_kind("", "configmaps"), STR("default"), v, NULL, &e), -422);
    assert_int_equal(e.reason, ERR_INVALID);
    assert_int_equal(e.ncauses, 1);
    assert_string_equal(e.causes[0].reason, "FieldValueInvalid");
    assert_string_equal(e.causes[0].field, "metadata.name");
}

static void test_unreachable_server(void **state)
{
    (void)state;
    _cleanup_err_ struct err e = ERR_INIT;
    struct client *client;
    struct client_remote_options opt = {.env = env_system(), .url = STR("http://127.0.0.1:1")};
    MUST(e, client_remote_new(&opt, &client, &e));
    struct object *o;
    assert_true(client_get(client, client_kind("", "pods"), STR("default"), STR("x"), &o, &e) < 0);
    assert_non_null(e.message);
    client_free(client);
    opt.url = STR("ftp://host");
    err_done(&e);
    e = ERR_INIT;
    assert_int_equal(client_remote_new(&opt, &client, &e), -400);
    assert_string_equal(e.message, "\"ftp://host\" is not an http or https address");
}

// An informer over the wire, on a loop of the test's.

struct follow {
    struct cluster *cluster;
    struct loop *loop;
    struct loop_timer limit;
    struct executor *executor;
    struct executor_task write;
    unsigned added, changed, deleted;
};

static void check(struct follow *f)
{
    if (f->deleted == 1 && f->changed >= 1)
        loop_stop(f->loop);
}

static void on_change(void *ctx, struct object *old, struct object *new)
{
    struct follow *f = ctx;
    const struct object *o = new ? new : old;
    if (!str_eqc(object_name(o), "followed"))
        return;
    f->added += !old;
    f->changed += old && new;
    f->deleted += !new;
    check(f);
}

static void write_all(struct executor_task *t)
{
    struct follow *f = container_of(t, struct follow, write);
    const struct kind *k = client_kind("", "configmaps");
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *patch = value_object(&a);
    value_set_at(&a, patch, "data.key", value_strc(&a, "new"));
    struct client *c = f->cluster->client;
    client_create(c, k, STR("default"), config_map(&a, "followed", "x"), NULL, NULL);
    client_patch(c, k, STR("default"), STR("followed"), STR_NULL, PATCH_TYPE_MERGE, patch, NULL,
                 NULL);
    client_delete(c, k, STR("default"), STR("followed"), NULL, NULL);
}

static void on_synced(void *ctx)
{
    struct follow *f = ctx;
    executor_submit(f->executor, &f->write);
}

static void on_limit(struct loop_timer *t)
{
    loop_stop(container_of(t, struct follow, limit)->loop);
}

static void test_informer_over_the_wire(void **state)
{
    struct cluster *c = *state;
    struct follow f = {.cluster = c, .limit.fn = on_limit, .write.fn = write_all};
    f.loop = loop_new(c->env);
    f.executor = executor_new(f.loop, 1, "test");
    struct informers *factory = informers_new(c->client, f.loop);
    struct informer *i = informers_get(factory, client_kind("", "configmaps"));
    struct informer_handler h = {on_change, &f, NULL};
    informer_add_handler(i, &h);
    informers_when_synced(factory, on_synced, &f);
    informers_start(factory);
    loop_timer_in(f.loop, &f.limit, 20 * NS_PER_S);
    loop_run(f.loop);
    assert_int_equal(f.added, 1);
    assert_int_equal(f.changed, 1);
    assert_int_equal(f.deleted, 1);
    loop_timer_cancel(f.loop, &f.limit);
    informers_free(factory);
    executor_free(f.executor);
    client_free(c->client); // its streams belong to this loop
    c->client = NULL;
    loop_free(f.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define LIVE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        LIVE(test_verbs),
        LIVE(test_invalid_has_causes),
        cmocka_unit_test(test_unreachable_server),
        LIVE(test_informer_over_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
