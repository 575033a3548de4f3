// What goes over the wire for a request, and what a kubeconfig says; both without a server.
#include "base/env.h"
#include "client/kubeconfig.h"
#include "client/remote.h"
#include "unit.h"
#include <unistd.h>

static void expect_target(const struct api_request *r, bool watch, const char *method,
                          const char *path, const char *body)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct client_remote_target t;
    client_remote_target(&a, r, watch, &t);
    assert_string_equal(t.method, method);
    assert_string_equal(arena_cstr(&a, t.path), path);
    assert_string_equal(arena_cstr(&a, t.body), body);
}

static void test_targets(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct api_request r = {.verb = VERB_GET,
                            .kind = client_kind("", "pods"),
                            .ns = STR("default"),
                            .name = STR("web"),
                            .grace_period_seconds = -1};
    expect_target(&r, false, "GET", "/api/v1/namespaces/default/pods/web", "");
    r = (struct api_request){.verb = VERB_LIST,
                             .kind = client_kind("", "pods"),
                             .label_selector = STR("app in (a,b),!c"),
                             .field_selector = STR("spec.nodeName=n1"),
                             .limit = 5};
    expect_target(&r, false, "GET",
                  "/api/v1/pods?labelSelector=app%20in%20%28a%2Cb%29%2C%21c&"
                  "fieldSelector=spec.nodeName%3Dn1&limit=5",
                  "");
    r = (struct api_request){.verb = VERB_WATCH,
                             .kind = client_kind("apps", "deployments"),
                             .resource_version_match = STR("NotOlderThan"),
                             .allow_bookmarks = true,
                             .send_initial_events = true};
    expect_target(&r, true, "GET",
                  "/apis/apps/v1/deployments?watch=true&resourceVersionMatch=NotOlderThan&"
                  "allowWatchBookmarks=true&sendInitialEvents=true",
                  "");
    struct value *body = value_object(&a);
    value_setc(&a, body, "x", value_int(&a, 1));
    r = (struct api_request){.verb = VERB_PATCH,
                             .kind = client_kind("", "nodes"),
                             .name = STR("n1"),
                             .subresource = STR("status"),
                             .patch_type = PATCH_TYPE_MERGE,
                             .field_manager = STR("me"),
                             .body = body};
    expect_target(&r, false, "PATCH", "/api/v1/nodes/n1/status?fieldManager=me", "{\"x\":1}");
    r.verb = VERB_CREATE;
    r.kind = client_kind("", "pods");
    r.ns = STR("default");
    r.name = STR("web");
    r.subresource = STR_NULL; // the collection; the name stands in the body
    r.dry_run = true;
    expect_target(&r, false, "POST", "/api/v1/namespaces/default/pods?fieldManager=me&dryRun=All",
                  "{\"x\":1}");
    r.subresource = STR("binding");
    r.dry_run = false;
    expect_target(&r, false, "POST", "/api/v1/namespaces/default/pods/web/binding?fieldManager=me",
                  "{\"x\":1}");
    r = (struct api_request){.verb = VERB_DELETE,
                             .kind = client_kind("", "pods"),
                             .ns = STR("default"),
                             .name = STR("web"),
                             .propagation = PROPAGATION_FOREGROUND,
                             .precondition_uid = STR("u")};
    expect_target(&r, false, "DELETE", "/api/v1/namespaces/default/pods/web",
                  "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0,"
                  "\"propagationPolicy\":\"Foreground\",\"preconditions\":{\"uid\":\"u\"}}");
}

static int load(struct arena *a, const char *text, struct kubeconfig *ret, struct err *e)
{
    char path[] = "/tmp/kubeconfig-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    int rc = kubeconfig_load(a, path, STR_NULL, ret, e);
    unlink(path);
    return rc;
}

#define GOOD                                                                                       \
    "current-context: c\n"                                                                         \
    "contexts: [{name: c, context: {cluster: k, user: u, namespace: team}}]\n"                     \
    "clusters: [{name: k, cluster: {server: 'https://h:6443/', certificate-authority-data: "       \
    "Q0E=}}]\n"

static void test_kubeconfig(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct kubeconfig k;
    const char *text =
        GOOD "users: [{name: u, user: {token: secret, client-certificate-data: QUI=, "
             "client-key-data: QUJD}}]\n";
    assert_int_equal(load(&a, text, &k, &e), 0);
    assert_true(str_eqc(k.server, "https://h:6443"));
    assert_true(str_eqc(k.ca_pem, "CA"));
    assert_true(str_eqc(k.cert_pem, "AB"));
    assert_true(str_eqc(k.key_pem, "ABC"));
    assert_true(str_eqc(k.token, "secret"));
    assert_true(str_eqc(k.ns, "team"));
    assert_false(k.insecure);
}

static void test_bad_kubeconfigs(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *message; // its end
    } cases[] = {
        {"contexts: []\n", -400, ": there is no current-context"},
        {"current-context: x\n", -404, ": context \"x\" does not exist"},
        {"current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n", -404,
         ": cluster \"k\" of context \"c\" does not exist"},
        {GOOD, -404, ": user \"u\" of context \"c\" does not exist"},
        {GOOD "users: [{name: u, user: {exec: {command: x}}}]\n", -501,
         ": user \"u\" needs a credential plug-in, which is not supported"},
        {GOOD "users: [{name: u, user: {client-key-data: '***'}}]\n", -400,
         ": client-key-data is not base64"},
        {GOOD "users: [{name: u, user: {client-key: /does/not/exist}}]\n", -404,
         ": No such file or directory"},
        {GOOD "users: [{name: u, user: {client-certificate-data: QUI=}}]\n", -400,
         ": client-key-data or client-key must be specified for u to use the clientCert "
         "authentication method"},
        {"current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
         "clusters: [{name: k, cluster: {server: '//'}}]\n",
         -400, ": cluster \"k\" has no server"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct kubeconfig k = {.insecure = true};
        int rc = load(&a, cases[i].text, &k, &e);
        if (rc != cases[i].code || !str_ends(str_of(e.message), str_of(cases[i].message)))
            fail_msg("%d %s, not %d %s", rc, e.message, cases[i].code, cases[i].message);
        assert_true(k.insecure); // untouched
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_kubeconfig),
        cmocka_unit_test(test_bad_kubeconfigs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
