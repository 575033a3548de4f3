// Two threads. The reader receives packets: an answer wakes the thread that waits for it, an event
// goes into a queue. The dispatcher runs the handlers, since those may make calls themselves and
// would otherwise wait for the reader that they are on. Both end with the link.
//
//        callers --packet--> supervisor --packet--> reader --answer--> callers
//                                                      \--event--> queue --> dispatcher --> handler
//
// `lock` guards everything; it is never held while waiting for the supervisor or running a handler.
#include "runtime/runtime_link.h"
#include "base/list.h"
#include "base/log.h"
#include "base/process.h"
#include "base/thread.h"
#include "base/time.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define START_NS (30 * NS_PER_S) // for a supervisor to be there

struct pending { // a call that waits; on its caller's stack
    struct list node;
    uint64_t call;
    bool done;
    int code;
    char *text; // heap
};

struct event {
    struct list node;
    enum { CONNECTED, LOST, PACKET } what;
    bool again;
    uint16_t type;
    char *strings[2];
};

struct link {
    char *exe, *state_dir, *cgroup_root;
    struct link_handler handler;
    pthread_mutex_t lock;
    pthread_cond_t changed; // anything below
    int fd;
    int supervisor_pid;
    bool stopping;
    uint64_t last_call;
    struct list calls, events;
    pthread_t reader, dispatcher;
};

// --- connecting -----------------------------------------------------------------------------

static int connect_once(struct link *l)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (snprintf(address.sun_path, sizeof address.sun_path, "%s/supervisor.sock", l->state_dir) >=
        (int)sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

// The program started goes into the background by itself, when its socket is there.
static int spawn(struct link *l, struct err *e)
{
    const char *const argv[] = {"coracle",       "supervisor",   "--state-dir", l->state_dir,
                                "--cgroup-root", l->cgroup_root, NULL};
    const struct process_options how = {
        .program = l->exe, .argv = argv, .streams = {0, PROCESS_INHERIT, PROCESS_INHERIT}};
    int pid, status;
    int r = process_start(env_system(), &how, &pid, e);
    if (r < 0)
        return err_wrap(e, e, "the supervisor");
    if (process_wait(env_system(), pid, START_NS, &status, e) < 0) {
        process_kill(env_system(), pid, SIGKILL);
        process_wait(env_system(), pid, 0, &status, NULL);
        return err_set(e, ERR_TIMEOUT, "the supervisor did not start within %llu s",
                       (unsigned long long)(START_NS / NS_PER_S));
    }
    if (process_exit_code(status) != 0)
        return err_set(e, ERR_UNAVAILABLE, "the supervisor did not start (see its message above)");
    return 0;
}

// A greeting, answered by the supervisor's pid: only then is it known to be there and of our
// version.
static int greet(struct link *l, int fd, struct err *e)
{
    char buffer[4096];
    struct supervisor_packet p;
    int r = supervisor_send(fd, 0, SUPERVISOR_HELLO, 1, 0, NULL, 0, NULL, 0);
    if (r == 0)
        r = supervisor_receive(fd, 0, buffer, sizeof buffer, &p);
    if (r <= 0)
        return err_set(e, ERR_UNAVAILABLE, "the supervisor does not answer: %s",
                       r ? strerror(-r) : "it closed the connection");
    if (p.head.code)
        return err_set(e, ERR_UNAVAILABLE, "%.*s; restart the node's containers to change it",
                       STR_ARG(p.head.nstrings ? p.strings[0] : STR("refused")));
    uint64_t pid = 0;
    if (p.head.nstrings)
        str_to_u64(p.strings[0], &pid);
    l->supervisor_pid = (int)pid;
    return 0;
}

static int connect_or_spawn(struct link *l, int *ret_fd, struct err *e)
{
    // The one that is there may be on its way out, so once more after its end.
    for (int attempt = 0;; attempt++) {
        int fd = connect_once(l);
        if (fd < 0) {
            int r = spawn(l, e);
            if (r < 0)
                return r;
            fd = connect_once(l);
        }
        if (fd >= 0) {
            struct err why = ERR_INIT;
            int r = greet(l, fd, &why);
            if (r == 0) {
                *ret_fd = fd;
                return 0;
            }
            close(fd);
            if (attempt >= 2) {
                err_move(e, &why);
                return r;
            }
            err_done(&why);
        } else if (attempt >= 2) {
            return err_errno(e, errno, "cannot connect to the supervisor in %s", l->state_dir);
        }
    }
}

// --- events ---------------------------------------------------------------------------------

// Lock held.
static struct event *event_add(struct link *l, int what)
{
    struct event *v = mem_zalloc(sizeof *v);
    v->what = what;
    list_push(&l->events, &v->node);
    pthread_cond_broadcast(&l->changed);
    return v;
}

static void event_free(struct event *v)
{
    free(v->strings[0]);
    free(v->strings[1]);
    free(v);
}

static void event_run(struct link *l, struct event *v)
{
    const struct link_handler *h = &l->handler;
    uint64_t session;
    int64_t code;

    if (v->what == CONNECTED)
        h->connected(h->ctx, v->again);
    else if (v->what == LOST)
        h->lost(h->ctx);
    else if (v->type == SUPERVISOR_EXITED && v->strings[0])
        h->exited(h->ctx, str_of(v->strings[0]));
    else if (v->type == SUPERVISOR_SESSION_END && v->strings[1] &&
             str_to_u64(str_of(v->strings[0]), &session) &&
             str_to_i64(str_of(v->strings[1]), &code))
        h->session_end(h->ctx, session, (int)code);
    event_free(v);
}

static void *dispatch(void *arg)
{
    struct link *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        struct list *node = list_pop(&l->events);
        if (node) {
            pthread_mutex_unlock(&l->lock);
            event_run(l, container_of(node, struct event, node));
            pthread_mutex_lock(&l->lock);
        } else if (l->stopping) {
            break;
        } else {
            pthread_cond_wait(&l->changed, &l->lock);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

// --- reading --------------------------------------------------------------------------------

static void take_packet(struct link *l, const struct supervisor_packet *p)
{
    pthread_mutex_lock(&l->lock);
    if (!p->head.call) {
        struct event *v = event_add(l, PACKET);
        v->type = p->head.type;
        for (uint32_t i = 0; i < 2 && i < p->head.nstrings; i++)
            v->strings[i] = mem_cstr(p->strings[i]);
    }
    list_each_safe (&l->calls, it) {
        struct pending *c = container_of(it, struct pending, node);
        if (c->call != p->head.call)
            continue;
        list_remove(&c->node);
        c->done = true;
        c->code = p->head.code;
        c->text = p->head.nstrings ? mem_cstr(p->strings[0]) : NULL;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
}

// Lock held.
static void disconnected(struct link *l)
{
    close(l->fd);
    l->fd = -1;
    l->supervisor_pid = 0;
    list_each_safe (&l->calls, it) {
        struct pending *c = container_of(it, struct pending, node);
        list_remove(&c->node);
        c->done = true;
        c->code = -503;
        c->text = mem_cstr(STR("the container supervisor went away"));
    }
    event_add(l, LOST);
}

static void wait_until(struct link *l, uint64_t ns_from_now)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t at = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec + ns_from_now;
    t.tv_sec = (time_t)(at / NS_PER_S);
    t.tv_nsec = (long)(at % NS_PER_S);
    pthread_cond_timedwait(&l->changed, &l->lock, &t);
}

static void *read_packets(void *arg)
{
    struct link *l = arg;
    char *buffer = mem_alloc(SUPERVISOR_PACKET_MAX);
    uint64_t backoff = NS_PER_S;

    pthread_mutex_lock(&l->lock);
    while (!l->stopping) {
        if (l->fd < 0) {
            struct err e = ERR_INIT;
            int fd = -1;
            pthread_mutex_unlock(&l->lock);
            int r = connect_or_spawn(l, &fd, &e);
            pthread_mutex_lock(&l->lock);
            if (r == 0) {
                l->fd = fd;
                backoff = NS_PER_S;
                event_add(l, CONNECTED)->again = true;
            } else {
                log_error("runtime", "no supervisor: %s; next attempt in %llus", e.message,
                          (unsigned long long)(backoff / NS_PER_S));
                err_done(&e);
                if (!l->stopping)
                    wait_until(l, backoff);
                backoff = backoff < 30 * NS_PER_S ? backoff * 2 : backoff;
            }
            continue;
        }
        int fd = l->fd;
        pthread_mutex_unlock(&l->lock);
        struct supervisor_packet p;
        int r = supervisor_receive(fd, 0, buffer, SUPERVISOR_PACKET_MAX, &p);
        if (r > 0) {
            for (size_t i = 0; i < p.nfds; i++)
                close(p.fds[i]);
            take_packet(l, &p);
        }
        pthread_mutex_lock(&l->lock);
        if (r <= 0)
            disconnected(l);
    }
    pthread_mutex_unlock(&l->lock);
    free(buffer);
    return NULL;
}

// --- public ---------------------------------------------------------------------------------

int link_new(const struct link_options *opt, const struct link_handler *h, struct link **ret,
             struct err *e)
{
    struct link *l = mem_zalloc(sizeof *l);
    pthread_condattr_t monotonic;
    l->exe = mem_cstr(str_of(opt->exe ? opt->exe : "/proc/self/exe"));
    l->state_dir = mem_cstr(str_of(opt->state_dir));
    l->cgroup_root = mem_cstr(str_of(opt->cgroup_root));
    l->handler = *h;
    l->last_call = 1;
    l->fd = -1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_init(&l->calls);
    list_init(&l->events);
    int r = connect_or_spawn(l, &l->fd, e);
    if (r < 0) {
        free(l->exe);
        free(l->state_dir);
        free(l->cgroup_root);
        free(l);
        return r;
    }
    h->connected(h->ctx, false);
    l->reader = thread_start("runtime-read", read_packets, l);
    l->dispatcher = thread_start("runtime-event", dispatch, l);
    *ret = l;
    return 0;
}

void link_free(struct link *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    if (l->fd >= 0)
        shutdown(l->fd, SHUT_RDWR);
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->reader, NULL);
    pthread_mutex_lock(&l->lock);
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->dispatcher, NULL);
    for (struct list *node; (node = list_pop(&l->events));) // what came after it had ended
        event_free(container_of(node, struct event, node));
    if (l->fd >= 0)
        close(l->fd);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    free(l->exe);
    free(l->state_dir);
    free(l->cgroup_root);
    free(l);
}

int link_supervisor_pid(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    int pid = l->fd < 0 ? 0 : l->supervisor_pid;
    pthread_mutex_unlock(&l->lock);
    return pid;
}

int link_call(struct link *l, enum supervisor_type type, const struct str *strings, size_t n,
              const int *fds, size_t nfds, struct err *e)
{
    struct pending c = {0};
    int r = 0;

    pthread_mutex_lock(&l->lock);
    if (l->fd < 0 && !l->stopping) // it is being started again, which takes milliseconds
        for (int i = 0; i < 5 && l->fd < 0 && !l->stopping; i++)
            wait_until(l, NS_PER_S);
    if (l->fd < 0) {
        pthread_mutex_unlock(&l->lock);
        return err_set(e, ERR_UNAVAILABLE, "the container supervisor is not running");
    }
    c.call = ++l->last_call;
    list_push(&l->calls, &c.node);
    int fd = l->fd;
    // Sent under the lock: the fd cannot be closed meanwhile. The supervisor always reads.
    r = supervisor_send(fd, 0, (uint16_t)type, c.call, 0, strings, n, fds, nfds);
    if (r < 0 && !c.done)
        list_remove(&c.node);
    while (r == 0 && !c.done)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
    if (r < 0)
        return err_errno(e, -r, "cannot reach the container supervisor");
    if (c.code)
        r = err_set(e, err_reason_from_http(-c.code), "%s", c.text ? c.text : "failed");
    free(c.text);
    return r;
}

void link_tell(struct link *l, enum supervisor_type type, const struct str *strings, size_t n)
{
    pthread_mutex_lock(&l->lock);
    if (l->fd >= 0 && supervisor_send(l->fd, 0, (uint16_t)type, 0, 0, strings, n, NULL, 0) < 0)
        shutdown(l->fd, SHUT_RDWR);
    pthread_mutex_unlock(&l->lock);
}
