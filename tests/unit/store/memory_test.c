// The shared suite against the memory store.
#include "unit/store/suite.h"

static struct store *suite_open(bool again)
{
    (void)again;
    return store_memory_new(env_system());
}

static bool suite_restarts(void)
{
    return false;
}

// What simulation relies on: the answer is there when store_txn returns.
static void synchronous(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    struct one o;
    atomic_store(&answered, 0);
    one_init(&o, STORE_PUT, "/a", "1", 0);
    o.txn.complete = count_answer;
    store_txn(s, &o.txn);
    assert_int_equal(atomic_load(&answered), 1);
    assert_int_equal(o.txn.result, STORE_OK);
    blob_unref(o.write.value);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {SUITE_TESTS, cmocka_unit_test(synchronous)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
