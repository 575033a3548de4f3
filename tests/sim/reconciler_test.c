// The frame of a controller (client/reconciler.h) with a toy: a Secret for each ConfigMap.
#include "client/finalizer.h"
#include "client/owner.h"
#include "client/reconciler.h"
#include "sim/sim.h"

#define HOLD "example.com/hold"

struct toy {
    struct reconciler *r;
    unsigned made, gone, passes;
};

static enum reconcile_result reconcile(struct reconcile *p, struct err *e)
{
    struct toy *t = p->ctx;
    t->passes++;
    if (meta_deleting(p->tree))
        return finalizer_remove(p->r->client, p->a, p->object, HOLD, e) < 0 ? RECONCILE_RETRY
                                                                            : RECONCILE_DONE;
    _cleanup_objects_ struct object_list mine = {0};
    informer_by_index(p->r->owned[0], "controller-uid", meta_uid(p->tree), &mine);
    if (mine.n)
        return reconcile_done(p);
    struct value *secret = value_object(p->a), *meta = value_object(p->a),
                 *owners = value_array(p->a);
    value_put(p->a, secret, "kind", STR("Secret"));
    value_put(p->a, secret, "apiVersion", STR("v1"));
    value_put(p->a, meta, "generateName", STR("s-"));
    value_push(p->a, owners, owner_reference(p->a, p->r->kind, p->tree));
    value_setc(p->a, meta, "ownerReferences", owners);
    value_setc(p->a, secret, "metadata", meta);
    _cleanup_object_ struct object *o = NULL;
    if (client_create(p->r->client, KIND("", "secrets"), p->ns, secret, &o, e) < 0)
        return RECONCILE_RETRY;
    reconcile_expect(p, 0, o->revision);
    assert_false(reconcile_settled(p));
    t->made++;
    event_record(p->r->events, p->object, "Normal", "Made", "made it");
    return finalizer_add(p->r->client, p->a, p->object, HOLD, e) < 0 ? RECONCILE_RETRY
                                                                     : RECONCILE_DONE;
}

static enum reconcile_result gone(struct reconcile *p, struct err *e)
{
    struct toy *t = p->ctx;
    (void)e;
    assert_null(p->object);
    t->gone++;
    return RECONCILE_DONE;
}

static const struct reconciler_row row = {
    .name = "toy",
    .component = "toy-controller",
    .group = "",
    .resource = "configmaps",
    .owned = {{"", "secrets"}},
    .reconcile = reconcile,
    .gone = gone,
};

static bool synced(struct sim *s, const void *arg)
{
    const struct toy *t = arg;
    (void)s;
    return informer_synced(t->r->informer) && informer_synced(t->r->owned[0]);
}

static void test_one_for_each(void **state)
{
    static const struct sim_options opt = {.no_controllers = true, .no_scheduler = true};
    struct sim *s = sim_new(&opt);
    struct toy t = {0};
    (void)state;
    t.r = reconciler_new(s->client, s->informers, s->executor, &row, &t);
    assert_true(sim_until(s, 5, synced, &t));
    reconciler_run(t.r);
    sim_create(s, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n");
    for (int i = 0; i < 5; i++) // a flurry while the secret is on its way back
        sim_patch(s, "", "configmaps", "default", "a", i % 2 ? "data: {x: one}" : "data: {x: two}");
    sim_run(s, 1);
    assert_int_equal(t.made, 1);
    assert_int_equal(sim_count(s, "", "secrets", "default", NULL), 1);
    assert_true(str_eqc(sim_event(s, "default", "a", "Made"), "made it"));
    // An owned object that goes brings its owner.
    struct value *secret = value_item(sim_list(s, "", "secrets", "default", NULL), 0);
    sim_delete(s, "", "secrets", "default",
               arena_cstr(&s->arena, value_str_at(secret, "metadata.name")), PROPAGATION_DEFAULT);
    sim_run(s, 1);
    assert_int_equal(t.made, 2);
    sim_delete(s, "", "configmaps", "default", "a", PROPAGATION_BACKGROUND);
    sim_run(s, 1);
    assert_null(sim_get(s, "", "configmaps", "default", "a")); // the finalizer went
    assert_true(t.gone > 0);
    unsigned passes = t.passes;
    sim_run(s, 60);
    assert_int_equal(t.passes, passes); // nothing polls
    reconciler_free(t.r);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_for_each)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
