// The event loop. One turn is: posted tasks, due timers, deferred work, then epoll until the next
// timer is due, then the ready descriptors.
//
// Why an own one: everything that the program waits for is a descriptor (sockets, eventfd,
// signalfd, pidfd, inotify, netlink), so a wrapper library would only add memory and a second
// vocabulary; and virtual time needs the clock and the sleep to be in one hand.
//
// Sleeping. There is no tick. The loop sleeps exactly until the earliest timer, or for ever;
// another thread wakes it through the eventfd. `asleep` keeps that cheap: the loop sets it before
// it looks at the posted list for the last time, a poster adds its task before it looks at
// `asleep`; both are sequentially consistent, so at least one of them sees the other, and a loop
// that is awake costs the poster no system call.
//
// Invariants
// 1. `posted` is a stack that other threads push to and the loop takes whole; reversing what was
//    taken restores posting order. A task is in it at most once (`queued`).
// 2. timers[1..ntimers] is a binary heap by due time, each timer knows its index; 0 is "not armed".
//    Timers due at the same time fire in the order of the heap, which is deterministic for a
//    deterministic program.
// 3. A descriptor removed while a batch of events is being handled is struck from the rest of the
//    batch, so fn is never called for a struct loop_fd that its owner has freed.
// 4. Callbacks never run inside a call into the loop, except from loop_run and loop_run_until_idle.
#include "wire/loop.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/time.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 128 };

struct loop {
    struct env *env;
    int epoll, wake;
    _Atomic(struct loop_task *) posted;
    _Atomic(bool) asleep, stopping, running;
    pthread_t owner; // while running
    uint64_t now;
    struct loop_timer **timers;
    uint32_t ntimers, captimers;
    struct list deferred;
    struct epoll_event events[BATCH];
    int nevents, at;
    char *scratch;
};

static void assert_own(struct loop *l)
{
    BUG_ON(atomic_load_explicit(&l->running, memory_order_acquire) &&
           !pthread_equal(l->owner, pthread_self()));
}

// --- tasks

static void wake(struct loop *l)
{
    uint64_t one = 1;
    // The counter cannot overflow, and an interrupted write to an eventfd does not happen.
    if (write(l->wake, &one, sizeof one) < 0)
        BUG_ON(errno != EAGAIN);
}

void loop_post(struct loop *l, struct loop_task *t)
{
    if (atomic_exchange_explicit(&t->queued, true, memory_order_acq_rel))
        return;
    struct loop_task *head = atomic_load_explicit(&l->posted, memory_order_relaxed);
    do {
        t->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&l->posted, &head, t, memory_order_seq_cst,
                                                    memory_order_relaxed));
    if (atomic_load_explicit(&l->asleep, memory_order_seq_cst) &&
        atomic_exchange_explicit(&l->asleep, false, memory_order_seq_cst))
        wake(l);
}

static bool run_tasks(struct loop *l)
{
    struct loop_task *t = atomic_exchange_explicit(&l->posted, NULL, memory_order_acquire);
    if (!t)
        return false;
    struct loop_task *first = NULL;
    while (t) {
        struct loop_task *next = t->next;
        t->next = first;
        first = t;
        t = next;
    }
    while (first) {
        t = first;
        first = t->next;
        // From here on t may be posted again, or freed by its function.
        atomic_store_explicit(&t->queued, false, memory_order_release);
        t->fn(t);
    }
    return true;
}

struct call {
    struct loop_task task;
    void (*fn)(void *arg);
    void *arg;
};

static void call_run(struct loop_task *t)
{
    struct call *c = container_of(t, struct call, task);
    c->fn(c->arg);
    free(c);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct call *c = mem_zalloc(sizeof *c);
    c->task.fn = call_run;
    c->fn = fn;
    c->arg = arg;
    loop_post(l, &c->task);
}

// --- deferred work

void loop_defer(struct loop *l, struct loop_deferred *d)
{
    assert_own(l);
    if (!d->link.next)
        list_init(&d->link);
    if (list_empty(&d->link))
        list_push(&l->deferred, &d->link);
}

void loop_defer_cancel(struct loop_deferred *d)
{
    if (d->link.next)
        list_remove(&d->link);
}

static bool run_deferred(struct loop *l)
{
    // A round is what stands in the list now: work that defers itself again yields to descriptors.
    struct list round;
    if (list_empty(&l->deferred))
        return false;
    list_init(&round);
    list_insert_before(&l->deferred, &round);
    list_remove(&l->deferred);
    list_init(&l->deferred);
    for (struct list *n; (n = list_pop(&round));) {
        struct loop_deferred *d = container_of(n, struct loop_deferred, link);
        d->fn(d);
    }
    return true;
}

// --- timers

static void heap_put(struct loop *l, uint32_t i, struct loop_timer *t)
{
    l->timers[i] = t;
    t->index = i;
}

static void heap_up(struct loop *l, uint32_t i)
{
    struct loop_timer *t = l->timers[i];
    for (; i > 1 && l->timers[i / 2]->due > t->due; i /= 2)
        heap_put(l, i, l->timers[i / 2]);
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, uint32_t i)
{
    struct loop_timer *t = l->timers[i];
    for (;;) {
        uint32_t child = 2 * i;
        if (child > l->ntimers)
            break;
        if (child < l->ntimers && l->timers[child + 1]->due < l->timers[child]->due)
            child++;
        if (l->timers[child]->due >= t->due)
            break;
        heap_put(l, i, l->timers[child]);
        i = child;
    }
    heap_put(l, i, t);
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
    assert_own(l);
    uint32_t i = t->index;
    if (!i)
        return;
    BUG_ON(i > l->ntimers || l->timers[i] != t);
    t->index = 0;
    struct loop_timer *last = l->timers[l->ntimers--];
    if (last == t)
        return;
    heap_put(l, i, last);
    heap_up(l, i);
    heap_down(l, last->index);
}

void loop_timer_at(struct loop *l, struct loop_timer *t, uint64_t mono_ns)
{
    loop_timer_cancel(l, t);
    if (l->ntimers + 1 >= l->captimers) {
        l->captimers = l->captimers ? l->captimers * 2 : 16;
        l->timers = mem_realloc(l->timers, l->captimers * sizeof *l->timers);
    }
    t->due = mono_ns;
    heap_put(l, ++l->ntimers, t);
    heap_up(l, l->ntimers);
}

void loop_timer_in(struct loop *l, struct loop_timer *t, uint64_t ns)
{
    // From the present, not from the start of the turn: a long callback must not shorten it.
    uint64_t now = env_mono(l->env);
    loop_timer_at(l, t, ns > UINT64_MAX - now ? UINT64_MAX : now + ns);
}

static bool run_timers(struct loop *l)
{
    // Only what is due as of this turn, so that a timer of 0 ns that re-arms itself cannot hold the
    // loop: it re-arms to a time at or behind `limit` and waits for the next turn.
    uint64_t limit = l->now;
    bool any = false;
    for (uint32_t budget = l->ntimers; budget && l->ntimers && l->timers[1]->due <= limit;
         budget--) {
        struct loop_timer *t = l->timers[1];
        loop_timer_cancel(l, t);
        t->fn(t);
        any = true;
    }
    return any;
}

uint64_t loop_now(struct loop *l)
{
    return l->now;
}

// --- descriptors

static uint32_t to_epoll(unsigned events)
{
    return (events & LOOP_READ ? EPOLLIN : 0) | (events & LOOP_WRITE ? EPOLLOUT : 0) |
           (events & LOOP_HUP ? EPOLLRDHUP : 0);
}

int loop_fd_set(struct loop *l, struct loop_fd *f, unsigned events)
{
    assert_own(l);
    if (f->events == events)
        return 0;
    int op = !f->events ? EPOLL_CTL_ADD : !events ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    struct epoll_event ev = {.events = to_epoll(events), .data.ptr = f};
    if (epoll_ctl(l->epoll, op, f->fd, &ev) < 0)
        return -errno;
    f->events = events;
    return 0;
}

int loop_fd_add(struct loop *l, struct loop_fd *f, int fd, unsigned events)
{
    f->fd = fd;
    f->events = 0;
    return loop_fd_set(l, f, events);
}

void loop_fd_remove(struct loop *l, struct loop_fd *f)
{
    loop_fd_set(l, f, 0);
    for (int i = l->at; i < l->nevents; i++)
        if (l->events[i].data.ptr == f)
            l->events[i].data.ptr = NULL;
}

static void dispatch(struct loop *l)
{
    for (l->at = 0; l->at < l->nevents;) {
        struct epoll_event ev = l->events[l->at++];
        struct loop_fd *f = ev.data.ptr;
        if (!f)
            continue;
        if ((void *)f == l) {
            uint64_t count;
            if (read(l->wake, &count, sizeof count) < 0)
                BUG_ON(errno != EAGAIN);
            continue;
        }
        unsigned ready = 0;
        if (ev.events & EPOLLIN)
            ready |= LOOP_READ;
        if (ev.events & EPOLLOUT)
            ready |= LOOP_WRITE;
        if (ev.events & (EPOLLHUP | EPOLLERR))
            ready |= LOOP_HUP | (f->events & (LOOP_READ | LOOP_WRITE));
        if (ev.events & EPOLLRDHUP)
            ready |= LOOP_HUP | (f->events & LOOP_READ);
        ready &= f->events | LOOP_HUP;
        if (ready)
            f->fn(f, ready);
    }
    l->nevents = l->at = 0;
}

// Waits for at most timeout_ns (UINT64_MAX: for ever, 0: not at all).
static void wait_events(struct loop *l, uint64_t timeout_ns)
{
    int n;
    if (timeout_ns == 0) {
        n = epoll_wait(l->epoll, l->events, BATCH, 0);
    } else {
        struct timespec ts = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                              .tv_nsec = (long)(timeout_ns % NS_PER_S)};
        n = epoll_pwait2(l->epoll, l->events, BATCH, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
        if (n < 0 && errno == ENOSYS) {
            // Kernels before 5.11 (and some sandboxes): milliseconds, rounded up so as not to spin.
            uint64_t ms = timeout_ns / NS_PER_MS + 1;
            n = epoll_wait(l->epoll, l->events, BATCH,
                           timeout_ns == UINT64_MAX ? -1
                           : ms > 86400000          ? 86400000
                                                    : (int)ms);
        }
    }
    BUG_ON(n < 0 && errno != EINTR);
    l->nevents = n < 0 ? 0 : n;
}

// --- turns

static bool nothing_runnable(struct loop *l)
{
    return !atomic_load_explicit(&l->posted, memory_order_seq_cst) && list_empty(&l->deferred);
}

static uint64_t until_timer(struct loop *l)
{
    if (!l->ntimers)
        return UINT64_MAX;
    uint64_t now = env_mono(l->env), due = l->timers[1]->due;
    return due > now ? due - now : 0;
}

static void sleep_once(struct loop *l)
{
    uint64_t wait = 0;
    // First claim to be asleep, then look once more: see the essay.
    atomic_store_explicit(&l->asleep, true, memory_order_seq_cst);
    if (nothing_runnable(l) && !atomic_load_explicit(&l->stopping, memory_order_seq_cst))
        wait = until_timer(l);
    if (wait && wait != UINT64_MAX && l->env->virtual_time) {
        // Nothing can happen before the next timer but what the kernel holds ready already.
        wait_events(l, 0);
        if (!l->nevents && nothing_runnable(l))
            env_sim_advance(l->env, wait);
    } else {
        wait_events(l, wait);
    }
    atomic_store_explicit(&l->asleep, false, memory_order_relaxed);
    l->now = env_mono(l->env);
    dispatch(l);
}

static void turn(struct loop *l)
{
    l->now = env_mono(l->env);
    run_tasks(l);
    run_timers(l);
    run_deferred(l);
}

static void enter(struct loop *l)
{
    BUG_ON(atomic_load(&l->running));
    l->owner = pthread_self();
    atomic_store_explicit(&l->running, true, memory_order_release);
    l->now = env_mono(l->env);
}

void loop_run(struct loop *l)
{
    enter(l);
    while (!atomic_load_explicit(&l->stopping, memory_order_acquire)) {
        turn(l);
        sleep_once(l);
    }
    run_deferred(l);
    atomic_store(&l->stopping, false);
    atomic_store_explicit(&l->running, false, memory_order_release);
}

void loop_run_until_idle(struct loop *l, uint64_t max_virtual_ns)
{
    enter(l);
    uint64_t start = l->now;
    uint64_t end = max_virtual_ns > UINT64_MAX - start ? UINT64_MAX : start + max_virtual_ns;
    while (!atomic_load_explicit(&l->stopping, memory_order_acquire)) {
        turn(l);
        wait_events(l, 0);
        if (l->nevents) {
            dispatch(l);
            continue;
        }
        uint64_t wait = until_timer(l);
        if (!nothing_runnable(l) || wait == 0)
            continue;
        if (!l->env->virtual_time || wait == UINT64_MAX || l->now >= end)
            break;
        env_sim_advance(l->env, wait < end - l->now ? wait : end - l->now);
    }
    atomic_store(&l->stopping, false);
    atomic_store_explicit(&l->running, false, memory_order_release);
}

void loop_stop(struct loop *l)
{
    // Only atomics and write(2): a signal handler may call it.
    atomic_store_explicit(&l->stopping, true, memory_order_seq_cst);
    wake(l);
}

bool loop_in_thread(struct loop *l)
{
    return atomic_load_explicit(&l->running, memory_order_acquire) &&
           pthread_equal(l->owner, pthread_self());
}

struct env *loop_env(struct loop *l)
{
    return l->env;
}

char *loop_scratch(struct loop *l)
{
    assert_own(l);
    if (!l->scratch)
        l->scratch = mem_alloc(LOOP_SCRATCH);
    return l->scratch;
}

struct loop *loop_new(struct env *env)
{
    struct loop *l = mem_zalloc(sizeof *l);
    l->env = env;
    list_init(&l->deferred);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    BUG_ON(l->epoll < 0 || l->wake < 0);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = l};
    BUG_ON(epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &ev) < 0);
    l->now = env_mono(env);
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    BUG_ON(atomic_load(&l->running));
    // Tasks posted by tasks run too, as long as it ends.
    for (int round = 0; round < 100; round++) {
        bool any = run_tasks(l);
        if (!run_deferred(l) && !any)
            break;
    }
    close(l->epoll);
    close(l->wake);
    free(l->timers);
    free(l->scratch);
    free(l);
}
