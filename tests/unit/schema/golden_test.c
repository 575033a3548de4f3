// Runs tests/golden/schema/*.txt. A file is a list of cases:
//
//     === what it shows
//     an object, as YAML
//     --- old             the object before an update (its defaults are filled in)
//     --- sub             the subresource that is written to
//     --- error           what strict decoding says
//     --- unknown         the paths of unknown fields, one a line
//     --- default         the object with its defaults, as YAML
//     --- faults          the message of validation; nothing: valid
//     --- row             the cells of its table row, with " | " between
//
// All sections are optional; each that is there is checked. The time is 2026-01-01T00:10:00Z.
#include "base/time.h"
#include "object/json.h"
#include "object/yaml.h"
#include "schema/columns.h"
#include "schema/rules.h"
#include "unit.h"
#include <stdio.h>

enum section { INPUT, OLD, SUB, ERROR, UNKNOWN, DEFAULT, FAULTS, ROW, NSECTIONS };
static const char *const section_names[] = {"",        "old",     "sub",    "error",
                                            "unknown", "default", "faults", "row"};

struct golden {
    struct str name;
    struct str text[NSECTIONS]; // p NULL: not there
};

static struct value *parse(struct arena *a, struct str text, struct str name)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v = NULL;
    if (yaml_parse(a, text, NULL, &v, &e) < 0) {
        print_error("%.*s: %s\n", STR_ARG(name), e.message);
        fail();
    }
    return v;
}

static size_t failed; // expectations of a file that did not hold: all of them are shown

static void expect(const struct golden *g, enum section s, struct str have)
{
    struct str want = str_trim(g->text[s]);
    have = str_trim(have);
    if (str_eq(have, want))
        return;
    failed++;
    fprintf(stderr, "case \"%.*s\", %s:\nhave: %.*s\nwant: %.*s\n", STR_ARG(g->name),
            section_names[s], STR_ARG(have), STR_ARG(want));
}

static const struct kind *kind_of(const struct value *v)
{
    return kind_by_api_version(value_str_at(v, "apiVersion"), value_str_at(v, "kind"));
}

static void run(const struct golden *g)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    int64_t now;
    struct value *v = parse(&a, g->text[INPUT], g->name), *old = NULL;
    const struct kind *k = kind_of(v);
    if (!k) {
        print_error("case \"%.*s\": unknown kind\n", STR_ARG(g->name));
        fail();
    }
    struct value *unknown = value_array(&a);
    int rc = schema_check_fields(&a, k->type, v, unknown, &e);
    if (g->text[ERROR].p) {
        assert_int_equal(rc, -400);
        expect(g, ERROR, str_of(e.message));
        return;
    }
    if (rc < 0)
        print_error("case \"%.*s\": %s\n", STR_ARG(g->name), e.message);
    assert_int_equal(rc, 0);
    value_each_item (unknown, path)
        buf_printf(&b, "%.*s\n", STR_ARG(value_string(path)));
    expect(g, UNKNOWN, buf_view(&b));
    buf_reset(&b);
    assert_int_equal(schema_default(&a, k, v, &e), 0);
    struct value *once = value_clone(&a, v);
    assert_int_equal(schema_default(&a, k, v, &e), 0);
    assert_true(value_eq(once, v)); // a second run changes nothing
    if (g->text[DEFAULT].p) {
        struct value *want = parse(&a, g->text[DEFAULT], g->name);
        if (!value_eq(v, want)) {
            yaml_write(&b, v);
            print_error("case \"%.*s\", default:\n%.*s\n", STR_ARG(g->name), STR_ARG(buf_view(&b)));
            fail();
        }
    }
    if (g->text[OLD].p) {
        old = parse(&a, g->text[OLD], g->name);
        assert_int_equal(schema_check_fields(&a, k->type, old, NULL, &e), 0);
        assert_int_equal(schema_default(&a, k, old, &e), 0);
    }
    if (g->text[FAULTS].p) {
        rc = schema_validate_subresource(&a, k, str_trim(g->text[SUB]), v, old, &e);
        expect(g, FAULTS, rc ? str_of(e.message) : STR(""));
        assert_int_equal(rc, rc ? -422 : 0);
        assert_int_equal(!!rc, e.ncauses > 0);
        if (rc) {
            assert_true(str_eq(str_of(e.details_kind), k->kind));
            assert_true(err_is(&e, ERR_INVALID));
        }
    }
    if (g->text[ROW].p) {
        assert_true(time_parse_rfc3339(STR("2026-01-01T00:10:00Z"), &now));
        struct value *row = schema_table_row(&a, k, v, now);
        assert_int_equal(value_len(row), k->ncolumns);
        buf_reset(&b);
        value_each_item (row, cell) {
            buf_puts(&b, cell_i ? " | " : "");
            if (cell->kind == VALUE_STRING)
                buf_str(&b, value_string(cell));
            else
                json_write(&b, cell);
        }
        expect(g, ROW, buf_view(&b));
    }
}

static size_t count_file(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/schema/%s", name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    static char text[1 << 20];
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    assert_true(n < sizeof text);
    struct golden g = {0};
    size_t cases = 0;
    failed = 0;
    enum section at = NSECTIONS;
    const char *begin = text;
    for (struct str rest = str_n(text, n);;) {
        const char *line_at = rest.p;
        struct str line = rest.p ? str_cut(&rest, '\n') : STR_NULL;
        bool head = str_starts(line, STR("=== ")), cut = str_starts(line, STR("--- "));
        if (at < NSECTIONS && (head || cut || !line_at))
            g.text[at] = str_n(begin, (size_t)((line_at ? line_at : text + n) - begin));
        if ((head || !line_at) && g.name.p) {
            run(&g);
            cases++;
        }
        if (!line_at)
            break;
        if (head) {
            g = (struct golden){.name = str_from(line, 4)};
            at = INPUT;
        }
        if (cut) {
            for (at = OLD; at < NSECTIONS && !str_eqc(str_from(line, 4), section_names[at]);)
                at++;
            assert_true(at < NSECTIONS);
        }
        if (head || cut)
            begin = rest.p ? rest.p : text + n;
    }
    return cases;
}

static size_t run_file(const char *name)
{
    size_t cases = count_file(name);
    assert_int_equal(failed, 0);
    return cases;
}

static void decoding(void **state)
{
    (void)state;
    assert_in_range(run_file("decode.txt"), 12, 1000);
}

static void defaults(void **state)
{
    (void)state;
    assert_in_range(run_file("defaults.txt"), 12, 1000);
}

static void validation(void **state)
{
    (void)state;
    assert_in_range(run_file("faults.txt"), 40, 1000);
}

// The published rules of each kind, with the texts of Kubernetes 1.34 (the samples of the case
// validation-missing are the first file).
static void published_rules(void **state)
{
    static const char *const files[] = {
        "validation-missing", "validation-pods",  "validation-volumes", "validation-core",
        "validation-groups",  "validation-cases", "validation-updates",
    };
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.txt", files[i]);
        assert_in_range(count_file(name), 5, 1000);
        wrong += failed;
    }
    assert_int_equal(wrong, 0);
}

static void rows(void **state)
{
    (void)state;
    assert_in_range(run_file("rows.txt"), 30, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding),        cmocka_unit_test(defaults), cmocka_unit_test(validation),
        cmocka_unit_test(published_rules), cmocka_unit_test(rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
