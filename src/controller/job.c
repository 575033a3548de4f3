// Job: runs pods until so many have succeeded, or too many have failed.
//
// Every pod is counted exactly once, although pods may be deleted at any time and status writes may
// be lost: each carries a finalizer that is ours.
//
//     a pod has ended     its UID goes into status.uncountedTerminatedPods (with what it means: its
//                         index, a failure) in one write
//     that is written     the finalizer is taken out of it
//     it has none         the UID is taken out of the list and the counter raised, in one write
//
// Whatever happens between two steps, the next pass finds where it stands. A pod that this
// controller deletes itself (suspended, too many, the job has ended) loses the finalizer first: it
// counts as neither.
//
// How it ends: a reason to fail (podFailurePolicy, backoffLimit, activeDeadlineSeconds) gives the
// condition FailureTarget, a reason to succeed (completions, successPolicy) SuccessCriteriaMet;
// active pods are then deleted, and when none is left the condition Failed or Complete is set. From
// then on nothing changes.
//
// After failures new pods wait: 10 s, doubled with each failure since the last success, at most ten
// minutes, from the end of the last one. The pods that have ended tell how many; nothing is
// remembered.
//
// Not here: backoffLimitPerIndex and maxFailedIndexes. A job with managedBy another controller is
// left alone.
#include "controller/job_indexes.h"
#include "controller/pod_claims.h"

enum { BURST = 500, UNCOUNTED_MAX = 500 };
#define FINALIZER   "batch.kubernetes.io/job-tracking"
#define INDEX       "batch.kubernetes.io/job-completion-index"
#define MANAGER     "kubernetes.io/job-controller"
#define BACKOFF     (10 * (int64_t)NS_PER_S)
#define BACKOFF_MAX (600 * (int64_t)NS_PER_S)

struct jobs {
    struct control *control;
    struct reconciler *r;
    struct pod_listener on_pod;
};

enum pod_end { END_NONE, END_SUCCEEDED, END_FAILED, END_IGNORED };

// A pod as the job sees it.
struct member_pod {
    struct pod_facts *facts;
    const struct value *tree;
    enum pod_end end;
    bool tracked; // has the finalizer
    bool listed;  // is in uncountedTerminatedPods
    int64_t index;
};

// One reconcile.
struct effort {
    struct jobs *c;
    struct reconcile *p;
    struct pod_claims claims;
    struct member_pod *pods;
    size_t n;
    int64_t parallelism, completions; // completions -1: none given
    bool indexed, only_failed_replaced;
    struct value *conditions;
    struct value *listed_succeeded, *listed_failed; // uncountedTerminatedPods
    int64_t succeeded, failed;                      // counted
    struct job_indexes done;
    int64_t active, ready, terminating;
    const char *fail_reason; // a reason to fail that this pass found
    struct str fail_message;
};

static bool condition_true(struct effort *j, const char *type)
{
    return condition_is(j->conditions, type, "True");
}

static bool set_condition(struct effort *j, const char *type, const char *status,
                          const char *reason, struct str message)
{
    struct condition c = {.type = type, .status = status, .reason = reason, .message = message};
    bool changed = condition_set(j->p->r->env, j->p->a, j->conditions, &c);
    struct value *one = condition_find(j->conditions, type);
    if (changed)
        value_put(j->p->a, one, "lastProbeTime", meta_now(j->p->r->env, j->p->a));
    return changed;
}

// --- pod failure policy ---

static bool codes_match(const struct value *rule, const struct value *pod)
{
    struct str container = value_str_at(rule, "containerName");
    bool in = str_eqc(value_str_at(rule, "operator"), "In");
    static const char *const lists[] = {"status.initContainerStatuses", "status.containerStatuses"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const struct value *statuses = value_at(pod, lists[i]);
        value_each_item (statuses, s) {
            int64_t code = value_int_at(s, "state.terminated.exitCode", 0);
            bool found = false;
            if (code == 0 || (container.n && !str_eq(container, value_str_at(s, "name"))))
                continue;
            value_each_item (value_getc(rule, "values"), v)
                found = found || value_int_or(v, -1) == code;
            if (found == in)
                return true;
        }
    }
    return false;
}

static bool pod_conditions_match(const struct value *patterns, const struct value *pod)
{
    value_each_item (patterns, pattern) {
        struct str status = value_str_at(pattern, "status");
        value_each_item (value_at(pod, "status.conditions"), c) {
            if (str_eq(value_str_at(c, "type"), value_str_at(pattern, "type")) &&
                str_eq(value_str_at(c, "status"), status.n ? status : STR("True")))
                return true;
        }
    }
    return false;
}

// What a failed pod means by the policy; the first rule that matches decides.
static enum pod_end judge_failure(struct effort *j, const struct member_pod *m)
{
    const struct value *rules = value_at(j->p->tree, "spec.podFailurePolicy.rules");
    value_each_item (rules, rule) {
        const struct value *codes = value_getc(rule, "onExitCodes"),
                           *patterns = value_getc(rule, "onPodConditions");
        struct str action = value_str_at(rule, "action");
        if (!(codes && codes_match(codes, m->tree)) &&
            !(patterns && pod_conditions_match(patterns, m->tree)))
            continue;
        if (str_eqc(action, "Ignore"))
            return END_IGNORED;
        if (str_eqc(action, "FailJob") && !j->fail_reason) {
            j->fail_reason = "PodFailurePolicy";
            j->fail_message =
                arena_printf(j->p->a, "Pod %.*s/%.*s failed matching FailJob rule at index %zu",
                             STR_ARG(m->facts->ns), STR_ARG(m->facts->name), rule_i);
        }
        return END_FAILED;
    }
    return END_FAILED;
}

// --- looking ---

static enum pod_end end_of(struct effort *j, const struct member_pod *m)
{
    if (m->facts->phase == PHASE_SUCCEEDED)
        return END_SUCCEEDED;
    // A pod that is being deleted may never get to tell how it ended.
    if (m->facts->phase == PHASE_FAILED || (m->facts->deleting && !j->only_failed_replaced))
        return END_FAILED;
    return END_NONE;
}

static int64_t index_of(struct effort *j, const struct value *pod)
{
    int64_t index;
    return j->indexed && str_to_i64(meta_annotation(pod, INDEX), &index) && index >= 0 &&
                   index < j->completions
               ? index
               : -1;
}

static void read_pods(struct effort *j)
{
    j->pods = arena_array(j->p->a, struct member_pod, j->claims.n + 1);
    for (size_t i = 0; i < j->claims.n; i++) {
        struct member_pod *m = &j->pods[j->n++];
        m->facts = j->claims.items[i];
        m->tree = object_tree(j->p->a, m->facts->object);
        m->tracked = finalizer_has(m->tree, FINALIZER);
        m->index = index_of(j, m->tree);
        m->end = end_of(j, m);
        if (m->end == END_NONE && m->facts->deleting) {
            j->terminating++;
        } else if (m->end == END_NONE) {
            j->active++;
            j->ready += m->facts->ready;
        } else if (m->facts->deleting && !facts_finished(m->facts)) {
            j->terminating++;
        }
    }
}

// --- counting ---

// Takes out of a list the UIDs of pods that have lost the finalizer; how many those are.
static int64_t settle(struct effort *j, struct value **list, struct map *by_uid, enum pod_end end)
{
    struct value *left = value_array(j->p->a);
    int64_t settled = 0;
    value_each_item (*list, uid) {
        struct member_pod *m = map_get(by_uid, value_string(uid));
        if (m && m->tracked) {
            m->listed = true;
            m->end = end; // as it was judged when it was listed
            value_push(j->p->a, left, uid);
        } else {
            settled++;
        }
    }
    *list = left;
    return settled;
}

static void count_pods(struct effort *j)
{
    struct map by_uid = MAP_INIT;
    int64_t *fresh = arena_array(j->p->a, int64_t, j->n + 1);
    size_t nfresh = 0, listed = 0;
    for (size_t i = 0; i < j->n; i++)
        map_set(&by_uid, j->pods[i].facts->uid, &j->pods[i]);
    j->succeeded += settle(j, &j->listed_succeeded, &by_uid, END_SUCCEEDED);
    j->failed += settle(j, &j->listed_failed, &by_uid, END_FAILED);
    map_done(&by_uid);
    for (size_t i = 0; i < j->n && listed < UNCOUNTED_MAX; i++) {
        struct member_pod *m = &j->pods[i];
        if (m->end == END_NONE || !m->tracked || m->listed)
            continue;
        if (m->end == END_FAILED)
            m->end = judge_failure(j, m);
        if (m->end == END_IGNORED)
            continue; // only its finalizer goes
        if (j->indexed && m->end == END_SUCCEEDED) {
            // Of several pods of an index one counts.
            if (m->index < 0 || job_indexes_has(j->done, m->index)) {
                m->end = END_IGNORED;
                continue;
            }
            fresh[nfresh++] = m->index;
        }
        value_push(j->p->a, m->end == END_SUCCEEDED ? j->listed_succeeded : j->listed_failed,
                   value_str(j->p->a, m->facts->uid));
        m->listed = true;
        listed++;
    }
    j->done = job_indexes_with(j->p->a, j->done, fresh, nfresh);
}

static int64_t all_succeeded(struct effort *j)
{
    return j->indexed ? job_indexes_count(j->done)
                      : j->succeeded + (int64_t)value_len(j->listed_succeeded);
}

static int64_t all_failed(struct effort *j)
{
    return j->failed + (int64_t)value_len(j->listed_failed);
}

// --- ends ---

static int64_t restarts(const struct effort *j)
{
    int64_t sum = 0;
    for (size_t i = 0; i < j->n; i++) {
        const struct member_pod *m = &j->pods[i];
        if (m->end != END_NONE)
            continue;
        static const char *const lists[] = {"status.initContainerStatuses",
                                            "status.containerStatuses"};
        for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
            value_each_item (value_at(m->tree, lists[k]), s)
                sum += value_int_at(s, "restartCount", 0);
        }
    }
    return sum;
}

static void fail(struct effort *j, const char *reason, const char *message)
{
    if (j->fail_reason)
        return;
    j->fail_reason = reason;
    j->fail_message = str_of(message);
}

static void look_for_failure(struct effort *j)
{
    const struct value *spec = value_getc(j->p->tree, "spec");
    int64_t limit = value_int_at(spec, "backoffLimit", 6);
    int64_t deadline = value_int_at(spec, "activeDeadlineSeconds", -1);
    int64_t started = meta_time(j->p->tree, "status.startTime"), now = env_now(j->p->r->env);
    bool on_failure = str_eqc(value_str_at(spec, "template.spec.restartPolicy"), "OnFailure");
    int64_t restarted = on_failure ? restarts(j) : 0;
    if (all_failed(j) > limit || (on_failure && restarted > 0 && restarted >= limit))
        fail(j, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    if (deadline < 0 || !started || value_bool_at(spec, "suspend", false))
        return;
    int64_t end = started + deadline * (int64_t)NS_PER_S;
    if (end <= now)
        fail(j, "DeadlineExceeded", "Job was active longer than specified deadline");
    else
        reconcile_after(j->p, (uint64_t)(end - now));
}

// A rule of the success policy that is met; -1: none.
static ptrdiff_t success_rule(struct effort *j)
{
    const struct value *rules = value_at(j->p->tree, "spec.successPolicy.rules");
    value_each_item (rules, rule) {
        const struct value *count = value_getc(rule, "succeededCount");
        struct str text = value_str_at(rule, "succeededIndexes");
        struct job_indexes among = job_indexes_parse(j->p->a, text, j->completions);
        int64_t have = text.n ? job_indexes_common(j->done, among) : job_indexes_count(j->done);
        int64_t want = count ? value_int_or(count, 0) : job_indexes_count(among);
        if (have >= want)
            return (ptrdiff_t)rule_i;
    }
    return -1;
}

static void look_for_success(struct effort *j)
{
    ptrdiff_t rule = j->indexed ? success_rule(j) : -1;
    if (rule >= 0) {
        set_condition(j, "SuccessCriteriaMet", "True", "SuccessPolicy",
                      arena_printf(j->p->a, "Matched rules at index %td", rule));
        return;
    }
    bool all = j->completions < 0 ? all_succeeded(j) > 0 && j->active == 0 && j->terminating == 0
                                  : all_succeeded(j) >= j->completions;
    if (all)
        set_condition(j, "SuccessCriteriaMet", "True", "CompletionsReached",
                      STR("Reached expected number of succeeded pods"));
}

// When the last of the pods is gone and counted, the target becomes the end.
static void close_job(struct effort *j)
{
    bool failed = condition_true(j, "FailureTarget");
    const struct value *target =
        condition_find(j->conditions, failed ? "FailureTarget" : "SuccessCriteriaMet");
    const char *reason = arena_cstr(j->p->a, value_str_at(target, "reason"));
    struct str message = value_str_at(target, "message");
    if (j->active || j->terminating || value_len(j->listed_succeeded) ||
        value_len(j->listed_failed))
        return;
    if (set_condition(j, failed ? "Failed" : "Complete", "True", reason, message))
        event_record(j->p->r->events, j->p->object, failed ? "Warning" : "Normal",
                     failed ? reason : "Completed", "%.*s",
                     STR_ARG(failed ? message : STR("Job completed")));
}

// --- pods ---

static int drop_finalizer(struct effort *j, const struct member_pod *m, struct err *e)
{
    _cleanup_err_ struct err why = ERR_INIT;
    if (!m->tracked)
        return 0;
    int rc = finalizer_remove(j->p->r->client, j->p->a, m->facts->object, FINALIZER, &why);
    if (rc < 0 && !err_is(&why, ERR_CONFLICT)) { // a newer version comes as an event
        err_move(e, &why);
        return rc;
    }
    return 0;
}

static int delete_pod(struct effort *j, const struct member_pod *m, struct err *e)
{
    _cleanup_err_ struct err why = ERR_INIT;
    uint64_t revision = 0;
    int rc = drop_finalizer(j, m, e);
    if (rc < 0)
        return rc;
    rc = client_delete_tree(j->p->r->client, KIND("", "pods"), m->tree, PROPAGATION_DEFAULT, -1,
                            &revision, &why);
    reconcile_expect(j->p, RECONCILER_EXTRA, revision);
    if (rc == 0)
        event_record(j->p->r->events, j->p->object, "Normal", "SuccessfulDelete",
                     "Deleted pod: %.*s", STR_ARG(m->facts->name));
    if (rc == 0 || err_is(&why, ERR_NOT_FOUND))
        return 0;
    err_move(e, &why);
    return rc;
}

static int delete_active(struct effort *j, int64_t count, struct err *e)
{
    int rc = 0;
    // Those that are not ready first.
    for (int pass = 0; pass < 2 && rc == 0; pass++) {
        for (size_t i = 0; i < j->n && count > 0 && rc == 0; i++) {
            struct member_pod *m = &j->pods[i];
            if (m->end != END_NONE || m->facts->deleting || m->facts->ready != (pass == 1))
                continue;
            rc = delete_pod(j, m, e);
            j->active--;
            j->ready -= m->facts->ready;
            j->terminating++;
            count--;
        }
    }
    return rc;
}

static struct value *new_pod(struct effort *j, int64_t index)
{
    struct arena *a = j->p->a;
    struct value *pod = value_clone(
        a, pod_from_template(a, j->p->r->kind, j->p->tree, value_at(j->p->tree, "spec.template")));
    struct value *meta = value_getc(pod, "metadata"), *finalizers = value_getc(meta, "finalizers");
    if (!value_is(finalizers, VALUE_ARRAY)) {
        finalizers = value_array(a);
        value_setc(a, meta, "finalizers", finalizers);
    }
    value_push(a, finalizers, value_strc(a, FINALIZER));
    if (!j->indexed)
        return pod;
    struct str text = arena_printf(a, "%lld", (long long)index), name = j->p->name;
    value_put(a, value_object_at(a, meta, "annotations"), INDEX, text);
    value_put(a, value_object_at(a, meta, "labels"), INDEX, text);
    // "name-3-" with five random letters behind, at most 63 bytes for the host name.
    value_put(
        a, meta, "generateName",
        arena_printf(a, "%.*s-%.*s-", STR_ARG(str_sub(name, 0, 252 - text.n - 7)), STR_ARG(text)));
    value_put(a, value_getc(pod, "spec"), "hostname",
              arena_printf(a, "%.*s-%.*s", STR_ARG(str_sub(name, 0, 62 - text.n)), STR_ARG(text)));
    static const char *const lists[] = {"initContainers", "containers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        value_each_item (value_getc(value_getc(pod, "spec"), lists[i]), container) {
            struct value *env = value_getc(container, "env"), *one = value_object(a);
            if (!value_is(env, VALUE_ARRAY)) {
                env = value_array(a);
                value_setc(a, container, "env", env);
            }
            value_put(a, one, "name", STR("JOB_COMPLETION_INDEX"));
            value_set_at(a, one, "valueFrom.fieldRef.fieldPath",
                         value_strc(a, "metadata.labels['" INDEX "']"));
            value_push(a, env, one);
        }
    }
    return pod;
}

static int create_pod(struct effort *j, int64_t index, struct err *e)
{
    _cleanup_object_ struct object *made = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    int rc =
        client_create(j->p->r->client, KIND("", "pods"), j->p->ns, new_pod(j, index), &made, &why);
    if (rc == 0) {
        struct str name = object_name(made);
        reconcile_expect(j->p, RECONCILER_EXTRA, made->revision);
        event_record(j->p->r->events, j->p->object, "Normal", "SuccessfulCreate",
                     "Created pod: %.*s", STR_ARG(name));
        j->active++;
        return 0;
    }
    event_record(j->p->r->events, j->p->object, "Warning", "FailedCreate", "Error creating: %s",
                 why.message);
    err_move(e, &why);
    return rc;
}

static int64_t finished_at(const struct member_pod *m)
{
    int64_t last = 0;
    value_each_item (value_at(m->tree, "status.containerStatuses"), s) {
        int64_t t = meta_time(s, "state.terminated.finishedAt");
        last = t > last ? t : last;
    }
    if (!last)
        last = meta_time(m->tree, "metadata.deletionTimestamp");
    return last ? last : m->facts->created;
}

// How long new pods have to wait for the failures that went before.
static int64_t backoff(struct effort *j)
{
    int64_t last_success = 0, last_failure = 0, wait = BACKOFF, now = env_now(j->p->r->env);
    size_t failures = 0;
    for (size_t i = 0; i < j->n; i++) {
        int64_t at = j->pods[i].end == END_SUCCEEDED ? finished_at(&j->pods[i]) : 0;
        last_success = at > last_success ? at : last_success;
    }
    for (size_t i = 0; i < j->n; i++) {
        int64_t at = j->pods[i].end == END_FAILED ? finished_at(&j->pods[i]) : 0;
        failures += at > last_success;
        last_failure = at > last_failure ? at : last_failure;
    }
    if (!failures || last_failure > now)
        return 0;
    for (size_t i = 1; i < failures && wait < BACKOFF_MAX; i++)
        wait *= 2;
    wait = wait > BACKOFF_MAX ? BACKOFF_MAX : wait;
    return last_failure + wait > now ? last_failure + wait - now : 0;
}

static int create_pods(struct effort *j, int64_t count, struct err *e)
{
    int64_t wait = backoff(j), index = 0;
    struct map taken = MAP_INIT;
    int rc = 0;
    if (wait > 0) {
        reconcile_after(j->p, (uint64_t)wait);
        return 0;
    }
    for (size_t i = 0; i < j->n; i++) {
        struct member_pod *m = &j->pods[i];
        if (m->end == END_NONE && m->index >= 0)
            map_set(&taken, str_n(&m->index, sizeof m->index), m);
    }
    for (int64_t made = 0; made < count && made < BURST && rc == 0; index++) {
        if (j->indexed) {
            if (index >= j->completions)
                break;
            if (job_indexes_has(j->done, index) || map_has(&taken, str_n(&index, sizeof index)))
                continue;
        }
        rc = create_pod(j, index, e);
        made++;
    }
    map_done(&taken);
    return rc;
}

static int manage_pods(struct effort *j, struct err *e)
{
    int64_t busy = j->active + (j->only_failed_replaced ? j->terminating : 0), want;
    if (j->completions < 0)
        want = all_succeeded(j) > 0 ? j->active : j->parallelism;
    else
        want = j->completions - all_succeeded(j);
    want = want > j->parallelism ? j->parallelism : want < 0 ? 0 : want;
    if (j->active > want)
        return delete_active(j, j->active - want, e);
    return busy < want ? create_pods(j, want - busy, e) : 0;
}

// --- reconcile ---

static void follow_suspension(struct effort *j, bool suspended)
{
    struct reconcile *p = j->p;
    bool was = condition_true(j, "Suspended");
    if (suspended && !was) {
        set_condition(j, "Suspended", "True", "JobSuspended", STR("Job suspended"));
        event_record(p->r->events, p->object, "Normal", "Suspended", "Job suspended");
    } else if (!suspended && was) {
        set_condition(j, "Suspended", "False", "JobResumed", STR("Job resumed"));
        event_record(p->r->events, p->object, "Normal", "Resumed", "Job resumed");
    }
}

static struct value *status_of(struct effort *j, bool suspended)
{
    struct arena *a = j->p->a;
    const struct value *old = value_getc(j->p->tree, "status");
    struct value *status = value_object(a), *uncounted = value_object(a);
    struct value *started = value_getc(old, "startTime");
    bool complete = condition_true(j, "Complete");
    if (value_len(j->conditions))
        value_setc(a, status, "conditions", j->conditions);
    if (started && !(suspended && !condition_true(j, "Failed")))
        value_setc(a, status, "startTime", started);
    else if (!suspended)
        value_put(a, status, "startTime", meta_now(j->p->r->env, a));
    if (complete) {
        struct value *end = value_getc(old, "completionTime");
        value_put(a, status, "completionTime", end ? value_string(end) : meta_now(j->p->r->env, a));
    }
    value_put_nonzero(a, status, "active", j->active);
    value_put_nonzero(a, status, "succeeded",
                      j->indexed ? job_indexes_count(j->done) : j->succeeded);
    value_put_nonzero(a, status, "failed", j->failed);
    if (j->indexed && j->done.n)
        value_put(a, status, "completedIndexes", job_indexes_text(a, j->done));
    if (value_len(j->listed_succeeded))
        value_setc(a, uncounted, "succeeded", j->listed_succeeded);
    if (value_len(j->listed_failed))
        value_setc(a, uncounted, "failed", j->listed_failed);
    value_setc(a, status, "uncountedTerminatedPods", uncounted);
    value_put_int(a, status, "ready", j->ready);
    value_put_int(a, status, "terminating", j->terminating);
    return status;
}

// After what was judged is written: the pods may go.
static int release_counted(struct effort *j, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < j->n && rc == 0; i++) {
        const struct member_pod *m = &j->pods[i];
        if (m->tracked && (m->listed || m->end == END_IGNORED))
            rc = drop_finalizer(j, m, e);
    }
    return rc;
}

static int release_all(struct effort *j, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < j->n && rc == 0; i++)
        rc = drop_finalizer(j, &j->pods[i], e);
    return rc;
}

static enum reconcile_result work(struct effort *j, struct err *e)
{
    struct reconcile *p = j->p;
    struct selector *selector;
    bool suspended = value_bool_at(p->tree, "spec.suspend", false);
    if (selector_from_value(p->a, value_at(p->tree, "spec.selector"), &selector, e) < 0 ||
        pod_claims_take(j->c->control, p->a, p->r->kind, p->tree, selector, NULL, &j->claims, e) <
            0)
        return RECONCILE_RETRY;
    reconcile_expect(p, RECONCILER_EXTRA, j->claims.adopted);
    if (j->claims.adopted)
        return RECONCILE_DONE; // they come as events
    read_pods(j);
    if (condition_true(j, "Complete") || condition_true(j, "Failed") || meta_deleting(p->tree))
        return release_all(j, e) < 0 ? RECONCILE_RETRY : RECONCILE_DONE;
    count_pods(j);
    bool ending = condition_true(j, "FailureTarget") || condition_true(j, "SuccessCriteriaMet");
    if (!ending) {
        look_for_failure(j);
        if (j->fail_reason)
            set_condition(j, "FailureTarget", "True", j->fail_reason, j->fail_message);
        else
            look_for_success(j);
        ending = condition_true(j, "FailureTarget") || condition_true(j, "SuccessCriteriaMet");
    }
    _cleanup_err_ struct err failure = ERR_INIT;
    int rc = 0;
    if (ending || suspended)
        rc = delete_active(j, INT64_MAX, &failure);
    else
        rc = manage_pods(j, &failure);
    if (ending)
        close_job(j);
    else
        follow_suspension(j, suspended);
    enum reconcile_result result = reconcile_status(p, status_of(j, suspended), e);
    if (result == RECONCILE_RETRY || release_counted(j, e) < 0)
        return RECONCILE_RETRY;
    if (rc < 0 && !client_namespace_terminating(&failure)) {
        err_move(e, &failure);
        return RECONCILE_RETRY;
    }
    return result;
}

static enum reconcile_result reconcile(struct reconcile *p, struct err *e)
{
    const struct value *spec = value_getc(p->tree, "spec"), *status = value_getc(p->tree, "status");
    struct str manager = value_str_at(spec, "managedBy");
    if (manager.n && !str_eqc(manager, MANAGER))
        return RECONCILE_DONE;
    struct effort j = {
        .c = p->ctx,
        .p = p,
        .parallelism = value_int_at(spec, "parallelism", 1),
        .completions = value_int_at(spec, "completions", -1),
        .indexed = str_eqc(value_str_at(spec, "completionMode"), "Indexed"),
        .only_failed_replaced = str_eqc(value_str_at(spec, "podReplacementPolicy"), "Failed") ||
                                value_at(spec, "podFailurePolicy"),
        .conditions = condition_list(p->a, value_getc(status, "conditions")),
        .succeeded = value_int_at(status, "succeeded", 0),
        .failed = value_int_at(status, "failed", 0),
        .listed_succeeded = value_at(status, "uncountedTerminatedPods.succeeded"),
        .listed_failed = value_at(status, "uncountedTerminatedPods.failed"),
    };
    if (j.indexed)
        j.done = job_indexes_parse(p->a, value_str_at(status, "completedIndexes"), j.completions);
    enum reconcile_result result = work(&j, e);
    pod_claims_done(&j.claims);
    return result;
}

// The job is gone and its pods with it, or they are orphans now: nobody counts them any more.
static enum reconcile_result gone(struct reconcile *p, struct err *e)
{
    struct jobs *c = p->ctx;
    _cleanup_pods_ struct pod_list list = {0};
    pod_cache_by_namespace(c->control->pods, p->a, p->ns, &list);
    int rc = 0;
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        const struct value *tree = object_tree(p->a, list.items[i]->object);
        struct str job = meta_label(tree, "batch.kubernetes.io/job-name");
        if (str_eq(job, p->name) && finalizer_has(tree, FINALIZER))
            rc = finalizer_remove(p->r->client, p->a, list.items[i]->object, FINALIZER, e);
    }
    return rc < 0 ? RECONCILE_RETRY : RECONCILE_DONE;
}

// --- handlers ---

static void enqueue_owner(struct jobs *c, const struct pod_facts *p)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (!p)
        return;
    struct str name = str_eqc(p->controller_kind, "Job")
                          ? p->controller_name
                          : value_string(value_getc(p->labels, "batch.kubernetes.io/job-name"));
    if (name.n && (p->controller_kind.n == 0 || str_eqc(p->controller_kind, "Job")))
        work_queue_add(c->r->queue, arena_printf(&a, "%.*s/%.*s", STR_ARG(p->ns), STR_ARG(name)));
}

static void on_pod(void *ctx, const struct pod_facts *old, const struct pod_facts *new)
{
    struct jobs *c = ctx;
    enqueue_owner(c, old);
    enqueue_owner(c, new);
}

static uint64_t applied(void *ctx)
{
    struct jobs *c = ctx;
    return pod_cache_revision(c->control->pods);
}

static const struct reconciler_row row = {
    .name = "job",
    .component = "job-controller",
    .workers = 5,
    .group = "batch",
    .resource = "jobs",
    .reconcile = reconcile,
    .gone = gone,
    .applied = applied,
};

static void *make(struct control *control)
{
    struct jobs *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->r = reconciler_new(control->client, control->informers, control->executor, &row, c);
    return c;
}

static void run(void *self)
{
    struct jobs *c = self;
    c->on_pod = (struct pod_listener){on_pod, c, NULL};
    reconciler_run(c->r);
    pod_cache_listen(c->control->pods, &c->on_pod);
}

static void stop(void *self)
{
    struct jobs *c = self;
    pod_cache_unlisten(c->control->pods, &c->on_pod);
    reconciler_free(c->r);
    free(c);
}

const struct controller_row job_controller = {"job", make, run, stop};
