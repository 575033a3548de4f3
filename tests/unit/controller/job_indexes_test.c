// Sets of completion indexes, as text and as runs.
#include "controller/job_indexes.h"
#include "unit.h"

static struct arena arena;

static void assert_text(struct job_indexes s, const char *want)
{
    struct str text = job_indexes_text(&arena, s);
    if (!str_eqc(text, want))
        fail_msg("\"%.*s\", not \"%s\"", STR_ARG(text), want);
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        int64_t count;
    } cases[] = {
        {"", "", 0},
        {"0", "0", 1},
        {"0,1", "0,1", 2}, // two in a row are written one by one
        {"0-2,5", "0-2,5", 4},
        {"0,1,2", "0-2", 3},
        {"8-20", "8,9", 2}, // beyond the completions
        {"12", "", 0},
        {"x,3,4-y,6-5,7", "3,7", 2}, // what is no number is left out
        {"5,3", "5", 1},             // so is what is out of order
        {"18446744073709551615", "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job_indexes s = job_indexes_parse(&arena, str_of(cases[i].in), 10);
        assert_text(s, cases[i].out);
        assert_int_equal(job_indexes_count(s), cases[i].count);
    }
    struct job_indexes all = job_indexes_parse(&arena, STR("0-2147483646"), INT32_MAX);
    assert_true(job_indexes_count(all) == INT32_MAX);
}

static void test_with_and_has(void **state)
{
    (void)state;
    struct job_indexes s = job_indexes_parse(&arena, STR("2-4,8"), 100);
    int64_t more[] = {9, 0, 5, 3, 9, 50};
    s = job_indexes_with(&arena, s, more, 6);
    assert_text(s, "0,2-5,8,9,50");
    assert_true(job_indexes_has(s, 0) && job_indexes_has(s, 4) && job_indexes_has(s, 50));
    assert_false(job_indexes_has(s, 1) || job_indexes_has(s, 6) || job_indexes_has(s, 51));
    struct job_indexes of = job_indexes_parse(&arena, STR("1-3,5-8,60"), 100);
    assert_int_equal(job_indexes_common(s, of), 4);
    assert_int_equal(job_indexes_common(of, s), 4);
    assert_text(job_indexes_with(&arena, (struct job_indexes){0}, NULL, 0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_with_and_has),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_done(&arena);
    return failed;
}
