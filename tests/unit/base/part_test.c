// Parts: order of start and stop, what a failure undoes, what --without leaves out and refuses.
#include "base/buf.h"
#include "base/guard.h"
#include "base/part.h"
#include "unit.h"

static struct buf story; // "+a +b -b -a"
static const char *failing;

static int begin(const char *name, void **ret_state, struct err *e)
{
    buf_printf(&story, "+%s ", name);
    *ret_state = (void *)(uintptr_t)name;
    return failing == name ? err_set(e, ERR_UNAVAILABLE, "no %s today", name) : 0;
}

static void end(struct part_host *h, void *state)
{
    assert_int_equal(h->port, 7);
    buf_printf(&story, "-%s ", (const char *)state);
}

static const char a_name[] = "a", b_name[] = "b", c_name[] = "c";

static int start_a(struct part_host *h, void **ret, struct err *e)
{
    (void)h;
    return begin(a_name, ret, e);
}

static int start_b(struct part_host *h, void **ret, struct err *e)
{
    (void)h;
    return begin(b_name, ret, e);
}

static int start_c(struct part_host *h, void **ret, struct err *e)
{
    (void)h;
    return begin(c_name, ret, e);
}

static const struct part a = {.name = "a", .start = start_a, .stop = end};
static const struct part b = {.name = "b", .without = "bee both", .start = start_b, .stop = end};
static const struct part c = {.name = "c", .without = "sea both", .start = start_c};
static const struct part *const list[] = {&a, &b, &c};

static const char *tell(const char *without, const char *fails, int code, const char *message)
{
    struct part_host h = {.port = 7};
    struct part_set *p = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    buf_reset(&story);
    failing = fails;
    assert_int_equal(parts_start(list, ARRAY_LEN(list), without, &h, &p, &e), code);
    if (code)
        assert_string_equal(e.message, message);
    buf_puts(&story, "| ");
    if (code)
        assert_null(p);
    parts_stop(p);
    return buf_cstr(&story);
}

static void order(void **state)
{
    (void)state;
    assert_string_equal(tell("", NULL, 0, NULL), "+a +b +c | -b -a ");
    assert_string_equal(tell("bee", NULL, 0, NULL), "+a +c | -a ");
    assert_string_equal(tell("sea, bee", NULL, 0, NULL), "+a | -a ");
    assert_string_equal(tell("both", NULL, 0, NULL), "+a | -a ");
    assert_string_equal(tell("bot be", NULL, 0, NULL), "+a +b +c | -b -a ");
}

// What failed is undone as well: it may have begun.
static void failure(void **state)
{
    (void)state;
    assert_string_equal(tell("", b_name, -503, "starting the b: no b today"), "+a +b -b -a | ");
    assert_string_equal(tell("", a_name, -503, "starting the a: no a today"), "+a -a | ");
    assert_string_equal(tell("bee", c_name, -503, "starting the c: no c today"), "+a +c -a | ");
    assert_string_equal(tell("bee", b_name, 0, NULL), "+a +c | -a ");
}

static void words(void **state)
{
    (void)state;
    _cleanup_err_ struct err e = ERR_INIT;
    assert_int_equal(parts_check_without(list, ARRAY_LEN(list), "", NULL, &e), 0);
    assert_int_equal(parts_check_without(list, ARRAY_LEN(list), " bee,,both , ", NULL, &e), 0);
    assert_int_equal(parts_check_without(list, ARRAY_LEN(list), "later", "later sea", &e), 0);
    assert_int_equal(parts_check_without(list, ARRAY_LEN(list), "bee,later", NULL, &e), -400);
    assert_string_equal(e.message,
                        "--without later: there is no such part; choose from bee, both, sea");
}

static int forget(void **state)
{
    (void)state;
    buf_done(&story);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(order), cmocka_unit_test(failure),
                                       cmocka_unit_test(words)};
    return cmocka_run_group_tests(tests, NULL, forget);
}
