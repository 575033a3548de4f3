// The bytes of the log: what is written is read back, and nothing else is taken for it.
#include "base/arena.h"
#include "base/buf.h"
#include "store/crc32c.h"
#include "store/frame.h"
#include "unit.h"

static void crc_is_castagnoli(void **state)
{
    (void)state;
    // RFC 3720, B.4
    char b[48];
    memset(b, 0, sizeof b);
    assert_int_equal(crc32c(0, b, 32), 0x8a9136aa);
    memset(b, 0xff, sizeof b);
    assert_int_equal(crc32c(0, b, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        b[i] = (char)i;
    assert_int_equal(crc32c(0, b, 32), 0x46dd794e);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    for (size_t n = 0; n < sizeof b; n++)
        for (size_t cut = 0; cut <= n; cut++) {
            uint32_t whole = crc32c_portable(0, b, n);
            assert_int_equal(crc32c(0, b, n), whole);
            assert_int_equal(crc32c(crc32c(0, b, cut), b + cut, n - cut), whole);
        }
}

enum { SALT = 77 };

// Two revisions: a put of several lengths each and a delete.
static void sample(struct buf *b, size_t key_n, size_t value_n)
{
    char text[300];
    memset(text, 'k', sizeof text);
    struct blob *value = blob_new(str_n(text, value_n));
    struct entry *put = entry_new(str_n(text, key_n), value, 8, 9, 2);
    struct entry *gone = entry_new(STR("gone"), value, 3, 4, 5);
    struct change changes[] = {{.revision = 9, .now = put}, {.revision = 10, .before = gone}};
    frame_write(b, SALT, changes, 2, 9, 10);
    entry_unref(put);
    entry_unref(gone);
    blob_unref(value);
}

static void round_trip(void **state)
{
    (void)state;
    for (size_t n = 0; n < 40; n++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        struct frame f;
        struct frame_change c;
        sample(&b, n, (n * 7) % 40);
        assert_int_equal(b.n % 8, 0);
        size_t first = b.n;
        sample(&b, 3, 200); // something behind it
        assert_true(frame_read(buf_view(&b), SALT, &f));
        assert_int_equal(f.size, first);
        assert_int_equal(f.first, 9);
        assert_int_equal(f.last, 10);
        assert_int_equal(frame_next(&f, &c), 1);
        assert_true(c.revision == 9 && !c.deleted && c.create_revision == 8 && c.version == 2);
        assert_int_equal(c.key.n, n);
        assert_int_equal(c.value.n, (n * 7) % 40);
        for (size_t i = 0; i < c.key.n + c.value.n; i++)
            assert_int_equal(c.key.p[i], 'k');
        assert_int_equal(frame_next(&f, &c), 1);
        assert_true(c.revision == 10 && c.deleted && str_eqc(c.key, "gone"));
        assert_int_equal(frame_next(&f, &c), 0);
        assert_int_equal(frame_next(&f, &c), 0);
    }
}

static void any_change_is_noticed(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct frame f;
    sample(&b, 11, 13);
    assert_false(frame_read(buf_view(&b), SALT + 1, &f)); // of another segment
    for (size_t n = 0; n < b.n; n++)
        assert_false(frame_read(str_sub(buf_view(&b), 0, n), SALT, &f)); // cut short
    for (size_t bit = 0; bit < b.n * 8; bit++) {
        b.p[bit / 8] ^= (char)(1 << bit % 8);
        assert_false(frame_read(buf_view(&b), SALT, &f));
        b.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_true(frame_read(buf_view(&b), SALT, &f));
}

static void headers(void **state)
{
    (void)state;
    char h[SEGMENT_HEADER];
    struct segment_header in = {5, 6, UINT64_MAX}, out;
    segment_header_write(h, &in);
    assert_true(segment_header_read(str_n(h, sizeof h), &out));
    assert_memory_equal(&in, &out, sizeof in);
    assert_false(segment_header_read(str_n(h, sizeof h - 1), &out));
    for (size_t i = 0; i < sizeof h * 8; i++) {
        h[i / 8] ^= (char)(1 << i % 8);
        assert_false(segment_header_read(str_n(h, sizeof h), &out));
        h[i / 8] ^= (char)(1 << i % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_castagnoli),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(any_change_is_noticed),
        cmocka_unit_test(headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
