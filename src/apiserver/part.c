// The API server as parts of a role: the cluster's certificates, the server itself, its HTTPS face
// with two or more loops, and the kubeconfig by which people reach it.
#include "apiserver/part.h"
#include "apiserver/apiserver.h"
#include "apiserver/auth.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/path.h"
#include "base/thread.h"
#include "base/time.h"
#include "wire/http.h"
#include "wire/tls.h"
#include <unistd.h>

#define HTTP_LOOPS_MAX 8
#define STOP_GRACE_NS  (5 * NS_PER_S)

static bool listens_everywhere(const struct part_host *h)
{
    return strcmp(h->bind, "0.0.0.0") == 0;
}

// --- certificates ---

static int issue(struct part_host *h, struct str user, const struct str *organizations,
                 size_t norganizations, struct str *ret_cert_pem, struct str *ret_key_pem,
                 struct err *e)
{
    return pki_issue(h->env, h->pki, h->arena, user, organizations, norganizations, &h->node_name,
                     1, &h->node_ip, 1, ret_cert_pem, ret_key_pem, e);
}

static int start_certificates(struct part_host *h, void **ret_state, struct err *e)
{
    (void)ret_state;
    struct str addresses[2] = {h->node_ip};
    size_t n = 1;
    if (!listens_everywhere(h))
        addresses[n++] = str_of(h->bind);
    const struct pki_options opt = {.dir = path_join(h->arena, h->data_dir, "pki"),
                                    .names = &h->node_name,
                                    .nnames = 1,
                                    .addresses = addresses,
                                    .naddresses = n,
                                    .service_ip = h->service_ip,
                                    .cluster_domain = h->cluster_domain};
    int r = pki_open(h->env, &opt, &h->pki, e);
    if (r < 0)
        return r;
    h->ca_pem = h->pki->ca_cert;
    h->issue = issue;
    return 0;
}

static void stop_certificates(struct part_host *h, void *state)
{
    (void)state;
    pki_free(TAKE_PTR(h->pki));
}

const struct part apiserver_part_certificates = {
    .name = "cluster's certificates", .start = start_certificates, .stop = stop_certificates};

// --- API server ---

static int start_api(struct part_host *h, void **ret_state, struct err *e)
{
    (void)ret_state;
    const struct apiserver_options opt = {.env = h->env,
                                          .store = h->store,
                                          .pki = h->pki,
                                          .advertise_address = h->advertise,
                                          .port = h->port,
                                          .service_cidr = h->service_cidr,
                                          .pod_cidr = h->pod_cidr,
                                          .cluster_domain = h->cluster_domain,
                                          .node_port_first = 30000,
                                          .node_port_last = 32767,
                                          .version = h->version};
    return apiserver_new(&opt, &h->api, e);
}

static void stop_api(struct part_host *h, void *state)
{
    (void)state;
    apiserver_free(TAKE_PTR(h->api));
}

const struct part apiserver_part = {.name = "API server", .start = start_api, .stop = stop_api};

// --- HTTPS server ---

struct https {
    struct http_server *server;
    struct tls_server *tls;
    struct loop *loops[HTTP_LOOPS_MAX];
    pthread_t threads[HTTP_LOOPS_MAX];
    size_t nloops, nthreads;
    struct completion stopped;
};

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static int start_https(struct part_host *h, void **ret_state, struct err *e)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = cpus < 2 ? 2 : cpus > HTTP_LOOPS_MAX ? HTTP_LOOPS_MAX : (size_t)cpus;
    struct https *t = *ret_state = mem_zalloc(sizeof *t);
    int r = tls_server_new(h->pki->server_cert, h->pki->server_key, h->ca_pem, &t->tls, e);
    if (r < 0)
        return r;
    for (; t->nloops < wanted; t->nloops++)
        t->loops[t->nloops] = loop_new(h->env);
    const struct http_server_options opt = {.tls = t->tls};
    struct str address = arena_printf(h->arena, "%s:%u", h->bind, h->port);
    r = http_server_new(t->loops, t->nloops, address, apiserver_http_handler(h->api), &opt,
                        &t->server, e);
    if (r < 0)
        return r;
    for (; t->nthreads < t->nloops; t->nthreads++)
        t->threads[t->nthreads] = thread_start("http", run_loop, t->loops[t->nthreads]);
    h->http = t->server;
    h->http_loops = t->loops;
    h->nhttp_loops = t->nloops;
    return 0;
}

static void is_stopped(void *arg)
{
    completion_signal(arg);
}

static void stop_on_loop(void *arg)
{
    struct https *t = arg;
    http_server_stop(t->server, STOP_GRACE_NS, is_stopped, &t->stopped);
}

static void stop_https(struct part_host *h, void *state)
{
    struct https *t = state;
    if (!t)
        return;
    if (t->server) {
        completion_init(&t->stopped);
        loop_call(t->loops[0], stop_on_loop, t);
        completion_wait(&t->stopped);
        completion_done(&t->stopped);
    }
    for (size_t i = 0; i < t->nthreads; i++) {
        loop_stop(t->loops[i]);
        pthread_join(t->threads[i], NULL);
    }
    for (size_t i = 0; i < t->nloops; i++)
        loop_free(t->loops[i]);
    tls_server_free(t->tls);
    h->http = NULL;
    h->http_loops = NULL;
    h->nhttp_loops = 0;
    free(t);
}

const struct part apiserver_part_https = {
    .name = "HTTPS server", .start = start_https, .stop = stop_https};

// --- kubeconfig ---

static int write_kubeconfig(struct part_host *h, void **ret_state, struct err *e)
{
    (void)ret_state, (void)e;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str url =
        arena_printf(&a, "https://%s:%u", listens_everywhere(h) ? "127.0.0.1" : h->bind,
                     http_server_port(h->http));
    struct str text =
        pki_kubeconfig(&a, h->pki, url, STR("admin"), h->pki->admin_cert, h->pki->admin_key);
    // A full disk must not keep the server from starting: what is unchanged is not written, and
    // what cannot be written is worth a word, not the cluster.
    const char *path = path_join(&a, h->data_dir, "admin.kubeconfig");
    _cleanup_err_ struct err why = ERR_INIT;
    struct str old;
    if ((file_read_all(&a, path, 1 << 20, &old, NULL) < 0 || !str_eq(old, text)) &&
        file_write_all(path, text, 0600, &why) < 0)
        log_warn("server", "admin.kubeconfig could not be written: %s", why.message);
    return 0;
}

const struct part apiserver_part_kubeconfig = {.name = "kubeconfig", .start = write_kubeconfig};
