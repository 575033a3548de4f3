// The persistent map against a naive one: a sorted array that is copied for every version. Random
// operations, old versions kept and compared again later, and at the end every value's reference
// count must be back to one.
#include "base/arena.h"
#include "base/ptree.h"
#include "unit.h"
#include <stdatomic.h>
#include <stdio.h>

struct item {
    atomic_int refs;
    char key[24];
    int payload;
};

static atomic_int live; // references held by trees

static void item_ref(void *v)
{
    atomic_fetch_add(&((struct item *)v)->refs, 1);
    atomic_fetch_add(&live, 1);
}

static void item_unref(void *v)
{
    struct item *i = v;
    atomic_fetch_sub(&live, 1);
    if (atomic_fetch_sub(&i->refs, 1) == 1)
        free(i);
}

static struct str item_key(const void *v)
{
    return str_of(((const struct item *)v)->key);
}

static const struct ptree_ops ops = {.ref = item_ref, .unref = item_unref, .key = item_key};

// The maker's own reference is given to the tree by dropping it after the put.
static struct item *item_new(unsigned id, int payload)
{
    struct item *i = mem_zalloc(sizeof *i);
    atomic_init(&i->refs, 1);
    snprintf(i->key, sizeof i->key, "/k/%06u", id);
    i->payload = payload;
    return i;
}

static void item_drop(struct item *i)
{
    atomic_fetch_add(&live, 1); // item_unref takes it off again
    item_unref(i);
}

// xorshift: the seed is fixed, so a failure is the same on every run.
static uint64_t rng = 88172645463325252u;
static unsigned rnd(unsigned n)
{
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return (unsigned)(rng % n);
}

enum { KEYS = 3000, VERSIONS = 24 };

// The model: payload by id, -1 absent.
struct model {
    int payload[KEYS];
    size_t n;
};

static void compare(const struct ptree *t, const struct model *m)
{
    ptree_check(&ops, t);
    assert_int_equal(ptree_count(t), m->n);
    struct ptree_cursor c;
    struct item *it = ptree_seek(&c, &ops, t, STR(""));
    size_t rank = 0;
    for (unsigned id = 0; id < KEYS; id++) {
        char key[24];
        snprintf(key, sizeof key, "/k/%06u", id);
        struct item *got = ptree_get(&ops, t, str_of(key));
        if (id % 37 == 0)
            assert_int_equal(ptree_rank(&ops, t, str_of(key)), rank);
        if (m->payload[id] < 0) {
            assert_null(got);
            continue;
        }
        assert_non_null(got);
        assert_int_equal(got->payload, m->payload[id]);
        assert_ptr_equal(got, it);
        it = ptree_next(&c);
        rank++;
    }
    assert_null(it);
    assert_null(ptree_next(&c));
}

// One random operation on tree and model, by either form.
static void step(struct ptree **t, struct model *m, int grow, int payload)
{
    unsigned id = rnd(KEYS);
    bool consuming = rnd(2);
    char key[24];
    snprintf(key, sizeof key, "/k/%06u", id);
    if ((int)rnd(100) < grow) {
        struct item *i = item_new(id, payload);
        if (consuming) {
            ptree_put_in(&ops, t, i);
        } else {
            void *old = i;
            struct ptree *next = ptree_put(&ops, *t, i, &old);
            if (m->payload[id] < 0)
                assert_null(old);
            else
                assert_int_equal(((struct item *)old)->payload, m->payload[id]);
            ptree_unref(&ops, *t);
            *t = next;
        }
        item_drop(i);
        m->n += m->payload[id] < 0;
        m->payload[id] = payload;
        return;
    }
    bool there = m->payload[id] >= 0;
    if (consuming) {
        assert_int_equal(ptree_del_in(&ops, t, str_of(key)), there);
    } else {
        void *old = NULL;
        struct ptree *next = ptree_del(&ops, *t, str_of(key), &old);
        assert_int_equal(old != NULL, there);
        ptree_unref(&ops, *t);
        *t = next;
    }
    m->n -= there;
    m->payload[id] = -1;
}

static void random_against_model(void **state)
{
    (void)state;
    static struct model now, kept[VERSIONS];
    struct ptree *t = NULL, *versions[VERSIONS] = {0};
    now.n = 0;
    for (int i = 0; i < KEYS; i++)
        now.payload[i] = -1;
    for (int v = 0; v < VERSIONS; v++)
        kept[v] = now;
    // Phases that grow, hover and shrink, so that splits, merges and an empty root all happen.
    static const int phases[] = {95, 60, 50, 10, 0, 80, 5, 0};
    int payload = 0;
    for (size_t p = 0; p < sizeof phases / sizeof *phases; p++) {
        for (int i = 0; i < 6000; i++) {
            step(&t, &now, phases[p], payload++);
            if (i % 500 == 0) {
                int v = (int)rnd(VERSIONS);
                compare(versions[v], &kept[v]); // untouched by everything since
                ptree_unref(&ops, versions[v]);
                versions[v] = ptree_ref(t);
                kept[v] = now;
            }
        }
        compare(t, &now);
    }
    for (int v = 0; v < VERSIONS; v++) {
        compare(versions[v], &kept[v]);
        ptree_unref(&ops, versions[v]);
    }
    ptree_unref(&ops, t);
    assert_int_equal(atomic_load(&live), 0);
}

static void in_order_is_dense_and_empties(void **state)
{
    (void)state;
    struct ptree *t = NULL;
    for (unsigned id = 0; id < 5000; id++) {
        struct item *i = item_new(id, (int)id);
        ptree_put_in(&ops, &t, i);
        item_drop(i);
    }
    ptree_check(&ops, t);
    assert_int_equal(ptree_count(t), 5000);
    struct ptree *snapshot = ptree_ref(t);
    for (unsigned id = 0; id < 5000; id++) {
        char key[24];
        snprintf(key, sizeof key, "/k/%06u", id);
        assert_true(ptree_del_in(&ops, &t, str_of(key)));
        if (id % 97 == 0)
            ptree_check(&ops, t);
    }
    assert_null(t);
    ptree_check(&ops, snapshot);
    assert_int_equal(ptree_count(snapshot), 5000);
    ptree_unref(&ops, snapshot);
    assert_int_equal(atomic_load(&live), 0);
}

static void seek_between_keys(void **state)
{
    (void)state;
    struct ptree *t = NULL;
    struct ptree_cursor c;
    assert_null(ptree_seek(&c, &ops, NULL, STR("a")));
    assert_null(ptree_next(&c));
    assert_int_equal(ptree_rank(&ops, NULL, STR("a")), 0);
    assert_null(ptree_get(&ops, NULL, STR("a")));
    for (unsigned id = 0; id < 2000; id += 2) {
        struct item *i = item_new(id, (int)id);
        ptree_put_in(&ops, &t, i);
        item_drop(i);
    }
    for (unsigned id = 1; id < 1999; id += 2) {
        char key[24];
        snprintf(key, sizeof key, "/k/%06u", id);
        struct item *i = ptree_seek(&c, &ops, t, str_of(key));
        assert_int_equal(i->payload, id + 1);
        assert_int_equal(ptree_rank(&ops, t, str_of(key)), (id + 1) / 2);
    }
    assert_null(ptree_seek(&c, &ops, t, STR("/k/001999")));
    assert_false(ptree_del_in(&ops, &t, STR("/k/000001")));
    ptree_unref(&ops, t);
    assert_int_equal(atomic_load(&live), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_against_model),
        cmocka_unit_test(in_order_is_dense_and_empties),
        cmocka_unit_test(seek_between_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
