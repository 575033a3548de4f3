// The informer against a scripted transport: initial list, changes, resume, relist after 410,
// back-off, indexes, readers on other threads.
#include "base/list.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/informer.h"
#include "object/json.h"
#include "unit.h"

// The transport: keeps what was asked, lets the test play the server.
struct fake {
    struct client client;
    unsigned watches, unwatches;
    char revision[32]; // of the last watch
    bool initial;
    struct client_watch_handler handler;
    enum err_reason refuse;
};

static int fake_watch(struct client *c, struct loop *l, const struct api_request *r,
                      const struct client_watch_handler *h, struct client_watch **ret,
                      struct err *e)
{
    struct fake *f = container_of(c, struct fake, client);
    (void)l;
    f->watches++;
    f->initial = r->send_initial_events;
    assert_true(r->allow_bookmarks);
    assert_int_equal(str_eqc(r->resource_version_match, "NotOlderThan"), f->initial);
    snprintf(f->revision, sizeof f->revision, "%.*s", STR_ARG(r->resource_version));
    if (f->refuse)
        return err_set(e, f->refuse, "refused");
    f->handler = *h;
    *ret = (struct client_watch *)f;
    return 0;
}

static void fake_unwatch(struct client_watch *w)
{
    ((struct fake *)w)->unwatches++;
}

static const struct client_ops fake_ops = {.watch = fake_watch, .unwatch = fake_unwatch};

static const struct kind pods = {
    .version = {"v1", 2},
    .kind = {"Pod", 3},
    .resource = {"pods", 4},
    .storage_prefix = {"/registry/pods/", 15},
    .flags = KIND_NAMESPACED,
};

static struct object *pod(const char *ns, const char *name, uint64_t revision, const char *owner)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v = value_object(&a);
    struct object *o;
    value_setc(&a, v, "kind", value_strc(&a, "Pod"));
    value_setc(&a, v, "apiVersion", value_strc(&a, "v1"));
    value_set_at(&a, v, "metadata.name", value_strc(&a, name));
    value_set_at(&a, v, "metadata.namespace", value_strc(&a, ns));
    if (owner) {
        struct value *owners = value_array(&a), *ref = value_object(&a);
        value_setc(&a, ref, "uid", value_strc(&a, owner));
        value_setc(&a, ref, "controller", value_bool(&a, owner[0] == 'c'));
        value_push(&a, owners, ref);
        value_set_at(&a, v, "metadata.ownerReferences", owners);
    }
    struct str key = arena_printf(&a, "/registry/pods/%s/%s", ns, name);
    assert_int_equal(object_from_value(&pods, key, revision, v, &o, NULL), 0);
    return o;
}

struct test {
    struct env *env;
    struct loop *loop;
    struct fake fake;
    struct informers *factory;
    struct informer *informer;
    struct informer_handler handler;
    struct buf log; // "+default/a ~default/a -default/a "
    unsigned synced;
};

static void on_change(void *ctx, struct object *old, struct object *new)
{
    struct test *t = ctx;
    const struct object *o = new ? new : old;
    struct str ns = object_namespace(o), name = object_name(o);
    buf_printf(&t->log, "%s%.*s/%.*s ", !old ? "+" : !new ? "-" : "~", STR_ARG(ns), STR_ARG(name));
}

static void on_synced(void *ctx)
{
    struct test *t = ctx;
    assert_true(informer_synced(t->informer));
    t->synced++;
}

static int setup(void **state)
{
    struct test *t = mem_zalloc(sizeof *t);
    t->env = env_sim_new(3, 1700000000 * NS_PER_S);
    t->loop = loop_new(t->env);
    t->fake.client.ops = &fake_ops;
    t->fake.client.env = t->env;
    t->factory = informers_new(&t->fake.client, t->loop);
    t->informer = informers_get(t->factory, &pods);
    informer_add_index(t->informer, "owner-uid", informer_index_owner);
    informer_add_index(t->informer, "controller-uid", informer_index_controller);
    t->handler = (struct informer_handler){on_change, t, NULL};
    informer_add_handler(t->informer, &t->handler);
    informers_when_synced(t->factory, on_synced, t);
    informers_start(t->factory);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct test *t = *state;
    informers_free(t->factory);
    loop_free(t->loop);
    env_sim_free(t->env);
    buf_done(&t->log);
    free(t);
    return 0;
}

static void send(struct test *t, enum watch_type type, struct object *o)
{
    struct watch_event ev = {.type = type, .object = o, .revision = o->revision};
    t->fake.handler.on_events(t->fake.handler.ctx, &ev, 1);
    object_unref(o);
}

static void bookmark(struct test *t, uint64_t revision, bool initial_end)
{
    struct watch_event ev = {
        .type = WATCH_BOOKMARK, .initial_end = initial_end, .revision = revision};
    t->fake.handler.on_events(t->fake.handler.ctx, &ev, 1);
}

static void end(struct test *t, enum err_reason reason)
{
    _cleanup_err_ struct err e = ERR_INIT;
    if (reason)
        err_set(&e, reason, "the end");
    t->fake.handler.on_end(t->fake.handler.ctx, reason ? &e : NULL);
}

static void expect(struct test *t, const char *text)
{
    assert_string_equal(buf_cstr(&t->log), text);
    buf_reset(&t->log);
}

static void list_two(struct test *t)
{
    assert_true(t->fake.initial);
    assert_string_equal(t->fake.revision, "");
    send(t, WATCH_ADDED, pod("default", "a", 5, "c1"));
    send(t, WATCH_ADDED, pod("default", "b", 6, "c1"));
    expect(t, ""); // nothing is told before the list is whole
    assert_null(informer_get(t->informer, STR("default/a")));
    bookmark(t, 10, true);
    expect(t, "+default/a +default/b ");
}

static size_t indexed(struct test *t, const char *index, const char *value)
{
    _cleanup_objects_ struct object_list l;
    informer_by_index(t->informer, index, str_of(value), &l);
    return l.n;
}

static void test_list_then_changes(void **state)
{
    struct test *t = *state;
    assert_false(informer_synced(t->informer));
    loop_run_until_idle(t->loop, 0);
    assert_int_equal(t->synced, 0);
    list_two(t);
    loop_run_until_idle(t->loop, 0);
    assert_int_equal(t->synced, 1);

    send(t, WATCH_MODIFIED, pod("default", "a", 11, "c1"));
    send(t, WATCH_ADDED, pod("kube-system", "a", 12, NULL));
    send(t, WATCH_DELETED, pod("default", "b", 13, "c1"));
    expect(t, "~default/a +kube-system/a -default/b ");

    _cleanup_object_ struct object *o = informer_get_ns(t->informer, STR("default"), STR("a"));
    assert_non_null(o);
    assert_int_equal(o->revision, 11);
    assert_null(informer_get_ns(t->informer, STR("default"), STR("b")));
    struct object_list l;
    informer_list(t->informer, STR("default"), &l);
    assert_int_equal(l.n, 1);
    object_list_done(&l);
    informer_list(t->informer, STR_NULL, &l);
    assert_int_equal(l.n, 2);
    object_list_done(&l);
}

static void test_indexes_follow(void **state)
{
    struct test *t = *state;
    list_two(t);
    assert_int_equal(indexed(t, "owner-uid", "c1"), 2);
    assert_int_equal(indexed(t, "controller-uid", "c1"), 2);
    send(t, WATCH_MODIFIED, pod("default", "a", 11, "o2")); // owned, not controlled
    assert_int_equal(indexed(t, "owner-uid", "c1"), 1);
    assert_int_equal(indexed(t, "owner-uid", "o2"), 1);
    assert_int_equal(indexed(t, "controller-uid", "o2"), 0);
    send(t, WATCH_DELETED, pod("default", "b", 12, "c1"));
    assert_int_equal(indexed(t, "owner-uid", "c1"), 0);
}

static void test_resumes_from_the_last_revision(void **state)
{
    struct test *t = *state;
    list_two(t);
    bookmark(t, 20, false);
    end(t, ERR_NONE);
    loop_run_until_idle(t->loop, NS_PER_MS); // at once, after a stream that spoke
    assert_int_equal(t->fake.watches, 2);
    assert_false(t->fake.initial);
    assert_string_equal(t->fake.revision, "20");
    send(t, WATCH_MODIFIED, pod("default", "a", 21, NULL));
    end(t, ERR_UNAVAILABLE);
    loop_run_until_idle(t->loop, NS_PER_S);
    assert_int_equal(t->fake.watches, 3);
    assert_string_equal(t->fake.revision, "21");
    buf_reset(&t->log);
}

static void test_relists_after_410(void **state)
{
    struct test *t = *state;
    list_two(t);
    end(t, ERR_EXPIRED);
    loop_run_until_idle(t->loop, NS_PER_S);
    assert_true(t->fake.initial);
    assert_true(informer_synced(t->informer));
    // Readers keep the old state while the list is made.
    _cleanup_object_ struct object *a = informer_get(t->informer, STR("default/a"));
    assert_non_null(a);
    send(t, WATCH_ADDED, pod("default", "b", 31, "c1")); // changed
    send(t, WATCH_ADDED, pod("default", "c", 32, NULL)); // new; a is gone
    expect(t, "");
    bookmark(t, 40, true);
    expect(t, "-default/a ~default/b +default/c ");
    assert_int_equal(indexed(t, "owner-uid", "c1"), 1);
}

static void test_unchanged_objects_are_not_told_again(void **state)
{
    struct test *t = *state;
    list_two(t);
    end(t, ERR_GONE);
    loop_run_until_idle(t->loop, NS_PER_S);
    send(t, WATCH_ADDED, pod("default", "a", 5, "c1"));
    send(t, WATCH_ADDED, pod("default", "b", 6, "c1"));
    bookmark(t, 41, true);
    expect(t, "");
}

static void test_list_cut_short_starts_again(void **state)
{
    struct test *t = *state;
    send(t, WATCH_ADDED, pod("default", "x", 5, NULL));
    end(t, ERR_UNAVAILABLE);
    loop_run_until_idle(t->loop, NS_PER_S);
    list_two(t); // x was never told
}

static void test_backs_off_while_refused(void **state)
{
    struct test *t = *state;
    list_two(t);
    t->fake.refuse = ERR_UNAVAILABLE;
    end(t, ERR_UNAVAILABLE);
    loop_run_until_idle(t->loop, 60 * NS_PER_S);
    // 0.1 0.2 0.4 … 6.4, then 10 s each, less up to half by jitter.
    assert_in_range(t->fake.watches, 10, 22);
    t->fake.refuse = ERR_NONE;
    loop_run_until_idle(t->loop, 11 * NS_PER_S);
    assert_string_equal(t->fake.revision, "10");
}

static void test_one_informer_for_equal_selectors(void **state)
{
    struct test *t = *state;
    struct str on_node = STR("spec.nodeName=n1");
    struct informer *a = informers_get_selected(t->factory, &pods, STR_NULL, STR_NULL, on_node);
    struct informer *b = informers_get_selected(t->factory, &pods, STR_NULL, STR_NULL, on_node);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, t->informer);
    assert_ptr_equal(informers_get(t->factory, &pods), t->informer);
    assert_int_equal(t->fake.watches, 2);
}

static void test_late_handler_hears_what_is_there(void **state)
{
    struct test *t = *state;
    list_two(t);
    struct informer_handler late = {on_change, t, NULL};
    informer_add_handler(t->informer, &late);
    expect(t, "+default/a +default/b ");
    informer_remove_handler(t->informer, &late);
    send(t, WATCH_DELETED, pod("default", "a", 12, NULL));
    expect(t, "-default/a ");
}

// Readers on threads while the loop applies changes: each sees whole states only.
struct readers {
    struct test *t;
    atomic_bool stop, wrong;
};

static void *read_all(void *arg)
{
    struct readers *r = arg;
    while (!atomic_load(&r->stop)) {
        struct object_list l;
        informer_list(r->t->informer, STR_NULL, &l);
        for (size_t i = 1; i < l.n; i++) {
            if (str_cmp(l.items[i - 1]->key, l.items[i]->key) >= 0)
                atomic_store(&r->wrong, true);
        }
        object_list_done(&l);
        informer_by_index(r->t->informer, "owner-uid", STR("c1"), &l);
        for (size_t i = 0; i < l.n; i++) {
            if (!str_starts(object_name(l.items[i]), STR("p")))
                atomic_store(&r->wrong, true);
        }
        object_list_done(&l);
        object_unref(informer_get(r->t->informer, STR("default/p7")));
    }
    return NULL;
}

static void test_readers_on_threads(void **state)
{
    struct test *t = *state;
    bookmark(t, 10, true);
    struct readers r = {.t = t};
    pthread_t one = thread_start("reader-1", read_all, &r),
              two = thread_start("reader-2", read_all, &r);
    for (unsigned i = 0; i < 3000; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%u", i % 97);
        if (i % 3 == 2)
            send(t, WATCH_DELETED, pod("default", name, 100 + i, "c1"));
        else
            send(t, WATCH_ADDED, pod("default", name, 100 + i, "c1"));
    }
    r.stop = true;
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    assert_false(r.wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_list_then_changes),
        SIM(test_indexes_follow),
        SIM(test_resumes_from_the_last_revision),
        SIM(test_relists_after_410),
        SIM(test_unchanged_objects_are_not_told_again),
        SIM(test_list_cut_short_starts_again),
        SIM(test_backs_off_while_refused),
        SIM(test_one_informer_for_equal_selectors),
        SIM(test_late_handler_hears_what_is_there),
        SIM(test_readers_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
