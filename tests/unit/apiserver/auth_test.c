// Certificates, tokens, RBAC: made, checked, refused.
#include "unit.h"

#include "apiserver/rbac.h"
#include "base/time.h"
#include "object/json.h"
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static struct env *env;

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/auth-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    env = env_system();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"ca", "apiserver", "admin", "apiserver-kubelet-client"};
    char path[128];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/pki/%s.crt", dir, names[i]);
        unlink(path);
        snprintf(path, sizeof path, "%s/pki/%s.key", dir, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/pki/service-account.key", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/pki", dir);
    rmdir(path);
    return rmdir(dir);
}

static struct pki *open_pki(const char *address)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/pki", dir);
    static struct str list[1];
    list[0] = str_of(address);
    const struct pki_options opt = {.dir = path,
                                    .addresses = list,
                                    .naddresses = address ? 1 : 0,
                                    .service_ip = STR("10.96.0.1"),
                                    .cluster_domain = STR("cluster.local")};
    struct pki *p = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    if (pki_open(env, &opt, &p, &e) < 0)
        fail_msg("%s", e.message);
    return p;
}

static void certificates_are_made_once_and_kept(void **state)
{
    (void)state;
    struct pki *first = open_pki(NULL), *again = open_pki(NULL);
    assert_true(str_starts(first->ca_cert, STR("-----BEGIN CERTIFICATE-----")));
    assert_true(str_eq(first->ca_cert, again->ca_cert));
    assert_true(str_eq(first->server_cert, again->server_cert));
    assert_true(str_eq(first->service_account_key, again->service_account_key));
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/pki/ca.key", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    pki_free(first);
    pki_free(again);
}

static void a_new_address_remakes_only_the_server_certificate(void **state)
{
    (void)state;
    struct pki *first = open_pki(NULL), *moved = open_pki("192.0.2.7");
    assert_true(str_eq(first->ca_cert, moved->ca_cert));
    assert_true(str_eq(first->admin_cert, moved->admin_cert));
    assert_false(str_eq(first->server_cert, moved->server_cert));
    pki_free(first);
    pki_free(moved);
}

static void half_a_certificate_authority_is_refused(void **state)
{
    (void)state;
    pki_free(open_pki(NULL));
    char path[128];
    snprintf(path, sizeof path, "%s/pki/ca.key", dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/pki", dir);
    const struct pki_options opt = {.dir = path, .cluster_domain = STR("cluster.local")};
    struct pki *p = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    assert_true(pki_open(env, &opt, &p, &e) < 0);
    assert_non_null(strstr(e.message, "only one of ca.crt and ca.key"));
}

// attack-durability 3: files of the cluster's identity cut short at any place.
static void cut_identity_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *message;
    } files[] = {
        {"ca.key",
         "ca.key is damaged: it holds no whole private key; restore it from a backup, or"},
        {"ca.crt",
         "ca.crt is damaged: it holds no whole certificate; restore it from a backup, or"},
        {"service-account.key",
         "service-account.key is damaged: it holds no whole private key; restore it"},
    };
    pki_free(open_pki(NULL));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        char path[128], pki_dir[128];
        struct str whole;
        snprintf(path, sizeof path, "%s/pki/%s", dir, files[i].name);
        snprintf(pki_dir, sizeof pki_dir, "%s/pki", dir);
        assert_int_equal(file_read_all(&a, path, 1 << 16, &whole, NULL), 0);
        const size_t cuts[] = {0, 1, 30, whole.n / 2, whole.n - 20};
        for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
            assert_int_equal(file_write_all(path, str_sub(whole, 0, cuts[k]), 0600, NULL), 0);
            const struct pki_options opt = {.dir = pki_dir, .cluster_domain = STR("cluster.local")};
            struct pki *p = NULL;
            _cleanup_err_ struct err e = ERR_INIT;
            assert_int_equal(pki_open(env, &opt, &p, &e), -500);
            assert_non_null(strstr(e.message, files[i].message));
        }
        assert_int_equal(file_write_all(path, whole, 0600, NULL), 0);
    }
    pki_free(open_pki(NULL));
}

static void a_key_of_another_authority_is_refused(void **state)
{
    (void)state;
    pki_free(open_pki(NULL));
    char path[128], pki_dir[128];
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str mine, other;
    snprintf(pki_dir, sizeof pki_dir, "%s/pki", dir);
    snprintf(path, sizeof path, "%s/pki/ca.key", dir);
    assert_int_equal(file_read_all(&a, path, 1 << 16, &mine, NULL), 0);
    char leaf[128];
    snprintf(leaf, sizeof leaf, "%s/pki/admin.key", dir);
    assert_int_equal(file_read_all(&a, leaf, 1 << 16, &other, NULL), 0);
    assert_int_equal(file_write_all(path, other, 0600, NULL), 0);
    const struct pki_options opt = {.dir = pki_dir, .cluster_domain = STR("cluster.local")};
    struct pki *p = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    assert_int_equal(pki_open(env, &opt, &p, &e), -500);
    assert_non_null(strstr(e.message, "ca.key is damaged: it is not the key of ca.crt"));
    assert_int_equal(file_write_all(path, mine, 0600, NULL), 0);
}

static struct token_signer *signer(struct pki *p)
{
    struct token_signer *t = NULL;
    assert_int_equal(token_signer_new(env, p->service_account_key,
                                      STR("https://kubernetes.default.svc"), &t, NULL),
                     0);
    return t;
}

static struct token_claims some_claims(int64_t age_s, int64_t life_s)
{
    int64_t now = env_now(env) / NS_PER_S;
    return (struct token_claims){.ns = STR("shop"),
                                 .service_account = STR("cart"),
                                 .service_account_uid = STR("u-1"),
                                 .pod_name = STR("cart-0"),
                                 .pod_uid = STR("u-2"),
                                 .issued_s = now - age_s,
                                 .expires_s = now - age_s + life_s,
                                 .id = STR("id-1")};
}

static void assert_refused(struct token_signer *t, struct str jwt, struct str audience,
                           const char *text)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct token_claims c;
    assert_int_equal(token_verify(t, &a, jwt, audience, &c, &e), -401);
    assert_string_equal(e.message, text);
}

static void tokens_hold_and_are_refused(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct pki *p = open_pki(NULL);
    struct token_signer *t = signer(p);
    struct token_claims c = some_claims(0, 3600), got;
    struct str jwt = token_sign(t, &a, &c);
    assert_int_equal(token_verify(t, &a, jwt, STR_NULL, &got, NULL), 0);
    assert_true(str_eqc(got.ns, "shop"));
    assert_true(str_eqc(got.pod_uid, "u-2"));
    assert_int_equal(got.expires_s, c.expires_s);

    assert_refused(t, jwt, STR("vault"), "the bearer token is for another audience");
    c = some_claims(7200, 3600);
    assert_refused(t, token_sign(t, &a, &c), STR_NULL, "the bearer token has expired");
    assert_refused(t, STR("a.b"), STR_NULL, "the bearer token is not a JSON web token");
    assert_refused(t, STR("...."), STR_NULL, "the bearer token is not a JSON web token");
    // Every single character of the signed text matters.
    for (size_t i = 0; i < jwt.n; i += 7) {
        struct str bad = arena_str(&a, jwt);
        ((char *)bad.p)[i] = bad.p[i] == 'A' ? 'B' : 'A';
        struct token_claims x;
        assert_int_equal(token_verify(t, &a, bad, STR_NULL, &x, NULL), -401);
    }
    token_signer_free(t);
    pki_free(p);
}

static void a_foreign_key_and_alg_none_are_refused(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct pki *p = open_pki(NULL);
    struct token_signer *t = signer(p), *other = NULL;
    // The admin's key is a P-256 key too, but not the service accounts'.
    assert_int_equal(
        token_signer_new(env, p->admin_key, STR("https://kubernetes.default.svc"), &other, NULL),
        0);
    struct token_claims c = some_claims(0, 3600);
    assert_refused(t, token_sign(other, &a, &c), STR_NULL,
                   "the bearer token was not signed by this cluster");
    // {"alg":"none"}.{}.
    assert_refused(t, STR("eyJhbGciOiJub25lIn0.e30."), STR_NULL,
                   "the bearer token was not signed by this cluster");
    token_signer_free(other);
    token_signer_free(t);
    pki_free(p);
}

static struct value *parse(struct arena *a, const char *json)
{
    struct value *v = NULL;
    assert_int_equal(json_parse(a, str_of(json), &(struct json_options){0}, &v, NULL), 0);
    return v;
}

static void rules_match_as_documented(void **state)
{
    (void)state;
    static const struct {
        const char *rule, *verb, *group, *resource, *subresource, *name, *path;
        bool allowed;
    } rows[] = {
        {"{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"get\"]}", "get", "", "pods",
         "", "x", NULL, true},
        {"{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"get\"]}", "list", "", "pods",
         "", "", NULL, false},
        {"{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"*\"]}", "get", "", "pods",
         "log", "x", NULL, false},
        {"{\"apiGroups\":[\"\"],\"resources\":[\"pods/log\"],\"verbs\":[\"get\"]}", "get", "",
         "pods", "log", "x", NULL, true},
        {"{\"apiGroups\":[\"*\"],\"resources\":[\"*/scale\"],\"verbs\":[\"update\"]}", "update",
         "apps", "deployments", "scale", "x", NULL, true},
        {"{\"apiGroups\":[\"*\"],\"resources\":[\"*/scale\"],\"verbs\":[\"update\"]}", "update",
         "apps", "deployments", "", "x", NULL, false},
        {"{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]}", "delete", "apps",
         "deployments", "status", "x", NULL, true},
        {"{\"apiGroups\":[\"apps\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]}", "get", "", "pods",
         "", "x", NULL, false},
        {"{\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],\"resourceNames\":[\"a\"],\"verbs\":["
         "\"get\"]}",
         "get", "", "secrets", "", "a", NULL, true},
        {"{\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],\"resourceNames\":[\"a\"],\"verbs\":["
         "\"get\",\"list\"]}",
         "list", "", "secrets", "", "", NULL, false},
        {"{\"nonResourceURLs\":[\"/healthz\"],\"verbs\":[\"get\"]}", "get", NULL, NULL, NULL, NULL,
         "/healthz", true},
        {"{\"nonResourceURLs\":[\"/openapi/*\"],\"verbs\":[\"get\"]}", "get", NULL, NULL, NULL,
         NULL, "/openapi/v3", true},
        {"{\"nonResourceURLs\":[\"/openapi/*\"],\"verbs\":[\"get\"]}", "get", NULL, NULL, NULL,
         NULL, "/metrics", false},
        {"{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]}", "get", NULL, NULL, NULL,
         NULL, "/metrics", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct authz_attributes at = {.verb = str_of(rows[i].verb),
                                      .group = str_of(rows[i].group),
                                      .resource = str_of(rows[i].resource),
                                      .subresource = str_of(rows[i].subresource),
                                      .name = str_of(rows[i].name),
                                      .path = str_of(rows[i].path)};
        if (rbac_rule_allows(parse(&a, rows[i].rule), &at) != rows[i].allowed)
            fail_msg("row %zu: %s on %s", i, rows[i].rule, rows[i].verb);
    }
}

static void escalation_names_what_is_missing(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *have =
        parse(&a, "[{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"get\",\"list\"]}]");
    struct value *want = parse(
        &a, "[{\"apiGroups\":[\"\"],\"resources\":[\"pods\",\"secrets\"],\"verbs\":[\"get\"]}]");
    struct rbac_shortfall missing;
    assert_true(rbac_rules_cover(&a, have, have, &missing));
    assert_int_equal(value_len(missing.rules), 0);
    assert_false(rbac_rules_cover(&a, have, want, &missing));
    assert_int_equal(value_len(missing.rules), 1);
    _cleanup_buf_ struct buf b = BUF_INIT;
    rbac_rule_write(&b, value_item(missing.rules, 0));
    assert_string_equal(buf_cstr(&b),
                        "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}");
    // All of something is more than each of what one can think of.
    want = parse(&a, "[{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"*\"]}]");
    assert_false(rbac_rules_cover(&a, have, want, &missing));
}

// {"apiGroups":[…],"resources":[…],"resourceNames":[…],"verbs":[…]} from words cut at blanks: "-"
// stands for the core group, and "/" before the first list makes URLs of it.
static struct value *rules_of(struct arena *a, const char *text)
{
    static const char *const fields[] = {"apiGroups", "resources", "resourceNames", "verbs"};
    static const char *const url_fields[] = {"nonResourceURLs", "verbs"};
    struct value *rules = value_array(a);
    for (struct str rest = str_of(text); rest.p;) {
        struct str one = str_trim(str_cut(&rest, ';'));
        bool url = str_starts(one, STR("/"));
        struct value *rule = value_object(a);
        for (size_t i = 0; one.p; i++) {
            struct str words = str_trim(str_cut(&one, '|'));
            struct value *list = value_array(a);
            while (words.n) {
                struct str w = str_cut(&words, ' ');
                value_push(a, list, value_str(a, str_eqc(w, "-") ? STR("") : w));
            }
            value_setc(a, rule, url ? url_fields[i] : fields[i], list);
        }
        value_push(a, rules, rule);
    }
    return rules;
}

// What is held is told word by word; what is missing as in Kubernetes, a line for each thing.
static void grants_are_compared(void **state)
{
    (void)state;
    static const struct {
        const char *have, *want, *missing; // "" nothing
    } rows[] = {
        {"- | pods | | get; - | pods | | list", "- | pods | | get list", ""},
        {"- | pods | | get; - | secrets | | list", "- | pods secrets | | get list",
         "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}"
         "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"},
        {"* | * | | *", "a b | c d/e | f | g *", ""},
        {"* | * | | *", "/x | get", "{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}"},
        {"apps | */scale | | update", "apps | deployments/scale | | update", ""},
        {"apps | */scale | | update", "apps | deployments | | update",
         "{APIGroups:[\"apps\"], Resources:[\"deployments\"], Verbs:[\"update\"]}"},
        {"apps | deployments | | *", "apps | * | | get",
         "{APIGroups:[\"apps\"], Resources:[\"*\"], Verbs:[\"get\"]}"},
        {"* | pods | | get", "a * | pods | | get", ""},
        {"- | pods | a b | get", "- | pods | b | get", ""},
        {"- | pods | a | get", "- | pods | a c | get",
         "{APIGroups:[\"\"], Resources:[\"pods\"], ResourceNames:[\"c\"], Verbs:[\"get\"]}"},
        {"- | pods | a | get", "- | pods | | get",
         "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}"},
        {"- | pods | | get", "- | pods | a | get", ""},
        {"/a/* /b | get", "/a/x /b /c | get put",
         "{NonResourceURLs:[\"/a/x\"], Verbs:[\"put\"]}"
         "{NonResourceURLs:[\"/b\"], Verbs:[\"put\"]}"
         "{NonResourceURLs:[\"/c\"], Verbs:[\"get\"]}"
         "{NonResourceURLs:[\"/c\"], Verbs:[\"put\"]}"},
        {"/* | *", "/a/* | get", ""},
        {"- | pods | | list", "- | pods | | watch list get delete",
         "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"watch\" \"get\" \"delete\"]}"},
        {"- | x | | x", "- | pods | | get; - | pods | | list get",
         "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_buf_ struct buf b = BUF_INIT;
        struct rbac_shortfall missing;
        bool all =
            rbac_rules_cover(&a, rules_of(&a, rows[i].have), rules_of(&a, rows[i].want), &missing);
        value_each_item (missing.rules, rule)
            rbac_rule_write(&b, rule);
        buf_char(&b, 0);
        if (strcmp(b.p, rows[i].missing) || all != !*rows[i].missing)
            fail_msg("row %zu: %s", i, b.p);
    }
}

static void a_cluster_is_born_with_the_default_roles(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *objects = authz_bootstrap_objects(&a), *edit = NULL;
    size_t roles = 0, bindings = 0;
    value_each_item (objects, o) {
        struct str kind = value_str_at(o, "kind");
        roles += str_eqc(kind, "ClusterRole");
        bindings += str_eqc(kind, "ClusterRoleBinding");
        if (str_eqc(kind, "ClusterRole") && str_eqc(value_str_at(o, "metadata.name"), "edit"))
            edit = o;
    }
    assert_true(roles > 20);
    assert_true(bindings > 5);
    // edit holds what view holds, and more.
    struct authz_attributes read = {
        .verb = STR("list"), .group = STR("apps"), .resource = STR("deployments")};
    struct authz_attributes write = {
        .verb = STR("create"), .group = STR("apps"), .resource = STR("deployments")};
    bool reads = false, writes = false;
    value_each_item (value_getc(edit, "rules"), rule) {
        reads = reads || rbac_rule_allows(rule, &read);
        writes = writes || rbac_rule_allows(rule, &write);
    }
    assert_true(reads && writes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(certificates_are_made_once_and_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_address_remakes_only_the_server_certificate, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(half_a_certificate_authority_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_identity_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_of_another_authority_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tokens_hold_and_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_foreign_key_and_alg_none_are_refused, set_up, tear_down),
        cmocka_unit_test(rules_match_as_documented),
        cmocka_unit_test(escalation_names_what_is_missing),
        cmocka_unit_test(grants_are_compared),
        cmocka_unit_test(a_cluster_is_born_with_the_default_roles),
    };
    return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
