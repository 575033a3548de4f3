// CronJob: makes a Job at each moment of a schedule, and clears away old ones.
//
// A reconcile follows the jobs that are there (status.active, lastSuccessfulTime, the history
// limits). Active are those that this controller started: a job that somebody else made in the
// CronJob's name (`kubectl create job --from=cronjob/x`) belongs to it and counts for the
// history, but holds up no schedule and is replaced by nobody; a warning says that it was seen.
// Then it asks the schedule for the last moment that has passed since lastScheduleTime (or
// since the CronJob was made). If there is one, it is started, once: the job's name is made
// from the moment, so that a repeated try finds it there. Of several moments that were missed
// only the last counts, and only if startingDeadlineSeconds have not passed since. Then it
// sleeps until the next.
//
// Schedules are read by text/cron.h; spec.timeZone names the zone, UTC where it is absent.
#include "controller/control.h"
#include "text/cron.h"

enum { OWNED_JOBS };
enum { MISSED_MANY = 100, MISSED_LIMIT = 200000 };
#define SCHEDULED "batch.kubernetes.io/cronjob-scheduled-timestamp"

struct tick {
    struct reconcile *p;
    struct object_list jobs; // its own
    struct value *status;    // as it is going to be
    struct value *active;    // status.active
    struct map was_active;   // UIDs of status.active as it stands
    struct map there;        // UIDs of jobs
    struct cron *cron;
    const struct zone *zone;
    int64_t now; // s
};

static const struct kind *job_kind(void)
{
    return KIND("batch", "jobs");
}

// "Complete" or "Failed"; NULL: it runs.
static const char *how_finished(const struct value *job)
{
    const struct value *conditions = value_at(job, "status.conditions");
    return condition_is(conditions, "Complete", "True") ? "Complete"
           : condition_is(conditions, "Failed", "True") ? "Failed"
                                                        : NULL;
}

static struct value *reference_to(struct arena *a, const struct object *job)
{
    struct value *ref = value_object(a), *meta = object_metadata(a, job);
    value_put(a, ref, "kind", STR("Job"));
    value_put(a, ref, "namespace", object_namespace(job));
    value_put(a, ref, "name", object_name(job));
    value_put(a, ref, "uid", value_str_at(meta, "uid"));
    value_put(a, ref, "apiVersion", STR("batch/v1"));
    return ref;
}

static void note(struct tick *t, const char *type, const char *reason, struct str text)
{
    event_record(t->p->r->events, t->p->object, type, reason, "%.*s", STR_ARG(text));
}

// Following the jobs.

static void remember_uids(struct tick *t)
{
    const struct value *old = value_at(t->p->tree, "status.active");
    value_each_item (old, ref)
        map_set(&t->was_active, value_str_at(ref, "uid"), t);
    for (size_t i = 0; i < t->jobs.n; i++)
        map_set(&t->there, value_str_at(object_metadata(t->p->a, t->jobs.items[i]), "uid"), t);
}

static bool in_active(const struct tick *t, struct str uid)
{
    return map_has(&t->was_active, uid);
}

static struct str job_name(struct arena *a, struct str cronjob, int64_t moment)
{
    return arena_printf(a, "%.*s-%lld", STR_ARG(cronjob), (long long)(moment / 60));
}

// Started by this controller: status.active says so, or, where that could not be written in time,
// the name that was made from the moment in the annotation.
static bool started_here(const struct tick *t, const struct value *job)
{
    int64_t moment;
    struct str name = value_str_at(job, "metadata.name");
    return in_active(t, meta_uid(job)) ||
           (time_parse_rfc3339(meta_annotation(job, SCHEDULED), &moment) &&
            str_eq(name, job_name(t->p->a, t->p->name, moment / NS_PER_S)));
}

static void follow_missing(struct tick *t)
{
    const struct value *old = value_at(t->p->tree, "status.active");
    value_each_item (old, ref) {
        if (!map_has(&t->there, value_str_at(ref, "uid")))
            note(t, "Normal", "MissingJob",
                 arena_printf(t->p->a, "Active job went missing: %.*s",
                              STR_ARG(value_str_at(ref, "name"))));
    }
}

static void follow_jobs(struct tick *t)
{
    struct arena *a = t->p->a;
    int64_t last = meta_time(t->p->tree, "status.lastSuccessfulTime");
    for (size_t i = 0; i < t->jobs.n; i++) {
        const struct value *job = object_tree(a, t->jobs.items[i]);
        const char *how = how_finished(job);
        struct str name = value_str_at(job, "metadata.name");
        int64_t completed = meta_time(job, "status.completionTime");
        if (!how && started_here(t, job))
            value_push(a, t->active, reference_to(a, t->jobs.items[i]));
        else if (!how)
            note(t, "Warning", "UnexpectedJob",
                 arena_printf(a, "Saw a job that the controller did not create or forgot: %.*s",
                              STR_ARG(name)));
        else if (in_active(t, meta_uid(job)))
            note(t, "Normal", "SawCompletedJob",
                 arena_printf(a, "Saw completed job: %.*s, condition: %s", STR_ARG(name), how));
        if (how && how[0] == 'C' && completed > last) {
            last = completed;
            value_put(a, t->status, "lastSuccessfulTime", time_rfc3339(a, completed, 0));
        }
    }
}

static int by_start(const void *pa, const void *pb)
{
    const struct value *a = *(struct value *const *)pa, *b = *(struct value *const *)pb;
    int64_t x = meta_time(a, "status.startTime"), y = meta_time(b, "status.startTime");
    if (x != y)
        return x < y ? -1 : 1;
    return str_cmp(value_str_at(a, "metadata.name"), value_str_at(b, "metadata.name"));
}

static int delete_job(struct tick *t, const struct value *job, struct err *e)
{
    _cleanup_err_ struct err why = ERR_INIT;
    uint64_t revision = 0;
    struct str name = value_str_at(job, "metadata.name");
    if (meta_deleting(job))
        return 0;
    int rc = client_delete_tree(t->p->r->client, job_kind(), job, PROPAGATION_BACKGROUND, -1,
                                &revision, &why);
    reconcile_expect(t->p, OWNED_JOBS, revision);
    if (rc == 0)
        note(t, "Normal", "SuccessfulDelete",
             arena_printf(t->p->a, "Deleted job %.*s", STR_ARG(name)));
    if (rc == 0 || err_is(&why, ERR_NOT_FOUND))
        return 0;
    note(t, "Warning", "FailedDelete", arena_printf(t->p->a, "Deleted job: %s", why.message));
    err_move(e, &why);
    return rc;
}

// Keeps the youngest `limit` of the jobs that ended this way.
static int clear_history(struct tick *t, const char *how, int64_t limit, struct err *e)
{
    struct value **ended = arena_array(t->p->a, struct value *, t->jobs.n + 1);
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < t->jobs.n; i++) {
        struct value *job = object_tree(t->p->a, t->jobs.items[i]);
        const char *end = how_finished(job);
        if (end && strcmp(end, how) == 0)
            ended[n++] = job;
    }
    qsort(ended, n, sizeof *ended, by_start);
    for (size_t i = 0; rc == 0 && i < n && (int64_t)(n - i) > limit; i++)
        rc = delete_job(t, ended[i], e);
    return rc;
}

// Starting.

static struct value *new_job(struct tick *t, struct str name, int64_t moment)
{
    struct arena *a = t->p->a;
    const struct value *template = value_at(t->p->tree, "spec.jobTemplate");
    struct value *job = value_object(a), *meta = value_object(a), *owners = value_array(a);
    struct value *labels = value_at(template, "metadata.labels"),
                 *annotations = value_at(template, "metadata.annotations"),
                 *spec = value_getc(template, "spec");
    struct civil c = zone_civil(t->zone, moment);
    int offset = c.offset / 60;
    struct str when =
        c.offset == 0 ? arena_printf(a, "%04lld-%02d-%02dT%02d:%02d:%02dZ", (long long)c.year,
                                     c.month, c.day, c.hour, c.minute, c.second)
                      : arena_printf(a, "%04lld-%02d-%02dT%02d:%02d:%02d%c%02d:%02d",
                                     (long long)c.year, c.month, c.day, c.hour, c.minute, c.second,
                                     offset < 0 ? '-' : '+', abs(offset) / 60, abs(offset) % 60);
    value_put(a, job, "kind", STR("Job"));
    value_put(a, job, "apiVersion", STR("batch/v1"));
    value_put(a, meta, "name", name);
    value_put(a, meta, "namespace", t->p->ns);
    if (labels)
        value_setc(a, meta, "labels", labels);
    annotations = annotations ? value_clone(a, annotations) : value_object(a);
    value_put(a, annotations, SCHEDULED, when);
    value_setc(a, meta, "annotations", annotations);
    value_push(a, owners, owner_reference(a, t->p->r->kind, t->p->tree));
    value_setc(a, meta, "ownerReferences", owners);
    value_setc(a, job, "metadata", meta);
    value_setc(a, job, "spec", spec ? spec : value_object(a));
    return job;
}

static int start_job(struct tick *t, int64_t moment, struct err *e)
{
    struct arena *a = t->p->a;
    struct str name = job_name(a, t->p->name, moment);
    _cleanup_object_ struct object *made = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    int rc =
        client_create(t->p->r->client, job_kind(), t->p->ns, new_job(t, name, moment), &made, &why);
    if (rc == 0) {
        reconcile_expect(t->p, OWNED_JOBS, made->revision);
        value_push(a, t->active, reference_to(a, made));
        note(t, "Normal", "SuccessfulCreate", arena_printf(a, "Created job %.*s", STR_ARG(name)));
    } else if (client_namespace_terminating(&why)) {
        return 0;
    } else if (err_is(&why, ERR_ALREADY_EXISTS)) {
        // Ours, made by a pass whose status was not written; or somebody's, in the way.
        _cleanup_object_ struct object *there =
            informer_get_ns(t->p->r->owned[OWNED_JOBS], t->p->ns, name);
        if (!there || !owner_controls(object_tree(a, there), meta_uid(t->p->tree))) {
            err_move(e, &why);
            return rc;
        }
    } else {
        note(t, "Warning", "FailedCreate", arena_printf(a, "Error creating job: %s", why.message));
        err_move(e, &why);
        return rc;
    }
    value_put(a, t->status, "lastScheduleTime", time_rfc3339(a, moment * NS_PER_S, 0));
    return 0;
}

static void sleep_until_next(struct tick *t, int64_t from)
{
    int64_t next;
    if (cron_next(t->cron, from, &next) && next > t->now)
        reconcile_after(t->p, (uint64_t)(next - t->now) * NS_PER_S);
    else if (cron_next(t->cron, t->now, &next))
        reconcile_after(t->p, (uint64_t)(next - t->now) * NS_PER_S);
}

static bool read_schedule(struct tick *t)
{
    struct str zone = value_str_at(t->p->tree, "spec.timeZone"),
               spec = value_str_at(t->p->tree, "spec.schedule");
    _cleanup_err_ struct err why = ERR_INIT;
    t->zone = zone_utc();
    if (zone.n && zone_load(t->p->a, zone, &t->zone, &why) < 0) {
        note(t, "Warning", "UnknownTimeZone",
             arena_printf(t->p->a, "invalid timeZone: %.*s: %s", STR_ARG(zone), why.message));
        return false;
    }
    const struct cron_options options = {.dialect = CRON_STANDARD, .zone = t->zone};
    if (cron_parse(t->p->a, spec, &options, &t->cron, &why) < 0) {
        note(t, "Warning", "UnparseableSchedule",
             arena_printf(t->p->a, "unparseable schedule: %.*s : %s", STR_ARG(spec), why.message));
        return false;
    }
    return true;
}

// The moment that is due; false: none.
static bool due_moment(struct tick *t, int64_t *ret)
{
    int64_t last = meta_time(t->p->tree, "status.lastScheduleTime") / NS_PER_S;
    int64_t since = last ? last : meta_time(t->p->tree, "metadata.creationTimestamp") / NS_PER_S;
    int64_t deadline = value_int_at(t->p->tree, "spec.startingDeadlineSeconds", -1);
    int64_t start = since;
    if (deadline >= 0 && t->now - deadline > start)
        start = t->now - deadline;
    bool due = cron_last(t->cron, start, t->now, MISSED_LIMIT, ret);
    int64_t first;
    if (!due && start != since && cron_next(t->cron, since, &first) && first <= t->now)
        note(t, "Warning", "MissSchedule",
             arena_printf(t->p->a, "Missed scheduled time to start a job: %.*s",
                          STR_ARG(time_rfc3339(t->p->a, first * NS_PER_S, 0))));
    int64_t moment = since, missed = 0;
    while (due && missed <= MISSED_MANY && cron_next(t->cron, moment, &moment) && moment <= t->now)
        missed++;
    if (missed > MISSED_MANY)
        note(t, "Warning", "TooManyMissedTimes",
             STR("too many missed start times. Set or decrease .spec.startingDeadlineSeconds or "
                 "check clock skew"));
    return due;
}

static int run_schedule(struct tick *t, struct err *e)
{
    int64_t moment;
    struct str policy = value_str_at(t->p->tree, "spec.concurrencyPolicy");
    if (meta_deleting(t->p->tree) || value_bool_at(t->p->tree, "spec.suspend", false) ||
        !read_schedule(t))
        return 0;
    int64_t last = meta_time(t->p->tree, "status.lastScheduleTime") / NS_PER_S;
    int64_t from = last ? last : meta_time(t->p->tree, "metadata.creationTimestamp") / NS_PER_S;
    if (!due_moment(t, &moment)) {
        sleep_until_next(t, from);
        return 0;
    }
    if (str_eqc(policy, "Forbid") && value_len(t->active)) {
        note(t, "Normal", "JobAlreadyActive",
             STR("Not starting job because prior execution is running and concurrency policy is "
                 "Forbid"));
        sleep_until_next(t, t->now); // or earlier, when the job ends and its event comes
        return 0;
    }
    int rc = 0;
    if (str_eqc(policy, "Replace")) {
        for (size_t i = 0; i < t->jobs.n && rc == 0; i++) {
            const struct value *job = object_tree(t->p->a, t->jobs.items[i]);
            if (!how_finished(job) && started_here(t, job))
                rc = delete_job(t, job, e);
        }
        t->active = value_array(t->p->a);
    }
    if (rc == 0)
        rc = start_job(t, moment, e);
    if (rc == 0)
        sleep_until_next(t, moment);
    return rc;
}

static struct value *finish_status(struct tick *t)
{
    struct value *out = value_object(t->p->a);
    if (value_len(t->active))
        value_setc(t->p->a, out, "active", t->active);
    value_each_field (t->status, f)
        value_set(t->p->a, out, f->key, f->value);
    return out;
}

static enum reconcile_result reconcile(struct reconcile *p, struct err *e)
{
    struct tick t = {.p = p,
                     .status = value_object(p->a),
                     .active = value_array(p->a),
                     .now = env_now(p->r->env) / NS_PER_S};
    static const char *const kept[] = {"lastScheduleTime", "lastSuccessfulTime"};
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        struct value *v = value_getc(value_getc(p->tree, "status"), kept[i]);
        if (v)
            value_setc(p->a, t.status, kept[i], v);
    }
    informer_by_index(p->r->owned[OWNED_JOBS], "controller-uid", meta_uid(p->tree), &t.jobs);
    remember_uids(&t);
    follow_missing(&t);
    follow_jobs(&t);
    _cleanup_err_ struct err failure = ERR_INIT;
    int rc = clear_history(&t, "Complete",
                           value_int_at(p->tree, "spec.successfulJobsHistoryLimit", 3), &failure);
    if (rc == 0)
        rc = clear_history(&t, "Failed", value_int_at(p->tree, "spec.failedJobsHistoryLimit", 1),
                           &failure);
    if (rc == 0)
        rc = run_schedule(&t, &failure);
    enum reconcile_result result = reconcile_status(p, finish_status(&t), e);
    object_list_done(&t.jobs);
    map_done(&t.was_active);
    map_done(&t.there);
    if (rc < 0 && result != RECONCILE_RETRY) {
        err_move(e, &failure);
        return RECONCILE_RETRY;
    }
    return result;
}

static const struct reconciler_row row = {
    .name = "cronjob",
    .component = "cronjob-controller",
    .workers = 2,
    .group = "batch",
    .resource = "cronjobs",
    .owned = {[OWNED_JOBS] = {"batch", "jobs"}},
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

const struct controller_row cronjob_controller = {"cronjob", make, run, stop};
