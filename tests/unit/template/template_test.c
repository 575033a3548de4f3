// Templates: what Go's text/template answers (tests/golden/template/*.txt: template and result,
// quoted as in Go, against one fixed set of data), and the bounds.
#include "object/json.h"
#include "template/template_value.h"
#include "text/go_quote.h"
#include "unit/text/lines.h"

static const char data_text[] =
    "{\"s\":\"hello\",\"i\":7,\"f\":2.5,\"big\":1000000.0,\"t\":true,\"z\":null,\"e\":\"\","
    "\"l\":[\"a\",\"b\",\"c\"],\"n\":[1,2,3],\"m\":{\"k\":\"v\",\"a\":{\"b\":{\"c\":\"deep\"}}},"
    "\"el\":[],\"em\":{},\"html\":\"<a href='x'>&\\\"</a>\",\"lm\":[{\"x\":1},{\"x\":2}]}";

static struct str unquote(struct arena *a, struct str s)
{
    struct value *v;
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < s.n; i++) { // Go's escapes that JSON lacks
        if (s.p[i] == '\\' && i + 3 < s.n && s.p[i + 1] == 'x') {
            buf_puts(&b, "\\u00");
            i++;
        } else if (s.p[i] == '\\') {
            buf_add(&b, s.p + i++, 2);
        } else {
            buf_char(&b, s.p[i]);
        }
    }
    assert_int_equal(json_parse(a, buf_view(&b), NULL, &v, NULL), 0);
    return value_string(v);
}

static int faults;

static void golden_line(struct str *columns, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT, shown = BUF_INIT;
    static const struct template_functions *const tables[] = {&template_builtins, NULL};
    struct template_set *set = template_set_new(&a, &(struct template_options){.tables = tables});
    struct value *data;
    assert_int_equal(n, 2);
    assert_int_equal(json_parse(&a, str_of(data_text), NULL, &data, NULL), 0);
    if (template_parse(set, STR("t"), unquote(&a, columns[0]), &e) < 0 ||
        template_execute(set, STR("t"), data, &out, &e) < 0)
        buf_printf(&shown, "error: %s", e.message);
    else
        go_quote(&shown, buf_view(&out));
    if (!str_eq(buf_view(&shown), columns[1])) {
        faults++;
        print_error("%.*s\n  is     %s\n  wanted %.*s\n", STR_ARG(columns[0]), buf_cstr(&shown),
                    STR_ARG(columns[1]));
    }
}

static void golden(void **state)
{
    (void)state;
    lines_each(SOURCE_DIR "/tests/golden/template/language.txt", golden_line);
    assert_int_equal(faults, 0);
}

static void bounds(void **state)
{
    (void)state;
    static const struct {
        const char *text, *contains;
    } rows[] = {
        {"{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}",
         "exceeded maximum template depth (1000)"},
        {"{{range $i := 1000000000}}{{range $j := 1000000000}}{{end}}{{end}}",
         "execution takes more than"},
    };
    static const struct template_functions *const tables[] = {&template_builtins, NULL};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        _cleanup_buf_ struct buf out = BUF_INIT;
        struct template_set *set =
            template_set_new(&a, &(struct template_options){.tables = tables});
        assert_int_equal(template_parse(set, STR("t"), str_of(rows[i].text), &e), 0);
        assert_int_equal(template_execute(set, STR("t"), NULL, &out, &e), -422);
        if (!strstr(e.message, rows[i].contains))
            fail_msg("%s", e.message);
    }
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct template_set *set = template_set_new(&a, &(struct template_options){.tables = tables});
    struct buf deep = BUF_INIT;
    for (int i = 0; i < 100000; i++)
        buf_puts(&deep, i ? "(" : "{{");
    assert_int_equal(template_parse(set, STR("t"), buf_view(&deep), &e), -422);
    assert_string_equal(e.message, "template: t:1: nested too deeply");
    buf_done(&deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
