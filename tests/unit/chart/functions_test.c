// The functions of charts' templates: what helm answers (tests/golden/chart/functions.txt), each
// expression in a template of its own.
#include "chart/chart.h"
#include "unit/text/lines.h"

static int faults;

static struct chart_file template_of(struct arena *a, struct str expression)
{
    struct str text =
        arena_printf(a, "{{ define \"e\" }}{{ %.*s }}{{ end }}r: {{ include \"e\" . | toJson }}\n",
                     STR_ARG(expression));
    return (struct chart_file){STR("templates/t.yaml"), text};
}

static void golden_line(struct str *columns, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct chart *c;
    struct chart_options o = {.release = STR("rel"), .namespace = STR("ns"), .env = env_system()};
    assert_int_equal(n, 2);
    assert_int_equal(chart_load(&a, SOURCE_DIR "/tests/golden/chart/fn", &c, &e), 0);
    struct chart_file *templates = arena_array(&a, struct chart_file, c->ntemplates + 1);
    memcpy(templates, c->templates, c->ntemplates * sizeof *templates);
    templates[c->ntemplates++] = template_of(&a, columns[0]);
    c->templates = templates;
    struct str wanted = columns[1], is;
    if (chart_render(&a, c, value_object(&a), &o, &out, &e) < 0) {
        // The last part: what the innermost expression is blamed for.
        const char *last = strstr(e.message, "executing \"e\" at <");
        const char *text = last ? strstr(last, ">: ") : NULL;
        is = arena_printf(&a, "error %s", text ? text + 3 : e.message);
    } else {
        is = buf_view(&out);
        ptrdiff_t at = str_find(is, STR("\nr: "));
        is = str_trim(str_from(is, (size_t)at + 4));
    }
    if (!str_eq(is, wanted)) {
        faults++;
        print_error("%.*s\n  is     %.*s\n  wanted %.*s\n", STR_ARG(columns[0]), STR_ARG(is),
                    STR_ARG(wanted));
    }
}

static void golden(void **state)
{
    (void)state;
    lines_each(SOURCE_DIR "/tests/golden/chart/functions.txt", golden_line);
    assert_int_equal(faults, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
