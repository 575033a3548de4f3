// The bytes of a journal: what is written is read back, and nothing else is taken for it.
#include "log/crc32c.h"
#include "log/frame.h"
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

static void sample(struct buf *b, struct str payload)
{
    frame_begin(b);
    buf_str(b, payload);
    frame_end(b, 9, 10, 5);
    frame_seal(b, SALT);
}

static void round_trip(void **state)
{
    (void)state;
    char text[50];
    memset(text, 'k', sizeof text);
    for (size_t n = 0; n < sizeof text; n++) {
        _cleanup_buf_ struct buf b = BUF_INIT, more = BUF_INIT;
        struct frame f;
        sample(&b, str_n(text, n));
        buf_str(&more, buf_view(&b));
        buf_puts(&more, "something behind it");
        assert_int_equal(b.n % 8, 0);
        assert_true(frame_read(buf_view(&more), SALT, &f));
        assert_true(f.first == 9 && f.last == 10 && f.word == 5 && f.size == b.n);
        assert_int_equal(f.payload.n, b.n - FRAME_HEADER);
        assert_true(str_eq(str_sub(f.payload, 0, n), str_n(text, n)));
        for (size_t i = n; i < f.payload.n; i++)
            assert_int_equal(f.payload.p[i], 0);
    }
}

static void any_change_is_noticed(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct frame f;
    sample(&b, STR("a payload of some length"));
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
    struct segment_header in = {5, 6, UINT64_MAX, 1 << 20, 2}, out;
    segment_header_write(h, &in);
    assert_true(segment_header_read(str_n(h, sizeof h), &out));
    assert_memory_equal(&in, &out, sizeof in - sizeof(uint64_t));
    assert_int_equal(out.format, 2);
    assert_false(segment_header_read(str_n(h, sizeof h - 1), &out));
    for (size_t i = 0; i < sizeof h * 8; i++) {
        h[i / 8] ^= (char)(1 << i % 8);
        assert_false(segment_header_read(str_n(h, sizeof h), &out));
        h[i / 8] ^= (char)(1 << i % 8);
    }
}

static void marks(void **state)
{
    (void)state;
    char b[MARK_BYTES];
    struct mark in = {1, 2, 3, UINT64_MAX}, out;
    mark_write(b, &in);
    assert_true(mark_read(str_n(b, sizeof b), &out));
    assert_memory_equal(&in, &out, sizeof in);
    for (size_t i = 0; i < sizeof b * 8; i++) {
        b[i / 8] ^= (char)(1 << i % 8);
        assert_false(mark_read(str_n(b, sizeof b), &out));
        b[i / 8] ^= (char)(1 << i % 8);
    }
    segment_header_write(b, &(struct segment_header){.sequence = 1});
    assert_false(mark_read(str_n(b, sizeof b), &out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_castagnoli),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(any_change_is_noticed),
        cmocka_unit_test(headers),
        cmocka_unit_test(marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
