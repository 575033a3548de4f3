// The event loop: one thread, epoll, timers, tasks posted from other threads. Everything that waits
// for sockets, processes or time in coracle hangs on one of these; nothing polls. In simulation
// (env->virtual_time) the same loop never sleeps: when nothing is runnable it moves the virtual
// clock to the next timer.
//
// Except loop_post and loop_stop, all functions belong to the loop's own thread (asserted).
#pragma once
#include "base/env.h"
#include "base/list.h"

struct loop;

struct loop *loop_new(struct env *env);
void loop_free(struct loop *l); // not running; pending tasks are run once more first
struct env *loop_env(struct loop *l);
// Runs until loop_stop. loop_run_until_idle: returns when no task is runnable and no timer is due
// (simulation and tests); max_virtual_ns bounds how far virtual time may move (0: not at all): to
// each timer within the bound, and to the bound itself where a timer stands behind it.
// Before a loop runs, whichever thread prepares it counts as its own.
void loop_run(struct loop *l);
void loop_run_until_idle(struct loop *l, uint64_t max_virtual_ns);
void loop_stop(struct loop *l);      // any thread, or a signal handler
bool loop_in_thread(struct loop *l); // true only while it runs, in the thread that runs it

// Runs fn(arg) on the loop's thread, in posting order. Any thread. The task's storage is the
// caller's and must live until fn runs; it may be posted again from then on. Posting a task that is
// already queued does nothing (so one embedded task is a wake-up flag).
struct loop_task {
    void (*fn)(struct loop_task *t);
    struct loop_task *next; // private
    _Atomic(bool) queued;   // private
};
void loop_post(struct loop *l, struct loop_task *t);
// Convenience for rare events: allocates the task.
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);

// One-shot timers, on monotonic time of the env; heap-ordered, O(log n).
struct loop_timer {
    void (*fn)(struct loop_timer *t);
    uint64_t due;   // private
    uint32_t index; // private; 0: not armed
};
void loop_timer_at(struct loop *l, struct loop_timer *t, uint64_t mono_ns); // (re)arms
void loop_timer_in(struct loop *l, struct loop_timer *t, uint64_t ns);
void loop_timer_cancel(struct loop *l, struct loop_timer *t);
static inline bool loop_timer_armed(const struct loop_timer *t)
{
    return t->index != 0;
}
uint64_t loop_now(struct loop *l); // monotonic, as of this turn of the loop

// Work put off to the end of this turn: fn runs once, after the callback that asked for it has
// returned and before the loop sleeps. Asking twice is asking once; cancel is safe at any time.
// This is how a connection writes everything that a turn has queued with one system call.
struct loop_deferred {
    void (*fn)(struct loop_deferred *d);
    struct list link; // private; zeroed storage is a deferral not asked for
};
void loop_defer(struct loop *l, struct loop_deferred *d);
void loop_defer_cancel(struct loop_deferred *d);

// Scratch memory for one callback: what is in it is gone when the callback returns. For reading
// sockets, so that idle connections need no buffer.
enum { LOOP_SCRATCH = 64 << 10 };
char *loop_scratch(struct loop *l);

// File descriptors. fn gets the ready set of LOOP_*; level-triggered. An error or a hang-up is
// LOOP_HUP together with whatever of READ and WRITE is watched, so that who only reads meets it in
// read(). With no events a descriptor is not watched at all, not even for hang-up.
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HUP = 4 };
struct loop_fd {
    void (*fn)(struct loop_fd *f, unsigned ready);
    int fd;
    unsigned events; // private: what is watched
};
int loop_fd_add(struct loop *l, struct loop_fd *f, int fd, unsigned events); // 0 or -errno
int loop_fd_set(struct loop *l, struct loop_fd *f, unsigned events);
void loop_fd_remove(struct loop *l, struct loop_fd *f); // does not close

// A child process ends: fn(child, wait status), once. Uses a pidfd; reaps it.
struct loop_child {
    void (*fn)(struct loop_child *c, int status);
    struct loop_fd fd;
    int pid;
    struct loop *loop;
};
int loop_child_watch(struct loop *l, struct loop_child *c, int pid);
void loop_child_cancel(struct loop *l, struct loop_child *c);

// SIGTERM, SIGINT (and so on) as a callback; signals must be blocked in all threads first.
struct loop_signal {
    void (*fn)(struct loop_signal *s, int signo);
    struct loop_fd fd;
};
int loop_signal_watch(struct loop *l, struct loop_signal *s, const int *signos, size_t n);
