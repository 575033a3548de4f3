// Watches as informers and kubectl rely on them: order, resumption, selectors, bookmarks, being too
// late.
#include "base/time.h"
#include "harness.h"

struct seen {
    struct watch_event e[512];
    size_t n;
    size_t ends;
    struct err end;
    struct api_watch *stop_on_event; // stop it from within the callback
};

static void on_events(void *ctx, const struct watch_event *events, size_t n)
{
    struct seen *s = ctx;
    for (size_t i = 0; i < n; i++) {
        assert_true(s->n < 512);
        s->e[s->n] = events[i];
        s->e[s->n++].object = object_ref(events[i].object);
    }
    if (s->stop_on_event) {
        struct api_watch *w = TAKE_PTR(s->stop_on_event);
        api_watch_stop(w);
    }
}

static void on_end(void *ctx, const struct err *e)
{
    struct seen *s = ctx;
    s->ends++;
    if (e)
        err_set(&s->end, e->reason, "%s", e->message);
}

static void seen_clear(struct seen *s)
{
    for (size_t i = 0; i < s->n; i++)
        object_unref(s->e[i].object);
    err_done(&s->end);
    *s = (struct seen){0};
}

static struct api_watch *start(struct fixture *f, struct loop *l, struct seen *s, const char *kind,
                               const char *ns, const char *revision)
{
    struct api_request *r = request(f, VERB_WATCH, kind, ns, NULL);
    struct api_watch_handler h = {on_events, on_end, s};
    struct api_watch *w = NULL;
    struct err e = ERR_INIT;
    r->resource_version = str_of(revision);
    if (api_watch_start(f->server, l, r, &f->admin, &h, &w, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(s->n, 0); // nothing comes from inside the call
    return w;
}

static void config(struct fixture *f, const char *ns, const char *name, const char *labels)
{
    char text[256];
    snprintf(text, sizeof text, "{'metadata':{'name':'%s','labels':%s}}", name, labels);
    create(f, "configmaps", ns, text);
}

static void relabel(struct fixture *f, const char *name, const char *labels)
{
    char text[256];
    snprintf(text, sizeof text, "{'metadata':{'labels':%s}}", labels);
    patch(f, "configmaps", "default", name, PATCH_TYPE_MERGE, text);
}

static void expect(const struct seen *s, size_t i, enum watch_type type, const char *name)
{
    assert_true(i < s->n);
    assert_string_equal(watch_type_name(s->e[i].type), watch_type_name(type));
    assert_true(str_eqc(object_name(s->e[i].object), name));
    assert_int_equal(s->e[i].object->revision, s->e[i].revision);
}

static void test_from_now(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env);
    struct seen s = {0};
    config(f, "default", "a", "{}");
    config(f, "kube-system", "b", "{}");
    struct api_watch *w = start(f, l, &s, "configmaps", "default", NULL);
    config(f, "default", "c", "{}");
    loop_run_until_idle(l, 0);
    assert_int_equal(s.n, 2);
    expect(&s, 0, WATCH_ADDED, "a");
    expect(&s, 1, WATCH_ADDED, "c");
    relabel(f, "a", "{'x':'y'}");
    request(f, VERB_DELETE, "configmaps", "default", "c");
    run_ok(f);
    config(f, "kube-system", "d", "{}");
    loop_run_until_idle(l, 0);
    assert_int_equal(s.n, 4);
    expect(&s, 2, WATCH_MODIFIED, "a");
    // The deletion has a revision of its own, and the object goes under it.
    expect(&s, 3, WATCH_DELETED, "c");
    assert_true(s.e[3].revision > s.e[2].revision);
    assert_int_equal(s.e[3].revision, f->call.answer.revision - 1);
    api_watch_stop(w);
    seen_clear(&s);
    loop_free(l);
}

static void test_resume(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env);
    struct seen s = {0};
    char revision[32];
    config(f, "default", "a", "{}");
    request(f, VERB_LIST, "configmaps", "default", NULL);
    run_ok(f);
    snprintf(revision, sizeof revision, "%llu", (unsigned long long)f->call.answer.revision);
    // What happens between list and watch is told as what it was: a new object, and a changed one.
    config(f, "default", "b", "{}");
    relabel(f, "a", "{'x':'y'}");
    struct api_watch *w = start(f, l, &s, "configmaps", "default", revision);
    relabel(f, "b", "{'x':'y'}");
    loop_run_until_idle(l, 0);
    assert_int_equal(s.n, 3);
    expect(&s, 0, WATCH_ADDED, "b");
    expect(&s, 1, WATCH_MODIFIED, "a");
    expect(&s, 2, WATCH_MODIFIED, "b");
    api_watch_stop(w);
    seen_clear(&s);
    loop_free(l);
}

static void test_selector_transitions(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env);
    struct seen s = {0};
    struct err e = ERR_INIT;
    struct api_watch *w;
    config(f, "default", "a", "{'in':'no'}");
    struct api_request *r = request(f, VERB_WATCH, "configmaps", NULL, NULL);
    struct api_watch_handler h = {on_events, on_end, &s};
    r->label_selector = STR("in=yes");
    r->resource_version = STR("0");
    assert_int_equal(api_watch_start(f->server, l, r, &f->admin, &h, &w, &e), 0);
    loop_run_until_idle(l, 0);
    assert_int_equal(s.n, 0);
    relabel(f, "a", "{'in':'yes'}");
    relabel(f, "a", "{'more':'1'}");
    relabel(f, "a", "{'in':'no'}");
    relabel(f, "a", "{'more':'2'}");
    relabel(f, "a", "{'in':'yes'}");
    request(f, VERB_DELETE, "configmaps", "default", "a");
    run_ok(f);
    loop_run_until_idle(l, 0);
    assert_int_equal(s.n, 5);
    expect(&s, 0, WATCH_ADDED, "a");
    expect(&s, 1, WATCH_MODIFIED, "a");
    expect(&s, 2, WATCH_DELETED, "a");
    // As it was when it was last among the selected.
    assert_string_equal(text_at(f, tree(f, s.e[2].object), "metadata.labels.in"), "yes");
    expect(&s, 3, WATCH_ADDED, "a");
    expect(&s, 4, WATCH_DELETED, "a");
    api_watch_stop(w);
    seen_clear(&s);
    loop_free(l);
}

static void test_initial_events(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env);
    struct seen s = {0};
    struct err e = ERR_INIT;
    struct api_watch *w;
    struct api_watch_handler h = {on_events, on_end, &s};
    config(f, "default", "a", "{}");
    struct api_request *r = request(f, VERB_WATCH, "configmaps", NULL, NULL);
    r->send_initial_events = true;
    assert_int_equal(api_watch_start(f->server, l, r, &f->admin, &h, &w, &e), -422);
    assert_non_null(strstr(e.message, "sendInitialEvents requires setting resourceVersionMatch to "
                                      "NotOlderThan"));
    err_done(&e);
    r->resource_version_match = STR("NotOlderThan");
    r->allow_bookmarks = true;
    assert_int_equal(api_watch_start(f->server, l, r, &f->admin, &h, &w, &e), 0);
    loop_run_until_idle(l, 0);
    assert_int_equal(s.n, 2);
    expect(&s, 0, WATCH_ADDED, "a");
    assert_int_equal(s.e[1].type, WATCH_BOOKMARK);
    assert_true(s.e[1].initial_end);
    assert_null(s.e[1].object);
    assert_true(s.e[1].revision >= s.e[0].revision);
    // A minute without anything brings a bookmark, which knows of the others' changes.
    uint64_t before = s.e[1].revision;
    create(f, "secrets", "default", "{'metadata':{'name':'s'}}");
    loop_run_until_idle(l, 61 * NS_PER_S);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.e[2].type, WATCH_BOOKMARK);
    assert_false(s.e[2].initial_end);
    assert_true(s.e[2].revision > before);
    api_watch_stop(w);
    seen_clear(&s);
    loop_free(l);
}

static void test_same_order(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env), *m = loop_new(f->env);
    struct seen a = {0}, b = {0};
    struct api_watch *v = start(f, l, &a, "configmaps", NULL, "2");
    struct api_watch *w = start(f, m, &b, "configmaps", NULL, "2");
    for (int i = 0; i < 50; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i * 37 % 50);
        config(f, "default", name, "{}");
    }
    loop_run_until_idle(l, 0);
    loop_run_until_idle(m, 0);
    assert_int_equal(a.n, 50);
    assert_int_equal(b.n, 50);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(a.e[i].revision, b.e[i].revision);
        assert_ptr_equal(a.e[i].object->json, b.e[i].object->json); // shared, not copied
        assert_true(!i || a.e[i].revision > a.e[i - 1].revision);
    }
    api_watch_stop(v);
    api_watch_stop(w);
    seen_clear(&a);
    seen_clear(&b);
    loop_free(l);
    loop_free(m);
}

static void test_too_old(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env);
    struct err e = ERR_INIT;
    struct seen s = {0};
    struct api_watch_handler h = {on_events, on_end, &s};
    struct api_watch *w;
    // Old events fall out of the ring when new ones come.
    for (int i = 0; i < 70; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        config(f, "default", name, "{}");
        env_sim_advance(f->env, 10 * NS_PER_S);
    }
    struct api_request *r = request(f, VERB_WATCH, "configmaps", NULL, NULL);
    r->resource_version = STR("2");
    assert_int_equal(api_watch_start(f->server, l, r, &f->admin, &h, &w, &e), -410);
    assert_int_equal(e.reason, ERR_EXPIRED);
    assert_true(strstr(e.message, "too old resource version: 2 (") == e.message);
    err_done(&e);
    r = request(f, VERB_LIST, "configmaps", NULL, NULL);
    r->resource_version = STR("2");
    r->resource_version_match = STR("Exact");
    run_fails(f, 410, "The resourceVersion for the provided list is too old.");
    loop_free(l);
}

static void test_timeout_and_stop(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env);
    struct seen s = {0}, t = {0};
    struct err e = ERR_INIT;
    struct api_watch *w, *v;
    struct api_watch_handler h = {on_events, on_end, &s};
    struct api_request *r = request(f, VERB_WATCH, "configmaps", NULL, NULL);
    r->timeout_seconds = 5;
    r->allow_bookmarks = true;
    assert_int_equal(api_watch_start(f->server, l, r, &f->admin, &h, &w, &e), 0);
    loop_run_until_idle(l, 4 * NS_PER_S);
    assert_int_equal(s.ends, 0);
    loop_run_until_idle(l, 2 * NS_PER_S);
    assert_int_equal(s.ends, 1);
    assert_int_equal(s.end.reason, ERR_NONE);
    assert_int_equal(s.n, 1); // a bookmark just before
    assert_int_equal(s.e[0].type, WATCH_BOOKMARK);

    // Stopped by its own callback, with more to come.
    config(f, "default", "a", "{}");
    config(f, "default", "b", "{}");
    v = start(f, l, &t, "configmaps", NULL, NULL);
    t.stop_on_event = v;
    config(f, "default", "c", "{}");
    loop_run_until_idle(l, 0);
    assert_true(t.n >= 2);
    size_t n = t.n;
    config(f, "default", "d", "{}");
    loop_run_until_idle(l, 0);
    assert_int_equal(t.n, n);
    // Stopped before its first turn.
    seen_clear(&t);
    v = start(f, l, &t, "configmaps", NULL, NULL);
    api_watch_stop(v);
    loop_run_until_idle(l, 0);
    assert_int_equal(t.n, 0);
    assert_int_equal(t.ends, 0);
    seen_clear(&s);
    seen_clear(&t);
    loop_free(l);
}

static void test_converted(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env);
    struct seen s = {0};
    struct err e = ERR_INIT;
    struct api_watch *w;
    const struct kind *k = kind_by_resource(STR("events.k8s.io"), STR("v1"), STR("events"));
    struct api_watch_handler h = {on_events, on_end, &s};
    struct api_request *r = request(f, VERB_WATCH, "pods", "default", NULL);
    r->kind = k;
    assert_int_equal(api_watch_start(f->server, l, r, &f->admin, &h, &w, &e), 0);
    create(
        f, "events", "default",
        "{'metadata':{'name':'e'},'involvedObject':{'kind':'Pod','name':'p','namespace':'default'},"
        "'message':'hello','reason':'R','type':'Normal'}");
    loop_run_until_idle(l, 0);
    assert_int_equal(s.n, 1);
    struct value *v = tree(f, s.e[0].object);
    assert_string_equal(text_at(f, v, "apiVersion"), "events.k8s.io/v1");
    assert_string_equal(text_at(f, v, "note"), "hello");
    assert_string_equal(text_at(f, v, "regarding.name"), "p");
    api_watch_stop(w);
    seen_clear(&s);
    loop_free(l);
}

static void test_forbidden(void **state)
{
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env);
    struct err e = ERR_INIT;
    struct api_watch *w;
    struct api_watch_handler h = {on_events, on_end, NULL};
    struct api_request *r = request(f, VERB_WATCH, "pods", NULL, NULL);
    assert_int_equal(api_watch_start(f->server, l, r, &f->nobody, &h, &w, &e), -403);
    assert_string_equal(e.message,
                        "pods is forbidden: User \"nobody\" cannot watch resource \"pods\" "
                        "in API group \"\" at the cluster scope");
    err_done(&e);
    loop_free(l);
}

#define T(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_from_now),         T(test_resume),     T(test_selector_transitions),
        T(test_initial_events),   T(test_same_order), T(test_too_old),
        T(test_timeout_and_stop), T(test_converted),  T(test_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
