// What a deployment reports: counts over its sets, and the conditions Available, Progressing and
// ReplicaFailure with upstream's reasons and messages.
//
// Progressing tells a rollout's life by its reason: NewReplicaSetCreated / FoundNewReplicaSet ->
// ReplicaSetUpdated (each time the counts move on; lastUpdateTime is the clock that the deadline
// runs against) -> NewReplicaSetAvailable, or ProgressDeadlineExceeded.
#include "controller/deployment.h"

bool rollout_has_deadline(const struct rollout *r)
{
    return value_int_at(r->d, "spec.progressDeadlineSeconds", INT32_MAX) != INT32_MAX;
}

static bool complete(struct rollout *r, const struct value *status)
{
    return value_int_at(status, "updatedReplicas", 0) == r->replicas &&
           value_int_at(status, "replicas", 0) == r->replicas &&
           value_int_at(status, "availableReplicas", 0) == r->replicas &&
           value_int_at(status, "observedGeneration", 0) >=
               value_int_at(r->d, "metadata.generation", 0);
}

bool rollout_complete(struct rollout *r)
{
    return complete(r, value_getc(r->d, "status"));
}

static struct value *condition(struct rollout *r, const char *type, const char *value,
                               const char *reason, struct str message)
{
    struct value *one = value_object(r->a);
    struct str now = meta_now(r->c->control->env, r->a);
    value_put(r->a, one, "type", str_of(type));
    value_put(r->a, one, "status", str_of(value));
    value_put(r->a, one, "lastUpdateTime", now);
    value_put(r->a, one, "lastTransitionTime", now);
    value_put(r->a, one, "reason", str_of(reason));
    value_put(r->a, one, "message", message);
    return one;
}

static struct value *rollout_conditions(struct rollout *r, struct value *status)
{
    struct value *list = value_getc(status, "conditions");
    if (!value_is(list, VALUE_ARRAY)) {
        list = value_array(r->a);
        value_setc(r->a, status, "conditions", list);
    }
    return list;
}

void rollout_set_condition(struct rollout *r, struct value *status, const char *type,
                           const char *value, const char *reason, struct str message)
{
    struct value *list = rollout_conditions(r, status), *was = condition_find(list, type);
    struct str was_status = value_str_at(was, "status");
    if (was && str_eqc(was_status, value) && str_eqc(value_str_at(was, "reason"), reason))
        return;
    struct value *now = condition(r, type, value, reason, message);
    if (was && str_eqc(was_status, value))
        value_put(r->a, now, "lastTransitionTime", value_str_at(was, "lastTransitionTime"));
    condition_remove(list, type);
    value_push(r->a, list, now);
}

int rollout_write_status(struct rollout *r, struct value *status)
{
    struct object *updated;
    value_setc(r->a, r->d, "status", status);
    int rc = client_update_status(r->c->control->client, KIND("apps", "deployments"), r->d,
                                  &updated, r->e);
    if (rc < 0)
        return rc;
    // Later writes of this reconcile build on this one.
    value_set_at(
        r->a, r->d, "metadata.resourceVersion",
        value_str(r->a, arena_printf(r->a, "%llu", (unsigned long long)updated->revision)));
    object_unref(updated);
    return 0;
}

// Counts and Available; the other conditions are carried over.
static struct value *count(struct rollout *r)
{
    struct arena *a = r->a;
    const struct value *was = value_getc(r->d, "status");
    struct value *status = value_object(a);
    int64_t available = rollout_sum(r, false, rs_available);
    int64_t unavailable = rollout_sum(r, false, rs_spec_replicas) - available;
    value_put_nonzero(a, status, "observedGeneration",
                      value_int_at(r->d, "metadata.generation", 0));
    value_put_nonzero(a, status, "replicas", rollout_sum(r, false, rs_status_replicas));
    value_put_nonzero(a, status, "updatedReplicas", r->new ? r->new->status_replicas : 0);
    value_put_nonzero(a, status, "readyReplicas", rollout_sum(r, false, rs_ready));
    value_put_nonzero(a, status, "availableReplicas", available);
    value_put_nonzero(a, status, "unavailableReplicas", unavailable < 0 ? 0 : unavailable);
    if (value_getc(was, "collisionCount"))
        value_setc(a, status, "collisionCount", value_getc(was, "collisionCount"));
    struct value *list = rollout_conditions(r, status);
    const struct value *old = value_getc(was, "conditions");
    value_each_item (old, one)
        value_push(a, list, one);
    if (available >= r->replicas - r->unavailable)
        rollout_set_condition(r, status, "Available", "True", "MinimumReplicasAvailable",
                              STR("Deployment has minimum availability."));
    else
        rollout_set_condition(r, status, "Available", "False", "MinimumReplicasUnavailable",
                              STR("Deployment does not have minimum availability."));
    return status;
}

static bool moved_on(const struct value *was, const struct value *now)
{
    int64_t was_updated = value_int_at(was, "updatedReplicas", 0);
    int64_t now_updated = value_int_at(now, "updatedReplicas", 0);
    return now_updated > was_updated ||
           value_int_at(now, "replicas", 0) - now_updated <
               value_int_at(was, "replicas", 0) - was_updated ||
           value_int_at(now, "readyReplicas", 0) > value_int_at(was, "readyReplicas", 0) ||
           value_int_at(now, "availableReplicas", 0) > value_int_at(was, "availableReplicas", 0);
}

// Nanoseconds until the deadline passes; negative: it has.
static int64_t until_deadline(struct rollout *r, const struct value *progressing)
{
    int64_t seconds = value_int_at(r->d, "spec.progressDeadlineSeconds", INT32_MAX);
    return meta_time(progressing, "lastUpdateTime") + seconds * NS_PER_S -
           env_now(r->c->control->env);
}

static bool timed_out(struct rollout *r, const struct value *progressing)
{
    struct str reason = value_str_at(progressing, "reason");
    if (!progressing || str_eqc(reason, "NewReplicaSetAvailable"))
        return false;
    return str_eqc(reason, "ProgressDeadlineExceeded") || until_deadline(r, progressing) < 0;
}

static struct str about(struct rollout *r, const char *what)
{
    struct str name = r->new ? r->new->name : value_str_at(r->d, "metadata.name");
    return arena_printf(r->a, "%s \"%.*s\" %s.", r->new ? "ReplicaSet" : "Deployment",
                        STR_ARG(name), what);
}

static void report_progress(struct rollout *r, struct value *status)
{
    struct value *list = rollout_conditions(r, status), *now = condition_find(list, "Progressing");
    const struct value *was = value_getc(r->d, "status");
    bool settled =
        value_int_at(status, "replicas", 0) == value_int_at(status, "updatedReplicas", 0) &&
        str_eqc(value_str_at(now, "reason"), "NewReplicaSetAvailable");
    if (!rollout_has_deadline(r)) {
        condition_remove(list, "Progressing");
    } else if (settled) {
        return; // nothing is under way
    } else if (complete(r, status)) {
        rollout_set_condition(r, status, "Progressing", "True", "NewReplicaSetAvailable",
                              about(r, "has successfully progressed"));
    } else if (moved_on(was, status)) {
        // Replaced even where only the time differs: that time is the deadline's start.
        struct str since = value_str_at(now, "lastTransitionTime");
        bool keep = str_eqc(value_str_at(now, "status"), "True");
        struct value *moved =
            condition(r, "Progressing", "True", "ReplicaSetUpdated", about(r, "is progressing"));
        if (keep)
            value_put(r->a, moved, "lastTransitionTime", since);
        condition_remove(list, "Progressing");
        value_push(r->a, list, moved);
    } else if (timed_out(r, now)) {
        rollout_set_condition(r, status, "Progressing", "False", "ProgressDeadlineExceeded",
                              about(r, "has timed out progressing"));
    }
}

// The failure of the new set, or of any, is the deployment's.
static void report_failure(struct rollout *r, struct value *status)
{
    const struct value *failure = NULL;
    for (size_t i = 0; i < r->nall; i++) {
        const struct value *one =
            condition_find(value_at(r->all[i]->tree, "status.conditions"), "ReplicaFailure");
        if (one && (!failure || r->all[i] == r->new))
            failure = one;
    }
    if (!failure) {
        condition_remove(rollout_conditions(r, status), "ReplicaFailure");
        return;
    }
    const char *reason = arena_cstr(r->a, value_str_at(failure, "reason"));
    const char *value = arena_cstr(r->a, value_str_at(failure, "status"));
    rollout_set_condition(r, status, "ReplicaFailure", value, reason,
                          value_str_at(failure, "message"));
}

int rollout_sync_status(struct rollout *r, bool progress)
{
    struct value *status = count(r);
    if (progress) {
        report_progress(r, status);
        report_failure(r, status);
    }
    const struct value *was = value_getc(r->d, "status");
    if (was)
        value_delc((struct value *)was, "terminatingReplicas"); // not counted here
    if (!was || !value_eq(was, status))
        return rollout_write_status(r, status);
    // Nothing has changed. Where the deadline is running, look again when it has passed.
    const struct value *now = condition_find(value_getc(status, "conditions"), "Progressing");
    if (progress && now && rollout_has_deadline(r) && !complete(r, status) &&
        !str_eqc(value_str_at(now, "reason"), "ProgressDeadlineExceeded") &&
        !str_eqc(value_str_at(now, "reason"), "NewReplicaSetAvailable")) {
        int64_t left = until_deadline(r, now);
        r->after_ns = (uint64_t)(left < 0 ? 0 : left) + NS_PER_S;
    }
    return 0;
}
