// Charts: the grammar of --set, values down the dependencies, what is refused, errors as helm says
// them, archives.
#include "chart/chart.h"
#include "object/json.h"
#include "unit.h"

static void set_grammar(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum chart_set_mode mode;
        const char *json, *message;
    } rows[] = {
        {"a=1,b.c=x", CHART_SET_TYPED, "{\"a\":1,\"b\":{\"c\":\"x\"}}", NULL},
        {"a=true,b=false,c=null,d=0123,e=0,f=-5", CHART_SET_TYPED,
         "{\"a\":true,\"b\":false,\"c\":null,\"d\":\"0123\",\"e\":0,\"f\":-5}", NULL},
        {"a=1,b=true", CHART_SET_STRING, "{\"a\":\"1\",\"b\":\"true\"}", NULL},
        {"l={x,y,1}", CHART_SET_TYPED, "{\"l\":[\"x\",\"y\",1]}", NULL},
        {"l={}", CHART_SET_TYPED, "{\"l\":[]}", NULL},
        {"l[0]=a,l[2].b=c", CHART_SET_TYPED, "{\"l\":[\"a\",null,{\"b\":\"c\"}]}", NULL},
        {"a\\.b=x\\,y", CHART_SET_TYPED, "{\"a.b\":\"x,y\"}", NULL},
        {"a={\"b\":[1,2]},c=3", CHART_SET_JSON, "{\"a\":{\"b\":[1,2]},\"c\":3}", NULL},
        {"a=x,y=z\\", CHART_SET_LITERAL, "{\"a\":\"x,y=z\\\\\"}", NULL},
        {"a=", CHART_SET_TYPED, "{\"a\":\"\"}", NULL},
        {"a", CHART_SET_TYPED, NULL, "failed parsing --set data: key \"a\" has no value"},
        {"a,b=1", CHART_SET_TYPED, NULL,
         "failed parsing --set data: key \"a\" has no value (cannot end with ,)"},
        {"a={x", CHART_SET_TYPED, NULL, "failed parsing --set data: list must terminate with '}'"},
        {"a[99999]=1", CHART_SET_TYPED, NULL,
         "failed parsing --set data: index of 99999 is greater than maximum supported index of "
         "65536"},
        {"a[x]=1", CHART_SET_TYPED, NULL,
         "failed parsing --set data: error parsing index: strconv.Atoi: parsing \"x\": invalid "
         "syntax"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *v = value_object(&a);
        int r = chart_set(&a, v, str_of(rows[i].text), rows[i].mode, &e);
        if (rows[i].message) {
            assert_int_equal(r, -422);
            assert_string_equal(e.message, rows[i].message);
        } else {
            assert_int_equal(r, 0);
            struct str json = json_text(&a, v);
            if (!str_eqc(json, rows[i].json))
                fail_msg("%s: %.*s", rows[i].text, STR_ARG(json));
        }
    }
}

static struct chart *chart_of(struct arena *a, const char *metadata, const char *values,
                              const char *text)
{
    struct chart *c = arena_new(a, struct chart);
    c->values = value_object(a);
    assert_int_equal(chart_values_add(a, c->values, str_of(values), NULL), 0);
    c->metadata = value_object(a);
    assert_int_equal(chart_values_add(a, c->metadata, str_of(metadata), NULL), 0);
    c->templates = arena_new(a, struct chart_file);
    c->templates[0] = (struct chart_file){STR("templates/a.yaml"), str_of(text)};
    c->ntemplates = 1;
    return c;
}

static void child_add(struct arena *a, struct chart *c, struct chart *child)
{
    c->dependencies = arena_grow(a, c->dependencies, c->ndependencies * sizeof *c->dependencies,
                                 (c->ndependencies + 1) * sizeof *c->dependencies);
    c->dependencies[c->ndependencies++] = child;
    child->parent = c;
}

// What helm 3.17.2 prints for the same charts as directories.
static void dependencies(void **state)
{
    (void)state;
    static const struct {
        const char *values, *output;
    } rows[] = {
        {"", "---\n# Source: p/charts/second/templates/a.yaml\ns: 1-top-5\n"
             "---\n# Source: p/charts/sub/templates/a.yaml\ns: 2-top-5\n"
             "---\n# Source: p/templates/a.yaml\np: 9-5\n"},
        {"sub: {enabled: false}", "---\n# Source: p/charts/second/templates/a.yaml\ns: 1-top-5\n"
                                  "---\n# Source: p/templates/a.yaml\np: 9-\n"},
        {"{sub: {s: null}, global: {g: user}, tags: {extra: false}}",
         "---\n# Source: p/charts/sub/templates/a.yaml\ns: -user-5\n"
         "---\n# Source: p/templates/a.yaml\np: 9-5\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        _cleanup_buf_ struct buf out = BUF_INIT;
        struct chart *p = chart_of(
            &a,
            "{name: p, version: 1.0.0, dependencies: [{name: sub, version: ^1, condition: "
            "sub.enabled, "
            "import-values: [out]}, {name: sub, version: 1.x, alias: second, tags: [extra]}]}",
            "{p: 9, sub: {s: 2}, global: {g: top}}", "p: {{ .Values.p }}-{{ .Values.q }}\n");
        struct chart *sub =
            chart_of(&a, "{name: sub, version: 1.2.0}", "{s: 1, x: 5, exports: {out: {q: 5}}}",
                     "s: {{ .Values.s }}-{{ .Values.global.g }}-{{ .Values.x }}\n");
        child_add(&a, p, sub);
        struct value *given = value_object(&a);
        assert_int_equal(chart_values_add(&a, given, str_of(rows[i].values), &e), 0);
        struct chart_options o = {.release = STR("r"), .namespace = STR("n"), .env = env_system()};
        if (chart_render(&a, p, given, &o, &out, &e) < 0)
            fail_msg("%s", e.message);
        assert_string_equal(buf_cstr(&out), rows[i].output);
    }
}

static void errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"a: {{ required \"say x\" .Values.x }}",
         "execution error at (p/templates/a.yaml:1:6): say x"},
        {"a: {{ fail \"no\" }}", "execution error at (p/templates/a.yaml:1:6): no"},
        {"a: {{ .Values.a.b.c }}", "template: p/templates/a.yaml:1:13: executing "
                                   "\"p/templates/a.yaml\" at <.Values.a.b.c>: nil pointer "
                                   "evaluating interface {}.b"},
        {"a: {{ nofunc }}",
         "parse error at (p/templates/a.yaml:1): function \"nofunc\" not defined"},
        {"a: b: c", "YAML parse error on p/templates/a.yaml: error converting YAML to JSON: yaml: "
                    "line 1: mapping "
                    "values are not allowed in this context"},
        {"a: {{ include \"nope\" . }}",
         "template: p/templates/a.yaml:1:6: executing \"p/templates/a.yaml\" at <include \"nope\" "
         ".>: error calling "
         "include: template: no template \"nope\" associated with template \"gotpl\""},
        {"{{ define \"x\" }}{{ include \"x\" . }}{{ end }}a: {{ include \"x\" . }}",
         "nested reference name: x"},
        {"{{ define \"x\" }}{{ tpl (include \"y\" .) . }}{{ end }}{{ define \"y\" }}{{ `{{ include "
         "\"x\" . }}` }}{{ end "
         "}}a: {{ include \"x\" . }}",
         "nested reference name: x"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        _cleanup_buf_ struct buf out = BUF_INIT;
        struct chart *p = chart_of(&a, "{name: p, version: 1.0.0}", "", rows[i].text);
        struct chart_options o = {.release = STR("r"), .namespace = STR("n"), .env = env_system()};
        assert_int_equal(chart_render(&a, p, value_object(&a), &o, &out, &e), -422);
        if (!strstr(e.message, rows[i].message))
            fail_msg("%s\n  is     %s\n  wanted %s", rows[i].text, e.message, rows[i].message);
    }
}

// Hooks stand behind the manifests, kinds in the order of installation.
static void order(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT, tests = BUF_INIT;
    struct chart *p = chart_of(
        &a, "{name: p, version: 1.0.0}", "",
        "kind: Deployment\n---\nkind: Zebra\n---\nkind: Job\nmetadata:\n  annotations:\n    "
        "helm.sh/hook: test\n---\nkind: Service\n---\nkind: Apple\n");
    struct chart_options o = {.release = STR("r"), .namespace = STR("n"), .env = env_system()};
    assert_int_equal(chart_render(&a, p, value_object(&a), &o, &out, NULL), 0);
    assert_string_equal(
        buf_cstr(&out),
        "---\n# Source: p/templates/a.yaml\nkind: Service\n---\n# Source: "
        "p/templates/a.yaml\nkind: "
        "Deployment\n---\n# Source: p/templates/a.yaml\nkind: Apple\n---\n# Source: "
        "p/templates/a.yaml\nkind: Zebra\n---\n# Source: p/templates/a.yaml\nkind: "
        "Job\nmetadata:\n  "
        "annotations:\n    helm.sh/hook: test\n");
    o.skip_tests = true;
    assert_int_equal(chart_render(&a, p, value_object(&a), &o, &tests, NULL), 0);
    assert_null(strstr(buf_cstr(&tests), "kind: Job"));
}

// One entry of a tar archive.
static void entry_add(struct buf *b, const char *name, const char *text)
{
    char block[512] = {0};
    size_t n = strlen(text);
    snprintf(block, 100, "%s", name);
    memcpy(block + 100, "0000644", 7);
    memcpy(block + 108, "0000000", 7);
    memcpy(block + 116, "0000000", 7);
    snprintf(block + 124, 12, "%011o", (unsigned)n % 4096);
    memcpy(block + 136, "00000000000", 11);
    block[156] = '0';
    memcpy(block + 257, "ustar\00000", 8);
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < sizeof block; i++)
        sum += (i >= 148 && i < 156) ? 0 : (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum % 65536);
    buf_add(b, block, sizeof block);
    buf_add(b, text, n);
    for (size_t i = n; i % 512; i++)
        buf_char(b, '\0');
}

static void archives(void **state)
{
    (void)state;
    static const struct {
        const char *name, *message;
    } rows[] = {
        {"p/templates/a.yaml", NULL},
        {"p/../../etc/x", "chart illegally references parent directory"},
        {"Chart.yaml", "chart base directory is missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        _cleanup_buf_ struct buf tar = BUF_INIT;
        struct chart *c;
        char end[1024] = {0};
        entry_add(&tar, "p/Chart.yaml", "name: p\nversion: 1.0.0\n");
        entry_add(&tar, rows[i].name, "a: b\n");
        buf_add(&tar, end, sizeof end);
        int r = chart_load_archive(&a, buf_view(&tar), &c, &e);
        if (!rows[i].message) {
            assert_int_equal(r, 0);
            assert_int_equal(c->ntemplates, 1);
        } else {
            assert_int_equal(r, -422);
            assert_string_equal(e.message, rows[i].message);
        }
    }
}

static void checks(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *message;
    } rows[] = {
        {"{name: p, version: 1.0.0, type: library}", "library charts are not installable"},
        {"{name: p, version: 1.0.0, kubeVersion: '>=1.99'}",
         "chart requires kubeVersion: >=1.99 which is incompatible with Kubernetes v1.32.0"},
        {"{name: p, version: 1.0.0, dependencies: [{name: a, version: 1}, {name: b, version: 1}]}",
         "An error occurred while checking for chart dependencies. You may need to run `helm "
         "dependency build` to "
         "fetch missing dependencies: found in Chart.yaml, but missing in charts/ directory: a, b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct chart *p = chart_of(&a, rows[i].metadata, "", "");
        assert_int_equal(chart_check(&a, p, STR_NULL, &e), -422);
        assert_string_equal(e.message, rows[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_grammar), cmocka_unit_test(dependencies), cmocka_unit_test(errors),
        cmocka_unit_test(order),       cmocka_unit_test(archives),     cmocka_unit_test(checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
