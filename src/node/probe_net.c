// Attempts are small heap objects that end themselves: by an answer, an error, or their timer,
// whichever comes first. Redirects count as success, as upstream counts those that it does not
// follow.
#include "node/probe_net.h"
#include "base/time.h"
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_MAX (10 << 10)

struct probe_net {
    struct loop *loop;
    struct http_client *http;
};

struct probe_attempt {
    struct probe_net *net;
    struct arena a;
    struct loop_timer timer;
    probe_net_fn *fn;
    void *ctx;
    struct str what; // "Get "http://…"" or "dial tcp 10.0.0.1:80"
    struct http_call *call;
    int status;
    size_t body;
    struct loop_fd fd;
    int sock, error;
};

static void attempt_free(struct probe_attempt *x)
{
    loop_timer_cancel(x->net->loop, &x->timer);
    if (x->call)
        http_call_cancel(x->call);
    if (x->sock >= 0) {
        loop_fd_remove(x->net->loop, &x->fd);
        close(x->sock);
    }
    arena_done(&x->a);
    free(x);
}

static void finish(struct probe_attempt *x, bool ok, struct str text)
{
    x->fn(x->ctx, ok, text);
    attempt_free(x);
}

static void fail(struct probe_attempt *x, const char *why)
{
    finish(x, false, arena_printf(&x->a, "%.*s: %s", STR_ARG(x->what), why));
}

static void on_timeout(struct loop_timer *t)
{
    struct probe_attempt *x = container_of(t, struct probe_attempt, timer);
    fail(x, x->sock >= 0
                ? "i/o timeout"
                : "context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
}

static struct probe_attempt *attempt_new(struct probe_net *n, uint64_t timeout, probe_net_fn *fn,
                                         void *ctx)
{
    struct probe_attempt *x = mem_zalloc(sizeof(*x));
    x->net = n;
    x->fn = fn;
    x->ctx = ctx;
    x->sock = -1;
    x->timer.fn = on_timeout;
    loop_timer_in(n->loop, &x->timer, timeout);
    return x;
}

static struct str address(struct arena *a, struct str host, int64_t port)
{
    return str_chr(host, ':') >= 0 ? arena_printf(a, "[%.*s]:%lld", STR_ARG(host), (long long)port)
                                   : arena_printf(a, "%.*s:%lld", STR_ARG(host), (long long)port);
}

// ---- HTTP --------------------------------------------------------------------------------------

static void on_head(struct http_call *c, int status, const struct http_header *headers, size_t n)
{
    (void)headers;
    (void)n;
    struct probe_attempt *x = http_call_ctx(c);
    x->status = status;
}

static void decide(struct probe_attempt *x)
{
    if (x->status >= 200 && x->status < 400)
        finish(x, true, STR_NULL);
    else
        finish(x, false, arena_printf(&x->a, "HTTP probe failed with statuscode: %d", x->status));
}

static void on_enough(struct loop_timer *t)
{
    decide(container_of(t, struct probe_attempt, timer));
}

// An answer without end is judged after its first bytes; not from within the call's own callback.
static void on_body(struct http_call *c, struct str part)
{
    struct probe_attempt *x = http_call_ctx(c);
    x->body += part.n;
    if (x->body > BODY_MAX) {
        x->timer.fn = on_enough;
        loop_timer_in(x->net->loop, &x->timer, 0);
    }
}

static void on_end(struct http_call *c, const struct err *e)
{
    struct probe_attempt *x = http_call_ctx(c);
    x->call = NULL;
    if (e && !x->status)
        fail(x, e->message);
    else
        decide(x);
}

struct probe_attempt *probe_net_http(struct probe_net *n, struct str host, int64_t port,
                                     const struct value *get, uint64_t timeout_ns, probe_net_fn *fn,
                                     void *ctx)
{
    struct probe_attempt *x = attempt_new(n, timeout_ns, fn, ctx);
    struct str path = value_str_at(get, "path");
    const char *scheme = str_eqc(value_str_at(get, "scheme"), "HTTPS") ? "https" : "http";
    struct str url =
        arena_printf(&x->a, "%s://%.*s%s%.*s", scheme, STR_ARG(address(&x->a, host, port)),
                     path.n && path.p[0] == '/' ? "" : "/", STR_ARG(path));
    x->what = arena_printf(&x->a, "Get \"%.*s\"", STR_ARG(url));
    const struct value *list = value_getc(get, "httpHeaders");
    size_t nheaders = 0;
    struct http_header *headers = arena_array(&x->a, struct http_header, value_len(list) + 3);
    bool has_agent = false, has_accept = false;
    for (size_t i = 0; i < value_len(list); i++) {
        struct str name = value_str_at(value_item(list, i), "name");
        has_agent |= str_ieq(name, STR("user-agent"));
        has_accept |= str_ieq(name, STR("accept"));
        headers[nheaders++] =
            (struct http_header){name, value_str_at(value_item(list, i), "value")};
    }
    if (!has_agent)
        headers[nheaders++] = (struct http_header){STR("user-agent"), STR("kube-probe/1.34")};
    if (!has_accept)
        headers[nheaders++] = (struct http_header){STR("accept"), STR("*/*")};
    headers[nheaders++] = (struct http_header){STR("connection"), STR("close")};
    struct http_call_request r = {
        .method = "GET", .url = url, .headers = headers, .nheaders = nheaders};
    struct http_call_handler h = {on_head, on_body, on_end, x};
    x->call = http_call_start(n->http, &r, &h);
    return x;
}

// ---- TCP ---------------------------------------------------------------------------------------

static void fail_connect(struct probe_attempt *x, int error)
{
    const char *words = error == ECONNREFUSED   ? "connection refused"
                        : error == EHOSTUNREACH ? "no route to host"
                        : error == ETIMEDOUT    ? "connection timed out"
                                                : strerror(error);
    finish(x, false, arena_printf(&x->a, "%.*s: connect: %s", STR_ARG(x->what), words));
}

static void on_connected(struct loop_fd *f, unsigned ready)
{
    (void)ready;
    struct probe_attempt *x = container_of(f, struct probe_attempt, fd);
    int error = 0;
    socklen_t n = sizeof(error);
    getsockopt(x->sock, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error)
        fail_connect(x, error);
    else
        finish(x, true, STR_NULL);
}

static void fail_now(struct loop_timer *t)
{
    struct probe_attempt *x = container_of(t, struct probe_attempt, timer);
    if (x->error)
        fail_connect(x, x->error);
    else
        fail(x, "lookup failed: not an IP address");
}

struct probe_attempt *probe_net_tcp(struct probe_net *n, struct str host, int64_t port,
                                    uint64_t timeout_ns, probe_net_fn *fn, void *ctx)
{
    struct probe_attempt *x = attempt_new(n, timeout_ns, fn, ctx);
    x->what = arena_printf(&x->a, "dial tcp %.*s", STR_ARG(address(&x->a, host, port)));
    char *text = arena_cstr(&x->a, host);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_v4 = inet_pton(AF_INET, text, &v4.sin_addr) == 1;
    bool is_v6 = !is_v4 && inet_pton(AF_INET6, text, &v6.sin6_addr) == 1;
    int fd = is_v4 || is_v6
                 ? socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
                 : -1;
    if (fd < 0) { // never from within the caller: its attempt is not stored yet
        x->timer.fn = fail_now;
        loop_timer_in(n->loop, &x->timer, 0);
        return x;
    }
    int rc = is_v4 ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
                   : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
    if (rc < 0 && errno != EINPROGRESS) { // SO_ERROR does not know of a failure at once
        x->error = errno;
        close(fd);
        x->timer.fn = fail_now;
        loop_timer_in(n->loop, &x->timer, 0);
        return x;
    }
    x->sock = fd;
    x->fd.fn = on_connected;
    loop_fd_add(n->loop, &x->fd, fd, LOOP_WRITE);
    return x;
}

// ---- life --------------------------------------------------------------------------------------

void probe_net_cancel(struct probe_attempt *x)
{
    attempt_free(x);
}

struct probe_net *probe_net_new(struct loop *l, struct http_client *http)
{
    struct probe_net *n = mem_zalloc(sizeof(*n));
    n->loop = l;
    n->http = http;
    return n;
}

void probe_net_free(struct probe_net *n)
{
    free(n);
}
