// Children and signals on the loop: a child's end is a readable pidfd, a signal a readable
// signalfd, so neither needs a handler, a SIGCHLD race or a tick.
//
// A pidfd is exact where SIGCHLD is not: it belongs to one child, and reaping happens here, once,
// so a pid cannot be taken over by another process before its owner has seen the end.
#include "base/err.h"
#include "wire/loop.h"
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void child_ready(struct loop_fd *f, unsigned ready)
{
    struct loop_child *c = container_of(f, struct loop_child, fd);
    int status = 0;
    pid_t pid;
    (void)ready;
    do {
        pid = waitpid(c->pid, &status, WNOHANG);
    } while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return;
    loop_child_cancel(c->loop, c);
    // Somebody else has reaped it (a mistake of the caller's): its status is lost, its end is not.
    c->fn(c, pid < 0 ? 0 : status);
}

int loop_child_watch(struct loop *l, struct loop_child *c, int pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return -errno;
    c->pid = pid;
    c->loop = l;
    c->fd.fn = child_ready;
    int code = loop_fd_add(l, &c->fd, fd, LOOP_READ);
    if (code < 0) {
        close(fd);
        c->loop = NULL;
    }
    return code;
}

void loop_child_cancel(struct loop *l, struct loop_child *c)
{
    if (!c->loop)
        return;
    loop_fd_remove(l, &c->fd);
    close(c->fd.fd);
    c->loop = NULL;
}

static void signal_ready(struct loop_fd *f, unsigned ready)
{
    struct loop_signal *s = container_of(f, struct loop_signal, fd);
    struct signalfd_siginfo info;
    (void)ready;
    while (read(f->fd, &info, sizeof info) == sizeof info)
        s->fn(s, (int)info.ssi_signo);
}

int loop_signal_watch(struct loop *l, struct loop_signal *s, const int *signos, size_t n)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < n; i++)
        sigaddset(&set, signos[i]);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    s->fd.fn = signal_ready;
    int code = loop_fd_add(l, &s->fd, fd, LOOP_READ);
    if (code < 0)
        close(fd);
    return code;
}
