// The command line's kit without a server: flags in all their spellings, tables as kubectl lays
// them out, JSONPath templates as kubectl evaluates them.
#include "base/guard.h"
#include "base/time.h"
#include "cli/flags.h"
#include "cli/jsonpath.h"
#include "cli/print.h"
#include "cli/table.h"
#include "object/json.h"
#include "object/yaml.h"
#include "schema/schema.h"
#include "unit.h"

// --- flags ---

static struct {
    const char *ns, *token;
    bool all, wait;
    int64_t n, timeout;
    struct flag_list files;
} set;

static const struct flag rows[] = {
    {"all", 'A', FLAG_BOOL, &set.all, NULL, "all"},
    {"filename", 'f', FLAG_LIST, &set.files, "FILE", "files"},
    {"namespace", 'n', FLAG_STRING, &set.ns, "NAME", "namespace"},
    {"tail", 0, FLAG_INT, &set.n, "N", "lines"},
    {"timeout", 0, FLAG_DURATION, &set.timeout, "TIME", "time"},
    {"token", 0, FLAG_STRING, &set.token, "TOKEN", "token", "CORACLE_UNIT_TOKEN"},
    {"wait", 'w', FLAG_BOOL, &set.wait, NULL, "wait"},
};

static int parse(const char *line, char **argv, int *ret_nargs)
{
    static char words[512];
    int argc = 0;
    snprintf(words, sizeof words, "%s", line);
    for (char *at = words; *at && argc < 30;) {
        argv[argc++] = at;
        at += strcspn(at, " ");
        if (*at)
            *at++ = 0;
    }
    argv[argc] = NULL;
    memset(&set, 0, sizeof set);
    const struct usage u = {"coracle test [flags]", "", NULL, rows, ARRAY_LEN(rows)};
    return flags_parse(&u, argc, argv, ret_nargs);
}

static void flags(void **state)
{
    (void)state;
    char *argv[32];
    int nargs;
    static const char *const spellings[] = {"t -n shop",          "t -nshop",
                                            "t -n=shop",          "t -Anshop",
                                            "t --namespace shop", "t --namespace=shop"};
    for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
        assert_int_equal(parse(spellings[i], argv, &nargs), 0);
        assert_string_equal(set.ns, "shop");
        assert_int_equal(set.all, i == 3);
        assert_int_equal(nargs, 0);
    }
    assert_int_equal(parse("t -f a pods -Aw --filename=b web -f -", argv, &nargs), 0);
    assert_true(set.all && set.wait);
    assert_int_equal(set.files.n, 3);
    assert_string_equal(set.files.items[2], "-");
    assert_int_equal(nargs, 2);
    assert_string_equal(argv[1], "pods");
    assert_string_equal(argv[2], "web");
    assert_int_equal(parse("t --tail -5 --timeout=1m30s -A=false -- -n x", argv, &nargs), 0);
    assert_int_equal(set.n, -5);
    assert_int_equal(set.timeout, 90 * NS_PER_S);
    assert_false(set.all);
    assert_int_equal(nargs, 2);
    assert_string_equal(argv[1], "-n");
    static const char *const wrong[] = {"t -x",     "t -Ax",       "t --nope",    "t -n",
                                        "t --tail", "t --tail=1x", "t --all=yes", "t --timeout 5"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(parse(wrong[i], argv, &nargs), -1);
    assert_int_equal(parse("t -h", argv, &nargs), 1);
    // A variable stands in, and a flag overrides it.
    setenv("CORACLE_UNIT_TOKEN", "from-env", 1);
    assert_int_equal(parse("t", argv, &nargs), 0);
    assert_string_equal(set.token, "from-env");
    assert_int_equal(parse("t --token mine", argv, &nargs), 0);
    assert_string_equal(set.token, "mine");
    unsetenv("CORACLE_UNIT_TOKEN");
}

static void too_many_of_a_list(void **state)
{
    (void)state;
    char *argv[2 * FLAG_LIST_MAX + 8] = {"t"};
    int argc = 1, nargs;
    memset(&set, 0, sizeof set);
    for (int i = 0; i <= FLAG_LIST_MAX; i++) {
        argv[argc++] = "-f";
        argv[argc++] = "x";
    }
    const struct usage u = {"coracle test [flags]", "", NULL, rows, ARRAY_LEN(rows)};
    assert_int_equal(flags_parse(&u, argc, argv, &nargs), -1);
    assert_int_equal(set.files.n, FLAG_LIST_MAX);
}

// --- tables ---

static void tables(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct table t;
    table_init(&t, &a, 3);
    static const char *const cells[] = {"A", "LONGER", "LAST", "b",          "äöü",
                                        "x", "c\nd",   "",     "\033[31mred"};
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        table_cell(&t, str_of(cells[i]));
    table_write(&b, &t);
    assert_string_equal(buf_cstr(&b), "A      LONGER   LAST\n"
                                      "b      äöü      x\n"
                                      "c...            ?[31mred\n");
}

// --- JSONPath ---

static const char pods[] =
    "{\"items\":[{\"metadata\":{\"name\":\"a\",\"labels\":{\"x.y/z\":\"1\"}},\"n\":3,\"ok\":true,"
    "\"c\":[{\"name\":\"m\",\"image\":\"i1\"},{\"name\":\"s\",\"image\":\"i2\"}]},"
    "{\"metadata\":{\"name\":\"b\"},\"n\":10,\"ok\":false,\"c\":[{\"name\":\"m\",\"image\":\"i3\"}]"
    "}]}";

static void jsonpath(void **state)
{
    (void)state;
    static const struct {
        const char *template_text, *text;
    } cases[] = {
        {"plain", "plain"},
        {"{.items[*].metadata.name}", "a b"},
        {"{$.items[0].metadata.name}", "a"},
        {"{.items[-1].metadata.name}", "b"},
        {"{.items[0:1].n}", "3"},
        {"{.items[:].n}", "3 10"},
        {"{.items[5].n}{.nothing.at.all}", ""},
        {"{.items[0].metadata.labels.x\\.y/z}", "1"},
        {"{.items[0].metadata.labels['x.y/z']}", "1"},
        {"{..image}", "i1 i2 i3"},
        {"{.items[0].metadata}", "{\"name\":\"a\",\"labels\":{\"x.y/z\":\"1\"}}"},
        {"{.items[0].metadata.*}", "a {\"x.y/z\":\"1\"}"},
        {"{.items[?(@.n>3)].metadata.name}", "b"},
        {"{.items[?(@.n<=3)].metadata.name}", "a"},
        {"{.items[?(@.metadata.name!=\"a\")].n}", "10"},
        {"{.items[?(@.ok==true)].n}", "3"},
        {"{.items[?(@.metadata.labels)].n}", "3"},
        {"{.items[*].c[?(@.name=='m')].image}", "i1 i3"},
        {"{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}", "a\t3\nb\t10\n"},
        {"{range.items[*]}{range .c[*]}{.image};{end}|{end}", "i1;i2;|i3;|"},
        {"{range .none[*]}x{end}y", "y"},
        {"{'it''s'}", "it''s"},
    };
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *root;
    assert_int_equal(json_parse(&a, str_of(pods), NULL, &root, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        assert_int_equal(jsonpath_write(&b, &a, str_of(cases[i].template_text), root, &e), 0);
        assert_string_equal(buf_cstr(&b), cases[i].text);
    }
    static const struct {
        const char *template_text, *why;
    } wrong[] = {
        {"{.items[0]", "unclosed action"},          {"{.items[0}", "unterminated array"},
        {"{.items[x]}", "invalid array index"},     {"{.items[]}", "invalid array index"},
        {"{.items[?(@.n]}", "unterminated filter"}, {"{range .items[*]}x", "unclosed range"},
        {"{end}", "not in range, nothing to end"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        _cleanup_buf_ struct buf b = BUF_INIT, want = BUF_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        assert_int_equal(jsonpath_write(&b, &a, str_of(wrong[i].template_text), root, &e), -400);
        buf_printf(&want, "error parsing jsonpath %s, %s", wrong[i].template_text, wrong[i].why);
        assert_string_equal(e.message, buf_cstr(&want));
    }
    _cleanup_buf_ struct buf deep = BUF_INIT, out = BUF_INIT;
    for (int i = 0; i < 100; i++)
        buf_puts(&deep, "{range .items[*]}");
    assert_int_equal(jsonpath_write(&out, &a, buf_view(&deep), root, NULL), -400);
}

// --- printing ---

static struct str printed(struct arena *a, const char *form, const struct print_options *opt,
                          int want)
{
    char *text = NULL;
    size_t n = 0;
    _cleanup_err_ struct err e = ERR_INIT;
    struct cli c = {.arena = a, .output = form};
    struct value *v;
    assert_int_equal(yaml_parse(a,
                                STR("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, "
                                    "namespace: shop, managedFields: [{manager: x}]}\n"
                                    "data: {b: \"1\", a: x}\n"),
                                NULL, &v, NULL),
                     0);
    const struct print_list l = {kind_by_word(STR("cm")), &v, 1};
    c.out = open_memstream(&text, &n);
    assert_int_equal(print_objects(&c, &l, 1, opt, &e), want);
    fclose(c.out);
    struct str s = want ? arena_str(a, str_of(e.message)) : arena_str(a, str_n(text, n));
    free(text);
    return s;
}

static void forms(void **state)
{
    (void)state;
    static const struct print_options one = {.single = true},
                                      many = {.with_namespace = true, .with_kind = true},
                                      bare = {.no_headers = true};
    static const struct {
        const char *form;
        const struct print_options *opt;
        int code;
        const char *text;
    } cases[] = {
        {NULL, &one, 0, "NAME   DATA   AGE\nc      2      <unknown>\n"},
        {"wide", &many, 0,
         "NAMESPACE   NAME          DATA   AGE\nshop        configmap/c   2      "
         "<unknown>\n"},
        {NULL, &bare, 0, "c     2     <unknown>\n"},
        {"name", &one, 0, "configmap/c\n"},
        {"yaml", &one, 0,
         "apiVersion: v1\ndata:\n  a: x\n  b: \"1\"\nkind: ConfigMap\nmetadata:\n"
         "  name: c\n  namespace: shop\n"},
        {"jsonpath={.data}", &one, 0, "{\"a\":\"x\",\"b\":\"1\"}"},
        {"jsonpath={.items[0].data.a}", &many, 0, "x"},
        {"custom-columns=N:.metadata.name,X:{.data.x},A:data.*", &one, 0,
         "N     X        A\nc     <none>   1,x\n"},
        {"custom-columns=N", &one, -400,
         "custom-columns: expected <header>:<json-path-expr> instead of N"},
        {"xml", &one, -400,
         "unable to match a printer suitable for the output format \"xml\", allowed formats are: "
         "custom-columns=, json, jsonpath=, name, wide, yaml"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct str s = printed(&a, cases[i].form, cases[i].opt, cases[i].code);
        assert_string_equal(arena_cstr(&a, s), cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags),  cmocka_unit_test(too_many_of_a_list),
        cmocka_unit_test(tables), cmocka_unit_test(jsonpath),
        cmocka_unit_test(forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
