// The event loop: order of tasks, timers in real and virtual time, deferral, descriptors, children.
#include "base/thread.h"
#include "base/time.h"
#include "unit.h"
#include "wire/loop.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int trail[64], ntrail;
static struct loop *loop;

struct numbered {
    struct loop_task task;
    struct loop_timer timer;
    int number;
};

static void task_run(struct loop_task *t)
{
    trail[ntrail++] = container_of(t, struct numbered, task)->number;
}

static void timer_run(struct loop_timer *t)
{
    trail[ntrail++] = container_of(t, struct numbered, timer)->number;
}

static void tasks_in_order(void **state)
{
    (void)state;
    struct numbered n[5] = {0};
    loop = loop_new(env_system());
    ntrail = 0;
    for (int i = 0; i < 5; i++) {
        n[i].task.fn = task_run;
        n[i].number = i;
        loop_post(loop, &n[i].task);
        loop_post(loop, &n[i].task); // queued already: nothing
    }
    loop_run_until_idle(loop, 0);
    assert_int_equal(ntrail, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(trail[i], i);
    loop_post(loop, &n[3].task); // may be posted again
    loop_run_until_idle(loop, 0);
    assert_int_equal(ntrail, 6);
    loop_post(loop, &n[4].task);
    loop_free(loop); // runs what is pending
    assert_int_equal(ntrail, 7);
}

static void virtual_timers(void **state)
{
    (void)state;
    struct env *env = env_sim_new(1, 0);
    struct numbered n[40] = {0};
    loop = loop_new(env);
    uint64_t start = env_mono(env);
    ntrail = 0;
    // A permutation of 0..39 as due seconds; every third is cancelled again.
    for (int i = 0; i < 40; i++) {
        n[i].timer.fn = timer_run;
        n[i].number = (i * 7) % 40;
        loop_timer_in(loop, &n[i].timer, (uint64_t)(n[i].number + 1) * NS_PER_S);
        assert_true(loop_timer_armed(&n[i].timer));
    }
    int cancelled = 0;
    for (int i = 0; i < 40; i++)
        if (n[i].number % 3 == 0) {
            loop_timer_cancel(loop, &n[i].timer);
            assert_false(loop_timer_armed(&n[i].timer));
            cancelled++;
        }
    loop_run_until_idle(loop, 0); // time does not move
    assert_int_equal(ntrail, 0);
    loop_run_until_idle(loop, 10 * NS_PER_S); // due at 2 3 5 6 8 9 s
    assert_int_equal(ntrail, 6);
    assert_int_equal(env_mono(env) - start, 10 * NS_PER_S);
    loop_run_until_idle(loop, 1000 * (uint64_t)NS_PER_S);
    assert_int_equal(ntrail, 40 - cancelled);
    for (int i = 1; i < ntrail; i++)
        assert_true(trail[i - 1] < trail[i]);
    // Nothing left to wait for: the clock stays at the last timer.
    assert_int_equal(env_mono(env) - start, 39 * NS_PER_S);
    loop_free(loop);
    env_sim_free(env);
}

static void stop_from_timer(struct loop_timer *t)
{
    (void)t;
    loop_stop(loop);
}

static void virtual_run_never_sleeps(void **state)
{
    (void)state;
    struct env *env = env_sim_new(1, 0);
    struct loop_timer t = {.fn = stop_from_timer};
    loop = loop_new(env);
    uint64_t before = env_mono(env_system());
    loop_timer_in(loop, &t, 3600 * (uint64_t)NS_PER_S);
    loop_run(loop);
    assert_true(env_mono(env_system()) - before < 20 * (uint64_t)NS_PER_S);
    assert_true(env_mono(env) >= 3600 * (uint64_t)NS_PER_S);
    loop_free(loop);
    env_sim_free(env);
}

static void real_timer(void **state)
{
    (void)state;
    struct loop_timer t = {.fn = stop_from_timer};
    loop = loop_new(env_system());
    uint64_t before = env_mono(env_system());
    loop_timer_in(loop, &t, 20 * NS_PER_MS);
    loop_run(loop);
    assert_true(env_mono(env_system()) - before >= 20 * NS_PER_MS);
    loop_free(loop);
}

static struct loop_deferred deferred[2];

static void deferred_run(struct loop_deferred *d)
{
    trail[ntrail++] = (int)(d - deferred);
    if (ntrail == 1)
        loop_defer_cancel(&deferred[1]);
}

static void deferral(void **state)
{
    (void)state;
    loop = loop_new(env_system());
    ntrail = 0;
    for (int i = 0; i < 2; i++) {
        deferred[i] = (struct loop_deferred){.fn = deferred_run};
        loop_defer(loop, &deferred[i]);
        loop_defer(loop, &deferred[i]);
    }
    loop_run_until_idle(loop, 0);
    assert_int_equal(ntrail, 1); // the first cancelled the second, of the same round
    loop_free(loop);
}

static struct loop_fd ends[2];
static int ready_calls;

static void fd_ready(struct loop_fd *f, unsigned ready)
{
    (void)f;
    assert_true(ready & LOOP_READ);
    ready_calls++;
    // Both are ready in the same batch: whichever comes first takes the other away.
    loop_fd_remove(loop, &ends[0]);
    loop_fd_remove(loop, &ends[1]);
}

static void removed_descriptor_is_silent(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(write(pair[0], "x", 1), 1);
    assert_int_equal(write(pair[1], "x", 1), 1);
    loop = loop_new(env_system());
    for (int i = 0; i < 2; i++) {
        ends[i].fn = fd_ready;
        assert_int_equal(loop_fd_add(loop, &ends[i], pair[i], LOOP_READ), 0);
    }
    ready_calls = 0;
    loop_run_until_idle(loop, 0);
    assert_int_equal(ready_calls, 1);
    assert_true(loop_fd_add(loop, &ends[0], -1, LOOP_READ) < 0);
    loop_free(loop);
    close(pair[0]);
    close(pair[1]);
}

static void hup_ready(struct loop_fd *f, unsigned ready)
{
    assert_true(ready & LOOP_READ);
    assert_true(ready & LOOP_HUP);
    char c;
    assert_int_equal(read(f->fd, &c, 1), 0);
    loop_fd_remove(loop, f);
    loop_stop(loop);
}

static void hang_up_reaches_a_reader(void **state)
{
    (void)state;
    int fds[2];
    struct loop_fd f = {.fn = hup_ready};
    assert_int_equal(pipe(fds), 0);
    loop = loop_new(env_system());
    loop_fd_add(loop, &f, fds[0], LOOP_READ);
    close(fds[1]);
    loop_run(loop);
    close(fds[0]);
    loop_free(loop);
}

static int child_status = -1;

static void child_ended(struct loop_child *c, int status)
{
    (void)c;
    child_status = status;
    loop_stop(loop);
}

static void child_is_reaped(void **state)
{
    (void)state;
    struct loop_child child = {.fn = child_ended};
    loop = loop_new(env_system());
    pid_t pid = fork();
    if (pid == 0)
        _exit(7);
    assert_int_equal(loop_child_watch(loop, &child, pid), 0);
    loop_run(loop);
    assert_true(WIFEXITED(child_status));
    assert_int_equal(WEXITSTATUS(child_status), 7);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
    assert_true(loop_child_watch(loop, &child, pid) < 0); // gone
    loop_free(loop);
}

static int seen_signal;

static void signal_came(struct loop_signal *s, int signo)
{
    (void)s;
    seen_signal = signo;
    loop_stop(loop);
}

static void signals(void **state)
{
    (void)state;
    static struct loop_signal s = {.fn = signal_came};
    const int which[] = {SIGUSR1, SIGUSR2};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    loop = loop_new(env_system());
    assert_int_equal(loop_signal_watch(loop, &s, which, 2), 0);
    kill(getpid(), SIGUSR2);
    loop_run(loop);
    assert_int_equal(seen_signal, SIGUSR2);
    loop_fd_remove(loop, &s.fd);
    close(s.fd.fd);
    loop_free(loop);
}

// --- across threads

enum { THREADS = 4, POSTS = 2000 };
static _Atomic(int) ran;
static struct loop_task shared;
static _Atomic(int) shared_ran;

static void shared_run(struct loop_task *t)
{
    (void)t;
    shared_ran++;
    assert_true(loop_in_thread(loop));
}

static void count_run(void *arg)
{
    (void)arg;
    if (++ran == THREADS * POSTS)
        loop_stop(loop);
}

static void *poster(void *arg)
{
    (void)arg;
    assert_false(loop_in_thread(loop));
    for (int i = 0; i < POSTS; i++) {
        loop_call(loop, count_run, NULL);
        loop_post(loop, &shared);
    }
    return NULL;
}

static void posts_from_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    loop = loop_new(env_system());
    shared.fn = shared_run;
    ran = shared_ran = 0;
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_start("poster", poster, NULL);
    loop_run(loop);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    loop_free(loop);
    assert_int_equal(ran, THREADS * POSTS);
    assert_true(shared_ran >= 1 && shared_ran <= THREADS * POSTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_in_order),
        cmocka_unit_test(virtual_timers),
        cmocka_unit_test(virtual_run_never_sleeps),
        cmocka_unit_test(real_timer),
        cmocka_unit_test(deferral),
        cmocka_unit_test(removed_descriptor_is_silent),
        cmocka_unit_test(hang_up_reaches_a_reader),
        cmocka_unit_test(child_is_reaped),
        cmocka_unit_test(signals),
        cmocka_unit_test(posts_from_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
