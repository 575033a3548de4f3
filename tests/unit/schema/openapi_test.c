// OpenAPI and discovery: documents parse, every reference has its definition, and what clients look
// for is there.
#include "object/json.h"
#include "schema/discovery.h"
#include "schema/openapi.h"
#include "unit.h"

static struct value *parse(struct arena *a, struct str text)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v = NULL;
    if (json_parse(a, text, NULL, &v, &e) < 0) {
        print_error("%s\n", e.message);
        fail();
    }
    return v;
}

// All "$ref" below v name a member of `definitions`. Returns how many there are.
static size_t check_refs(const struct value *v, const struct value *definitions, struct str prefix)
{
    size_t n = 0;
    value_each_field (v, m) {
        if (str_eqc(m->key, "$ref") && m->value->kind == VALUE_STRING) { // also a property's name
            struct str ref = value_string(m->value);
            assert_true(str_starts(ref, prefix));
            if (!value_get(definitions, str_from(ref, prefix.n)))
                print_error("dangling %.*s\n", STR_ARG(ref));
            assert_non_null(value_get(definitions, str_from(ref, prefix.n)));
            n++;
        }
        n += check_refs(m->value, definitions, prefix);
    }
    value_each_item (v, item)
        n += check_refs(item, definitions, prefix);
    return n;
}

static bool has_parameter(const struct value *operation, const char *name)
{
    value_each_item (value_getc(operation, "parameters"), p)
        if (str_eqc(value_str_at(p, "name"), name))
            return true;
    return false;
}

// kubectl looks for the PATCH of a kind, and for these parameters of it.
static void check_operations(const struct value *paths, size_t *ret_operations)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *ids = value_object(&a);
    value_each_field (paths, path) {
        value_each_field (path->value, op) {
            if (str_eqc(op->key, "parameters"))
                continue;
            ++*ret_operations;
            struct str id = value_str_at(op->value, "operationId");
            if (value_get(ids, id))
                print_error("operationId %.*s twice\n", STR_ARG(id));
            assert_null(value_get(ids, id));
            value_set(&a, ids, id, value_bool(&a, true));
            assert_true(value_str_at(op->value, "x-kubernetes-action").n > 0);
            const struct value *gvk = value_getc(op->value, "x-kubernetes-group-version-kind");
            assert_true(value_str_at(gvk, "kind").n > 0);
            if (!str_eqc(op->key, "patch"))
                continue;
            assert_true(has_parameter(op->value, "dryRun"));
            assert_true(has_parameter(op->value, "fieldManager"));
            assert_true(has_parameter(op->value, "fieldValidation"));
            assert_true(has_parameter(op->value, "force"));
        }
    }
}

static void v3(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    openapi_v3_index(&b);
    const struct value *index = value_getc(parse(&a, arena_str(&a, buf_view(&b))), "paths");
    assert_int_equal(value_len(index), 22);
    size_t operations = 0;
    value_each_field (index, m) {
        struct str url = value_str_at(m->value, "serverRelativeURL");
        assert_true(str_starts(url, STR("/openapi/v3/")));
        assert_true(str_find(url, STR("?hash=")) > 0);
        buf_reset(&b);
        assert_true(openapi_v3(&b, m->key));
        struct value *doc = parse(&a, arena_str(&a, buf_view(&b)));
        const struct value *schemas = value_at(doc, "components.schemas");
        size_t refs = check_refs(doc, schemas, STR("#/components/schemas/"));
        assert_true(refs > 10);
        check_operations(value_getc(doc, "paths"), &operations);
    }
    assert_true(operations > 550);
    buf_reset(&b);
    assert_false(openapi_v3(&b, STR("apis/apps/v2")));
    assert_int_equal(b.n, 0);

    assert_true(openapi_v3(&b, STR("apis/apps/v1")));
    struct value *doc = parse(&a, arena_str(&a, buf_view(&b)));
    const struct value *schemas = value_at(doc, "components.schemas");
    const struct value *deployment = value_getc(schemas, "io.k8s.api.apps.v1.Deployment");
    const struct value *gvk =
        value_item(value_getc(deployment, "x-kubernetes-group-version-kind"), 0);
    assert_true(str_eqc(value_str_at(gvk, "kind"), "Deployment"));
    const struct value *ports =
        value_at(value_getc(schemas, "io.k8s.api.core.v1.Container"), "properties.ports");
    assert_true(str_eqc(value_str_at(ports, "x-kubernetes-patch-merge-key"), "containerPort"));
    assert_true(str_eqc(value_str_at(ports, "x-kubernetes-list-type"), "map"));
    const struct value *patch =
        value_getc(value_get(value_getc(doc, "paths"),
                             STR("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")),
                   "patch");
    assert_non_null(
        value_get(value_at(patch, "requestBody.content"), STR("application/apply-patch+yaml")));
}

static void v2(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    openapi_v2(&b);
    struct value *doc = parse(&a, buf_view(&b));
    const struct value *definitions = value_getc(doc, "definitions");
    assert_true(check_refs(doc, definitions, STR("#/definitions/")) > 2000);
    size_t operations = 0;
    check_operations(value_getc(doc, "paths"), &operations);
    assert_true(operations > 550);
    // one group, version and kind has one definition, or Argo CD stops
    struct value *seen = value_object(&a);
    size_t kinds = 0;
    value_each_field (definitions, m) {
        value_each_item (value_getc(m->value, "x-kubernetes-group-version-kind"), gvk) {
            struct str key = json_text(&a, gvk);
            if (value_get(seen, key))
                print_error("twice: %.*s\n", STR_ARG(key));
            assert_null(value_get(seen, key));
            value_set(&a, seen, key, value_bool(&a, true));
            kinds++;
        }
        assert_null(value_getc(m->value, "oneOf")); // not in v2
    }
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);
        struct value *gvk = value_object(&a);
        value_setc(&a, gvk, "group", value_str(&a, k->group));
        value_setc(&a, gvk, "kind", value_str(&a, k->kind));
        value_setc(&a, gvk, "version", value_str(&a, k->version));
        assert_non_null(value_get(seen, json_text(&a, gvk)));
    }
    assert_true(kinds > 130);
}

// Walks gnostic's message at the top: fields 1, 2, 8, 9, 13, whole.
static void v2_protobuf(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT;
    openapi_v2_protobuf(&b);
    size_t at = 0;
    unsigned seen = 0;
    while (at < b.n) {
        unsigned tag = (unsigned char)b.p[at++];
        assert_int_equal(tag & 7, 2);
        assert_true(tag < 128);
        seen |= 1u << (tag >> 3);
        size_t n = 0;
        for (int shift = 0;; shift += 7) {
            unsigned char c = (unsigned char)b.p[at++];
            n |= (size_t)(c & 127) << shift;
            if (c < 128)
                break;
        }
        if (tag >> 3 == 1)
            assert_memory_equal(b.p + at, "2.0", 3);
        at += n;
        assert_true(at <= b.n);
    }
    assert_int_equal(seen, 1u << 1 | 1u << 2 | 1u << 8 | 1u << 9 | 1u << 13);
    assert_true(str_find(buf_view(&b), STR("io.k8s.api.apps.v1.Deployment")) > 0);
}

static void aggregated(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct document *d = discovery_aggregated(false, false);
    assert_ptr_equal(discovery_aggregated(false, false), d);
    assert_int_equal(d->etag.n, 66);
    struct value *v = parse(&a, blob_view(d->body));
    assert_true(str_eqc(value_str_at(v, "apiVersion"), "apidiscovery.k8s.io/v2"));
    const struct value *items = value_getc(v, "items");
    assert_int_equal(value_len(items), 20);
    bool found = false;
    value_each_item (items, group) {
        if (!str_eqc(value_str_at(group, "metadata.name"), "autoscaling"))
            continue;
        const struct value *versions = value_getc(group, "versions");
        assert_int_equal(value_len(versions), 2); // the preferred one first
        assert_true(str_eqc(value_str_at(value_item(versions, 0), "version"), "v2"));
        assert_true(str_eqc(value_str_at(value_item(versions, 0), "freshness"), "Current"));
        found = true;
    }
    assert_true(found);
    v = parse(&a, blob_view(discovery_aggregated(true, true)->body));
    assert_true(str_eqc(value_str_at(v, "apiVersion"), "apidiscovery.k8s.io/v2beta1"));
    const struct value *core = value_item(value_getc(v, "items"), 0);
    assert_null(value_at(core, "metadata.name"));
    const struct value *resources =
        value_getc(value_item(value_getc(core, "versions"), 0), "resources");
    value_each_item (resources, r) {
        if (!str_eqc(value_str_at(r, "resource"), "pods"))
            continue;
        assert_true(str_eqc(value_str_at(r, "scope"), "Namespaced"));
        assert_true(str_eqc(value_string(value_item(value_getc(r, "shortNames"), 0)), "po"));
        assert_int_equal(value_len(value_getc(r, "verbs")), 8);
        assert_int_equal(value_len(value_getc(r, "subresources")), 10);
    }
}

static void legacy(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v = parse(&a, blob_view(discovery_groups()->body));
    assert_int_equal(value_len(value_getc(v, "groups")), 20);
    v = parse(&a, blob_view(discovery_group(STR("apps"))->body));
    assert_true(str_eqc(value_str_at(v, "preferredVersion.groupVersion"), "apps/v1"));
    assert_null(discovery_group(STR("nothing")));
    assert_null(discovery_group(STR("")));
    assert_null(discovery_resources(STR("apps"), STR("v9")));
    v = parse(&a, blob_view(discovery_resources(STR(""), STR("v1"))->body));
    assert_true(str_eqc(value_str_at(v, "groupVersion"), "v1"));
    bool eviction = false;
    value_each_item (value_getc(v, "resources"), r) {
        if (str_eqc(value_str_at(r, "name"), "pods/eviction")) {
            // kubectl drain reads these two
            assert_true(str_eqc(value_str_at(r, "group"), "policy"));
            assert_true(str_eqc(value_str_at(r, "version"), "v1"));
            eviction = true;
        }
    }
    assert_true(eviction);
    v = parse(&a, discovery_versions(&a, STR("10.0.0.1:6443")));
    assert_true(str_eqc(
        value_str_at(value_item(value_getc(v, "serverAddressByClientCIDRs"), 0), "serverAddress"),
        "10.0.0.1:6443"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v3),         cmocka_unit_test(v2),     cmocka_unit_test(v2_protobuf),
        cmocka_unit_test(aggregated), cmocka_unit_test(legacy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
