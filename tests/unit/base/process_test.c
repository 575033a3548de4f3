// Programs: what they get, what comes back, what is bounded, and that nothing of them is left.
#include "base/process.h"
#include "base/thread.h"
#include "base/time.h"
#include "unit.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int run(struct arena *a, struct process_options o, const char *script,
               struct process_result *ret, struct err *e)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    o.program = "/bin/sh";
    o.argv = argv;
    return process_run(env_system(), a, &o, ret, e);
}

static void answers(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    static const char *const environment[] = {"NAME=value", "PATH=/usr/bin:/bin", NULL};
    struct process_options o = {.input = STR("in"),
                                .output_max = 100,
                                .error_max = 100,
                                .environment = environment,
                                .directory = "/proc"};
    struct process_result r;
    assert_int_equal(run(&a, o, "cat; pwd; echo $NAME; echo bad >&2; exit 3", &r, &e), 0);
    assert_string_equal(arena_cstr(&a, r.output), "in/proc\nvalue\n");
    assert_string_equal(arena_cstr(&a, r.error), "bad\n");
    assert_int_equal(process_exit_code(r.status), 3);
    assert_false(process_succeeded(&r));
    assert_int_equal(run(&a, (struct process_options){0}, "kill -9 $$", &r, &e), 0);
    assert_int_equal(process_exit_code(r.status), 137);
    // Without streams there is /dev/null, and the end of the file at once.
    assert_int_equal(run(&a, (struct process_options){0}, "cat; echo x; exit 0", &r, &e), 0);
    assert_true(process_succeeded(&r));
}

static void found_in_path(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    const char *const argv[] = {"true", NULL};
    struct process_options o = {.program = "true", .argv = argv};
    struct process_result r;
    assert_int_equal(process_run(env_system(), &a, &o, &r, &e), 0);
    assert_true(process_succeeded(&r));
    o.program = "no-such-program-here";
    assert_int_equal(process_run(env_system(), &a, &o, &r, &e), -404);
    assert_string_equal(e.message, "starting no-such-program-here: not found in $PATH");
    err_done(&e);
    o.program = "/etc/passwd";
    assert_int_equal(process_run(env_system(), &a, &o, &r, &e), -500);
    assert_string_equal(e.message, "starting /etc/passwd: Permission denied");
    err_done(&e);
    o.program = "/bin/true";
    o.directory = "/no/such/directory";
    assert_int_equal(process_run(env_system(), &a, &o, &r, &e), -404);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); // nobody is left to be reaped
    assert_int_equal(errno, ECHILD);
}

static void caps(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct process_options o = {.output_max = 4};
    struct process_result r;
    assert_int_equal(run(&a, o, "echo 123; exit 0", &r, &e), 0); // exactly as much
    assert_int_equal(r.output.n, 4);
    assert_int_equal(run(&a, o, "echo 1234; sleep 100", &r, &e), -413);
    assert_string_equal(e.message, "it says more than 4 bytes");
    o.cut = true;
    assert_int_equal(run(&a, o, "echo 12345678", &r, &e), 0);
    assert_string_equal(arena_cstr(&a, r.output), "1234");
    assert_true(r.cut);
}

// More input than a socket holds, for a program that answers as it reads; and one that reads none.
static void much_input(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    enum { N = 1 << 20 };
    char *p = arena_alloc(&a, N);
    memset(p, 'x', N);
    struct process_options o = {.input = str_n(p, N), .output_max = N};
    struct process_result r;
    assert_int_equal(run(&a, o, "cat", &r, &e), 0);
    assert_true(str_eq(r.output, o.input));
    assert_int_equal(run(&a, o, "exit 7", &r, &e), 0);
    assert_int_equal(process_exit_code(r.status), 7);
}

// The deadline ends the whole group, and so does the program's own end; leave_group leaves it.
static void groups(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct process_options o = {.output_max = 100, .timeout_ns = 200 * NS_PER_MS};
    struct process_result r;
    uint64_t start = env_mono(env_system());
    assert_int_equal(run(&a, o, "sleep 100 & sleep 100", &r, &e), -504);
    assert_string_equal(e.message, "no end within 200 ms");
    assert_true(env_mono(env_system()) - start < 20 * NS_PER_S);
    // The one in the background holds the stream; the answer does not wait for it.
    for (int leave = 0; leave < 2; leave++) {
        uint64_t pid;
        o = (struct process_options){.output_max = 100, .leave_group = leave};
        assert_int_equal(run(&a, o, "sleep 100 & echo $!", &r, &e), 0);
        assert_true(str_to_u64(str_trim(r.output), &pid));
        if (leave) {
            assert_int_equal(kill((pid_t)pid, 0), 0);
            kill((pid_t)pid, SIGKILL);
        }
        char path[64], line[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        for (int i = 0; i < 2000; i++) { // gone, or dead and waiting for init
            FILE *f = fopen(path, "r");
            if (!f)
                break;
            bool dead = fgets(line, sizeof line, f) && strstr(line, ") Z");
            fclose(f);
            if (dead)
                break;
            usleep(1000);
            assert_true(i < 1999);
        }
    }
}

// A blocked or ignored signal is not handed on.
static void signals(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct process_options o = {.output_max = 200};
    struct process_result r;
    sigset_t set, before;
    sigfillset(&set);
    pthread_sigmask(SIG_SETMASK, &set, &before);
    signal(SIGPIPE, SIG_IGN);
    int code = run(&a, o, "sed -n '/^Sig[BIC]/p' /proc/self/status", &r, &e);
    signal(SIGPIPE, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(code, 0);
    assert_string_equal(
        arena_cstr(&a, r.output),
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n");
}

static void accounts(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    const uint32_t groups[] = {7, 9};
    const struct process_account account = {1234, 2345, groups, 2};
    struct process_options o = {.output_max = 200, .account = &account};
    struct process_result r;
    assert_int_equal(run(&a, o, "id -u; id -g; grep ^Groups /proc/self/status", &r, &e), 0);
    assert_string_equal(arena_cstr(&a, r.output), "1234\n2345\nGroups:\t7 9 \n");
    assert_int_equal(geteuid(), 0);
}

static void started(void **state)
{
    (void)state;
    _cleanup_err_ struct err e = ERR_INIT;
    const char *const argv[] = {"sleep", "100", NULL};
    const struct process_options o = {.program = "/bin/sleep", .argv = argv};
    int pid, status;
    assert_int_equal(process_start(env_system(), &o, &pid, &e), 0);
    assert_int_equal(process_wait(env_system(), pid, 1, &status, &e), -504);
    err_done(&e);
    process_kill(env_system(), pid, SIGTERM);
    assert_int_equal(process_wait(env_system(), pid, 0, &status, &e), 0);
    assert_int_equal(process_exit_code(status), 128 + SIGTERM);
}

static void *many(void *arg)
{
    int *failed = arg;
    for (int i = 0; i < 20; i++) {
        struct arena a = ARENA_INIT;
        struct process_result r;
        struct process_options o = {.output_max = 10};
        struct err e = ERR_INIT;
        if (run(&a, o, "echo hi", &r, &e) < 0 || !str_eqc(r.output, "hi\n")) {
            ++*failed;
            print_error("%s\n", e.message ? e.message : "another answer");
        }
        err_done(&e);
        arena_done(&a);
    }
    return NULL;
}

// A stream that leaked into another thread's program would hold this one's answer back.
static void threads(void **state)
{
    (void)state;
    pthread_t t[4];
    int failed[4] = {0};
    for (int i = 0; i < 4; i++)
        t[i] = thread_start("many", many, &failed[i]);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(failed[i], 0);
    }
}

static int pretend(void *ctx, struct arena *a, const struct process_options *o,
                   struct process_result *ret, struct err *e)
{
    (void)ctx, (void)e;
    *ret = (struct process_result){
        .output = arena_printf(a, "%s got %.*s", o->program, STR_ARG(o->input))};
    return 0;
}

static void simulated(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct env *env = env_sim_new(1, 0);
    const struct process_options o = {.program = "/bin/x", .input = STR("y")};
    struct process_result r;
    int pid;
    assert_int_equal(process_run(env, &a, &o, &r, &e), -404);
    err_done(&e);
    env_sim_programs(env, pretend, NULL);
    assert_int_equal(process_run(env, &a, &o, &r, &e), 0);
    assert_string_equal(arena_cstr(&a, r.output), "/bin/x got y");
    assert_int_equal(process_start(env, &o, &pid, &e), -501);
    env_sim_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),   cmocka_unit_test(found_in_path), cmocka_unit_test(caps),
        cmocka_unit_test(groups),    cmocka_unit_test(much_input),    cmocka_unit_test(signals),
        cmocka_unit_test(accounts),  cmocka_unit_test(started),       cmocka_unit_test(threads),
        cmocka_unit_test(simulated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
