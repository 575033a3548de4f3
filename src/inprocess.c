// See inprocess.h. A call runs on the caller's thread as far as it can; while the store commits,
// the thread waits on a completion that the store's writer signals. In simulation the memory store
// commits at once and nothing ever waits.
#include "inprocess.h"
#include "base/thread.h"

struct inprocess_client {
    struct client base;
    struct apiserver *server;
    struct identity who;
    struct arena arena; // holds the identity's strings
};

static void wake(struct api_call *c)
{
    completion_signal(c->ctx);
}

static int call(struct client *base, const struct api_request *r, struct api_answer *ret,
                struct err *e)
{
    struct inprocess_client *c = container_of(base, struct inprocess_client, base);
    struct completion waiting;
    struct api_call call;
    api_call_init(&call);
    call.request = *r;
    if (!call.request.field_manager.p)
        call.request.field_manager = base->name;
    call.identity = c->who;
    call.wake = wake;
    call.ctx = &waiting;
    completion_init(&waiting);
    while (api_step(c->server, &call) == API_WAIT) {
        completion_wait(&waiting);
        completion_done(&waiting);
        completion_init(&waiting);
    }
    completion_done(&waiting);
    int result = err_code(&call.err);
    if (result < 0) {
        err_move(e, &call.err);
    } else {
        *ret = call.answer;
        call.answer = (struct api_answer){0};
    }
    api_call_done(&call);
    return result;
}

// --- watching ---

struct client_watch {
    struct api_watch *watch;
    struct client_watch_handler handler;
};

static void on_events(void *ctx, const struct watch_event *events, size_t n)
{
    struct client_watch *w = ctx;
    w->handler.on_events(w->handler.ctx, events, n);
}

static void on_end(void *ctx, const struct err *e)
{
    struct client_watch *w = ctx;
    w->watch = NULL;
    w->handler.on_end(w->handler.ctx, e);
    free(w);
}

static int watch(struct client *base, struct loop *l, const struct api_request *r,
                 const struct client_watch_handler *h, struct client_watch **ret, struct err *e)
{
    struct inprocess_client *c = container_of(base, struct inprocess_client, base);
    struct client_watch *w = mem_zalloc(sizeof *w);
    w->handler = *h;
    const struct api_watch_handler inner = {on_events, on_end, w};
    int result = api_watch_start(c->server, l, r, &c->who, &inner, &w->watch, e);
    if (result < 0) {
        free(w);
        return result;
    }
    *ret = w;
    return 0;
}

static void unwatch(struct client_watch *w)
{
    if (w->watch)
        api_watch_stop(w->watch);
    free(w);
}

static void destroy(struct client *base)
{
    struct inprocess_client *c = container_of(base, struct inprocess_client, base);
    arena_done(&c->arena);
    free(c);
}

struct client *inprocess_client_new(struct apiserver *s, struct env *env, const char *name,
                                    const char *user, const char *const *groups, size_t ngroups)
{
    static const struct client_ops ops = {
        .call = call, .watch = watch, .unwatch = unwatch, .free = destroy};
    struct inprocess_client *c = mem_zalloc(sizeof *c);
    struct str *list = arena_array(&c->arena, struct str, ngroups + 1);
    for (size_t i = 0; i < ngroups; i++)
        list[i] = arena_str(&c->arena, str_of(groups[i]));
    list[ngroups] = STR("system:authenticated");
    c->base = (struct client){&ops, env, arena_str(&c->arena, str_of(name))};
    c->server = s;
    c->who = (struct identity){
        .user = arena_str(&c->arena, str_of(user)), .groups = list, .ngroups = ngroups + 1};
    return &c->base;
}
