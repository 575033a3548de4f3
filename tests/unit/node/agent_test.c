// The agent with its threads on the system's clock: many pods at once start, exit, are probed and
// deleted, while the agent is stopped and started again. The thread sanitizer is what this test is
// for.
#include "base/thread.h"
#include "world.c"
#include <poll.h>

#define PODS 24

static struct world w;
static pthread_t thread;

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

struct on_loop {
    void (*fn)(void);
    struct completion done;
};

static void call_it(void *arg)
{
    struct on_loop *c = arg;
    c->fn();
    completion_signal(&c->done);
}

static void on_loop(void (*fn)(void))
{
    struct on_loop c = {.fn = fn};
    completion_init(&c.done);
    loop_call(w.loop, call_it, &c);
    completion_wait(&c.done);
    completion_done(&c.done);
}

static void up(void)
{
    agent_up(&w);
}

static void down(void)
{
    assert_int_equal(node_agent_stop(w.agent, 10 * NS_PER_S), 0);
    informers_free(w.informers);
    w.agent = NULL;
}

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        int left_ = 30000;                                                                         \
        for (; !(condition) && left_; left_--)                                                     \
            poll(NULL, 0, 1);                                                                      \
        if (!left_)                                                                                \
            fail_msg("waited in vain for %s", #condition);                                         \
    } while (0)

static unsigned pods_in(const char *phase)
{
    FAKE_API_LOCKED(w.api);
    struct arena a = ARENA_INIT;
    unsigned n = 0;
    map_each (&w.api->objects, s) {
        struct object *o = s->value;
        if (str_eqc(o->kind->resource, "pods"))
            n += !phase || str_eqc(value_str_at(object_tree(&a, o), "status.phase"), phase);
    }
    arena_done(&a);
    return n;
}

static void many_pods(void **state)
{
    (void)state;
    world_init_on(&w, env_system());
    map_set(&w.rt->images, STR("busybox"), (void *)1);
    thread = thread_start("test-loop", run_loop, w.loop);
    on_loop(up);
    char name[32], container[256];
    for (int i = 0; i < PODS; i++) {
        snprintf(name, sizeof(name), "p%d", i);
        snprintf(container, sizeof(container),
                 ",'name':'c%d','readinessProbe':{'exec':{'command':['x']},'periodSeconds':1}%s", i,
                 i % 3 ? "" : ",'image':'other'");
        put_pod(&w, name, ",'volumes':[{'name':'v','emptyDir':{}}]", container);
    }
    UNTIL(pods_in("Running") == PODS);
    for (int i = 0; i < PODS; i += 2) {
        snprintf(name, sizeof(name), "c%d", i);
        fake_exit(w.rt, name, 1);
    }
    UNTIL(fake_running(w.rt) == PODS);
    // Stopped and started again in the middle of work: nothing is started twice.
    for (int i = 0; i < PODS; i += 3) {
        snprintf(name, sizeof(name), "p%d", i);
        delete_pod(&w, name, 5);
    }
    struct fake_client *former = w.client;
    on_loop(down);
    on_loop(up);
    UNTIL(pods_in(NULL) == PODS - PODS / 3);
    UNTIL(fake_running(w.rt) == PODS - PODS / 3);
    for (int i = 0; i < PODS; i++) {
        snprintf(name, sizeof(name), "p%d", i);
        if (i % 3)
            delete_pod(&w, name, i % 2 ? 1 : 0);
    }
    UNTIL(pods_in(NULL) == 0 && fake_running(w.rt) == 0);
    on_loop(down);
    loop_stop(w.loop);
    pthread_join(thread, NULL);
    loop_run_until_idle(w.loop, 0);
    free(former);
    free(w.client);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_pods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
