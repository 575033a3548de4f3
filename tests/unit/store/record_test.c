// Changes as the payload of a frame: read back as they were written; an intact frame with nonsense
// in it is noticed.
#include "base/arena.h"
#include "store/record.h"
#include "unit.h"

enum { SALT = 77 };

// Two revisions: a put of several lengths each and a delete.
static void sample(struct buf *b, size_t key_n, size_t value_n, uint32_t word)
{
    char text[300];
    memset(text, 'k', sizeof text);
    struct blob *value = blob_new(str_n(text, value_n));
    struct entry *put = entry_new(str_n(text, key_n), value, 8, 9, 2);
    struct entry *gone = entry_new(STR("gone"), value, 3, 4, 5);
    struct change changes[] = {{.revision = 9, .now = put}, {.revision = 10, .before = gone}};
    frame_begin(b);
    record_write(b, changes, 2, 9);
    frame_end(b, 9, 10, word);
    frame_seal(b, SALT);
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
        struct record c;
        sample(&b, n, (n * 7) % 40, 2);
        assert_true(frame_read(buf_view(&b), SALT, &f));
        struct record_reader r = record_read(&f);
        assert_int_equal(record_next(&r, &c), 1);
        assert_true(c.revision == 9 && !c.deleted && c.create_revision == 8 && c.version == 2);
        assert_int_equal(c.key.n, n);
        assert_int_equal(c.value.n, (n * 7) % 40);
        for (size_t i = 0; i < c.key.n + c.value.n; i++)
            assert_int_equal(c.key.p[i], 'k');
        assert_int_equal(record_next(&r, &c), 1);
        assert_true(c.revision == 10 && c.deleted && str_eqc(c.key, "gone"));
        assert_int_equal(record_next(&r, &c), 0);
        assert_int_equal(record_next(&r, &c), 0);
    }
}

static void nonsense_is_noticed(void **state)
{
    (void)state;
    for (uint32_t word = 0; word < 4; word++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        struct frame f;
        struct record c;
        sample(&b, 5, 5, word);
        assert_true(frame_read(buf_view(&b), SALT, &f));
        struct record_reader r = record_read(&f);
        int more;
        while ((more = record_next(&r, &c)) > 0)
            ;
        assert_int_equal(more, word == 2 ? 0 : -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(nonsense_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
