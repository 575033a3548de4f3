// `coracle helm`: charts from the command line, with helm's verbs and flags. A verb is a row; so is
// a flag. Flags that only speak of a cluster are accepted where helm accepts them and do nothing
// without one.
#include "base/env.h"
#include "chart/chart.h"
#include "cli/context.h"
#include "cli/verbs.h"
#include "roles.h"
#include <stdio.h>

struct helm_call {
    struct arena a;
    const char *positional[4];
    size_t npositional;
    struct chart_options o;
    struct value *values;
    const char *version;
    // In the order in which helm applies them: files, then the others kind by kind.
    struct helm_setting {
        enum helm_flag_kind {
            HELM_VALUES,
            HELM_SET_JSON,
            HELM_SET,
            HELM_SET_STRING,
            HELM_SET_FILE,
            HELM_SET_LITERAL,
            HELM_NAMESPACE,
            HELM_KUBE_VERSION,
            HELM_API_VERSIONS,
            HELM_SHOW_ONLY,
            HELM_NAME,
            HELM_INCLUDE_CRDS,
            HELM_NO_HOOKS,
            HELM_SKIP_TESTS,
            HELM_IS_UPGRADE,
            HELM_IGNORED,
        } kind;
        const char *text;
    } * settings;
    size_t nsettings;
};

static const struct helm_flag {
    const char *name;
    char letter;
    enum helm_flag_kind kind;
    bool value;
} helm_flags[] = {
    {"api-versions", 'a', HELM_API_VERSIONS, true},
    {"debug", 0, HELM_IGNORED, false},
    {"include-crds", 0, HELM_INCLUDE_CRDS, false},
    {"is-upgrade", 0, HELM_IS_UPGRADE, false},
    {"kube-version", 0, HELM_KUBE_VERSION, true},
    {"name-template", 0, HELM_NAME, true},
    {"namespace", 'n', HELM_NAMESPACE, true},
    {"no-hooks", 0, HELM_NO_HOOKS, false},
    {"set", 0, HELM_SET, true},
    {"set-file", 0, HELM_SET_FILE, true},
    {"set-json", 0, HELM_SET_JSON, true},
    {"set-literal", 0, HELM_SET_LITERAL, true},
    {"set-string", 0, HELM_SET_STRING, true},
    {"show-only", 's', HELM_SHOW_ONLY, true},
    {"skip-tests", 0, HELM_SKIP_TESTS, false},
    {"values", 'f', HELM_VALUES, true},
};

static int flag_take(struct helm_call *c, const struct helm_flag *f, const char *text)
{
    c->settings = arena_grow(&c->a, c->settings, c->nsettings * sizeof *c->settings,
                             (c->nsettings + 1) * sizeof *c->settings);
    c->settings[c->nsettings++] = (struct helm_setting){f->kind, text};
    return 0;
}

static const struct helm_flag *flag_find(struct str name, char letter)
{
    for (size_t i = 0; i < sizeof helm_flags / sizeof *helm_flags; i++)
        if (letter ? helm_flags[i].letter == letter : str_eqc(name, helm_flags[i].name))
            return &helm_flags[i];
    return NULL;
}

static int flags_read(struct helm_call *c, int argc, char **argv, struct err *e)
{
    for (int i = 1; i < argc; i++) {
        struct str word = str_of(argv[i]);
        if (word.n < 2 || word.p[0] != '-') {
            if (c->npositional == sizeof c->positional / sizeof *c->positional)
                return err_set(e, ERR_BAD_REQUEST, "too many arguments");
            c->positional[c->npositional++] = argv[i];
            continue;
        }
        bool is_long = word.p[1] == '-';
        ptrdiff_t equals = is_long ? str_chr(word, '=') : -1;
        struct str name = equals < 0 ? str_from(word, 2) : str_sub(word, 2, (size_t)equals - 2);
        const struct helm_flag *f = flag_find(name, is_long ? 0 : word.p[1]);
        if (!f)
            return err_set(e, ERR_BAD_REQUEST, "unknown flag: %s", argv[i]);
        const char *text = equals >= 0              ? argv[i] + equals + 1
                           : !is_long && argv[i][2] ? argv[i] + 2
                                                    : NULL;
        if (f->value && !text) {
            if (i + 1 == argc)
                return err_set(e, ERR_BAD_REQUEST, "flag needs an argument: %s", argv[i]);
            text = argv[++i];
        }
        flag_take(c, f, text);
    }
    return 0;
}

static int values_file(struct helm_call *c, const char *path, struct err *e)
{
    struct str text;
    int r = file_read_all(&c->a, strcmp(path, "-") == 0 ? "/dev/stdin" : path, CHART_TOTAL_MAX,
                          &text, e);
    if (r == 0)
        r = chart_values_add(&c->a, c->values, text, e);
    return r < 0 ? err_wrap(e, e, "failed to parse %s", path) : 0;
}

static const enum chart_set_mode set_modes[] = {[HELM_SET_JSON] = CHART_SET_JSON,
                                                [HELM_SET] = CHART_SET_TYPED,
                                                [HELM_SET_STRING] = CHART_SET_STRING,
                                                [HELM_SET_FILE] = CHART_SET_FILE,
                                                [HELM_SET_LITERAL] = CHART_SET_LITERAL};

static int values_read(struct helm_call *c, struct err *e)
{
    c->values = value_object(&c->a);
    for (enum helm_flag_kind kind = HELM_VALUES; kind <= HELM_SET_LITERAL; kind++)
        for (size_t i = 0; i < c->nsettings; i++) {
            if (c->settings[i].kind != kind)
                continue;
            int r = kind == HELM_VALUES ? values_file(c, c->settings[i].text, e)
                                        : chart_set(&c->a, c->values, str_of(c->settings[i].text),
                                                    set_modes[kind], e);
            if (r < 0)
                return r;
        }
    return 0;
}

static void list_add(struct helm_call *c, struct str **list, size_t *n, const char *text)
{
    for (struct str rest = str_of(text); rest.p;) { // a list may be given with commas
        *list = arena_grow(&c->a, *list, *n * sizeof **list, (*n + 1) * sizeof **list);
        (*list)[(*n)++] = str_cut(&rest, ',');
    }
}

static void options_read(struct helm_call *c)
{
    struct chart_options *o = &c->o;
    o->release = STR("release-name");
    o->namespace = STR("default");
    for (size_t i = 0; i < c->nsettings; i++) {
        const char *text = c->settings[i].text;
        switch (c->settings[i].kind) {
        case HELM_NAMESPACE:
            o->namespace = str_of(text);
            break;
        case HELM_NAME:
            o->release = str_of(text);
            break;
        case HELM_KUBE_VERSION:
            o->kube_version = str_of(text);
            break;
        case HELM_API_VERSIONS:
            list_add(c, &o->api_versions, &o->napi_versions, text);
            break;
        case HELM_SHOW_ONLY:
            list_add(c, &o->show_only, &o->nshow_only, text);
            break;
        case HELM_INCLUDE_CRDS:
            o->include_crds = true;
            break;
        case HELM_NO_HOOKS:
            o->no_hooks = true;
            break;
        case HELM_SKIP_TESTS:
            o->skip_tests = true;
            break;
        case HELM_IS_UPGRADE:
            o->upgrade = true;
            break;
        default:
            break;
        }
    }
}

static int helm_template(struct helm_call *c, FILE *to, struct err *e)
{
    if (c->npositional < 1 || c->npositional > 2)
        return err_set(
            e, ERR_BAD_REQUEST,
            "\"helm template\" requires at least 1 argument\n\nUsage:  helm template [NAME] "
            "[CHART] [flags]");
    struct chart *chart;
    _cleanup_buf_ struct buf out = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    options_read(c);
    if (c->npositional == 2)
        c->o.release = str_of(c->positional[0]);
    int r = values_read(c, e);
    if (r == 0)
        r = chart_load(&c->a, c->positional[c->npositional - 1], &chart, e);
    if (r == 0)
        r = chart_check(&c->a, chart, c->o.kube_version, e);
    if (r == 0 && (r = chart_render(&c->a, chart, c->values, &c->o, &out, e)) < 0) {
        _cleanup_free_ char *message = mem_cstr(str_of(e->message));
        enum err_reason reason = e->reason;
        err_done(e);
        r = err_set(e, reason, "%s\n\nUse --debug flag to render out invalid YAML", message);
    }
    if (r == 0 && fwrite(out.p, 1, out.n, to) != out.n)
        r = err_set(e, ERR_INTERNAL, "write: output failed");
    return r;
}

// `coracle helm template [NAME] CHART [flags]`
static int run_template(struct cli *cli, int argc, char **argv)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct helm_call c = {.o = {.env = env_system()}};
    int r = flags_read(&c, argc, argv, &e);
    if (r == 0)
        r = helm_template(&c, cli->out, &e);
    if (r < 0)
        fprintf(cli->err, "Error: %s\n", e.message);
    arena_done(&c.a);
    return r < 0 ? CLI_FAILED : CLI_OK;
}

const struct verb role_helm_verbs[] = {
    {.name = "template", .summary = "print the manifests of a chart", .run = run_template},
    {0},
};
