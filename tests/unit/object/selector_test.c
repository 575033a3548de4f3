// Selectors: canonical text, matching, the originals' words for what is wrong.
#include "object/selector.h"
#include "unit/object/test.h"

static void labels(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical, *yes, *no;
    } rows[] = {
        {"", "", "{}", NULL},
        {"a", "a", "{\"a\":\"\"}", "{\"b\":\"\"}"},
        {"!a", "!a", "{}", "{\"a\":\"1\"}"},
        {" a = b ", "a=b", "{\"a\":\"b\"}", "{\"a\":\"c\"}"},
        {"a==b", "a==b", "{\"a\":\"b\"}", "{}"},
        {"a!=b", "a!=b", "{}", "{\"a\":\"b\"}"},
        {"a=", "a=", "{\"a\":\"\"}", "{\"a\":\"b\"}"},
        {"a=,b", "a=,b", "{\"a\":\"\",\"b\":\"x\"}", "{\"a\":\"\"}"},
        {"z=1,y=2", "y=2,z=1", "{\"z\":\"1\",\"y\":\"2\"}", "{\"z\":\"1\"}"},
        {"a in (y,x,y)", "a in (x,y)", "{\"a\":\"x\"}", "{\"a\":\"z\"}"},
        {"a notin (x, y)", "a notin (x,y)", "{\"a\":\"z\"}", "{\"a\":\"x\"}"},
        {"a notin (x)", "a notin (x)", "{}", "{\"a\":\"x\"}"},
        {"a in (,)", "a in (,)", "{\"a\":\"\"}", "{\"a\":\"x\"}"},
        {"a in (x,)", "a in (,x)", "{\"a\":\"\"}", "{\"a\":\"y\"}"},
        {"a in (in,notin)", "a in (in,notin)", "{\"a\":\"in\"}", "{\"a\":\"x\"}"},
        {"in=in", "in=in", "{\"in\":\"in\"}", "{}"},
        {"a>5", "a>5", "{\"a\":\"6\"}", "{\"a\":\"5\"}"},
        {"example.com/app.k8s=web-1", "example.com/app.k8s=web-1",
         "{\"example.com/app.k8s\":\"web-1\"}", "{}"},
        {"a=b,c!=d,e in (f,g),!h,i", "a=b,c!=d,e in (f,g),!h,i",
         "{\"a\":\"b\",\"e\":\"g\",\"i\":\"\"}", "{\"a\":\"b\",\"e\":\"g\",\"i\":\"\",\"h\":\"\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_buf_ struct buf b = BUF_INIT;
        struct selector *s;
        _cleanup_err_ struct err e = ERR_INIT;
        if (selector_parse(&a, str_of(rows[i].text), &s, &e) < 0)
            fail_msg("%s: %s", rows[i].text, e.message);
        selector_write(&b, s);
        assert_str(buf_view(&b), rows[i].canonical);
        assert_true(selector_matches(s, tree(&a, rows[i].yes)));
        if (rows[i].no)
            assert_false(selector_matches(s, tree(&a, rows[i].no)));
        assert_int_equal(selector_empty(s), !*rows[i].text);
    }
}

#define NAME_PART                                                                                  \
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "  \
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for " \
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
#define A_LABEL                                                                                    \
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "    \
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value', " \
    " "                                                                                            \
    "or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

static void wrong_labels(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {",", "found ',', expected: !, identifier, or 'end of string'"},
        {"a,", "found '', expected: identifier after ','"},
        {"a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"},
        {"!", "unable to parse requirement: found '', expected: identifier"},
        {"a=b=c", "found '=', expected: ',' or 'end of string'"},
        {"a=(", "unable to parse requirement: found '(', expected: identifier"},
        {"a in x", "unable to parse requirement: found 'x' expected: '('"},
        {"a in (x", "unable to parse requirement: found '', expected: ',' or ')'"},
        {"a in (x y)", "unable to parse requirement: found 'y', expected: ',' or ')'"},
        {"a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"},
        {"a in ()", "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' "
                    "operators, values set can't be empty"},
        {"a>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' "
                "operators, the value must be an integer"},
        {"-a=b", "unable to parse requirement: <nil>: Invalid value: \"-a\": " NAME_PART},
        {"/a", "unable to parse requirement: <nil>: Invalid value: \"/a\": prefix part must be "
               "non-empty"},
        {"a=-b", "unable to parse requirement: values[0][a]: Invalid value: \"-b\": " A_LABEL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct selector *s = NULL;
        assert_int_equal(selector_parse(&a, str_of(rows[i].text), &s, &e), -400);
        assert_string_equal(e.message, rows[i].message);
        assert_null(s);
    }
}

static void objects(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct selector *s;
    assert_int_equal(selector_from_value(&a, NULL, &s, NULL), 0);
    assert_false(selector_matches(s, NULL));
    assert_false(selector_empty(s));
    assert_int_equal(selector_from_value(&a, tree(&a, "{}"), &s, NULL), 0);
    assert_true(selector_matches(s, NULL));
    assert_true(selector_empty(s));
    assert_int_equal(
        selector_from_value(&a,
                            tree(&a,
                                 "{\"matchLabels\":{\"b\":\"1\",\"a\":\"2\"},\"matchExpressions\":["
                                 "{\"key\":\"x\",\"operator\":\"In\",\"values\":[\"q\",\"p\"]},"
                                 "{\"key\":\"y\",\"operator\":\"DoesNotExist\"},"
                                 "{\"key\":\"w\",\"operator\":\"Exists\"},"
                                 "{\"key\":\"z\",\"operator\":\"NotIn\",\"values\":[\"r\"]}]}"),
                            &s, NULL),
        0);
    selector_write(&b, s);
    assert_str(buf_view(&b), "a=2,b=1,w,x in (p,q),!y,z notin (r)");
    assert_true(selector_matches(s, tree(&a, "{\"a\":\"2\",\"b\":\"1\",\"x\":\"p\",\"w\":\"\"}")));
    assert_int_equal(
        selector_from_value(
            &a, tree(&a, "{\"matchExpressions\":[{\"key\":\"x\",\"operator\":\"Gt\"}]}"), &s, &e),
        -400);
    assert_string_equal(e.message, "\"Gt\" is not a valid label selector operator");
}

static void fields(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct field_requirement *r;
    size_t n;
    assert_int_equal(field_selector_parse(&a,
                                          STR("metadata.name=x,status.phase!=Running,,a==b\\,c\\=d"
                                              "\\\\,e="),
                                          &r, &n, NULL),
                     0);
    assert_int_equal(n, 4);
    assert_str(r[0].path, "metadata.name");
    assert_str(r[0].value, "x");
    assert_false(r[0].negate);
    assert_str(r[1].path, "status.phase");
    assert_str(r[1].value, "Running");
    assert_true(r[1].negate);
    assert_str(r[2].value, "b,c=d\\");
    assert_str(r[3].path, "e");
    assert_str(r[3].value, "");
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"a", "invalid selector: 'a'; can't understand 'a'"},
        {"a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"},
        {"a=b\\x", "invalid field selector: invalid escape sequence: \\x"},
        {"a=b\\", "invalid field selector: invalid escape sequence: \\"},
        {"a=b=c", "invalid field selector: unescaped character in value: 61"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_err_ struct err e = ERR_INIT;
        assert_int_equal(field_selector_parse(&a, str_of(rows[i].text), &r, &n, &e), -400);
        assert_string_equal(e.message, rows[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(labels), cmocka_unit_test(wrong_labels),
                                       cmocka_unit_test(objects), cmocka_unit_test(fields)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
