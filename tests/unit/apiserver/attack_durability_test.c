// attack-durability 4: clients that watched go on after a restart of the server, from where they
// were, as far back as the store knows.
#include "harness.h"

#include "apiserver/server.h"

static void restart(struct fixture *f)
{
    struct err e = ERR_INIT;
    struct apiserver_options opt = {
        .env = f->env, .store = f->store, .advertise_address = STR("10.0.0.5"), .port = 6443};
    api_call_done(&f->call);
    api_call_init(&f->call);
    apiserver_free(f->server);
    if (apiserver_new(&opt, &f->server, &e) < 0)
        fail_msg("%s", e.message);
}

// What a watch of configmaps sees after `from`: "+c ~c -d"; or the error.
static const char *seen_from(struct fixture *f, uint64_t from)
{
    struct loop *loop = loop_new(f->env);
    struct cache_watcher w = {0};
    struct cache_event **events = NULL;
    size_t n = 0;
    uint64_t revision;
    struct err e = ERR_INIT;
    const char *text = "";
    if (cache_watch_from(f->server->cache, loop, kind_named("configmaps"), from, &w, &events, &n,
                         &revision, &e) < 0) {
        text = arena_cstr(&f->a, str_of(e.message));
        err_done(&e);
    }
    for (size_t i = 0; i < n; i++) {
        const struct object *o = events[i]->object ? events[i]->object : events[i]->previous;
        const char *what = !events[i]->object ? "-" : events[i]->previous ? "~" : "+";
        assert_true(events[i]->revision > from);
        if (!str_eqc(object_name(o), "kube-root-ca.crt"))
            text = arena_cstr(&f->a, arena_printf(&f->a, "%s%s%s%.*s", text, *text ? " " : "", what,
                                                  STR_ARG(object_name(o))));
        cache_event_unref(events[i]);
    }
    free(events);
    cache_unwatch(&w);
    loop_free(loop);
    return text;
}

static void watches_go_on_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct value *v =
        create(f, "configmaps", "default", "{'metadata':{'name':'c'},'data':{'a':'1'}}");
    uint64_t first = revision_of(v);
    v = patch(f, "configmaps", "default", "c", PATCH_TYPE_MERGE, "{'data':{'a':'2'}}");
    create(f, "configmaps", "default", "{'metadata':{'name':'d'}}");
    request(f, VERB_DELETE, "configmaps", "default", "d");
    run_ok(f);
    restart(f);
    assert_string_equal(seen_from(f, first), "~c +d -d");
    assert_string_equal(seen_from(f, revision_of(v)), "+d -d");
    // Lists of that past are answered too.
    struct api_request *r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->resource_version = arena_printf(&f->a, "%llu", (unsigned long long)first);
    r->resource_version_match = STR("Exact");
    r->field_selector = STR("metadata.name=c");
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 1);
    assert_string_equal(text_at(f, tree(f, f->call.answer.items[0]), "data.a"), "1");
    // What happens next follows in the same order.
    create(f, "configmaps", "default", "{'metadata':{'name':'e'}}");
    assert_string_equal(seen_from(f, first), "~c +d -d +e");
    // What the store has forgotten is gone.
    assert_int_equal(f->store->ops->compact(f->store, revision_of(v), NULL), 0);
    restart(f);
    assert_non_null(strstr(seen_from(f, first), "too old resource version: "));
    assert_string_equal(seen_from(f, revision_of(v)), "+d -d +e");
}

#define T(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {T(watches_go_on_after_a_restart)};
    return cmocka_run_group_tests_name("attack-durability", tests, NULL, NULL);
}
