// Guards: what a block took is gone behind it, on every way out; what was taken from a guard stays.
#include "base/arena.h"
#include "base/guard.h"
#include "base/path.h"
#include "unit.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int open_null(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int open_or_fail(bool fail, int *ret_seen)
{
    _cleanup_fd_ int fd = *ret_seen = open_null();
    if (fail) {
        errno = ENOTTY;
        return -1;
    }
    return TAKE_FD(fd);
}

static void descriptors(void **state)
{
    (void)state;
    int seen;
    assert_int_equal(open_or_fail(true, &seen), -1);
    assert_int_equal(errno, ENOTTY);
    assert_false(is_open(seen));
    int kept = open_or_fail(false, &seen);
    assert_int_equal(kept, seen);
    assert_true(is_open(kept));
    guard_close_now(&kept);
    assert_int_equal(kept, -1);
    assert_false(is_open(seen));
    errno = EPERM;
    {
        _cleanup_fd_ int none = -1, absurd = -7;
        (void)none, (void)absurd;
    }
    assert_int_equal(errno, EPERM); // nothing was tried
}

static void streams(void **state)
{
    (void)state;
    int fd, dir_fd;
    {
        _cleanup_file_ FILE *f = fopen("/dev/null", "re"), *nothing = NULL;
        _cleanup_dir_ DIR *d = opendir("/"), *none = NULL;
        assert_true(f && d && !nothing && !none);
        fd = fileno(f);
        dir_fd = dirfd(d);
        assert_true(is_open(fd) && is_open(dir_fd));
    }
    assert_false(is_open(fd) || is_open(dir_fd));
}

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;

static bool is_free(pthread_mutex_t *m)
{
    if (pthread_mutex_trylock(m) != 0)
        return false;
    pthread_mutex_unlock(m);
    return true;
}

static int under_both(int way)
{
    LOCKED(&first);
    LOCKED(&second);
    assert_false(is_free(&first) || is_free(&second));
    if (way == 1)
        return 1;
    for (int i = 0; i < 2; i++) {
        static pthread_mutex_t third = PTHREAD_MUTEX_INITIALIZER;
        LOCKED(&third); // let go at the end of each turn, or the second would never get it
        if (way == 2 && i == 1)
            return 2;
    }
    return 0;
}

static void locks(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        assert_int_equal(under_both(way), way);
        assert_true(is_free(&first) && is_free(&second));
    }
}

static void owned_strings(void **state)
{
    (void)state;
    struct owned kept = OWNED_INIT;
    {
        _cleanup_owned_ struct owned a = owned_copy(STR("one")), b = owned_copy(STR_NULL);
        assert_string_equal(a.p, "one");
        assert_null(b.p);
        owned_set(&a, str_from(owned_view(&a), 1)); // a part of itself
        assert_true(str_eqc(owned_view(&a), "ne"));
        owned_set(&b, STR(""));
        assert_non_null(b.p); // empty is not absent
        kept = TAKE(a);
        assert_null(a.p);
        assert_int_equal(a.n, 0);
    }
    assert_string_equal(kept.p, "ne");
    owned_set(&kept, STR_NULL);
    assert_null(kept.p);
    owned_done(&kept);
}

static void arrays(void **state)
{
    (void)state;
    int numbers[7];
    static const char *const words[] = {"a", "b"};
    assert_int_equal(ARRAY_LEN(numbers), 7);
    assert_int_equal(ARRAY_LEN(words), 2);
    _Static_assert(ARRAY_LEN(numbers) == 7, "a constant");
}

static void paths(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    assert_string_equal(path_join(&a, "/var/lib", "x"), "/var/lib/x");
    assert_string_equal(path_join(&a, "/", "x"), "/x");
    assert_string_equal(path_join(&a, "", "x"), "x");
    assert_string_equal(path_printf(&a, "%s/%.*s", "d", STR_ARG(STR("abc"))), "d/abc");
    char *big = arena_alloc(&a, 2001);
    memset(big, 'x', 2000);
    big[2000] = 0;
    assert_int_equal(strlen(path_printf(&a, "/%s", big)), 2001); // longer than any local buffer
    static const char *const good[] = {"a", "...", "..a", "a.", " ", "-"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(path_is_name(str_of(good[i])));
    static const struct str bad[] = {{0},        {"", 0},  {".", 1},    {"..", 2},
                                     {"a/b", 3}, {"/", 1}, {"a\0b", 3}, {"../x", 4}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(path_is_name(bad[i]));
    assert_true(path_is_name(str_n(big, 255)));
    assert_false(path_is_name(str_n(big, 256)));
    static const char *const parts[][3] = {
        {"/a/b", "/a", "b"}, {"/a", "/", "a"}, {"a", "", "a"}, {"a/", "a", ""}, {"", "", ""}};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        assert_true(str_eqc(path_dir(str_of(parts[i][0])), parts[i][1]));
        assert_true(str_eqc(path_base(str_of(parts[i][0])), parts[i][2]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors),   cmocka_unit_test(streams), cmocka_unit_test(locks),
        cmocka_unit_test(owned_strings), cmocka_unit_test(arrays),  cmocka_unit_test(paths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
