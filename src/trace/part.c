// See the header. Two loops with threads of their own, so that a flood of reports never takes a
// turn from the API server's loops; workers decode and search.
#include "trace/part.h"
#include "base/guard.h"
#include "base/path.h"
#include "base/thread.h"
#include "base/time.h"
#include "trace/trace_http.h"

enum { LOOPS = 2, WORKERS = 2, QUEUE = 1024 };
#define STOP_GRACE_NS (5 * NS_PER_S)

static uint16_t port = 9411;
static const struct flag flags[] = {
    {"trace-port", 0, FLAG_PORT, &port, "PORT", "port of the tracing API (default 9411)"},
};

struct trace_state {
    struct span_store *store;
    struct workers *workers;
    struct trace_http *http;
    struct http_server *server;
    struct loop *loops[LOOPS];
    pthread_t threads[LOOPS];
    size_t running;
};

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static int start(struct part_host *h, void **ret_state, struct err *e)
{
    struct trace_state *s = *ret_state = mem_zalloc(sizeof *s);
    const struct span_store_options options = {.strict_trace_id = true};
    int code =
        span_store_open(h->env, path_join(h->arena, h->data_dir, "spans"), &options, &s->store, e);
    if (code)
        return code;
    s->workers = workers_new("trace", WORKERS, QUEUE);
    const struct trace_http_options http = {.store = s->store, .workers = s->workers};
    s->http = trace_http_new(h->env, &http);
    for (size_t i = 0; i < LOOPS; i++)
        s->loops[i] = loop_new(h->env);
    const struct http_server_options server = {0};
    struct str address = arena_printf(h->arena, "%s:%u", h->bind, port);
    struct http_handler handler = trace_http_handler(s->http);
    code = http_server_new(s->loops, LOOPS, address, &handler, &server, &s->server, e);
    if (code)
        return code;
    for (; s->running < LOOPS; s->running++)
        s->threads[s->running] = thread_start("trace", run_loop, s->loops[s->running]);
    return 0;
}

static void is_stopped(void *arg)
{
    completion_signal(arg);
}

struct trace_stop {
    struct trace_state *s;
    struct completion done;
};

static void stop_on_loop(void *arg)
{
    struct trace_stop *c = arg;
    http_server_stop(c->s->server, STOP_GRACE_NS, is_stopped, &c->done);
}

static void stop(struct part_host *h, void *state)
{
    (void)h;
    struct trace_state *s = state;
    if (!s)
        return;
    if (s->running) {
        struct trace_stop c = {.s = s};
        completion_init(&c.done);
        loop_call(s->loops[0], stop_on_loop, &c);
        completion_wait(&c.done);
        completion_done(&c.done);
    }
    workers_free(s->workers); // before the loops, to which they post
    span_store_close(s->store);
    for (size_t i = 0; i < s->running; i++) {
        loop_stop(s->loops[i]);
        pthread_join(s->threads[i], NULL);
    }
    for (size_t i = 0; i < LOOPS; i++)
        if (s->loops[i])
            loop_free(s->loops[i]);
    trace_http_free(s->http);
    free(s);
}

const struct part trace_part = {.name = "tracing",
                                .without = "trace",
                                .flags = flags,
                                .nflags = ARRAY_LEN(flags),
                                .start = start,
                                .stop = stop};
