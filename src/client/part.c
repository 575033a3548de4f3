// What controllers and scheduler share, as parts of a role: one client, one set of informers on the
// main thread's loop, one pool on which they reconcile.
#include "client/part.h"
#include "client/informer.h"
#include "client/queue.h"

enum { RECONCILERS = 4 };

static int start_control(struct part_host *h, void **ret_state, struct err *e)
{
    (void)ret_state, (void)e;
    h->control_client =
        h->client_as(h, "kube-controller-manager", "system:kube-controller-manager", NULL, 0);
    h->informers = informers_new(h->control_client, h->loop);
    h->executor = executor_new(h->loop, RECONCILERS, "reconcile");
    return 0;
}

static void stop_control(struct part_host *h, void *state)
{
    (void)state;
    informers_free(TAKE_PTR(h->informers));
    executor_free(TAKE_PTR(h->executor));
    h->control_client = NULL;
    // Before the API server: its watch cache may have posted to this loop what loop_free still
    // runs.
    loop_free(TAKE_PTR(h->loop));
}

const struct part client_part_control = {
    .name = "control plane", .start = start_control, .stop = stop_control};

static int start_informers(struct part_host *h, void **ret_state, struct err *e)
{
    (void)ret_state, (void)e;
    informers_start(h->informers);
    return 0;
}

const struct part client_part_informers = {.name = "informers", .start = start_informers};
