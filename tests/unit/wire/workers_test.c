// Long work off the loop: order, the bound of the queue, the end.
#include "base/thread.h"
#include "unit.h"
#include "wire/workers.h"
#include <stdatomic.h>

struct piece {
    struct work work;
    int number;
};

static struct completion begun, go_on;
static _Atomic(int) done, wrong;

static void first(struct work *w)
{
    (void)w;
    completion_signal(&begun);
    completion_wait(&go_on);
}

static void later(struct work *w)
{
    struct piece *p = (struct piece *)w;
    wrong += p->number != done;
    done++;
}

static void in_order_and_bounded(void **state)
{
    (void)state;
    enum { QUEUE = 8 };
    struct workers *ws = workers_new("test", 1, QUEUE);
    struct work blocker = {.fn = first};
    struct piece pieces[QUEUE + 1];
    completion_init(&begun);
    completion_init(&go_on);
    assert_true(workers_submit(ws, &blocker));
    completion_wait(&begun);
    for (int i = 0; i <= QUEUE; i++) {
        pieces[i] = (struct piece){.work = {.fn = later}, .number = i};
        assert_int_equal(workers_submit(ws, &pieces[i].work), i < QUEUE);
    }
    assert_int_equal(done, 0);
    completion_signal(&go_on);
    workers_free(ws); // does what is queued
    assert_int_equal(done, QUEUE);
    assert_int_equal(wrong, 0);
    completion_done(&begun);
    completion_done(&go_on);
}

static struct completion meet[2];

static void meets(struct work *w)
{
    struct piece *p = (struct piece *)w;
    completion_signal(&meet[p->number]);
    completion_wait(&meet[!p->number]); // only two threads at a time can pass
}

static void side_by_side(void **state)
{
    (void)state;
    struct workers *ws = workers_new("test", 2, 10);
    struct piece pieces[2];
    for (int i = 0; i < 2; i++)
        completion_init(&meet[i]);
    for (int i = 0; i < 2; i++) {
        pieces[i] = (struct piece){.work = {.fn = meets}, .number = i};
        assert_true(workers_submit(ws, &pieces[i].work));
    }
    workers_free(ws);
    for (int i = 0; i < 2; i++)
        completion_done(&meet[i]);
    workers_free(workers_new("test", 2, 10)); // never used: no thread was started
    workers_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order_and_bounded),
        cmocka_unit_test(side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
