// small-differences: claims and volumes carry the finalizers of Kubernetes, and go when nothing
// needs them.
#include "sim/sim.h"

static int setup(void **state)
{
    static const struct sim_options opt = {.controllers = {.pod_cidr = {"10.244.0.0/16", 13}}};
    struct sim *s = sim_new(&opt);
    sim_node(s, "n1", NULL);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static bool has_finalizer(const struct value *object, const char *name)
{
    value_each_item (value_at(object, "metadata.finalizers"), f)
        if (str_eqc(value_string(f), name))
            return true;
    return false;
}

static const char claim[] =
    "kind: PersistentVolumeClaim\napiVersion: v1\nmetadata: {name: data}\n"
    "spec: {storageClassName: '', accessModes: [ReadWriteOnce], resources: {requests: {storage: "
    "1Gi}}}\n";

static struct value *the_claim(struct sim *s)
{
    return sim_get(s, "", "persistentvolumeclaims", "default", "data");
}

static void a_claim_outlives_its_pods(void **state)
{
    struct sim *s = *state;
    sim_create(s, claim);
    assert_true(has_finalizer(the_claim(s), "kubernetes.io/pvc-protection")); // at once
    sim_create(s, "kind: Pod\napiVersion: v1\nmetadata: {name: p}\n"
                  "spec: {nodeName: n1, containers: [{name: c, image: i}], volumes: [{name: v, "
                  "persistentVolumeClaim: {claimName: data}}]}\n");
    sim_run(s, 3);
    sim_delete(s, "", "persistentvolumeclaims", "default", "data", PROPAGATION_DEFAULT);
    sim_run(s, 60);
    assert_non_null(the_claim(s));
    assert_true(value_str_at(the_claim(s), "metadata.deletionTimestamp").n > 0);
    sim_delete(s, "", "pods", "default", "p", PROPAGATION_DEFAULT);
    sim_run(s, 60);
    assert_null(sim_get(s, "", "pods", "default", "p"));
    assert_null(the_claim(s));
}

static void a_claim_that_nobody_uses_goes(void **state)
{
    struct sim *s = *state;
    sim_create(s, claim);
    // A pod that no node has is no obstacle.
    sim_create(s, "kind: Pod\napiVersion: v1\nmetadata: {name: p}\n"
                  "spec: {nodeSelector: {no: where}, containers: [{name: c, image: i}], volumes: "
                  "[{name: v, persistentVolumeClaim: {claimName: data}}]}\n");
    sim_run(s, 2);
    sim_delete(s, "", "persistentvolumeclaims", "default", "data", PROPAGATION_DEFAULT);
    sim_run(s, 2);
    assert_null(the_claim(s));
    // Taken away from a living one, the finalizer comes back.
    sim_create(s, claim);
    sim_patch(s, "", "persistentvolumeclaims", "default", "data", "metadata: {finalizers: null}\n");
    sim_run(s, 2);
    assert_true(has_finalizer(the_claim(s), "kubernetes.io/pvc-protection"));
}

static void a_bound_volume_stays(void **state)
{
    struct sim *s = *state;
    sim_create(s, "kind: PersistentVolume\napiVersion: v1\nmetadata: {name: pv}\n"
                  "spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: "
                  "/x}}\n");
    struct value *v = sim_get(s, "", "persistentvolumes", NULL, "pv");
    assert_true(has_finalizer(v, "kubernetes.io/pv-protection"));
    sim_delete(s, "", "persistentvolumes", NULL, "pv", PROPAGATION_DEFAULT);
    sim_run(s, 2);
    assert_null(sim_get(s, "", "persistentvolumes", NULL, "pv"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_claim_outlives_its_pods),
        T(a_claim_that_nobody_uses_goes),
        T(a_bound_volume_stays),
    };
    return cmocka_run_group_tests_name("volume protection", tests, NULL, NULL);
}
