// Building the server out of its parts, and taking it apart. See apiserver.h; call.c has the way of
// a call.
#include "apiserver/bootstrap_cluster.h"
#include "apiserver/expiry.h"
#include "apiserver/http.h"
#include "apiserver/http_documents.h"
#include "apiserver/http_places.h"
#include "apiserver/metrics.h"
#include "apiserver/proxy.h"
#include "apiserver/ranges.h"
#include "wire/workers.h"

// More work than there can be places for never waits.
enum { WORKERS = 2, WORKERS_QUEUE = 1024 };

static void copy_options(struct apiserver *s, const struct apiserver_options *opt)
{
    struct arena *a = &s->arena;
    s->opt = *opt;
    s->opt.advertise_address = arena_str(a, opt->advertise_address);
    s->opt.service_cidr =
        arena_str(a, opt->service_cidr.n ? opt->service_cidr : STR("10.96.0.0/12"));
    s->opt.pod_cidr = arena_str(a, opt->pod_cidr.n ? opt->pod_cidr : STR("10.244.0.0/16"));
    s->opt.cluster_domain =
        arena_str(a, opt->cluster_domain.n ? opt->cluster_domain : STR("cluster.local"));
    s->opt.version = arena_str(a, opt->version.n ? opt->version : STR("v1.34.0+coracle"));
    s->issuer =
        arena_printf(a, "https://kubernetes.default.svc.%.*s", STR_ARG(s->opt.cluster_domain));
}

static int open_keys(struct apiserver *s, struct err *e)
{
    const struct pki *p = s->opt.pki;
    if (!p)
        return 0;
    int r = token_signer_new(s->env, p->service_account_key, s->issuer, &s->tokens, e);
    if (r < 0)
        return r;
    return tls_client_new(p->ca_cert, p->kubelet_client_cert, p->kubelet_client_key, false,
                          &s->node_tls, e);
}

int apiserver_new(const struct apiserver_options *opt, struct apiserver **ret, struct err *e)
{
    struct apiserver *s = mem_zalloc(sizeof *s);
    s->env = opt->env;
    s->store = opt->store;
    s->started = env_now(opt->env);
    metrics_init(s);
    copy_options(s, opt);
    int r = open_keys(s, e);
    if (r >= 0)
        r = cache_new(opt->store, &s->cache, e);
    if (r >= 0)
        r = ranges_new(s->cache, s->env, s->opt.service_cidr, opt->node_port_first,
                       opt->node_port_last, &s->ranges, e);
    if (r >= 0) {
        s->authz = authz_new(s->cache);
        s->authn = authn_new(s->env, s->cache, s->tokens);
        s->expiry = expiry_new(s->cache, s->env);
        s->refusals = refusals_new();
        s->places = places_new();
        s->documents = documents_new();
        s->workers = workers_new("api-work", WORKERS, WORKERS_QUEUE);
        s->handler = http_face(s);
        r = bootstrap_cluster(s, e);
    }
    if (r < 0) {
        apiserver_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void apiserver_free(struct apiserver *s)
{
    if (!s)
        return;
    metrics_done(s);
    workers_free(s->workers); // what they do is done before anything goes
    // The cache first: its listeners (roles, ranges) must hear nothing more.
    cache_stop(s->cache);
    if (s->authn)
        authn_free(s->authn);
    if (s->authz)
        authz_free(s->authz);
    ranges_free(s->ranges);
    expiry_free(s->expiry);
    refusals_free(s->refusals);
    places_free(s->places);
    documents_free(s->documents);
    cache_free(s->cache);
    if (s->tokens)
        token_signer_free(s->tokens);
    if (s->node_tls)
        tls_client_free(s->node_tls);
    arena_done(&s->arena);
    free(s);
}

const struct http_handler *apiserver_http_handler(struct apiserver *s)
{
    return &s->handler;
}
