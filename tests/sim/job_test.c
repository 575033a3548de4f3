// Jobs: counted exactly once, whatever happens between; ends, retries, indexes, suspension.
#include "sim/sim.h"

static int setup(void **state)
{
    struct sim *s = sim_new(NULL);
    sim_node(s, "n1", "{cpu: '64', memory: 256Gi, pods: '500'}");
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static void job(struct sim *s, const char *spec)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "kind: Job\napiVersion: batch/v1\nmetadata: {name: j}\nspec: {%s, template: {spec: "
             "{restartPolicy: Never, containers: [{name: c, image: i}]}}}\n",
             spec);
    sim_create(s, yaml);
}

static struct value *get(struct sim *s)
{
    return sim_get(s, "batch", "jobs", "default", "j");
}

static int64_t number(struct sim *s, const char *path)
{
    return value_int_at(get(s), path, 0);
}

static struct value *condition(struct sim *s, const char *type)
{
    value_each_item (value_at(get(s), "status.conditions"), c) {
        if (str_eqc(value_str_at(c, "type"), type) && str_eqc(value_str_at(c, "status"), "True"))
            return c;
    }
    return NULL;
}

static void assert_ended(struct sim *s, const char *type, const char *reason)
{
    struct value *c = condition(s, type);
    if (!c || !str_eqc(value_str_at(c, "reason"), reason))
        fail_msg("not %s with %s", type, reason);
}

static bool running(const struct value *p)
{
    return str_eqc(value_str_at(p, "status.phase"), "Running") &&
           !value_at(p, "metadata.deletionTimestamp");
}

// Ends up to n running pods (of an index, unless it is NULL); how many there were.
static size_t end_pods(struct sim *s, const char *phase, int code, const char *index, size_t n)
{
    size_t ended = 0;
    value_each_item (sim_list(s, "", "pods", "default", NULL), p) {
        const struct value *labels = value_at(p, "metadata.labels");
        struct str own =
            value_string(value_get(labels, STR("batch.kubernetes.io/job-completion-index")));
        if (!running(p) || ended == n || (index && !str_eqc(own, index)))
            continue;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *patch = value_object(&s->arena), *list = value_array(&s->arena),
                     *one = value_object(&s->arena);
        value_set_at(&s->arena, patch, "status.phase", value_strc(&s->arena, phase));
        value_set_at(&s->arena, one, "name", value_strc(&s->arena, "c"));
        value_set_at(&s->arena, one, "image", value_strc(&s->arena, "i"));
        value_set_at(&s->arena, one, "imageID", value_strc(&s->arena, "i"));
        value_set_at(&s->arena, one, "ready", value_bool(&s->arena, false));
        value_set_at(&s->arena, one, "restartCount", value_int(&s->arena, 0));
        value_set_at(&s->arena, one, "state.terminated.exitCode", value_int(&s->arena, code));
        value_set_at(&s->arena, one, "state.terminated.finishedAt",
                     value_str(&s->arena, time_rfc3339(&s->arena, env_now(s->env), 0)));
        value_push(&s->arena, list, one);
        value_set_at(&s->arena, patch, "status.containerStatuses", list);
        if (client_patch(s->client, KIND("", "pods"), STR("default"),
                         value_str_at(p, "metadata.name"), STR("status"), PATCH_TYPE_MERGE, patch,
                         NULL, &e) < 0)
            fail_msg("ending a pod: %s", e.message);
        ended++;
    }
    return ended;
}

static void assert_nothing_held(struct sim *s)
{
    value_each_item (sim_list(s, "", "pods", "default", NULL), p)
        assert_int_equal(value_len(value_at(p, "metadata.finalizers")), 0);
    assert_int_equal(value_len(value_at(get(s), "status.uncountedTerminatedPods")), 0);
}

static void test_completes(void **state)
{
    struct sim *s = *state;
    job(s, "parallelism: 2, completions: 3");
    sim_run(s, 3);
    assert_int_equal(number(s, "status.active"), 2);
    assert_int_equal(number(s, "status.ready"), 2);
    assert_true(value_str_at(get(s), "status.startTime").n > 0);
    struct value *p = value_item(sim_list(s, "", "pods", "default", NULL), 0);
    assert_int_equal(value_len(value_at(p, "metadata.finalizers")), 1);
    assert_int_equal(end_pods(s, "Succeeded", 0, NULL, 2), 2);
    sim_run(s, 3);
    assert_int_equal(number(s, "status.succeeded"), 2);
    assert_int_equal(number(s, "status.active"), 1);
    assert_int_equal(end_pods(s, "Succeeded", 0, NULL, 9), 1);
    sim_run(s, 3);
    assert_ended(s, "Complete", "CompletionsReached");
    assert_non_null(condition(s, "SuccessCriteriaMet"));
    assert_int_equal(number(s, "status.succeeded"), 3);
    assert_int_equal(number(s, "status.active"), 0);
    assert_true(value_str_at(get(s), "status.completionTime").n > 0);
    assert_nothing_held(s);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 3); // kept for their logs
    uint64_t before = store_revision(s->store);
    sim_run(s, 8);
    assert_true(store_revision(s->store) - before <= 2); // leases
}

static void test_a_pod_deleted_after_it_ended_counts(void **state)
{
    struct sim *s = *state;
    job(s, "completions: 2, parallelism: 2");
    sim_run(s, 3);
    assert_int_equal(end_pods(s, "Succeeded", 0, NULL, 1), 1);
    value_each_item (sim_list(s, "", "pods", "default", NULL), p) {
        if (str_eqc(value_str_at(p, "status.phase"), "Succeeded"))
            sim_delete(s, "", "pods", "default",
                       arena_cstr(&s->arena, value_str_at(p, "metadata.name")),
                       PROPAGATION_DEFAULT);
    }
    sim_run(s, 3);
    assert_int_equal(number(s, "status.succeeded"), 1);
    assert_int_equal(number(s, "status.failed"), 0);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 1);
}

static void test_backs_off_and_gives_up(void **state)
{
    struct sim *s = *state;
    job(s, "backoffLimit: 2");
    sim_run(s, 3);
    assert_int_equal(end_pods(s, "Failed", 1, NULL, 1), 1);
    sim_run(s, 5);
    assert_int_equal(number(s, "status.failed"), 1);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 1); // waits ten seconds
    sim_run(s, 8);
    assert_int_equal(end_pods(s, "Failed", 1, NULL, 1), 1);
    sim_run(s, 15);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 2); // twenty now
    sim_run(s, 9);
    assert_int_equal(end_pods(s, "Failed", 1, NULL, 1), 1);
    sim_run(s, 5);
    assert_ended(s, "Failed", "BackoffLimitExceeded");
    assert_int_equal(number(s, "status.failed"), 3);
    assert_nothing_held(s);
    sim_run(s, 60);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 3);
}

static void test_deadline(void **state)
{
    struct sim *s = *state;
    job(s, "activeDeadlineSeconds: 20, parallelism: 2");
    sim_run(s, 15);
    assert_null(condition(s, "Failed"));
    sim_run(s, 10);
    assert_ended(s, "Failed", "DeadlineExceeded");
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 0);
}

static void test_indexed(void **state)
{
    struct sim *s = *state;
    job(s, "completions: 4, parallelism: 4, completionMode: Indexed");
    sim_run(s, 3);
    struct value *list = sim_list(s, "", "pods", "default", NULL);
    assert_int_equal(value_len(list), 4);
    value_each_item (list, p) {
        char want[16];
        snprintf(want, sizeof want, "j-%zu", p_i);
        assert_true(str_eqc(value_str_at(p, "spec.hostname"), want));
        struct value *env =
            value_item(value_getc(value_item(value_at(p, "spec.containers"), 0), "env"), 0);
        assert_true(str_eqc(value_str_at(env, "name"), "JOB_COMPLETION_INDEX"));
    }
    assert_int_equal(end_pods(s, "Succeeded", 0, "0", 9), 1);
    assert_int_equal(end_pods(s, "Succeeded", 0, "2", 9), 1);
    assert_int_equal(end_pods(s, "Succeeded", 0, "3", 9), 1);
    assert_int_equal(end_pods(s, "Failed", 1, "1", 9), 1);
    sim_run(s, 20);
    assert_true(str_eqc(value_str_at(get(s), "status.completedIndexes"), "0,2,3"));
    assert_int_equal(end_pods(s, "Succeeded", 0, "1", 9), 1); // the index was tried again
    sim_run(s, 3);
    assert_ended(s, "Complete", "CompletionsReached");
    assert_true(str_eqc(value_str_at(get(s), "status.completedIndexes"), "0-3"));
    assert_int_equal(number(s, "status.succeeded"), 4);
    assert_int_equal(number(s, "status.failed"), 1);
}

static void test_success_policy(void **state)
{
    struct sim *s = *state;
    job(s, "completions: 3, parallelism: 3, completionMode: Indexed, successPolicy: {rules: "
           "[{succeededIndexes: '1-2', succeededCount: 1}]}");
    sim_run(s, 3);
    end_pods(s, "Succeeded", 0, "0", 9);
    sim_run(s, 3);
    assert_null(condition(s, "SuccessCriteriaMet"));
    end_pods(s, "Succeeded", 0, "2", 9);
    sim_run(s, 5);
    assert_ended(s, "Complete", "SuccessPolicy");
    assert_int_equal(number(s, "status.succeeded"), 2);
}

static void test_failure_policy(void **state)
{
    struct sim *s = *state;
    job(s, "parallelism: 2, completions: 2, podFailurePolicy: {rules: [{action: Ignore, "
           "onExitCodes: {operator: In, values: [7]}}, {action: FailJob, onExitCodes: {operator: "
           "In, values: [42]}}]}");
    sim_run(s, 3);
    assert_int_equal(end_pods(s, "Failed", 7, NULL, 1), 1);
    sim_run(s, 20);
    assert_int_equal(number(s, "status.failed"), 0);
    assert_int_equal(number(s, "status.active"), 2);
    assert_int_equal(end_pods(s, "Failed", 42, NULL, 1), 1);
    sim_run(s, 10);
    assert_ended(s, "Failed", "PodFailurePolicy");
    assert_true(str_ends(value_str_at(condition(s, "Failed"), "message"),
                         STR("failed matching FailJob rule at index 1")));
}

static void test_suspend_and_resume(void **state)
{
    struct sim *s = *state;
    job(s, "suspend: true, parallelism: 2, completions: 2");
    sim_run(s, 5);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 0);
    assert_non_null(condition(s, "Suspended"));
    assert_int_equal(value_str_at(get(s), "status.startTime").n, 0);
    sim_patch(s, "batch", "jobs", "default", "j", "spec: {suspend: false}");
    sim_run(s, 5);
    assert_int_equal(number(s, "status.active"), 2);
    assert_null(condition(s, "Suspended"));
    sim_patch(s, "batch", "jobs", "default", "j", "spec: {suspend: true}");
    sim_run(s, 5);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 0);
    assert_int_equal(number(s, "status.failed"), 0); // stopped by us
    sim_patch(s, "batch", "jobs", "default", "j", "spec: {suspend: false}");
    sim_run(s, 5);
    assert_int_equal(end_pods(s, "Succeeded", 0, NULL, 9), 2);
    sim_run(s, 3);
    assert_ended(s, "Complete", "CompletionsReached");
}

static void test_parallelism_changes(void **state)
{
    struct sim *s = *state;
    job(s, "parallelism: 4, completions: 8");
    sim_run(s, 3);
    sim_patch(s, "batch", "jobs", "default", "j", "spec: {parallelism: 1}");
    sim_run(s, 5);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 1);
    assert_int_equal(number(s, "status.failed"), 0);
    assert_int_equal(number(s, "status.active"), 1);
}

static void test_deleted_with_its_pods(void **state)
{
    struct sim *s = *state;
    job(s, "parallelism: 2, completions: 2");
    sim_run(s, 3);
    sim_delete(s, "batch", "jobs", "default", "j", PROPAGATION_BACKGROUND);
    sim_run(s, 10);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 0);
    job(s, "parallelism: 2, completions: 2");
    sim_run(s, 3);
    sim_delete(s, "batch", "jobs", "default", "j", PROPAGATION_ORPHAN);
    sim_run(s, 10);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 2);
    value_each_item (sim_list(s, "", "pods", "default", NULL), p)
        assert_int_equal(value_len(value_at(p, "metadata.finalizers")), 0);
}

static void test_managed_by_another(void **state)
{
    struct sim *s = *state;
    job(s, "managedBy: example.com/other");
    sim_run(s, 5);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 0);
    assert_null(value_at(get(s), "status.startTime"));
}

static void test_goes_after_its_ttl(void **state)
{
    struct sim *s = *state;
    job(s, "ttlSecondsAfterFinished: 30");
    sim_run(s, 3);
    end_pods(s, "Succeeded", 0, NULL, 1);
    sim_run(s, 20);
    assert_ended(s, "Complete", "CompletionsReached");
    sim_run(s, 20);
    assert_null(get(s));
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_completes),
        SIM(test_a_pod_deleted_after_it_ended_counts),
        SIM(test_backs_off_and_gives_up),
        SIM(test_deadline),
        SIM(test_indexed),
        SIM(test_success_policy),
        SIM(test_failure_policy),
        SIM(test_suspend_and_resume),
        SIM(test_parallelism_changes),
        SIM(test_deleted_with_its_pods),
        SIM(test_managed_by_another),
        SIM(test_goes_after_its_ttl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
