// The table of controllers, and their common start and stop. To add one: a file with a
// controller_row, a row here.
#include "controller/controllers.h"
#include "controller/control.h"
#include "controller/pod_facts.h"

static const struct controller_row *const rows[] = {
    &deployment_controller,
    &replicaset_controller,
    &controller_replication,
    &statefulset_controller,
    &daemonset_controller,
    &endpoints_controller,
    &endpoints_mirror_controller,
    &namespace_controller,
    &serviceaccount_controller,
    &root_ca_controller,
    &token_secret_controller,
    &garbage_controller,
    &node_lifecycle_controller,
    &taint_eviction_controller,
    &node_cidr_controller,
    &disruption_controller,
    &pod_gc_controller,
    &volume_protection_controller,
    &job_controller,
    &cronjob_controller,
    &ttl_after_finished_controller,
};
enum { ROWS = sizeof rows / sizeof *rows };

struct controllers {
    struct control control;
    struct controller_options options; // strings owned
    void *self[ROWS];
};

static bool left_out(const struct controller_options *opt, const char *name)
{
    for (const char *const *w = opt->without; w && *w; w++) {
        if (strcmp(*w, name) == 0)
            return true;
    }
    return false;
}

static void on_synced(void *ctx)
{
    struct controllers *c = ctx;
    pod_cache_run(c->control.pods);
    for (size_t i = 0; i < ROWS; i++) {
        if (c->self[i])
            rows[i]->run(c->self[i]);
    }
}

struct controllers *controllers_start(struct client *client, struct informers *f,
                                      struct executor *x, const struct controller_options *opt)
{
    struct controllers *c = mem_zalloc(sizeof *c);
    c->options = *opt;
    c->options.root_ca_pem = mem_str(opt->root_ca_pem);
    c->options.pod_cidr = mem_str(opt->pod_cidr);
    c->options.without = NULL; // read here only
    if (!c->options.node_cidr_bits)
        c->options.node_cidr_bits = 24;
    if (!c->options.node_grace_ns)
        c->options.node_grace_ns = 40 * NS_PER_S;
    c->control = (struct control){client, f, x, client->env, &c->options, pod_cache_new(f)};
    for (size_t i = 0; i < ROWS; i++) {
        if (!left_out(opt, rows[i]->name))
            c->self[i] = rows[i]->make(&c->control);
    }
    informers_when_synced(f, on_synced, c);
    return c;
}

void controllers_stop(struct controllers *c)
{
    if (!c)
        return;
    informers_cancel_when_synced(c->control.informers, c);
    for (size_t i = ROWS; i-- > 0;) {
        if (c->self[i])
            rows[i]->free(c->self[i]);
    }
    pod_cache_free(c->control.pods);
    free((char *)c->options.root_ca_pem.p);
    free((char *)c->options.pod_cidr.p);
    free(c);
}
