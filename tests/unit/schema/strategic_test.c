// Strategic merge patches against what the originals make of them:
// tests/golden/object/strategic.txt.
#include "base/env.h"
#include "object/patch.h"
#include "schema/schema.h"
#include "unit/object/test.h"

static struct str line(struct str *rest)
{
    struct str s = str_cut(rest, '\n');
    while (s.n && s.p[0] == '#')
        s = str_cut(rest, '\n');
    return s;
}

static struct value *parse(struct arena *a, struct str text)
{
    struct value *v = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    if (json_parse(a, text, NULL, &v, &e) < 0)
        fail_msg("%.*s: %s", STR_ARG(text), e.message);
    return v;
}

static void golden(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str rest, name;
    size_t n = 0, failed = 0;
    assert_int_equal(
        file_read_all(&a, SOURCE_DIR "/tests/golden/object/strategic.txt", 1 << 24, &rest, NULL),
        0);
    while ((name = line(&rest)).n) {
        _cleanup_err_ struct err e = ERR_INIT;
        assert_true(str_starts(name, STR("== ")));
        struct value *doc = parse(&a, line(&rest)), *patch = parse(&a, line(&rest)), *is = NULL;
        struct str before = json_text(&a, doc), sent = json_text(&a, patch);
        struct str want = line(&rest);
        const struct kind *k =
            kind_by_api_version(value_str_at(doc, "apiVersion"), value_str_at(doc, "kind"));
        assert_non_null(k);
        int r = patch_strategic(&a, k->type, doc, patch, &is, &e);
        bool right;
        struct str got;
        if (str_starts(want, STR("error: "))) {
            struct str text = value_string(parse(&a, str_from(want, 7)));
            got = r < 0 ? str_of(e.message) : json_text(&a, is);
            right = r < 0 && str_eq(str_trim(got), text);
        } else {
            struct value *nothing = value_object(&a), *x = NULL, *y = NULL;
            patch_merge(&a, nothing, parse(&a, want), &x, NULL); // drops nulls
            got = r < 0 ? str_of(e.message) : json_text(&a, is);
            if (r == 0)
                patch_merge(&a, nothing, is, &y, NULL);
            right = r == 0 && value_eq(x, y);
        }
        if (!right) {
            print_error("%.*s\n  is  %.*s\n  not %.*s\n", STR_ARG(name), STR_ARG(got),
                        STR_ARG(want));
            failed++;
        }
        // Neither input is changed.
        assert_true(str_eq(before, json_text(&a, doc)));
        assert_true(str_eq(sent, json_text(&a, patch)));
        n++;
    }
    assert_int_equal(failed, 0);
    assert_true(n > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
