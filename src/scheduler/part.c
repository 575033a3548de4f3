// The scheduler as a part of a role.
#include "scheduler/part.h"
#include "scheduler/scheduler.h"

static int start(struct part_host *h, void **ret_state, struct err *e)
{
    (void)e;
    struct client *c = h->client_as(h, "kube-scheduler", "system:kube-scheduler", NULL, 0);
    *ret_state = scheduler_start(c, h->informers, h->executor, STR("default-scheduler"));
    return 0;
}

static void stop(struct part_host *h, void *state)
{
    (void)h;
    scheduler_stop(state);
}

const struct part scheduler_part = {
    .name = "scheduler", .without = "scheduler", .start = start, .stop = stop};
