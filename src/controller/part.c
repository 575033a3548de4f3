// The controllers as a part of a role.
#include "controller/part.h"
#include "controller/controllers.h"

static int start(struct part_host *h, void **ret_state, struct err *e)
{
    (void)e;
    const struct controller_options opt = {.root_ca_pem = h->ca_pem, .pod_cidr = h->pod_cidr};
    *ret_state = controllers_start(h->control_client, h->informers, h->executor, &opt);
    return 0;
}

static void stop(struct part_host *h, void *state)
{
    (void)h;
    controllers_stop(state);
}

const struct part controllers_part = {
    .name = "controllers", .without = "controllers", .start = start, .stop = stop};
