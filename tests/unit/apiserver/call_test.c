// Every verb through api_step: what is set, what is refused and in which words.
#include "harness.h"

static const char config[] =
    "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'c'},'data':{'a':'1'}}";

static void test_create_get(void **state)
{
    struct fixture *f = *state;
    struct value *v = create(f, "configmaps", "default", config);
    assert_string_equal(text_at(f, v, "metadata.namespace"), "default");
    assert_string_equal(text_at(f, v, "kind"), "ConfigMap");
    assert_int_equal(value_str_at(v, "metadata.uid").n, 36);
    assert_true(value_str_at(v, "metadata.creationTimestamp").n > 0);
    assert_true(revision_of(v) > 0);
    struct value *w = get(f, "configmaps", "default", "c");
    assert_true(value_eq(v, w));

    request(f, VERB_CREATE, "configmaps", "default", NULL)->body = parse(f, config);
    run_fails(f, 409, "configmaps \"c\" already exists");
    assert_int_equal(f->call.err.reason, ERR_ALREADY_EXISTS);
    assert_string_equal(f->call.err.details_kind, "configmaps");
    request(f, VERB_GET, "configmaps", "default", "x");
    run_fails(f, 404, "configmaps \"x\" not found");
    request(f, VERB_GET, "deployments", "default", "x");
    run_fails(f, 404, "deployments.apps \"x\" not found");
    assert_string_equal(f->call.err.details_group, "apps");
}

static void test_create_refusals(void **state)
{
    struct fixture *f = *state;
    request(f, VERB_CREATE, "configmaps", "nowhere", NULL)->body = parse(f, config);
    run_fails(f, 404, "namespaces \"nowhere\" not found");
    request(f, VERB_CREATE, "configmaps", "default", NULL)->body =
        parse(f, "{'metadata':{'name':'c','namespace':'other'}}");
    run_fails(
        f, 400,
        "the namespace of the provided object does not match the namespace sent on the request");
    request(f, VERB_CREATE, "configmaps", "default", NULL)->body =
        parse(f, "{'apiVersion':'v2','kind':'ConfigMap','metadata':{'name':'c'}}");
    run_fails(f, 400,
              "the API version in the data (v2) does not match the expected API version (v1)");
    request(f, VERB_CREATE, "configmaps", "default", NULL)->body =
        parse(f, "{'metadata':{'name':'c','resourceVersion':'5'}}");
    run_fails(f, 400, "resourceVersion should not be set on objects to be created");
    request(f, VERB_CREATE, "configmaps", "default", NULL)->body = parse(f, "{'metadata':{}}");
    run_fails(f, 422,
              "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is "
              "required");
    request(f, VERB_CREATE, "configmaps", "default", NULL)->body = parse(f, "[]");
    run_fails(f, 400, "the body of the request must be a ConfigMap object");
}

static void test_generate_name(void **state)
{
    struct fixture *f = *state;
    struct value *v = create(f, "configmaps", "default", "{'metadata':{'generateName':'abc-'}}");
    assert_true(str_starts(value_str_at(v, "metadata.name"), STR("abc-")));
    assert_int_equal(value_str_at(v, "metadata.name").n, 9);
    assert_string_equal(text_at(f, v, "metadata.generateName"), "abc-");
}

static void test_field_validation(void **state)
{
    struct fixture *f = *state;
    const char *body = "{'metadata':{'name':'d'},'data':{},'spex':1}";
    struct api_request *r = request(f, VERB_CREATE, "configmaps", "default", NULL);
    r->body = parse(f, body);
    r->duplicate_fields = parse(f, "['data.a']");
    r->field_validation = VALIDATION_STRICT;
    run_fails(
        f, 400,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: "
        "unknown field \"spex\", duplicate field \"data.a\"");
    r = request(f, VERB_CREATE, "configmaps", "default", NULL);
    r->body = parse(f, body);
    run_ok(f);
    assert_int_equal(f->call.answer.nwarnings, 1);
    assert_true(str_eqc(f->call.answer.warnings[0], "unknown field \"spex\""));
    assert_null(value_getc(answer(f), "spex"));
}

static void test_update(void **state)
{
    struct fixture *f = *state;
    struct value *v = create(f, "configmaps", "default", config);
    uint64_t first = revision_of(v);
    struct api_request *r = request(f, VERB_UPDATE, "configmaps", "default", "c");
    value_set_at(&f->a, v, "data.a", value_strc(&f->a, "2"));
    r->body = v;
    run_ok(f);
    assert_false(f->call.answer.created);
    struct value *w = answer(f);
    assert_true(revision_of(w) > first);
    assert_string_equal(text_at(f, w, "data.a"), "2");

    // The old revision is stale now.
    request(f, VERB_UPDATE, "configmaps", "default", "c")->body = v;
    run_fails(
        f, 409,
        "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please "
        "apply your changes to the latest version and try again");
    assert_int_equal(f->call.err.reason, ERR_CONFLICT);

    // Nothing changes: no new revision.
    request(f, VERB_UPDATE, "configmaps", "default", "c")->body = w;
    run_ok(f);
    assert_int_equal(revision_of(answer(f)), revision_of(w));

    // Without a revision: whatever is there.
    value_del_at(v, "metadata.resourceVersion");
    request(f, VERB_UPDATE, "configmaps", "default", "c")->body = v;
    run_ok(f);

    value_set_at(&f->a, v, "metadata.name", value_strc(&f->a, "other"));
    request(f, VERB_UPDATE, "configmaps", "default", "c")->body = v;
    run_fails(f, 400, "the name of the object (other) does not match the name on the URL (c)");
    value_set_at(&f->a, v, "metadata.name", value_strc(&f->a, "c"));
    value_set_at(&f->a, v, "metadata.uid", value_strc(&f->a, "zzz"));
    request(f, VERB_UPDATE, "configmaps", "default", "c")->body = v;
    assert_int_equal(run(f), -409);
    assert_non_null(strstr(f->call.err.message, "UID in precondition: zzz, UID in object meta: "));
    request(f, VERB_UPDATE, "configmaps", "default", "gone")->body = parse(f, config);
    run_fails(f, 404, "configmaps \"gone\" not found");
}

static const char deployment[] =
    "{'metadata':{'name':'d','labels':{'x':'y'}},'spec':{'replicas':2,'selector':{'matchLabels':{"
    "'a':'b'}},'template':{'metadata':{'labels':{'a':'b'}},'spec':{'containers':[{'name':'c',"
    "'image':'i:1'}]}}},'status':{'replicas':7}}";

static void test_status_and_generation(void **state)
{
    struct fixture *f = *state;
    struct value *v = create(f, "deployments", "default", deployment);
    assert_int_equal(value_int_at(v, "metadata.generation", 0), 1);
    assert_int_equal(value_int_at(v, "status.replicas", 0), 0);
    assert_int_equal(value_int_at(v, "spec.revisionHistoryLimit", 0), 10);

    struct api_request *r = request(f, VERB_UPDATE, "deployments", "default", "d");
    r->subresource = STR("status");
    value_set_at(&f->a, v, "status.replicas", value_int(&f->a, 2));
    value_set_at(&f->a, v, "spec.replicas", value_int(&f->a, 9));
    value_set_at(&f->a, v, "metadata.annotations.note", value_strc(&f->a, "n"));
    r->body = v;
    run_ok(f);
    struct value *w = answer(f);
    assert_int_equal(value_int_at(w, "status.replicas", 0), 2);
    assert_int_equal(value_int_at(w, "spec.replicas", 0), 2);
    assert_string_equal(text_at(f, w, "metadata.annotations.note"), "n");
    assert_int_equal(value_int_at(w, "metadata.generation", 0), 1);

    w = patch(f, "deployments", "default", "d", PATCH_TYPE_MERGE,
              "{'spec':{'replicas':3},'status':{'replicas':9}}");
    assert_int_equal(value_int_at(w, "metadata.generation", 0), 2);
    assert_int_equal(value_int_at(w, "status.replicas", 0), 2);
    w = patch(f, "deployments", "default", "d", PATCH_TYPE_MERGE,
              "{'metadata':{'labels':{'q':'r'}}}");
    assert_int_equal(value_int_at(w, "metadata.generation", 0), 2);
    assert_string_equal(text_at(f, w, "metadata.labels.q"), "r");
}

static void test_patches(void **state)
{
    struct fixture *f = *state;
    create(f, "deployments", "default", deployment);
    struct value *v =
        patch(f, "deployments", "default", "d", PATCH_TYPE_STRATEGIC,
              "{'spec':{'template':{'spec':{'containers':[{'name':'c','image':'i:2'},{"
              "'name':'s','image':'j'}]}}}}");
    assert_int_equal(value_len(value_at(v, "spec.template.spec.containers")), 2);
    v = patch(f, "deployments", "default", "d", PATCH_TYPE_JSON,
              "[{'op':'replace','path':'/spec/replicas','value':5}]");
    assert_int_equal(value_int_at(v, "spec.replicas", 0), 5);
    uint64_t before = revision_of(v);
    v = patch(f, "deployments", "default", "d", PATCH_TYPE_MERGE, "{}");
    assert_int_equal(revision_of(v), before);

    struct api_request *r = request(f, VERB_PATCH, "deployments", "default", "d");
    r->patch_type = PATCH_TYPE_MERGE;
    r->body = parse(f, "{'metadata':{'resourceVersion':'1'},'spec':{'replicas':1}}");
    assert_int_equal(run(f), -409);
    r = request(f, VERB_PATCH, "deployments", "default", "d");
    r->patch_type = PATCH_TYPE_APPLY;
    r->body = parse(f, "{}");
    assert_int_equal(run(f), -415);
    assert_non_null(strstr(f->call.err.message, "server-side apply is not served yet"));
    r = request(f, VERB_PATCH, "deployments", "default", "d");
    r->patch_type = PATCH_TYPE_MERGE;
    r->field_validation = VALIDATION_STRICT;
    r->body = parse(f, "{'spec':{'foo':1}}");
    run_fails(f, 422,
              " \"\" is invalid: patch: Invalid value: \"{\\\"spec\\\":{\\\"foo\\\":1}}\": strict "
              "decoding error: unknown field \"spec.foo\"");
    r = request(f, VERB_PATCH, "deployments", "default", "none");
    r->patch_type = PATCH_TYPE_MERGE;
    r->body = parse(f, "{}");
    run_fails(f, 404, "deployments.apps \"none\" not found");
}

static void test_delete(void **state)
{
    struct fixture *f = *state;
    struct value *v = create(f, "configmaps", "default", config);
    struct api_request *r = request(f, VERB_DELETE, "configmaps", "default", "c");
    r->precondition_uid = STR("other");
    assert_int_equal(run(f), -409);
    assert_non_null(strstr(f->call.err.message,
                           "the UID in the precondition (other) does not match "
                           "the UID in record"));
    request(f, VERB_DELETE, "configmaps", "default", "c");
    run_ok(f);
    assert_null(f->call.answer.object);
    assert_true(str_eqc(value_str_at(f->call.answer.value, "status"), "Success"));
    assert_true(
        str_eq(value_str_at(f->call.answer.value, "details.uid"), value_str_at(v, "metadata.uid")));
    request(f, VERB_DELETE, "configmaps", "default", "c");
    run_fails(f, 404, "configmaps \"c\" not found");
    request(f, VERB_DELETE, "namespaces", NULL, "default");
    run_fails(f, 403, "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

static void test_finalizers(void **state)
{
    struct fixture *f = *state;
    create(f, "configmaps", "default", "{'metadata':{'name':'f','finalizers':['example.com/x']}}");
    request(f, VERB_DELETE, "configmaps", "default", "f");
    run_ok(f);
    struct value *v = answer(f);
    assert_non_null(value_at(v, "metadata.deletionTimestamp"));
    assert_int_equal(value_int_at(v, "metadata.deletionGracePeriodSeconds", -1), 0);
    // A second deletion changes nothing.
    uint64_t before = revision_of(v);
    request(f, VERB_DELETE, "configmaps", "default", "f");
    run_ok(f);
    assert_int_equal(revision_of(answer(f)), before);
    // The last finalizer goes, and the object with it.
    patch(f, "configmaps", "default", "f", PATCH_TYPE_MERGE, "{'metadata':{'finalizers':null}}");
    request(f, VERB_GET, "configmaps", "default", "f");
    run_fails(f, 404, "configmaps \"f\" not found");

    create(f, "configmaps", "default", config);
    request(f, VERB_DELETE, "configmaps", "default", "c")->propagation = PROPAGATION_FOREGROUND;
    run_ok(f);
    v = answer(f);
    assert_true(str_eqc(value_string(value_item(value_at(v, "metadata.finalizers"), 0)),
                        "foregroundDeletion"));
    patch(f, "configmaps", "default", "c", PATCH_TYPE_JSON,
          "[{'op':'remove','path':'/metadata/finalizers'}]");
    request(f, VERB_GET, "configmaps", "default", "c");
    assert_int_equal(run(f), -404);
}

static void test_dry_run(void **state)
{
    struct fixture *f = *state;
    struct api_request *r = request(f, VERB_CREATE, "configmaps", "default", NULL);
    r->body = parse(f, config);
    r->dry_run = true;
    run_ok(f);
    assert_string_equal(text_at(f, answer(f), "metadata.name"), "c");
    request(f, VERB_GET, "configmaps", "default", "c");
    assert_int_equal(run(f), -404);
    create(f, "configmaps", "default", config);
    request(f, VERB_DELETE, "configmaps", "default", "c")->dry_run = true;
    run_ok(f);
    get(f, "configmaps", "default", "c");
}

static void test_list_pages(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 25; i++) {
        char name[128];
        snprintf(name, sizeof name, "{'metadata':{'name':'p%02d','labels':{'odd':'%d'}}}", i,
                 i & 1);
        create(f, "configmaps", i < 20 ? "default" : "kube-system", name);
    }
    struct api_request *r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->limit = 8;
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 8);
    assert_int_equal(f->call.answer.remaining, 12);
    uint64_t revision = f->call.answer.revision;
    struct str token = arena_str(&f->a, f->call.answer.continue_token);
    // Writes between the pages are not seen by them.
    create(f, "configmaps", "default", "{'metadata':{'name':'p08a'}}");
    request(f, VERB_DELETE, "configmaps", "default", "p09");
    run_ok(f);
    r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->limit = 8;
    r->continue_token = token;
    run_ok(f);
    assert_int_equal(f->call.answer.revision, revision);
    assert_int_equal(f->call.answer.nitems, 8);
    assert_true(str_eqc(object_name(f->call.answer.items[0]), "p08"));
    assert_true(str_eqc(object_name(f->call.answer.items[1]), "p09"));
    assert_int_equal(f->call.answer.remaining, 4);
    token = arena_str(&f->a, f->call.answer.continue_token);
    r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->continue_token = token;
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 4);
    assert_false(f->call.answer.continue_token.n);
    assert_int_equal(f->call.answer.remaining, -1);

    // With a selector: no count.
    r = request(f, VERB_LIST, "configmaps", NULL, NULL);
    r->label_selector = STR("odd=1");
    r->limit = 5;
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 5);
    assert_int_equal(f->call.answer.remaining, -1);
    assert_true(f->call.answer.continue_token.n > 0);
    r = request(f, VERB_LIST, "configmaps", NULL, NULL);
    r->field_selector = STR("metadata.name=p21");
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 1);
    r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->continue_token = STR("nonsense");
    assert_int_equal(run(f), -400);
    r = request(f, VERB_LIST, "pods", "default", NULL);
    r->field_selector = STR("spec.foo=1");
    run_fails(f, 400, "field label not supported: spec.foo");
}

static void test_list_versions(void **state)
{
    struct fixture *f = *state;
    create(f, "configmaps", "default", config);
    request(f, VERB_LIST, "configmaps", "default", NULL);
    run_ok(f);
    uint64_t then = f->call.answer.revision;
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)then);
    request(f, VERB_DELETE, "configmaps", "default", "c");
    run_ok(f);
    struct api_request *r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->resource_version = str_of(text);
    r->resource_version_match = STR("Exact");
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 1);
    assert_int_equal(f->call.answer.revision, then);
    r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->resource_version = STR("99999");
    assert_int_equal(run(f), -504);
    assert_non_null(strstr(f->call.err.message, "Too large resource version: 99999, current: "));
    assert_string_equal(f->call.err.causes[0].reason, "ResourceVersionTooLarge");
    r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->resource_version = STR("1");
    r->resource_version_match = STR("Exact");
    run_ok(f); // the server has followed the store from the beginning
    assert_int_equal(f->call.answer.nitems, 0);
    r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->resource_version_match = STR("Exact");
    assert_int_equal(run(f), -422);
    r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->resource_version = STR("0");
    r->resource_version_match = STR("Exact");
    assert_int_equal(run(f), -422);
}

// When the version of the first page is gone, the client may go on with the present one.
static void test_expired_page(void **state)
{
    struct fixture *f = *state;
    char text[64];
    for (int i = 0; i < 4; i++) {
        snprintf(text, sizeof text, "{'metadata':{'name':'a%d'}}", i);
        create(f, "configmaps", "default", text);
    }
    struct api_request *r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->limit = 2;
    run_ok(f);
    struct str token = arena_str(&f->a, f->call.answer.continue_token);
    for (int i = 0; i < 70; i++) {
        snprintf(text, sizeof text, "{'metadata':{'name':'b%02d'}}", i);
        create(f, "configmaps", "default", text);
        env_sim_advance(f->env, 10000000000ULL);
        request(f, VERB_LIST, "configmaps", "default", NULL)->limit = 1;
        run_ok(f);
    }
    r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->limit = 2;
    r->continue_token = token;
    assert_int_equal(run(f), -410);
    assert_int_equal(f->call.err.reason, ERR_EXPIRED);
    assert_true(strstr(f->call.err.message, "The provided continue parameter is too old") ==
                f->call.err.message);
    assert_non_null(f->call.err.continue_token);
    token = arena_str(&f->a, str_of(f->call.err.continue_token));
    r = request(f, VERB_LIST, "configmaps", "default", NULL);
    r->limit = 2;
    r->continue_token = token;
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 2);
    assert_true(str_eqc(object_name(f->call.answer.items[0]), "a2"));
    assert_int_equal(f->call.answer.revision, store_revision(f->store));
    assert_true(f->call.answer.continue_token.n > 0);
}

static void test_delete_collection(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        char name[128];
        snprintf(name, sizeof name, "{'metadata':{'name':'q%d','labels':{'odd':'%d'}}}", i, i & 1);
        create(f, "configmaps", "default", name);
    }
    request(f, VERB_DELETECOLLECTION, "configmaps", "default", NULL)->label_selector = STR("odd=0");
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 3);
    request(f, VERB_LIST, "configmaps", "default", NULL);
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 2);
}

static void test_forbidden(void **state)
{
    struct fixture *f = *state;
    request(f, VERB_GET, "pods", "default", "x");
    f->call.identity = f->nobody;
    run_fails(
        f, 403,
        "pods \"x\" is forbidden: User \"nobody\" cannot get resource \"pods\" in API group \"\" "
        "in the namespace \"default\"");
    request(f, VERB_PATCH, "namespaces", NULL, "default")->subresource = STR("nothing");
    run_fails(f, 404, "the server could not find the requested resource");
    request(f, VERB_DELETECOLLECTION, "namespaces", NULL, NULL);
    assert_int_equal(run(f), -405);
}

#define T(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_create_get),        T(test_create_refusals), T(test_generate_name),
        T(test_field_validation),  T(test_update),          T(test_status_and_generation),
        T(test_patches),           T(test_delete),          T(test_finalizers),
        T(test_dry_run),           T(test_list_pages),      T(test_list_versions),
        T(test_delete_collection), T(test_expired_page),    T(test_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
