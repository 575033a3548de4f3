// client/access against the real API server: who calls, may they, what is remembered and for how
// long, and that every failure is a refusal.
#include "base/guard.h"
#include "client/access.h"
#include "object/base64.h"
#include "sim/sim.h"

struct fixture {
    struct sim *s;
    struct client counting; // passes on to s->client and counts
    unsigned calls;
    bool broken;
    struct access *access;
    struct str token;
};

static int call(struct client *c, const struct api_request *r, struct api_answer *ret,
                struct err *e)
{
    struct fixture *f = container_of(c, struct fixture, counting);
    f->calls++;
    if (f->broken)
        return err_set(e, ERR_NOT_FOUND, "no such server"); // whatever the reason says
    return client_call(f->s->client, r, ret, e);
}

static int setup(void **state)
{
    static const struct client_ops ops = {.call = call};
    static const struct sim_options opt = {
        .pki = true, .controllers = {.root_ca_pem = {"CA", 2}, .pod_cidr = {"10.244.0.0/16", 13}}};
    struct fixture *f = mem_zalloc(sizeof *f);
    f->s = sim_new(&opt);
    sim_create(f->s, "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: robot}\n");
    sim_create(f->s, "kind: Secret\napiVersion: v1\ntype: kubernetes.io/service-account-token\n"
                     "metadata: {name: t, annotations: {kubernetes.io/service-account.name: "
                     "robot}}\n");
    sim_run(f->s, 1);
    struct str text = value_str_at(sim_get(f->s, "", "secrets", "default", "t"), "data.token");
    assert_true(base64_bytes(&f->s->arena, text, &f->token));
    f->counting = (struct client){&ops, f->s->env, STR("access")};
    f->access = access_new(&f->counting);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    access_free(f->access);
    sim_free(f->s);
    free(f);
    return 0;
}

static struct str basic(struct fixture *f, const char *user, struct str password)
{
    struct arena *a = &f->s->arena;
    return arena_printf(
        a, "Basic %.*s",
        STR_ARG(base64_text(a, arena_printf(a, "%s:%.*s", user, STR_ARG(password)))));
}

static struct str bearer(struct fixture *f, struct str token)
{
    return arena_printf(&f->s->arena, "Bearer %.*s", STR_ARG(token));
}

static struct access_caller *who(struct fixture *f, struct str authorization, int want)
{
    struct access_caller *w = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    const struct access_credentials given = {.authorization = authorization};
    assert_int_equal(access_who(f->access, &given, &w, &e), want);
    if (want < 0)
        assert_null(w);
    if (want == -401)
        assert_string_equal(e.message, "Unauthorized");
    return w;
}

static void assert_robot(struct access_caller *w)
{
    const struct identity *id = access_identity(w);
    assert_true(str_eqc(id->user, "system:serviceaccount:default:robot"));
    assert_true(id->uid.n == 36);
    assert_false(access_is_anonymous(w));
    bool seen[3] = {0};
    static const char *const groups[3] = {"system:authenticated", "system:serviceaccounts",
                                          "system:serviceaccounts:default"};
    for (size_t i = 0; i < id->ngroups; i++)
        for (size_t j = 0; j < 3; j++)
            seen[j] = seen[j] || str_eqc(id->groups[i], groups[j]);
    assert_true(seen[0] && seen[1] && seen[2]);
    access_caller_unref(w);
}

static void test_tokens_in_every_form(void **state)
{
    struct fixture *f = *state;
    assert_robot(who(f, bearer(f, f->token), 0));
    assert_robot(who(f, arena_printf(&f->s->arena, "  bearer   %.*s ", STR_ARG(f->token)), 0));
    assert_robot(who(f, basic(f, "anybody", f->token), 0));
    assert_robot(who(f, basic(f, arena_cstr(&f->s->arena, f->token), STR("")), 0));
    assert_robot(who(f, basic(f, arena_cstr(&f->s->arena, f->token), STR("x-oauth-basic")), 0));
    assert_int_equal(f->calls, 1); // the same token each time
}

static void test_nobody_and_certificates(void **state)
{
    struct fixture *f = *state;
    struct access_caller *w = who(f, STR_NULL, 0);
    assert_true(access_is_anonymous(w));
    assert_true(str_eqc(access_identity(w)->user, "system:anonymous"));
    assert_int_equal(access_identity(w)->ngroups, 1);
    assert_true(str_eqc(access_identity(w)->groups[0], "system:unauthenticated"));
    access_caller_unref(w);
    const struct str groups[] = {STR("devs"), STR("system:authenticated")};
    // A wrong token beside it is not looked at, as in the API server.
    const struct access_credentials given = {.authorization = STR("Bearer wrong"),
                                             .certificate_user = STR("alice"),
                                             .certificate_groups = groups,
                                             .ncertificate_groups = 2};
    assert_int_equal(access_who(f->access, &given, &w, NULL), 0);
    assert_true(str_eqc(access_identity(w)->user, "alice"));
    assert_int_equal(access_identity(w)->ngroups, 2);
    access_caller_unref(w);
    assert_int_equal(f->calls, 0);
}

static void test_wrong_is_never_nobody(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->s->arena;
    char *big = arena_alloc(a, ACCESS_TOKEN_MAX + 100);
    memset(big, 'x', ACCESS_TOKEN_MAX + 100);
    const struct str malformed[] = {STR(""),
                                    STR("Bearer"),
                                    STR("Bearer "),
                                    STR("Basic"),
                                    STR("Basic !!!"),
                                    STR("Basic bm9jb2xvbg=="),
                                    STR("Basic Og=="),
                                    STR("Digest abc"),
                                    STR("Bearer a b"),
                                    STR("Bearer \xc3\xa4"),
                                    basic(f, "u", STR("a\nb")),
                                    arena_printf(a, "Bearer %.*s", (int)ACCESS_TOKEN_MAX + 1, big)};
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
        who(f, malformed[i], -401);
    assert_int_equal(f->calls, 0); // none of them is worth a question
    who(f, STR("Bearer wrong"), -401);
    who(f, basic(f, "u", STR("wrong")), -401);
    assert_int_equal(f->calls, 1);
    // Somebody else's token for a moment, then it is asked again.
    sim_run(f->s, 6);
    who(f, STR("Bearer wrong"), -401);
    assert_int_equal(f->calls, 2);
}

static void test_revoked_token_ends(void **state)
{
    struct fixture *f = *state;
    assert_robot(who(f, bearer(f, f->token), 0));
    sim_delete(f->s, "", "serviceaccounts", "default", "robot", PROPAGATION_DEFAULT);
    sim_run(f->s, 11);
    who(f, bearer(f, f->token), -401);
    assert_int_equal(f->calls, 2);
}

static int may(struct fixture *f, const char *verb, const char *name, struct err *e)
{
    static const struct str groups[] = {STR("system:authenticated")};
    const struct identity id = {.user = STR("bob"), .groups = groups, .ngroups = 1};
    const struct access_question q = {
        .verb = verb, .resource = STR("configmaps"), .ns = STR("default"), .name = str_of(name)};
    return access_may(f->access, &id, &q, e);
}

static const char role[] =
    "kind: Role\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: reader}\n"
    "rules: [{apiGroups: [''], resources: [configmaps], resourceNames: [one], verbs: [get]}]\n";
static const char binding[] =
    "kind: RoleBinding\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: reader}\n"
    "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}\n"
    "subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}]\n";

static void test_questions(void **state)
{
    struct fixture *f = *state;
    _cleanup_err_ struct err e = ERR_INIT;
    sim_create(f->s, role);
    sim_create(f->s, binding);
    assert_int_equal(may(f, "get", "one", &e), 0);
    assert_int_equal(may(f, "get", "two", &e), -403);
    assert_string_equal(e.message,
                        "configmaps \"two\" is forbidden: User \"bob\" cannot get resource "
                        "\"configmaps\" in API group \"\" in the namespace \"default\"");
    assert_int_equal(may(f, "update", "one", NULL), -403);
    assert_int_equal(f->calls, 3);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(may(f, "get", "one", NULL), 0);
        assert_int_equal(may(f, "get", "two", NULL), -403);
    }
    assert_int_equal(f->calls, 3);
    // Another subject, another answer: nothing of bob's is taken for it.
    const struct identity carol = {.user = STR("carol")};
    const struct access_question q = {
        .verb = "get", .resource = STR("configmaps"), .ns = STR("default"), .name = STR("one")};
    assert_int_equal(access_may(f->access, &carol, &q, NULL), -403);
    const struct access_question page = {.verb = "get", .path = STR("/zipkin/")};
    err_done(&e);
    assert_int_equal(access_may(f->access, &carol, &page, &e), -403);
    assert_string_equal(e.message, "forbidden: User \"carol\" cannot get path \"/zipkin/\"");
    // A role that is taken away counts after the time that answers are remembered.
    sim_delete(f->s, "rbac.authorization.k8s.io", "rolebindings", "default", "reader",
               PROPAGATION_DEFAULT);
    assert_int_equal(may(f, "get", "one", NULL), 0);
    sim_run(f->s, 11);
    assert_int_equal(may(f, "get", "one", NULL), -403);
}

// Nobody can be asked: refused as unavailable, nothing remembered.
static void test_fails_closed(void **state)
{
    struct fixture *f = *state;
    _cleanup_err_ struct err e = ERR_INIT;
    f->broken = true;
    who(f, bearer(f, f->token), -503);
    assert_int_equal(may(f, "get", "one", &e), -503);
    assert_string_equal(e.message, "the API could not be asked: no such server");
    f->broken = false;
    assert_robot(who(f, bearer(f, f->token), 0));
    assert_int_equal(may(f, "get", "one", NULL), -403);
}

// A crowd of wrong tokens displaces neither callers nor answers, and memory does not grow.
static void test_strangers_displace_nobody(void **state)
{
    struct fixture *f = *state;
    struct access_caller *robot = who(f, bearer(f, f->token), 0);
    assert_int_equal(may(f, "get", "one", NULL), -403);
    for (int i = 0; i < 5000; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        who(f, arena_printf(&a, "Bearer wrong-%d", i), -401);
    }
    unsigned before = f->calls;
    assert_robot(who(f, bearer(f, f->token), 0));
    assert_int_equal(may(f, "get", "one", NULL), -403);
    assert_int_equal(f->calls, before);
    access_free(f->access); // a caller may outlive it
    assert_robot(robot);
    f->access = access_new(&f->counting);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_tokens_in_every_form),
        TEST(test_nobody_and_certificates),
        TEST(test_wrong_is_never_nobody),
        TEST(test_revoked_token_ends),
        TEST(test_questions),
        TEST(test_fails_closed),
        TEST(test_strangers_displace_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
