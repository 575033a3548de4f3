// Places for calls: shares, reserves, and that they come back.
#include "apiserver/http_places.h"
#include "base/err.h"
#include "unit.h"

static const struct str masters[] = {STR("system:masters")}, nodes[] = {STR("system:nodes")},
                        users[] = {STR("system:authenticated")};

static struct identity as(const char *user, const struct str *groups)
{
    return (struct identity){.user = str_of(user), .groups = groups, .ngroups = groups != NULL};
}

static void classes(void **state)
{
    (void)state;
    static const struct {
        const char *user;
        const struct str *groups;
        enum caller caller;
    } rows[] = {
        {"kubernetes-admin", masters, CALLER_ADMINISTRATOR},
        {"system:node:n1", nodes, CALLER_PLATFORM},
        {"system:kube-scheduler", users, CALLER_PLATFORM},
        {"system:serviceaccount:kube-system:coredns", users, CALLER_PLATFORM},
        {"system:serviceaccount:default:default", users, CALLER_USER},
        {"system:serviceaccount:kube-systems:default", users, CALLER_USER},
        {"ann", users, CALLER_USER},
        {"system:anonymous", NULL, CALLER_STRANGER},
        {"", NULL, CALLER_STRANGER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct identity who = as(rows[i].user, rows[i].groups);
        assert_int_equal(caller_of(&who), rows[i].caller);
    }
}

// Takes until refused, at most `max`; how many there were.
static unsigned take(struct places *p, const char *user, const struct str *groups,
                     struct place **taken, unsigned max)
{
    struct identity who = as(user, groups);
    _cleanup_err_ struct err e = ERR_INIT;
    unsigned n = 0;
    while (n < max && places_take(p, &who, &taken[n], &e) == 0)
        n++;
    if (n < max) {
        assert_int_equal(err_code(&e), -429);
        assert_string_equal(e.message, "too many requests, please try again later");
        assert_int_equal(e.retry_after_seconds, 1);
    }
    return n;
}

static void leave(struct places *p, struct place **taken, unsigned n)
{
    while (n)
        places_leave(p, taken[--n]);
}

static void shares(void **state)
{
    (void)state;
    static struct place *ann[1000], *bob[1000], *cat[1000], *node[1000], *admin[1000],
        *nobody[1000];
    struct places *p = places_new();
    // One user gets half of the common places, a stranger little, three users all of them.
    assert_int_equal(take(p, "ann", users, ann, 1000), 200);
    assert_int_equal(take(p, "system:anonymous", NULL, nobody, 1000), 50);
    assert_int_equal(take(p, "bob", users, bob, 1000), 150);
    assert_int_equal(take(p, "cat", users, cat, 1000), 0);
    // The platform and administrators still have theirs.
    assert_int_equal(take(p, "system:node:n1", nodes, node, 1000), 100);
    assert_int_equal(take(p, "kubernetes-admin", masters, admin, 1000), 100);
    assert_int_equal(places_taken(p), 600);
    leave(p, ann, 1);
    assert_int_equal(take(p, "cat", users, cat, 1000), 1);
    leave(p, cat, 1);
    leave(p, ann + 1, 199);
    leave(p, bob, 150);
    leave(p, nobody, 50);
    // What is common is everybody's.
    assert_int_equal(take(p, "kubernetes-admin", masters, admin + 100, 900), 400);
    leave(p, admin, 500);
    leave(p, node, 100);
    places_leave(p, NULL);
    assert_int_equal(places_taken(p), 0);
    places_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
