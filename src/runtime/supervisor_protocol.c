// The two ends' common ground: packets on the socket and the small files of the state directory.
//
// A packet is checked completely before anything of it is used, although the socket can be reached
// by root only: a truncated read must fail as a protocol error and not as a wild pointer.
// SOCK_SEQPACKET keeps the borders of messages, so there is no reassembly and no half-read state;
// the length in the head guards against truncation.
#include "base/arena.h"
#include "base/env.h"
#include "runtime/supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <unistd.h>

int supervisor_send(int socket, int flags, uint16_t type, uint64_t call, int32_t code,
                    const struct str *strings, size_t n, const int *fds, size_t nfds)
{
    char packet[SUPERVISOR_PACKET_MAX];
    size_t at = sizeof(struct supervisor_head);

    BUG_ON(n > SUPERVISOR_STRINGS_MAX || nfds > SUPERVISOR_FDS_MAX);
    for (size_t i = 0; i < n; i++) {
        uint32_t length = (uint32_t)strings[i].n;
        if (strings[i].n > sizeof packet || at + sizeof length + length > sizeof packet)
            return -EMSGSIZE;
        memcpy(packet + at, &length, sizeof length);
        if (length)
            memcpy(packet + at + sizeof length, strings[i].p, length);
        at += sizeof length + length;
    }
    struct supervisor_head head = {
        .length = (uint32_t)at,
        .version = SUPERVISOR_VERSION,
        .type = type,
        .call = call,
        .code = code,
        .nstrings = (uint32_t)n,
    };
    memcpy(packet, &head, sizeof head);

    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * SUPERVISOR_FDS_MAX)];
    } control = {0};
    struct iovec io = {packet, at};
    struct msghdr msg = {.msg_iov = &io, .msg_iovlen = 1};
    if (nfds) {
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &msg, flags | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

bool supervisor_decode(const char *buffer, size_t n, struct supervisor_packet *ret)
{
    if (n < sizeof ret->head)
        return false;
    memcpy(&ret->head, buffer, sizeof ret->head);
    if (ret->head.length != n || ret->head.nstrings > SUPERVISOR_STRINGS_MAX)
        return false;
    size_t at = sizeof ret->head;
    for (uint32_t i = 0; i < ret->head.nstrings; i++) {
        uint32_t length;
        if (n - at < sizeof length)
            return false;
        memcpy(&length, buffer + at, sizeof length);
        at += sizeof length;
        if (length > n - at)
            return false;
        ret->strings[i] = str_n(buffer + at, length);
        at += length;
    }
    return at == n;
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

int supervisor_receive(int socket, int flags, char *buffer, size_t size,
                       struct supervisor_packet *ret)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * 16)];
    } control;
    struct iovec io = {buffer, size};
    struct msghdr msg = {
        .msg_iov = &io,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof control.space,
    };
    ssize_t n;

    do
        n = recvmsg(socket, &msg, flags | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ECONNRESET ? 0 : -errno;

    int fds[16];
    size_t nfds = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (count > 16 - nfds)
            count = 16 - nfds;
        memcpy(fds + nfds, CMSG_DATA(c), count * sizeof(int));
        nfds += count;
    }
    if (n == 0) {
        close_all(fds, nfds);
        return 0;
    }
    if (nfds > SUPERVISOR_FDS_MAX || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
        !supervisor_decode(buffer, (size_t)n, ret)) {
        close_all(fds, nfds);
        return -EPROTO;
    }
    memcpy(ret->fds, fds, nfds * sizeof(int));
    ret->nfds = nfds;
    return 1;
}

// A small file whole, with a NUL; NULL with errno set. Without struct env and arenas, since the
// supervisor has neither.
static char *slurp(const char *path, size_t max)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *text = mem_alloc(max + 1);
    size_t n = 0;
    while (n < max) {
        ssize_t got = read(fd, text + n, max - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    text[n] = 0;
    return text;
}

int supervisor_launch_read(const char *state_dir, const char *id, struct supervisor_launch *ret,
                           struct err *e)
{
    char path[512];
    if (snprintf(path, sizeof path, "%s/containers/%s/launch", state_dir, id) >= (int)sizeof path)
        return err_set(e, ERR_BAD_REQUEST, "container id %s is too long", id);
    char *text = slurp(path, 64 * 1024);
    if (!text)
        return err_errno(e, errno, "container %s", id);
    struct supervisor_launch l = {
        .text = text, .program = "", .log = "", .cgroup = "", .layers = "", .overlay = ""};
    for (char *line = text, *end; line && *line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = 0;
        char *value = strchr(line, ' ');
        if (!value)
            continue;
        *value++ = 0;
        const struct {
            const char *key;
            const char **text;
            bool *flag;
        } keys[] = {
            {"program", &l.program, NULL},   {"log", &l.log, NULL},
            {"cgroup", &l.cgroup, NULL},     {"layers", &l.layers, NULL},
            {"overlay", &l.overlay, NULL},   {"tty", NULL, &l.tty},
            {"stdin", NULL, &l.stdin_open},  {"stdin-once", NULL, &l.stdin_once},
            {"own-pids", NULL, &l.own_pids},
        };
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            if (strcmp(keys[i].key, line))
                continue;
            if (keys[i].text)
                *keys[i].text = value;
            else
                *keys[i].flag = value[0] == '1';
        }
    }
    if (!*l.program) {
        free(text);
        return err_set(e, ERR_INTERNAL, "container %s: %s names no runtime program", id, path);
    }
    *ret = l;
    return 0;
}

void supervisor_launch_done(struct supervisor_launch *l)
{
    free(l->text);
    *l = (struct supervisor_launch){0};
}

int supervisor_exit_read(const char *path, struct supervisor_exit *ret, struct err *e)
{
    char *text = slurp(path, 16 * 1024);
    if (!text)
        return err_errno(e, errno, "%s", path);
    struct supervisor_exit x = {0};
    int oom = 0;
    if (sscanf(text, "%d %d %d %" SCNd64 " %" SCNd64 " %31s", &x.code, &x.signal, &oom,
               &x.started_ns, &x.finished_ns, x.reason) != 6) {
        free(text);
        return err_set(e, ERR_INTERNAL, "%s is not a record of an exit", path);
    }
    x.oom = oom;
    char *message = strchr(text, '\n');
    x.message = mem_cstr(str_trim(str_of(message ? message + 1 : "")));
    free(text);
    *ret = x;
    return 0;
}

uint64_t supervisor_process_start(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    char *text = slurp(path, 1024);
    if (!text)
        return 0;
    // The name in brackets may hold anything; what counts stands behind the last bracket.
    char *at = strrchr(text, ')');
    uint64_t start = 0;
    char state = 0;
    if (at)
        sscanf(
            at + 1,
            " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
            &state, &start);
    free(text);
    return state == 'Z' || state == 'X' ? 0 : start;
}

bool supervisor_pid_read(const char *path, struct supervisor_pid *ret)
{
    char *text = slurp(path, 256);
    if (!text)
        return false;
    struct supervisor_pid p = {0};
    bool ok = sscanf(text, "%d %" SCNu64 " %" SCNd64, &p.pid, &p.start_time, &p.started_ns) == 3;
    free(text);
    if (!ok || p.pid <= 0)
        return false;
    *ret = p;
    return supervisor_process_start(p.pid) == p.start_time && p.start_time != 0;
}

bool supervisor_cgroup_hybrid(char *ret_unified, size_t size)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (!f)
        return false;
    char *line = NULL;
    size_t cap = 0;
    bool v1 = false, unified = false;
    while (getline(&line, &cap, f) > 0) {
        char where[256];
        const char *tail = strstr(line, " - ");
        if (!tail || sscanf(line, "%*d %*d %*s %*s %255s", where) != 1)
            continue;
        if (!strncmp(tail, " - cgroup ", 10))
            v1 = true;
        if (!strncmp(tail, " - cgroup2 ", 11) && strncmp(where, "/sys/fs/cgroup/", 15) == 0 &&
            strlen(where) < size) {
            unified = true;
            memcpy(ret_unified, where, strlen(where) + 1);
        }
    }
    free(line);
    fclose(f);
    return v1 && unified;
}
