// TTL after finished: deletes Jobs when spec.ttlSecondsAfterFinished have passed since they ended.
//
// The end is the transition of Complete or Failed to True. Before the deletion the job is looked at
// past the cache: its TTL may just have been raised.
#include "controller/control.h"

// When the job is to go; 0: never, or not yet known.
static int64_t end_of(const struct value *job)
{
    const struct value *conditions = value_at(job, "status.conditions");
    const struct value *ttl = value_at(job, "spec.ttlSecondsAfterFinished");
    int64_t finished = 0;
    if (!ttl || meta_deleting(job))
        return 0;
    value_each_item (conditions, c) {
        struct str type = value_str_at(c, "type");
        if ((str_eqc(type, "Complete") || str_eqc(type, "Failed")) &&
            str_eqc(value_str_at(c, "status"), "True"))
            finished = meta_time(c, "lastTransitionTime");
    }
    return finished ? finished + value_int_or(ttl, 0) * (int64_t)NS_PER_S : 0;
}

static enum reconcile_result reconcile(struct reconcile *p, struct err *e)
{
    int64_t end = end_of(p->tree), now = env_now(p->r->env);
    if (!end)
        return RECONCILE_DONE;
    if (end > now) {
        reconcile_after(p, (uint64_t)(end - now));
        return RECONCILE_AFTER;
    }
    _cleanup_object_ struct object *live = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_get(p->r->client, p->r->kind, p->ns, p->name, &live, &why);
    if (rc == 0) {
        const struct value *job = object_tree(p->a, live);
        int64_t then = end_of(job);
        if (!then || then > now)
            return RECONCILE_DONE; // the newer version comes as an event
        rc = client_delete_tree(p->r->client, p->r->kind, job, PROPAGATION_FOREGROUND, -1, NULL,
                                &why);
    }
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND) && !err_is(&why, ERR_CONFLICT)) {
        err_move(e, &why);
        return RECONCILE_RETRY;
    }
    return RECONCILE_DONE;
}

static const struct reconciler_row row = {
    .name = "ttl-after-finished",
    .workers = 2,
    .group = "batch",
    .resource = "jobs",
    .reconcile = reconcile,
};

static void *make(struct control *control)
{
    return reconciler_new(control->client, control->informers, control->executor, &row, NULL);
}

static void run(void *self)
{
    reconciler_run(self);
}

static void stop(void *self)
{
    reconciler_free(self);
}

const struct controller_row ttl_after_finished_controller = {"ttl-after-finished", make, run, stop};
