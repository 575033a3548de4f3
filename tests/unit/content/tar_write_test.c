// What is written is what is read; the same entries give the same bytes; what cannot be written is
// refused.
#include "base/buf.h"
#include "base/time.h"
#include "content/digest.h"
#include "content/tar_write.h"
#include "unit.h"
#include <stdlib.h>
#include <unistd.h>

static int sink(void *ctx, const void *p, size_t n, struct err *e)
{
    (void)e;
    buf_add(ctx, p, n);
    return 0;
}

static char long_name[300];

static struct tar_entry *entries(size_t *ret_n)
{
    static const struct tar_xattr xattrs[] = {{STR("user.note"), STR("a\nb=c")},
                                              {STR("security.capability"), STR("\1\0\0\2")}};
    static struct tar_entry list[] = {
        {.type = TAR_DIRECTORY, .name = STR("dir"), .mode = 0755, .mtime_ns = 5 * NS_PER_S},
        {.type = TAR_FILE, .name = STR("dir/empty"), .mode = 04755, .uid = 7, .gid = 9},
        {.type = TAR_FILE, .name = STR("dir/file"), .mode = 0644, .size = 5},
        {.type = TAR_FILE, .name = STR("block"), .mode = 0644, .size = 512},
        {.type = TAR_FILE, .name = STR("r\xc3\xa9sum\xc3\xa9"), .mode = 0600, .size = 513},
        {.type = TAR_FILE, .mode = 0644, .size = 1, .uid = 4000000000u, .gid = 3000000},
        {.type = TAR_HARDLINK, .name = STR("hard"), .link = STR("dir/file"), .mode = 0644},
        {.type = TAR_SYMLINK, .name = STR("soft"), .mode = 0777},
        {.type = TAR_CHAR, .name = STR("null"), .mode = 0666, .device_major = 1, .device_minor = 3},
        {.type = TAR_FIFO, .name = STR("pipe"), .mode = 0600, .mtime_ns = -1500000000},
        {.type = TAR_FILE,
         .name = STR("x"),
         .mode = 0644,
         .mtime_ns = 123,
         .xattrs = xattrs,
         .nxattrs = 2},
    };
    memset(long_name, 'n', sizeof long_name);
    long_name[150] = '/';
    list[5].name = str_n(long_name, sizeof long_name);
    list[7].link = str_n(long_name, 101);
    *ret_n = sizeof list / sizeof *list;
    return list;
}

static void write_all(struct buf *b)
{
    struct tar_writer w = {.write = sink, .ctx = b};
    struct err e = ERR_INIT;
    size_t n;
    const struct tar_entry *list = entries(&n);
    for (size_t i = 0; i < n; i++) {
        if (tar_write_entry(&w, &list[i], &e) < 0)
            fail_msg("%s", e.message);
        for (uint64_t k = 0; k < list[i].size; k++) // byte by byte: pieces do not matter
            assert_int_equal(tar_write_content(&w, "c", 1, &e), 0);
    }
    assert_int_equal(tar_write_end(&w, &e), 0);
    assert_int_equal(b->n % 512, 0);
}

static int temporary(const struct buf *b, char *path)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->p, b->n), b->n);
    return fd;
}

static void round_trip(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT;
    write_all(&b);
    char path[] = "/tmp/coracle-tar-XXXXXX";
    int fd = temporary(&b, path);
    struct byte_source *s = source_file(fd, 0, b.n);
    struct tar_reader t;
    struct tar_entry got;
    struct err e = ERR_INIT;
    size_t n;
    const struct tar_entry *want = entries(&n);
    tar_init(&t, s);
    for (size_t i = 0; i < n; i++, want++) {
        if (tar_next(&t, &got, &e) <= 0)
            fail_msg("%s", e.message ? e.message : "the end");
        assert_true(str_eq(got.name, want->name));
        assert_true(str_eq(got.link, want->link));
        assert_int_equal(got.type, want->type);
        assert_int_equal(got.mode, want->mode);
        assert_int_equal(got.uid, want->uid);
        assert_int_equal(got.gid, want->gid);
        assert_int_equal(got.size, want->size);
        assert_int_equal(got.mtime_ns, want->mtime_ns);
        assert_int_equal(got.device_major, want->device_major);
        assert_int_equal(got.device_minor, want->device_minor);
        assert_int_equal(got.nxattrs, want->nxattrs);
        for (size_t k = 0; k < got.nxattrs; k++) {
            assert_true(str_eq(got.xattrs[k].name, want->xattrs[k].name));
            assert_true(str_eq(got.xattrs[k].value, want->xattrs[k].value));
        }
        char bytes[1024];
        assert_int_equal(tar_read(&t, bytes, sizeof bytes, &e), want->size);
    }
    assert_int_equal(tar_next(&t, &got, &e), 0);
    tar_done(&t);
    source_done(s);
    close(fd);
    unlink(path);
}

static void same_bytes(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf one = BUF_INIT, two = BUF_INIT;
    write_all(&one);
    usleep(1000);
    write_all(&two);
    assert_true(str_eq(buf_view(&one), buf_view(&two)));
}

static void refusals(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT;
    static char too_long[TAR_NAME_MAX + 1];
    memset(too_long, 'x', sizeof too_long);
    const struct {
        struct tar_entry entry;
        const char *message;
    } rows[] = {
        {{.type = TAR_FILE}, "tar: entry \"\": its name is empty or too long"},
        {{.type = TAR_FILE, .name = STR("a\0b")}, NULL},
        {{.type = TAR_FILE, .name = str_n(too_long, sizeof too_long)}, NULL},
        {{.type = TAR_DIRECTORY, .name = STR("d"), .size = 1},
         "tar: entry \"d\": only files have content"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tar_writer w = {.write = sink, .ctx = &b};
        struct err e = ERR_INIT;
        assert_int_equal(tar_write_entry(&w, &rows[i].entry, &e), -400);
        if (rows[i].message)
            assert_string_equal(e.message, rows[i].message);
        err_done(&e);
    }
    assert_int_equal(b.n, 0);
    struct tar_writer w = {.write = sink, .ctx = &b};
    struct tar_entry file = {.type = TAR_FILE, .name = STR("f"), .size = 2};
    struct err e = ERR_INIT;
    assert_int_equal(tar_write_entry(&w, &file, &e), 0);
    assert_int_equal(tar_write_end(&w, &e), -400);
    assert_string_equal(e.message, "tar: the content of the last entry is not complete");
    err_done(&e);
    e = ERR_INIT;
    assert_int_equal(tar_write_entry(&w, &file, &e), -400);
    err_done(&e);
    e = ERR_INIT;
    assert_int_equal(tar_write_content(&w, "abc", 3, &e), -400);
    assert_string_equal(e.message, "tar: more content than its entry announced");
    err_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(same_bytes),
                                       cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
