// The watch cache under load: many writers, watchers on two loops, readers in between. Whatever the
// interleaving, each watcher's picture in the end is the list, it saw revisions grow, and a page is
// what it was when the list began.
#include "base/map.h"
#include "base/thread.h"
#include "harness.h"

enum { WRITERS = 3, ROUNDS = 150, NAMES = 20, WATCHERS = 12 };

struct picture {
    struct fixture *f;
    struct loop *loop;
    struct api_watch *watch;
    struct map objects; // name -> revision
    uint64_t last;
    size_t events, ends;
    const char *selector;
    struct completion *started;
    atomic_ullong reached; // revision of the newest event
};

static void forget(struct picture *p, struct str name)
{
    free(map_del(&p->objects, name));
}

static void on_events(void *ctx, const struct watch_event *events, size_t n)
{
    struct picture *p = ctx;
    for (size_t i = 0; i < n; i++) {
        const struct watch_event *ev = &events[i];
        // The initial state comes in key order; after that revisions grow.
        if (ev->type != WATCH_BOOKMARK && p->events >= 1 && ev->type != WATCH_ADDED)
            assert_true(ev->revision > p->last);
        if (ev->type == WATCH_BOOKMARK) {
            atomic_store(&p->reached, ev->revision);
            continue;
        }
        p->events++;
        if (ev->revision > p->last)
            p->last = ev->revision;
        struct str name = object_name(ev->object);
        bool known = map_has(&p->objects, name);
        if (ev->type == WATCH_DELETED) {
            assert_true(known);
            forget(p, name);
        } else {
            assert_int_equal(known, ev->type == WATCH_MODIFIED);
            uint64_t *revision = mem_alloc(sizeof *revision);
            *revision = ev->revision;
            free(map_set(&p->objects, name, revision));
        }
        atomic_store(&p->reached, p->last);
    }
}

static void on_end(void *ctx, const struct err *e)
{
    (void)e;
    ((struct picture *)ctx)->ends++;
}

static void start(void *arg)
{
    struct picture *p = arg;
    struct api_request r = {.verb = VERB_WATCH,
                            .kind = kind_named("configmaps"),
                            .ns = STR("default"),
                            .label_selector = str_of(p->selector),
                            .grace_period_seconds = -1};
    struct api_watch_handler h = {on_events, on_end, p};
    struct err e = ERR_INIT;
    if (api_watch_start(p->f->server, p->loop, &r, &p->f->admin, &h, &p->watch, &e) < 0)
        fail_msg("%s", e.message);
    completion_signal(p->started);
}

static void stop(void *arg)
{
    struct picture *p = arg;
    api_watch_stop(p->watch);
    completion_signal(p->started);
}

static void on_loop(struct picture *p, void (*fn)(void *))
{
    struct completion done;
    completion_init(&done);
    p->started = &done;
    loop_call(p->loop, fn, p);
    completion_wait(&done);
    completion_done(&done);
}

static void wake(struct api_call *c)
{
    completion_signal(c->ctx);
}

// With several writers at once one may commit for another, who then waits.
static int call(struct fixture *f, enum verb_bit verb, const char *name, const struct value *body)
{
    struct api_call c;
    struct completion woken;
    completion_init(&woken);
    api_call_init(&c);
    c.identity = f->admin;
    c.wake = wake;
    c.ctx = &woken;
    c.request.verb = verb;
    c.request.kind = kind_named("configmaps");
    c.request.ns = STR("default");
    c.request.name = verb == VERB_CREATE ? STR_NULL : str_of(name);
    c.request.body = body;
    c.request.patch_type = PATCH_TYPE_MERGE;
    while (api_step(f->server, &c) == API_WAIT) {
        completion_wait(&woken);
        completion_done(&woken);
        completion_init(&woken);
    }
    completion_done(&woken);
    int r = err_code(&c.err);
    api_call_done(&c);
    return r;
}

struct writer_arg {
    struct fixture *f;
    unsigned seed;
};

static void *writer(void *arg)
{
    struct writer_arg *w = arg;
    for (int i = 0; i < ROUNDS; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        w->seed = w->seed * 1103515245 + 12345;
        unsigned n = w->seed >> 16 & 0x7fff;
        char name[16];
        snprintf(name, sizeof name, "n%u", n % NAMES);
        struct value *v = value_object(&a);
        value_set_at(&a, v, "metadata.name", value_strc(&a, name));
        value_set_at(&a, v, "metadata.labels.odd", value_strc(&a, n & 1024 ? "1" : "0"));
        value_set_at(&a, v, "data.n", value_str(&a, arena_printf(&a, "%u", n)));
        int r = n % 7 == 0 ? call(w->f, VERB_DELETE, name, NULL) : call(w->f, VERB_PATCH, name, v);
        if (r == -404)
            r = call(w->f, VERB_CREATE, name, v);
        assert_true(r >= 0 || r == -404 || r == -409);
    }
    return NULL;
}

static void *reader(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 50; i++) {
        struct api_call c;
        api_call_init(&c);
        c.identity = f->admin;
        c.request.verb = VERB_LIST;
        c.request.kind = kind_named("configmaps");
        c.request.limit = 3;
        assert_int_equal(api_step(f->server, &c), API_DONE);
        assert_int_equal(c.err.reason, ERR_NONE);
        uint64_t revision = c.answer.revision;
        for (size_t j = 0; j < c.answer.nitems; j++)
            assert_true(c.answer.items[j]->revision <= revision);
        if (c.answer.continue_token.n) {
            struct api_call d;
            api_call_init(&d);
            d.identity = f->admin;
            d.request.verb = VERB_LIST;
            d.request.kind = c.request.kind;
            d.request.continue_token = c.answer.continue_token;
            assert_int_equal(api_step(f->server, &d), API_DONE);
            assert_int_equal(d.err.reason, ERR_NONE);
            assert_int_equal(d.answer.revision, revision);
            assert_int_equal((int64_t)d.answer.nitems, c.answer.remaining);
            api_call_done(&d);
        }
        api_call_done(&c);
    }
    return NULL;
}

static void *run_loop(void *l)
{
    loop_run(l);
    return NULL;
}

// Waits until the watcher has seen everything: another write that it must see is its mark.
static void settle(struct fixture *f, struct picture *p)
{
    struct value *v = parse(f, "{'metadata':{'name':'mark','labels':{'odd':'1'}}}");
    assert_int_equal(call(f, VERB_CREATE, NULL, v), 0);
    uint64_t revision = store_revision(f->store);
    for (int i = 0; i < 20000 && atomic_load(&p->reached) < revision; i++) {
        struct completion turn; // one turn of the loop after the other
        completion_init(&turn);
        loop_call(p->loop, (void (*)(void *))completion_signal, &turn);
        completion_wait(&turn);
        completion_done(&turn);
    }
    assert_true(atomic_load(&p->reached) >= revision);
    assert_int_equal(call(f, VERB_DELETE, "mark", NULL), 0);
}

static void test_load(void **state)
{
    struct fixture *f = *state;
    struct env *env = env_system();
    struct loop *loops[2] = {loop_new(env), loop_new(env)};
    pthread_t loop_threads[2], writers[WRITERS], readers[2];
    struct writer_arg args[WRITERS];
    struct picture pictures[WATCHERS] = {0};
    for (int i = 0; i < 2; i++)
        loop_threads[i] = thread_start("loop", run_loop, loops[i]);
    for (int i = 0; i < WRITERS; i++) {
        args[i] = (struct writer_arg){f, (unsigned)i * 7919 + 1};
        writers[i] = thread_start("writer", writer, &args[i]);
    }
    for (int i = 0; i < 2; i++)
        readers[i] = thread_start("reader", reader, f);
    for (int i = 0; i < WATCHERS; i++) { // while everything moves
        pictures[i].f = f;
        pictures[i].loop = loops[i % 2];
        pictures[i].selector = i % 3 ? NULL : "odd=1";
        on_loop(&pictures[i], start);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    for (int i = 0; i < WATCHERS; i++) {
        struct picture *p = &pictures[i];
        settle(f, p);
        on_loop(p, stop);
        assert_int_equal(p->ends, 0);
        request(f, VERB_LIST, "configmaps", "default", NULL)->label_selector = str_of(p->selector);
        run_ok(f);
        forget(p, STR("mark"));
        assert_int_equal(p->objects.n, f->call.answer.nitems);
        for (size_t j = 0; j < f->call.answer.nitems; j++) {
            struct object *o = f->call.answer.items[j];
            uint64_t *revision = map_get(&p->objects, object_name(o));
            assert_non_null(revision);
            assert_int_equal(*revision, o->revision);
        }
        map_each (&p->objects, s)
            free(s->value);
        map_done(&p->objects);
    }
    for (int i = 0; i < 2; i++) {
        loop_stop(loops[i]);
        pthread_join(loop_threads[i], NULL);
        loop_free(loops[i]);
    }
}

// A cache that starts on a store with content finds it, and what another left there of other kinds
// is not its.
static void test_restart(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct value *v =
        create(f, "configmaps", "default", "{'metadata':{'name':'c'},'data':{'a':'1'}}");
    struct value *s =
        create(f, "services", "default",
               "{'metadata':{'name':'s'},'spec':{'type':'NodePort','ports':[{'port':80}]}}");
    uint64_t before = store_revision(f->store);
    api_call_done(&f->call);
    api_call_init(&f->call);
    apiserver_free(f->server);
    struct apiserver_options opt = {
        .env = f->env, .store = f->store, .advertise_address = STR("10.0.0.5"), .port = 6443};
    assert_int_equal(apiserver_new(&opt, &f->server, &e), 0);
    // Nothing is written again by a server that finds everything in its place.
    assert_int_equal(store_revision(f->store), before);
    assert_true(value_eq(get(f, "configmaps", "default", "c"), v));
    // The port is still taken.
    int64_t port = value_int_at(value_item(value_at(s, "spec.ports"), 0), "nodePort", 0);
    char text[200];
    snprintf(text, sizeof text,
             "{'metadata':{'name':'t'},'spec':{'type':'NodePort','ports':[{'port':80,'nodePort':%"
             "lld}]}}",
             (long long)port);
    request(f, VERB_CREATE, "services", "default", NULL)->body = parse(f, text);
    assert_int_equal(run(f), -422);
    assert_non_null(strstr(f->call.err.message, "provided port is already allocated"));
}

// Ten thousand objects and a thousand watchers, most of which look for something else.
struct counter {
    size_t events, ends;
};

static void count_events(void *ctx, const struct watch_event *events, size_t n)
{
    (void)events;
    ((struct counter *)ctx)->events += n;
}

static void count_end(void *ctx, const struct err *e)
{
    (void)e;
    ((struct counter *)ctx)->ends++;
}

static void test_scale(void **state)
{
    enum { OBJECTS = 10000, MANY = 1000, CHANGES = 20 };
    struct fixture *f = *state;
    struct loop *l = loop_new(f->env);
    static struct counter counters[MANY];
    static struct api_watch *watches[MANY];
    char text[160];
    memset(counters, 0, sizeof counters);
    for (int i = 0; i < OBJECTS; i++) {
        struct value *v = value_object(&f->a);
        value_set_at(&f->a, v, "metadata.name", value_str(&f->a, arena_printf(&f->a, "n%05d", i)));
        value_set_at(&f->a, v, "metadata.labels.node",
                     value_str(&f->a, arena_printf(&f->a, "%d", i % MANY)));
        assert_int_equal(call(f, VERB_CREATE, NULL, v), 0);
        if (i % 500 == 0)
            arena_reset(&f->a);
    }
    snprintf(text, sizeof text, "%llu", (unsigned long long)store_revision(f->store));
    struct str now = arena_str(&f->a, str_of(text));
    for (int i = 0; i < MANY; i++) {
        struct api_watch_handler h = {count_events, count_end, &counters[i]};
        struct api_request *r = request(f, VERB_WATCH, "configmaps", "default", NULL);
        struct err e = ERR_INIT;
        r->resource_version = now;
        // Every tenth sees all, as controllers do; the others their own, as agents do.
        if (i % 10)
            r->label_selector = arena_printf(&f->a, "node=%d", i);
        assert_int_equal(api_watch_start(f->server, l, r, &f->admin, &h, &watches[i], &e), 0);
    }
    for (int i = 0; i < CHANGES; i++) {
        snprintf(text, sizeof text, "{'data':{'k':'%d'}}", i);
        char name[16];
        snprintf(name, sizeof name, "n%05d", i);
        patch(f, "configmaps", "default", name, PATCH_TYPE_MERGE, text);
    }
    loop_run_until_idle(l, 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(counters[i].events, i % 10 == 0 ? CHANGES : i < CHANGES ? 1 : 0);
        assert_int_equal(counters[i].ends, 0);
        api_watch_stop(watches[i]);
    }
    loop_free(l);
}

#define T(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {T(test_load), T(test_restart), T(test_scale)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
