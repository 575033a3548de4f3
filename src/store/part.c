// The store as a part of a role.
#include "store/part.h"
#include "base/guard.h"
#include "base/path.h"
#include "store/metrics.h"
#include "store/store.h"

static const char *choice = "embedded";
static const struct flag flags[] = {
    {"store", 0, FLAG_STRING, &choice, "STORE", "embedded"},
};

static int start(struct part_host *h, void **ret_state, struct err *e)
{
    (void)ret_state;
    if (strcmp(choice, "embedded") != 0)
        return err_set(e, ERR_NOT_IMPLEMENTED,
                       "--store %s: only the embedded store is there yet (--store embedded)",
                       choice);
    return store_embedded_open(h->env, path_join(h->arena, h->data_dir, "store"), NULL, &h->store,
                               e);
}

static void stop(struct part_host *h, void *state)
{
    (void)state;
    store_close(TAKE_PTR(h->store));
}

const struct part store_part = {.name = "store",
                                .metrics = &store_metrics,
                                .flags = flags,
                                .nflags = ARRAY_LEN(flags),
                                .start = start,
                                .stop = stop};
