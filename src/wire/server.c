// The HTTP server: listening, spreading connections over loops, stopping.
//
// One socket listens, on loops[0], and each accepted connection is handed to the loop that has the
// fewest. SO_REUSEPORT with a socket per loop was rejected: the kernel spreads by hash, so that a
// handful of long-lived busy connections (which is what API clients are) easily share one loop
// while another is idle; and a second server started by mistake would bind the same port in
// silence, where a person wants to read that it is in use. Handing over costs one post per
// connection.
//
// Out of descriptors: the backlog is then left alone, and looked at again when a connection of ours
// ends or after a second. Trying at once would spin, since the listener stays readable.
#include "base/time.h"
#include "wire/server_private.h"
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { ACCEPTS = 64, BACKLOG = 4096, DEFAULT_HEADER = 64 << 10, DEFAULT_IDLE = 180 };
enum { DEFAULT_CONNECTIONS = 10000 };

// --- accepting

struct accepted {
    struct server_loop *sl;
    int fd;
    char remote[62];
};

static void adopt(void *arg)
{
    struct accepted *a = arg;
    conn_new(a->sl, a->fd, a->remote);
    free(a);
}

static void remote_text(const struct sockaddr_storage *ss, char out[62])
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)ss;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
        snprintf(out, 62, "%s:%u", ip, ntohs(in->sin_port));
    } else if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)ss;
        if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) {
            inet_ntop(AF_INET, &in->sin6_addr.s6_addr[12], ip, sizeof ip);
            snprintf(out, 62, "%s:%u", ip, ntohs(in->sin6_port));
        } else {
            inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof ip);
            snprintf(out, 62, "[%s]:%u", ip, ntohs(in->sin6_port));
        }
    } else {
        snprintf(out, 62, "@");
    }
}

static struct server_loop *least_busy(struct http_server *s)
{
    struct server_loop *best = NULL;
    unsigned fewest = UINT32_MAX;
    // Starting one further each time makes equals take turns.
    for (size_t i = 0; i < s->nloops; i++) {
        struct server_loop *sl = &s->loops[(s->next + i) % s->nloops];
        unsigned n = atomic_load_explicit(&sl->nconns, memory_order_relaxed);
        if (n < fewest) {
            fewest = n;
            best = sl;
        }
    }
    s->next++;
    return best;
}

static void accept_ready(struct loop_fd *f, unsigned ready)
{
    struct http_server *s = container_of(f, struct http_server, listener);
    (void)ready;
    for (int i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage ss = {0};
        socklen_t n = sizeof ss;
        int fd = accept4(f->fd, (struct sockaddr *)&ss, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                loop_fd_set(s->loops[0].loop, f, 0);
                loop_timer_in(s->loops[0].loop, &s->retry, NS_PER_S);
            } else if (errno == EINTR || errno == ECONNABORTED) {
                continue;
            }
            return;
        }
        if (atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed) >=
            s->max_connections) {
            atomic_fetch_sub_explicit(&s->connections, 1, memory_order_relaxed);
            close(fd);
            continue;
        }
        struct server_loop *sl = least_busy(s);
        atomic_fetch_add_explicit(&sl->nconns, 1, memory_order_relaxed);
        char remote[62];
        remote_text(&ss, remote);
        if (sl == &s->loops[0]) {
            conn_new(sl, fd, remote);
            continue;
        }
        struct accepted *a = mem_alloc(sizeof *a);
        a->sl = sl;
        a->fd = fd;
        memcpy(a->remote, remote, sizeof remote);
        loop_call(sl->loop, adopt, a);
    }
}

static void accept_again(struct loop_timer *t)
{
    struct http_server *s = container_of(t, struct http_server, retry);
    if (s->listener.fd >= 0)
        loop_fd_set(s->loops[0].loop, &s->listener, LOOP_READ);
}

static void accept_start(void *arg)
{
    struct http_server *s = arg;
    if (s->listener.fd >= 0 &&
        loop_fd_add(s->loops[0].loop, &s->listener, s->listener.fd, LOOP_READ) < 0)
        loop_timer_in(s->loops[0].loop, &s->retry, NS_PER_S);
}

// --- listening

// "host:port", "[v6]:port", ":port".
static int parse_address(struct str address, struct sockaddr_storage *ss, socklen_t *n,
                         uint64_t *port, struct err *e)
{
    char host[64];
    ptrdiff_t colon = str_rchr(address, ':');
    struct str name = colon < 0 ? STR_NULL : str_sub(address, 0, (size_t)colon);
    if (colon < 0 || !str_to_u64(str_from(address, (size_t)colon + 1), port) || *port > 65535)
        return err_set(e, ERR_INVALID, "address %.*s: want HOST:PORT", STR_ARG(address));
    if (str_starts(name, STR("[")) && str_ends(name, STR("]")))
        name = str_sub(name, 1, name.n - 2);
    snprintf(host, sizeof host, "%.*s", STR_ARG(name));
    struct sockaddr_in *v4 = (void *)ss;
    struct sockaddr_in6 *v6 = (void *)ss;
    memset(ss, 0, sizeof *ss);
    if (!name.n || inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6; // no host: all addresses of both families
        v6->sin6_port = htons((uint16_t)*port);
        *n = sizeof *v6;
    } else if (str_eq(name, STR("localhost")) || inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        if (str_eq(name, STR("localhost")))
            v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)*port);
        *n = sizeof *v4;
    } else {
        return err_set(e, ERR_INVALID, "address %.*s: %s is not an IP address", STR_ARG(address),
                       host);
    }
    return 0;
}

static int listen_unix(struct http_server *s, struct str path, struct err *e)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct stat st;
    if (!path.n || path.n >= sizeof sun.sun_path)
        return err_set(e, ERR_INVALID, "unix socket path is empty or too long: %.*s",
                       STR_ARG(path));
    memcpy(sun.sun_path, path.p, path.n);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket");
    // A socket file that nobody listens behind is a leftover.
    if (lstat(sun.sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        connect(fd, (struct sockaddr *)&sun, sizeof sun) < 0 && errno == ECONNREFUSED)
        unlink(sun.sun_path);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof sun) < 0 || listen(fd, BACKLOG) < 0) {
        int code = err_errno(e, errno, "listening on %s", sun.sun_path);
        if (fd >= 0)
            close(fd);
        return code;
    }
    s->listener.fd = fd;
    s->unix_path = mem_cstr(path);
    return 0;
}

static int listen_tcp(struct http_server *s, struct str address, struct err *e)
{
    struct sockaddr_storage ss;
    socklen_t n = 0;
    uint64_t port = 0;
    int on = 1, off = 0, code = parse_address(address, &ss, &n, &port, e);
    if (code < 0)
        return code;
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket for %.*s", STR_ARG(address));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ss.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, (struct sockaddr *)&ss, n) < 0 || listen(fd, BACKLOG) < 0) {
        int error = errno;
        close(fd);
        if (error == EADDRINUSE)
            return err_set(e, ERR_CONFLICT,
                           "port %llu is in use: another program listens on %.*s, choose another "
                           "with --port",
                           (unsigned long long)port, STR_ARG(address));
        if (error == EACCES)
            return err_set(e, ERR_FORBIDDEN,
                           "port %llu needs more privileges (listening on %.*s), choose one above "
                           "1023 with --port",
                           (unsigned long long)port, STR_ARG(address));
        return err_errno(e, error, "listening on %.*s", STR_ARG(address));
    }
    n = sizeof ss;
    getsockname(fd, (struct sockaddr *)&ss, &n);
    s->port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                             : ((struct sockaddr_in *)&ss)->sin_port);
    s->listener.fd = fd;
    return 0;
}

// --- stopping

static void server_free(struct http_server *s)
{
    for (size_t i = 0; i < s->nloops; i++)
        for (struct http_exchange *x; (x = s->loops[i].spare);) {
            s->loops[i].spare = x->data;
            arena_done(&x->arena);
            free(x);
        }
    tls_server_free(s->tls);
    free(s->unix_path);
    free(s->loops);
    free(s);
}

enum { TRIM_FROM = 8 << 20 };

// glibc keeps freed memory for a next time that may never come; after a flood that would be for
// ever. A second later, so that one walk through the heap serves all that go together.
static void trim(struct loop_timer *t)
{
    struct server_loop *sl = container_of(t, struct server_loop, trim);
    sl->holders.peak = sl->holders.held;
    malloc_trim(0);
}

void server_trim(struct server_loop *sl)
{
    if (sl->holders.peak - sl->holders.held >= TRIM_FROM && !loop_timer_armed(&sl->trim))
        loop_timer_in(sl->loop, &sl->trim, NS_PER_S);
}

static void all_stopped(void *arg)
{
    struct http_server *s = arg;
    void (*done)(void *arg) = s->done;
    void *done_arg = s->done_arg;
    server_free(s);
    if (done)
        done(done_arg);
}

static void loop_stopped(struct server_loop *sl)
{
    struct http_server *s = sl->server;
    loop_timer_cancel(sl->loop, &sl->grace);
    loop_timer_cancel(sl->loop, &sl->trim);
    holders_done(&sl->holders);
    if (atomic_fetch_sub_explicit(&s->loops_left, 1, memory_order_acq_rel) == 1)
        loop_call(s->loops[0].loop, all_stopped, s);
}

void server_conn_gone(struct server_loop *sl)
{
    struct http_server *s = sl->server;
    if (sl->stopping) {
        if (list_empty(&sl->conns) && !atomic_load_explicit(&sl->nconns, memory_order_acquire))
            loop_stopped(sl);
    } else if (sl == &s->loops[0] && loop_timer_armed(&s->retry)) {
        loop_timer_cancel(sl->loop, &s->retry);
        accept_again(&s->retry);
    }
}

static void grace_over(struct loop_timer *t)
{
    struct server_loop *sl = container_of(t, struct server_loop, grace);
    list_each (&sl->conns, n) {
        struct http_conn *c = container_of(n, struct http_conn, link);
        c->s.error = c->s.error ? c->s.error : -ECONNABORTED;
        conn_kick(c);
    }
}

static void stop_loop(void *arg)
{
    struct server_loop *sl = arg;
    sl->stopping = true;
    if (!atomic_load_explicit(&sl->nconns, memory_order_acquire)) {
        loop_stopped(sl);
        return;
    }
    list_each (&sl->conns, n)
        conn_stop(container_of(n, struct http_conn, link));
    loop_timer_in(sl->loop, &sl->grace, sl->server->grace_ns);
}

static void stop(struct loop_task *t)
{
    struct http_server *s = container_of(t, struct http_server, stop_task);
    loop_timer_cancel(s->loops[0].loop, &s->retry);
    loop_fd_remove(s->loops[0].loop, &s->listener);
    close(s->listener.fd);
    s->listener.fd = -1;
    if (s->unix_path)
        unlink(s->unix_path);
    atomic_store(&s->loops_left, (unsigned)s->nloops);
    for (size_t i = 0; i < s->nloops; i++)
        loop_call(s->loops[i].loop, stop_loop, &s->loops[i]);
}

void http_server_stop(struct http_server *s, uint64_t grace_ns, void (*done)(void *), void *arg)
{
    BUG_ON(s->stopped);
    s->stopped = true;
    s->grace_ns = grace_ns;
    s->done = done;
    s->done_arg = arg;
    s->stop_task.fn = stop;
    loop_post(s->loops[0].loop, &s->stop_task);
}

unsigned http_server_port(struct http_server *s)
{
    return s->port;
}

int http_server_new(struct loop **loops, size_t nloops, struct str address,
                    const struct http_handler *handler, const struct http_server_options *opt,
                    struct http_server **ret, struct err *e)
{
    BUG_ON(!nloops);
    struct http_server *s = mem_zalloc(sizeof *s);
    s->listener.fd = -1;
    s->listener.fn = accept_ready;
    int code = str_starts(address, STR("unix:")) ? listen_unix(s, str_from(address, 5), e)
                                                 : listen_tcp(s, address, e);
    if (code < 0) {
        free(s);
        return code;
    }
    s->handler = *handler;
    s->tls = tls_server_ref(opt->tls);
    s->plain_too = opt->tls && opt->plain_too;
    s->max_header_bytes = opt->max_header_bytes ? opt->max_header_bytes : DEFAULT_HEADER;
    s->idle_ns = (opt->idle_seconds ? opt->idle_seconds : DEFAULT_IDLE) * (uint64_t)NS_PER_S;
    s->max_connections = opt->max_connections ? opt->max_connections : DEFAULT_CONNECTIONS;
    s->retry.fn = accept_again;
    s->nloops = nloops;
    s->loops = mem_zalloc(sizeof *s->loops * nloops);
    for (size_t i = 0; i < nloops; i++) {
        struct server_loop *sl = &s->loops[i];
        sl->server = s;
        sl->loop = loops[i];
        sl->date_second = INT64_MIN;
        sl->grace.fn = grace_over;
        sl->trim.fn = trim;
        holders_init(&sl->holders, (unsigned)nloops, s->max_connections / 2);
        list_init(&sl->conns);
    }
    // Posted, so that a server can be made before its loops run and from any thread.
    loop_call(loops[0], accept_start, s);
    *ret = s;
    return 0;
}
