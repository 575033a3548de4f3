// The embedded store under kill -9, on the real disk. A child process (this program again) writes
// as fast as it can with several transactions in flight and says on a pipe what was acknowledged;
// the parent kills it after a random number of answers, opens the store itself, and checks that
// every answer was true; then the next child goes on with the same store.
//
// A transaction writes "/a/<i>" and "/b/<i>" with the same growing number, so that a half of one
// would be seen. CORACLE_KILL_ROUNDS=n: how often (default 30).
#include "base/log.h"
#include "unit/store/suite.h"
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 16 }; // transactions in flight, each with its own pair of keys

static struct store *suite_open(bool again)
{
    (void)again;
    return NULL;
}

static bool suite_restarts(void)
{
    return false;
}

static const struct store_embedded_options options = {.segment_bytes = 64 << 10};

// What the child says: slot's number was acknowledged with this revision.
struct answer {
    uint64_t slot, number, revision;
};

// ---- the child ----

struct slot {
    struct store *store;
    uint64_t index, number;
    char keys[2][16], value[400];
    struct store_write writes[2];
    struct store_txn txn;
};

static void slot_submit(struct slot *s)
{
    s->number++;
    int n = snprintf(s->value, sizeof s->value, "%lu:", (unsigned long)s->number);
    size_t more = s->number * 37 % 300;
    memset(s->value + n, 'x', more);
    struct blob *value = blob_new(str_n(s->value, (size_t)n + more));
    for (int k = 0; k < 2; k++) {
        snprintf(s->keys[k], sizeof s->keys[k], "/%c/%lu", 'a' + k, (unsigned long)s->index);
        s->writes[k] = (struct store_write){STORE_PUT, str_of(s->keys[k]), value, STORE_ANY};
    }
    s->txn.writes = s->writes;
    s->txn.nwrites = 2;
    store_txn(s->store, &s->txn);
}

static void slot_done(struct store_txn *t)
{
    struct slot *s = t->ctx;
    blob_unref(s->writes[0].value);
    if (t->result != STORE_OK)
        _exit(3);
    struct answer a = {s->index, s->number, t->revision};
    if (write(STDOUT_FILENO, &a, sizeof a) != sizeof a) // atomic: less than a pipe's page
        _exit(4);
    slot_submit(s);
}

static bool slot_read(void *ctx, const struct store_kv *kv)
{
    struct slot *slots = ctx;
    struct str rest = blob_view(kv->value);
    uint64_t index = 0, number = 0;
    if (!str_to_u64(str_from(kv->key, 3), &index) || index >= SLOTS ||
        !str_to_u64(str_cut(&rest, ':'), &number))
        _exit(5);
    slots[index].number = number;
    return true;
}

static int child(const char *dir)
{
    static struct slot slots[SLOTS];
    struct store *s;
    struct err e = ERR_INIT;
    if (store_embedded_open(env_system(), dir, &options, &s, &e) < 0) {
        fprintf(stderr, "child: %s\n", e.message);
        return 2;
    }
    s->ops->range(s, STR("/a/"), 0, slot_read, slots, &(uint64_t){0}, NULL);
    for (uint64_t i = 0; i < SLOTS; i++) {
        slots[i].store = s;
        slots[i].index = i;
        slots[i].txn.complete = slot_done;
        slots[i].txn.ctx = &slots[i];
        slot_submit(&slots[i]);
    }
    for (;;)
        pause();
}

// ---- the parent ----

static char dir[64];

struct seen {
    uint64_t numbers[2][SLOTS];
};

static bool seen_add(void *ctx, const struct store_kv *kv)
{
    struct seen *s = ctx;
    struct str value = blob_view(kv->value), rest = value;
    uint64_t index = 0, number = 0;
    assert_true(str_to_u64(str_from(kv->key, 3), &index));
    assert_true(str_to_u64(str_cut(&rest, ':'), &number));
    assert_int_equal(rest.n, number * 37 % 300);
    s->numbers[kv->key.p[1] - 'a'][index] = number;
    return true;
}

static pid_t spawn_child(int *ret_pipe)
{
    extern char **environ;
    int p[2];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe(p), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, p[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, p[0]);
    posix_spawn_file_actions_addclose(&actions, p[1]);
    char *argv[] = {"store_kill", "child", dir, NULL};
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(p[1]);
    *ret_pipe = p[0];
    return pid;
}

static void kill_loop(void **state)
{
    (void)state;
    uint64_t rounds = 30, revision = 1;
    const char *want = getenv("CORACLE_KILL_ROUNDS");
    if (want)
        assert_true(str_to_u64(str_of(want), &rounds));
    static uint64_t acknowledged[SLOTS];
    for (uint64_t round = 0; round < rounds; round++) {
        int from;
        pid_t pid = spawn_child(&from);
        uint32_t answers;
        struct answer a;
        env_random(env_system(), &answers, sizeof answers);
        answers %= 2000;
        ssize_t n = 1;
        // All that it said counts, also what was still in the pipe when it died.
        for (uint32_t i = 0; (n = read(from, &a, sizeof a)) > 0; i++) {
            assert_int_equal(n, sizeof a);
            assert_true(a.number > acknowledged[a.slot]);
            assert_true(a.revision > revision);
            revision = a.revision;
            acknowledged[a.slot] = a.number;
            if (i == answers)
                kill(pid, SIGKILL);
        }
        close(from);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSIGNALED(status))
            fail_msg("round %lu: the child ended by itself, status %d", (unsigned long)round,
                     WEXITSTATUS(status));

        struct store *s = NULL;
        _cleanup_err_ struct err e = ERR_INIT;
        if (store_embedded_open(env_system(), dir, &options, &s, &e) < 0)
            fail_msg("round %lu: %s", (unsigned long)round, e.message);
        struct seen seen = {0};
        uint64_t at = 0;
        assert_int_equal(s->ops->range(s, STR("/"), 0, seen_add, &seen, &at, NULL), 0);
        assert_true(at >= revision);
        assert_true(at <= revision + SLOTS + 1); // what was in flight, and no more
        revision = at;
        for (int i = 0; i < SLOTS; i++) {
            assert_int_equal(seen.numbers[0][i], seen.numbers[1][i]);
            assert_true(seen.numbers[0][i] >= acknowledged[i]);
            assert_true(seen.numbers[0][i] <= acknowledged[i] + 2);
            acknowledged[i] = seen.numbers[0][i];
        }
        store_close(s);
    }
}

static void remove_name(void *ctx, const char *name)
{
    char path[256];
    (void)ctx;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/coracle-kill-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    env_system()->ops->list_dir(env_system(), dir, remove_name, NULL);
    return rmdir(dir);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "child") == 0)
        return child(argv[2]);
    const struct CMUnitTest suite[] = {SUITE_TESTS};
    (void)suite; // named, so that the suite's functions count as used
    const struct CMUnitTest tests[] = {cmocka_unit_test(kill_loop)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
