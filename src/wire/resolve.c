// getaddrinfo in helper threads: it is the only resolver that honours the machine's NSS
// configuration, and it blocks. Up to THREADS of them exist while there is something to look up;
// none otherwise.
//
// `lock` guards the queue, the number of threads and the cancelled flag of each lookup. A worker
// posts its result under the lock, so a cancel comes either before (the worker frees) or after (the
// posted task sees the flag and frees): the loop is never touched by a worker after a cancel.
#include "wire/resolve.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/thread.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

enum { THREADS = 4, ADDRESSES = 8 };

struct resolve {
    struct loop *loop;
    struct loop_task task;
    void (*fn)(void *ctx, const struct sockaddr_storage *addresses, size_t n, const char *why);
    void *ctx;
    struct resolve *next;
    bool cancelled;
    const char *why;
    size_t n;
    struct sockaddr_storage addresses[ADDRESSES];
    uint16_t port;
    char host[256];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct resolve *queue, **queue_end = &queue;
static int threads;

static void deliver(struct loop_task *t)
{
    struct resolve *r = container_of(t, struct resolve, task);
    pthread_mutex_lock(&lock);
    bool cancelled = r->cancelled;
    pthread_mutex_unlock(&lock);
    if (!cancelled)
        r->fn(r->ctx, r->addresses, r->n, r->why);
    free(r);
}

static void add(struct resolve *r, const struct sockaddr *sa, size_t size)
{
    if (r->n == ADDRESSES || size > sizeof r->addresses[0])
        return;
    struct sockaddr_storage *ss = &r->addresses[r->n++];
    memcpy(ss, sa, size);
    if (ss->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)ss)->sin6_port = htons(r->port);
    else
        ((struct sockaddr_in *)ss)->sin_port = htons(r->port);
}

static void look_up(struct resolve *r)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int code = getaddrinfo(r->host, NULL, &hints, &list);
    if (code) {
        r->why = code == EAI_NONAME || code == EAI_NODATA ? "no such host" : gai_strerror(code);
        return;
    }
    for (struct addrinfo *ai = list; ai; ai = ai->ai_next)
        if (ai->ai_family == AF_INET || ai->ai_family == AF_INET6)
            add(r, ai->ai_addr, ai->ai_addrlen);
    freeaddrinfo(list);
    if (!r->n)
        r->why = "no such host";
}

static void *work(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    for (struct resolve *r; (r = queue);) {
        queue = r->next;
        if (!queue)
            queue_end = &queue;
        pthread_mutex_unlock(&lock);
        look_up(r);
        pthread_mutex_lock(&lock);
        if (r->cancelled)
            free(r);
        else
            loop_post(r->loop, &r->task);
    }
    threads--;
    pthread_mutex_unlock(&lock);
    return NULL;
}

// Numeric, or a name that must not depend on the machine's files.
static bool known(struct resolve *r)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, r->host, &v4.sin_addr) == 1) {
        add(r, (struct sockaddr *)&v4, sizeof v4);
    } else if (inet_pton(AF_INET6, r->host, &v6.sin6_addr) == 1) {
        add(r, (struct sockaddr *)&v6, sizeof v6);
    } else if (str_ieq(str_of(r->host), STR("localhost"))) {
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        v6.sin6_addr = in6addr_loopback;
        add(r, (struct sockaddr *)&v4, sizeof v4);
        add(r, (struct sockaddr *)&v6, sizeof v6);
    }
    return r->n > 0;
}

struct resolve *resolve_start(struct loop *l, struct str host, uint16_t port,
                              void (*fn)(void *ctx, const struct sockaddr_storage *addresses,
                                         size_t n, const char *why),
                              void *ctx)
{
    struct resolve *r = mem_zalloc(sizeof *r);
    r->loop = l;
    r->task.fn = deliver;
    r->fn = fn;
    r->ctx = ctx;
    r->port = port;
    bool fits = host.n && host.n < sizeof r->host && !memchr(host.p, 0, host.n);
    if (fits)
        memcpy(r->host, host.p, host.n);
    else
        r->why = "no such host";
    if (!fits || known(r)) {
        loop_post(l, &r->task);
        return r;
    }
    pthread_mutex_lock(&lock);
    *queue_end = r;
    queue_end = &r->next;
    bool more = threads < THREADS;
    threads += more;
    pthread_mutex_unlock(&lock);
    if (more)
        pthread_detach(thread_start("resolve", work, NULL));
    return r;
}

void resolve_cancel(struct resolve *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&lock);
    r->cancelled = true;
    pthread_mutex_unlock(&lock);
}

void resolve_text(const struct sockaddr_storage *ss, char *out, size_t n)
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)ss;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
        snprintf(out, n, "%s:%u", ip, ntohs(in->sin_port));
    } else if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)ss;
        inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof ip);
        snprintf(out, n, "[%s]:%u", ip, ntohs(in->sin6_port));
    } else {
        snprintf(out, n, "%s", ((const struct sockaddr_un *)ss)->sun_path);
    }
}
