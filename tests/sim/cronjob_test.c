// CronJobs on virtual time: schedules, zones, concurrency, missed moments, history.
#include "sim/sim.h"

static int setup(void **state)
{
    struct sim *s = sim_new(NULL); // begins 2026-01-01T00:00:00Z
    sim_node(s, "n1", "{cpu: '64', memory: 256Gi, pods: '500'}");
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static void cron(struct sim *s, const char *schedule, const char *more)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "kind: CronJob\napiVersion: batch/v1\nmetadata: {name: c}\nspec: {schedule: '%s'%s, "
             "jobTemplate: {metadata: {labels: {of: c}}, spec: {template: {spec: {restartPolicy: "
             "Never, containers: [{name: c, image: i}]}}}}}\n",
             schedule, more);
    sim_create(s, yaml);
}

static struct value *jobs(struct sim *s)
{
    return sim_list(s, "batch", "jobs", "default", NULL);
}

static void finish(struct sim *s)
{
    value_each_item (sim_list(s, "", "pods", "default", NULL), p) {
        struct value *patch = value_object(&s->arena);
        if (!str_eqc(value_str_at(p, "status.phase"), "Running"))
            continue;
        value_set_at(&s->arena, patch, "status.phase", value_strc(&s->arena, "Succeeded"));
        assert_int_equal(client_patch(s->client, KIND("", "pods"), STR("default"),
                                      value_str_at(p, "metadata.name"), STR("status"),
                                      PATCH_TYPE_MERGE, patch, NULL, NULL),
                         0);
    }
    sim_run(s, 5);
}

static void test_every_minute(void **state)
{
    struct sim *s = *state;
    cron(s, "* * * * *", "");
    sim_run(s, 50);
    assert_int_equal(value_len(jobs(s)), 0);
    sim_run(s, 15);
    struct value *list = jobs(s), *job = value_item(list, 0);
    assert_int_equal(value_len(list), 1);
    assert_true(str_starts(value_str_at(job, "metadata.name"), STR("c-294537")));
    assert_true(str_eqc(value_str_at(job, "metadata.labels.of"), "c"));
    assert_true(str_eqc(value_string(value_get(value_at(job, "metadata.annotations"),
                                               STR("batch.kubernetes.io/"
                                                   "cronjob-scheduled-timestamp"))),
                        "2026-01-01T00:01:00Z"));
    struct value *c = sim_get(s, "batch", "cronjobs", "default", "c");
    assert_true(str_eqc(value_str_at(c, "status.lastScheduleTime"), "2026-01-01T00:01:00Z"));
    assert_int_equal(value_len(value_at(c, "status.active")), 1);
    finish(s);
    c = sim_get(s, "batch", "cronjobs", "default", "c");
    assert_int_equal(value_len(value_at(c, "status.active")), 0);
    assert_true(value_str_at(c, "status.lastSuccessfulTime").n > 0);
    assert_true(str_starts(sim_event(s, "default", "c", "SawCompletedJob"),
                           STR("Saw completed job: c-294537")));
    // History: three that succeeded stay.
    for (int i = 0; i < 5; i++) {
        sim_run(s, 60);
        finish(s);
    }
    assert_int_equal(value_len(jobs(s)), 3);
}

static void test_concurrency(void **state)
{
    struct sim *s = *state;
    cron(s, "* * * * *", ", concurrencyPolicy: Forbid");
    sim_run(s, 190);
    assert_int_equal(value_len(jobs(s)), 1);
    assert_true(sim_event(s, "default", "c", "JobAlreadyActive").n > 0);
    struct str first = value_str_at(value_item(jobs(s), 0), "metadata.name");
    sim_patch(s, "batch", "cronjobs", "default", "c", "spec: {concurrencyPolicy: Replace}");
    sim_run(s, 65);
    assert_int_equal(value_len(jobs(s)), 1);
    assert_false(str_eq(value_str_at(value_item(jobs(s), 0), "metadata.name"), first));
    sim_patch(s, "batch", "cronjobs", "default", "c", "spec: {concurrencyPolicy: Allow}");
    sim_run(s, 130);
    assert_in_range(value_len(jobs(s)), 2, 3);
}

static void test_another_zone(void **state)
{
    struct sim *s = *state;
    // 05:45 in Kathmandu is midnight UTC: the next is in 24 hours, 06:00 in a quarter of one.
    cron(s, "0 6 * * *", ", timeZone: Asia/Kathmandu");
    sim_run(s, 14 * 60);
    assert_int_equal(value_len(jobs(s)), 0);
    sim_run(s, 2 * 60);
    assert_int_equal(value_len(jobs(s)), 1);
    struct value *job = value_item(jobs(s), 0);
    assert_true(str_eqc(value_string(value_get(value_at(job, "metadata.annotations"),
                                               STR("batch.kubernetes.io/"
                                                   "cronjob-scheduled-timestamp"))),
                        "2026-01-01T06:00:00+05:45"));
}

static void test_suspended_and_missed(void **state)
{
    struct sim *s = *state;
    cron(s, "* * * * *", ", suspend: true");
    sim_run(s, 330);
    assert_int_equal(value_len(jobs(s)), 0);
    // Of the moments that were missed the last one is started, once.
    sim_patch(s, "batch", "cronjobs", "default", "c", "spec: {suspend: false}");
    sim_run(s, 2);
    assert_int_equal(value_len(jobs(s)), 1);
    sim_patch(s, "batch", "cronjobs", "default", "c", "spec: {suspend: true}");
    sim_run(s, 100);
    sim_patch(s, "batch", "cronjobs", "default", "c",
              "spec: {suspend: false, schedule: '0 * * * *', startingDeadlineSeconds: 10}");
    sim_run(s, 2);
    assert_int_equal(value_len(jobs(s)), 1);
}

// What `kubectl create job --from=cronjob/c` makes.
static void create_by_hand(struct sim *s, const char *name)
{
    char yaml[1024];
    struct value *c = sim_get(s, "batch", "cronjobs", "default", "c");
    snprintf(yaml, sizeof yaml,
             "kind: Job\napiVersion: batch/v1\nmetadata: {name: %s, annotations: "
             "{cronjob.kubernetes.io/instantiate: manual}, ownerReferences: [{apiVersion: "
             "batch/v1, kind: CronJob, name: c, controller: true, uid: %.*s}]}\nspec: {template: "
             "{spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}\n",
             name, STR_ARG(value_str_at(c, "metadata.uid")));
    sim_create(s, yaml);
}

static void test_a_job_by_hand_is_not_active(void **state)
{
    struct sim *s = *state;
    cron(s, "*/2 * * * *", ", concurrencyPolicy: Forbid");
    create_by_hand(s, "now");
    sim_run(s, 5);
    struct value *c = sim_get(s, "batch", "cronjobs", "default", "c");
    assert_int_equal(value_len(value_at(c, "status.active")), 0);
    assert_true(str_eqc(sim_event(s, "default", "c", "UnexpectedJob"),
                        "Saw a job that the controller did not create or forgot: now"));
    // It keeps nothing from starting, and nothing replaces it.
    sim_patch(s, "batch", "cronjobs", "default", "c", "spec: {concurrencyPolicy: Replace}");
    sim_run(s, 120);
    assert_int_equal(value_len(jobs(s)), 2);
    c = sim_get(s, "batch", "cronjobs", "default", "c");
    assert_int_equal(value_len(value_at(c, "status.active")), 1);
    assert_true(str_starts(value_str_at(value_item(value_at(c, "status.active"), 0), "name"),
                           STR("c-294537")));
    // Its end counts, and it belongs to the history.
    sim_patch(s, "batch", "cronjobs", "default", "c", "spec: {suspend: true}");
    finish(s);
    c = sim_get(s, "batch", "cronjobs", "default", "c");
    assert_int_equal(value_len(value_at(c, "status.active")), 0);
    sim_patch(s, "batch", "cronjobs", "default", "c", "spec: {successfulJobsHistoryLimit: 1}");
    sim_run(s, 2);
    assert_int_equal(value_len(jobs(s)), 1);
}

static void test_an_active_job_that_is_taken_away(void **state)
{
    struct sim *s = *state;
    char text[128];
    cron(s, "*/10 * * * *", "");
    sim_run(s, 605);
    struct str name = value_str_at(value_item(jobs(s), 0), "metadata.name");
    snprintf(text, sizeof text, "%.*s", STR_ARG(name));
    sim_delete(s, "batch", "jobs", "default", text, PROPAGATION_BACKGROUND);
    sim_run(s, 5);
    struct value *c = sim_get(s, "batch", "cronjobs", "default", "c");
    assert_int_equal(value_len(value_at(c, "status.active")), 0);
    assert_true(str_starts(sim_event(s, "default", "c", "MissingJob"),
                           STR("Active job went missing: c-294537")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_every_minute),
        SIM(test_concurrency),
        SIM(test_another_zone),
        SIM(test_suspended_and_missed),
        SIM(test_a_job_by_hand_is_not_active),
        SIM(test_an_active_job_that_is_taken_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
