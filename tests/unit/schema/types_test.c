// The tables against the reference: every type, field, protobuf number, JSON type, list and patch
// attribute of tests/golden/schema/types.tsv, every resource and verb of resources.tsv.
#include "base/arena.h"
#include "base/buf.h"
#include "schema/schema.h"
#include "unit.h"
#include <stdio.h>

static const char *golden(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/schema/%s", name);
    return path;
}

// The type in the notation of the reference: "[]core.v1.Container", "integer:int32", …
static struct str describe(struct arena *a, const struct field *f)
{
    static const char *const scalars[] = {
        [FIELD_STRING] = "string",
        [FIELD_BYTES] = "string:byte",
        [FIELD_BOOL] = "boolean",
        [FIELD_INT32] = "integer:int32",
        [FIELD_INT64] = "integer:int64",
        [FIELD_DOUBLE] = "number:double",
        [FIELD_QUANTITY] = "api.resource.Quantity",
        [FIELD_INT_OR_STRING] = "util.intstr.IntOrString",
        [FIELD_TIME] = "meta.v1.Time",
        [FIELD_MICRO_TIME] = "meta.v1.MicroTime",
        [FIELD_DURATION] = "meta.v1.Duration",
    };
    const char *prefix = f->shape == SHAPE_LIST ? "[]"
                         : f->shape == SHAPE_MAP
                             ? (f->flags & FIELD_LIST_OF_LIST ? "map:[]" : "map:")
                             : "";
    struct str inner = f->type ? f->type->name : str_of(scalars[f->kind]);
    return arena_printf(a, "%s%.*s", prefix, STR_ARG(inner));
}

static bool flag_is_set(const struct field *f, struct str word)
{
    struct str value = word, name = str_cut(&value, '=');
    if (str_eqc(name, "required"))
        return f->flags & FIELD_REQUIRED;
    if (str_eqc(name, "list"))
        return f->flags & (str_eqc(value, "atomic") ? LIST_ATOMIC
                           : str_eqc(value, "set")  ? LIST_SET
                                                    : LIST_MAP);
    if (str_eqc(name, "map"))
        return str_eqc(value, "granular") || (f->flags & MAP_ATOMIC);
    if (str_eqc(name, "mergekey"))
        return str_eq(f->merge_key, value);
    if (str_eqc(name, "patch"))
        return (str_find(value, STR("merge")) < 0 || (f->flags & PATCH_MERGE)) &&
               (str_find(value, STR("retainKeys")) < 0 || (f->flags & PATCH_RETAIN_KEYS));
    if (!str_eqc(name, "keys"))
        return false;
    const struct str *key = f->list_keys;
    while (value.p) {
        if (!key || !key->p || !str_eq(*key, str_cut(&value, ',')))
            return false;
        key++;
    }
    return true;
}

// Names of the reference that are no tables here but kinds of fields.
static bool is_scalar(struct str type)
{
    static const char *const names[] = {"meta.v1.Time", "meta.v1.MicroTime", "meta.v1.Patch",
                                        "api.resource.Quantity", "util.intstr.IntOrString"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eqc(type, names[i]))
            return true;
    return false;
}

static int check_line(struct arena *a, struct str line)
{
    struct str type = str_cut(&line, '\t'), field = str_cut(&line, '\t');
    struct str number = str_cut(&line, '\t'), want = str_cut(&line, '\t'), flags = line;
    if (is_scalar(type))
        return 0;
    const struct type *t = type_by_name(type);
    if (!t) {
        print_error("no type %.*s\n", STR_ARG(type));
        return 1;
    }
    if (str_eqc(field, "-"))
        return 0;
    const struct field *f = type_field(t, field);
    if (!f) {
        print_error("no field %.*s.%.*s\n", STR_ARG(type), STR_ARG(field));
        return 1;
    }
    int bad = 0;
    // An inlined field has no number of its own in the reference, here it has a path. Neither have
    // the x-kubernetes-… fields of JSONSchemaProps, whose Go names differ.
    bool verbs = str_eqc(type, "meta.v1.APIResource") && str_eqc(field, "verbs");
    uint64_t n = 0;
    if (str_to_u64(number, &n) ? f->pb[0] != n || (f->pb[1] && !verbs)
                               : f->pb[0] && !f->pb[1] && !str_starts(field, STR("x-"))) {
        print_error("%.*s.%.*s: number %d.%d, not %.*s\n", STR_ARG(type), STR_ARG(field), f->pb[0],
                    f->pb[1], STR_ARG(number));
        bad = 1;
    }
    struct str have = describe(a, f);
    if (!str_eq(have, want)) {
        print_error("%.*s.%.*s: %.*s, not %.*s\n", STR_ARG(type), STR_ARG(field), STR_ARG(have),
                    STR_ARG(want));
        bad = 1;
    }
    while (flags.p && !str_eqc(flags, "-")) {
        struct str word = str_cut(&flags, ' ');
        if (!flag_is_set(f, word)) {
            print_error("%.*s.%.*s lacks %.*s\n", STR_ARG(type), STR_ARG(field), STR_ARG(word));
            bad = 1;
        }
    }
    return bad;
}

static void every_type(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    FILE *f = fopen(golden("types.tsv"), "r");
    assert_non_null(f);
    char *line = NULL;
    size_t cap = 0, lines = 0, bad = 0;
    for (ssize_t n; (n = getline(&line, &cap, f)) > 0;) {
        if (line[0] == '#')
            continue;
        bad += (size_t)check_line(&a, str_n(line, (size_t)n - (line[n - 1] == '\n')));
        lines++;
    }
    free(line);
    fclose(f);
    assert_int_equal(bad, 0);
    assert_int_equal(lines, 2969);
}

static unsigned verb_bits(struct str verbs)
{
    static const struct {
        const char *name;
        unsigned bit;
    } all[] = {{"get", VERB_GET},         {"list", VERB_LIST},
               {"create", VERB_CREATE},   {"update", VERB_UPDATE},
               {"patch", VERB_PATCH},     {"delete", VERB_DELETE},
               {"connect", VERB_CONNECT}, {"deletecollection", VERB_DELETECOLLECTION}};
    unsigned bits = 0;
    while (verbs.p) {
        struct str verb = str_cut(&verbs, ',');
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            if (str_eqc(verb, all[i].name))
                bits |= all[i].bit;
    }
    return bits;
}

static void every_resource(void **state)
{
    (void)state;
    FILE *f = fopen(golden("resources.tsv"), "r");
    assert_non_null(f);
    char *line = NULL;
    size_t cap = 0, lines = 0;
    for (ssize_t n; (n = getline(&line, &cap, f)) > 0;) {
        if (line[0] == '#')
            continue;
        struct str rest = str_n(line, (size_t)n - (line[n - 1] == '\n'));
        struct str group = str_cut(&rest, '\t'), version = str_cut(&rest, '\t');
        struct str resource = str_cut(&rest, '\t'), body = str_cut(&rest, '\t');
        struct str scope = str_cut(&rest, '\t'), sub = resource;
        if (str_eqc(group, "core"))
            group = STR_NULL;
        resource = str_cut(&sub, '/');
        const struct kind *k = kind_by_resource(group, version, resource);
        if (!k)
            print_error("no resource %.*s\n", STR_ARG(resource));
        assert_non_null(k);
        assert_int_equal(!!(k->flags & KIND_NAMESPACED), str_eqc(scope, "namespaced"));
        struct str kind = str_from(body, (size_t)(str_rchr(body, '/') + 1));
        if (sub.p) {
            const struct subresource *s = kind_subresource(k, sub);
            assert_non_null(s);
            assert_int_equal(s->verbs, verb_bits(rest));
            assert_true(str_eq(s->kind.p ? s->kind : k->kind, kind));
        } else {
            assert_true(str_eq(k->kind, kind));
            // the reference leaves out watch, which everything that is listed and written has
            unsigned want = verb_bits(rest);
            want |= (want & VERB_LIST) && (want & VERB_CREATE) ? VERB_WATCH : 0;
            assert_int_equal(k->verbs, want);
        }
        lines++;
    }
    free(line);
    fclose(f);
    assert_int_equal(lines, 111);
}

static void lookups(void **state)
{
    (void)state;
    const struct kind *deploy = kind_by_word(STR("deploy"));
    assert_non_null(deploy);
    assert_true(str_eqc(deploy->resource, "deployments"));
    assert_ptr_equal(kind_by_word(STR("deployments.apps")), deploy);
    assert_ptr_equal(kind_by_word(STR("deployments.v1.apps")), deploy);
    assert_ptr_equal(kind_by_word(STR("Deployment")), deploy);
    assert_ptr_equal(kind_by_api_version(STR("apps/v1"), STR("Deployment")), deploy);
    assert_null(kind_by_word(STR("deployments.batch")));
    assert_null(kind_by_word(STR("nonsense")));
    assert_null(kind_by_resource(STR("apps"), STR("v2"), STR("deployments")));
    // short names are second to resources: events of core come before those of events.k8s.io
    assert_true(str_eqc(kind_by_word(STR("events"))->api_version, "v1"));
    assert_true(str_eqc(kind_by_word(STR("hpa"))->api_version, "autoscaling/v2"));
    assert_true(str_eqc(kind_by_word(STR("no"))->storage_prefix, "/registry/minions/"));
    assert_true(str_eqc(kind_by_word(STR("svc"))->storage_prefix, "/registry/services/specs/"));
    assert_ptr_equal(kind_by_resource(STR("events.k8s.io"), STR("v1"), STR("events"))->storage,
                     kind_by_word(STR("events")));
    assert_true(kind_by_word(STR("pods"))->flags & KIND_GRACEFUL);
    assert_false(kind_by_word(STR("namespaces"))->verbs & VERB_DELETECOLLECTION);
    const struct subresource *scale = kind_subresource(deploy, STR("scale"));
    assert_string_equal(scale->scale_spec, "spec.replicas");
    assert_true(str_eqc(scale->type->name, "autoscaling.v1.Scale"));
    assert_true(str_eqc(type_by_kind(STR("apps/v1"), STR("DeploymentList"))->name,
                        "apps.v1.DeploymentList"));
    assert_true(
        str_eqc(type_by_kind(STR("apps/v1"), STR("DeleteOptions"))->name, "meta.v1.DeleteOptions"));
    assert_null(type_by_kind(STR("apps/v1"), STR("Nothing")));
    for (size_t i = 0; i < kind_count(); i++)
        assert_int_equal(kind_at(i)->index, i);
}

// Inlined Go structs: a path of numbers, and all paths of a type ascend.
static void inlined(void **state)
{
    (void)state;
    const struct field *f = type_field(type_by_name(STR("core.v1.Volume")), STR("emptyDir"));
    assert_int_equal(f->pb[0], 2);
    assert_int_equal(f->pb[1], 2);
    f = type_field(type_by_name(STR("admissionregistration.v1.NamedRuleWithOperations")),
                   STR("apiGroups"));
    assert_int_equal(f->pb[0], 2);
    assert_int_equal(f->pb[1], 2);
    assert_int_equal(f->pb[2], 1);
    f = type_field(type_by_name(STR("core.v1.EphemeralContainer")), STR("image"));
    assert_int_equal(f->pb[0], 1);
    assert_int_equal(f->pb[1], 2);
    assert_true(type_field(type_by_name(STR("apps.v1.DeploymentSpec")), STR("replicas"))->flags &
                FIELD_POINTER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type),
        cmocka_unit_test(every_resource),
        cmocka_unit_test(lookups),
        cmocka_unit_test(inlined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
