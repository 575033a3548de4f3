// The log reader: the CRI format, tails, limits, times, rotation under the reader, lines still
// being written.
#include "base/env.h"
#include "node/logs.h"
#include "node/volume_atomic.h"
#include "unit.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[96];

static int setup(void **state)
{
    (void)state;
    strncpy(dir, "/tmp/coracle-logs-XXXXXX", sizeof(dir) - 1);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/0.log", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return volume_remove_all(dir, NULL);
}

static void append(const char *to, const char *text)
{
    int fd = open(to, O_WRONLY | O_APPEND | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

// Entries number from..to.
static void append_numbers(const char *to, int from, int last)
{
    char line[64];
    for (int i = from; i <= last; i++) {
        snprintf(line, sizeof(line), "2026-01-01T00:%02d:%02d.000000000Z stdout F %d\n", i / 60,
                 i % 60, i);
        append(to, line);
    }
}

static struct log_reader *open_reader(struct logs_options o)
{
    struct err e = ERR_INIT;
    struct log_reader *r = NULL;
    if (log_reader_open(path, &o, &r, &e) < 0)
        fail_msg("%s", e.message);
    return r;
}

static int read_all(struct log_reader *r, struct buf *b)
{
    int rc;
    while ((rc = log_reader_read(r, 100, b, NULL)) == 1)
        ;
    return rc;
}

static void expect(struct logs_options o, const char *text)
{
    struct buf b = BUF_INIT;
    struct log_reader *r = open_reader(o);
    assert_true(read_all(r, &b) >= 0);
    assert_string_equal(buf_cstr(&b), text);
    buf_done(&b);
    log_reader_close(r);
}

static void lines(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool ok, is_stderr, partial;
        const char *text;
    } rows[] = {
        {"2026-01-01T00:00:00Z stdout F hello world", true, false, false, "hello world"},
        {"2026-01-01T00:00:00Z stderr P part", true, true, true, "part"},
        {"2026-01-01T00:00:00Z stdout F ", true, false, false, ""},
        {"2026-01-01T00:00:00Z stdout F", true, false, false, ""},
        {"2026-01-01T00:00:00Z stdout P:x y", true, false, true, "y"},
        {"2026-01-01T00:00:00Z other F x", false, false, false, ""},
        {"2026-01-01T00:00:00Z stdout X x", false, false, false, ""},
        {"", false, false, false, ""},
        {"no format at all", false, false, false, ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct log_entry entry;
        assert_int_equal(logs_parse_line(str_of(rows[i].line), &entry), rows[i].ok);
        if (!rows[i].ok)
            continue;
        assert_int_equal(entry.is_stderr, rows[i].is_stderr);
        assert_int_equal(entry.partial, rows[i].partial);
        assert_true(str_eqc(entry.text, rows[i].text) || (!entry.text.n && !*rows[i].text));
    }
}

static void options(void **state)
{
    (void)state;
    append_numbers(path, 1, 5);
    append(path,
           "2026-01-01T00:00:06Z stderr P six\n2026-01-01T00:00:06Z stderr F -end\ngarbage\n");
    expect((struct logs_options){.tail_lines = -1}, "1\n2\n3\n4\n5\nsix-end\n");
    expect((struct logs_options){.tail_lines = 4}, "5\nsix-end\n"); // entries, garbage too
    expect((struct logs_options){.tail_lines = 0}, "");
    expect((struct logs_options){.tail_lines = 100}, "1\n2\n3\n4\n5\nsix-end\n");
    expect((struct logs_options){.tail_lines = -1, .limit_bytes = 3}, "1\n2");
    expect((struct logs_options){.tail_lines = -1, .only_stderr = true}, "six-end\n");
    expect((struct logs_options){.tail_lines = 3, .timestamps = true},
           "2026-01-01T00:00:06Z six-end\n");
    // 2026-01-01T00:00:04Z
    expect((struct logs_options){.tail_lines = -1, .since_ns = 1767225604LL * 1000000000LL},
           "4\n5\nsix-end\n");
}

static void unfinished_line_waits(void **state)
{
    (void)state;
    append_numbers(path, 1, 1);
    append(path, "2026-01-01T00:00:02Z stdout F tw");
    struct buf b = BUF_INIT;
    struct log_reader *r = open_reader((struct logs_options){.tail_lines = -1});
    assert_int_equal(read_all(r, &b), 0);
    assert_string_equal(buf_cstr(&b), "1\n");
    append(path, "o\n");
    assert_int_equal(read_all(r, &b), 0);
    assert_string_equal(buf_cstr(&b), "1\ntwo\n");
    buf_done(&b);
    log_reader_close(r);
}

static void rotate(const char *suffix)
{
    char to[128];
    snprintf(to, sizeof(to), "%s.%s", path, suffix);
    assert_int_equal(rename(path, to), 0);
}

static void tail_crosses_rotation(void **state)
{
    (void)state;
    append_numbers(path, 1, 10);
    rotate("20260101-000010");
    append_numbers(path, 11, 20);
    rotate("20260101-000020");
    append_numbers(path, 21, 22);
    expect((struct logs_options){.tail_lines = 2}, "21\n22\n");
    expect((struct logs_options){.tail_lines = 4}, "19\n20\n21\n22\n");
    expect((struct logs_options){.tail_lines = 13},
           "10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n20\n21\n22\n");
    expect((struct logs_options){.tail_lines = -1,
                                 .since_ns = 1767225600LL * 1000000000LL + 20000000000LL},
           "20\n21\n22\n");
}

static void follows_across_rotation(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    append_numbers(path, 1, 2);
    struct log_reader *r = open_reader((struct logs_options){.tail_lines = -1});
    assert_int_equal(read_all(r, &b), 0);
    append_numbers(path, 3, 3); // written, then rotated, before the reader looks again
    rotate("20260101-000010");
    append_numbers(path, 4, 5);
    rotate("20260101-000020");
    append_numbers(path, 6, 6);
    rotate("20260101-000030");
    assert_int_equal(read_all(r, &b), 0); // no current file at this moment
    append_numbers(path, 7, 7);
    assert_int_equal(read_all(r, &b), 0);
    assert_string_equal(buf_cstr(&b), "1\n2\n3\n4\n5\n6\n7\n");
    buf_done(&b);
    log_reader_close(r);
}

static void termination_messages(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct str text;
    append_numbers(path, 1, 200);
    assert_int_equal(logs_read_tail(&a, path, 3, 2048, &text), 0);
    assert_string_equal(arena_cstr(&a, text), "198\n199\n200\n");
    assert_int_equal(logs_read_tail(&a, path, 80, 10, &text), 0);
    assert_string_equal(arena_cstr(&a, text), "8\n199\n200\n");
    char message[128];
    snprintf(message, sizeof(message), "%s/message", dir);
    append(message, "because");
    assert_int_equal(logs_read_head(&a, message, 3, &text), 0);
    assert_string_equal(arena_cstr(&a, text), "bec");
    assert_true(logs_read_head(&a, "/nonexistent", 3, &text) < 0);
    arena_done(&a);
}

static void missing_log(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct logs_options o = {.tail_lines = -1};
    struct log_reader *r = NULL;
    assert_int_equal(log_reader_open(path, &o, &r, &e), -404);
    assert_non_null(strstr(e.message, "failed to open log file"));
    err_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines, setup, teardown),
        cmocka_unit_test_setup_teardown(options, setup, teardown),
        cmocka_unit_test_setup_teardown(unfinished_line_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(tail_crosses_rotation, setup, teardown),
        cmocka_unit_test_setup_teardown(follows_across_rotation, setup, teardown),
        cmocka_unit_test_setup_teardown(termination_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_log, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
