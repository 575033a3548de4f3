// The shared suite: what store.h promises, run against every implementation. A program that
// includes this defines `suite_open` and `suite_close` and runs suite_tests.
//
// The helpers below are also used by the fault tests.
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/thread.h"
#include "store/store.h"
#include "unit.h"
#include <stdio.h>

// A fresh, empty store; the same one again after a restart where `again` (NULL: cannot restart).
static struct store *suite_open(bool again);
static bool suite_restarts(void);

// ---- helpers ----

struct one {
    struct store_txn txn;
    struct store_write write;
};

static void one_init(struct one *o, enum store_op op, const char *key, const char *value,
                     int64_t expected)
{
    *o = (struct one){.write = {.op = op, .key = str_of(key), .expected_revision = expected}};
    o->write.value = value ? blob_new(str_of(value)) : NULL;
    o->txn.writes = &o->write;
    o->txn.nwrites = 1;
}

static enum store_result put(struct store *s, const char *key, const char *value, int64_t expected,
                             uint64_t *ret_revision)
{
    struct one o;
    one_init(&o, STORE_PUT, key, value, expected);
    enum store_result r = store_txn_wait(s, &o.txn);
    blob_unref(o.write.value);
    if (ret_revision)
        *ret_revision = o.txn.revision;
    return r;
}

static enum store_result del(struct store *s, const char *key, int64_t expected,
                             uint64_t *ret_revision)
{
    struct one o;
    one_init(&o, STORE_DELETE, key, NULL, expected);
    enum store_result r = store_txn_wait(s, &o.txn);
    if (ret_revision)
        *ret_revision = o.txn.revision;
    return r;
}

// A range as text: "key=value@create/mod/version " for each.
struct listing {
    struct buf text;
    size_t n, limit;
};

static bool listing_add(void *ctx, const struct store_kv *kv)
{
    struct listing *l = ctx;
    buf_printf(&l->text, "%.*s=%.*s@%lu/%lu/%lu ", STR_ARG(kv->key), STR_ARG(blob_view(kv->value)),
               (unsigned long)kv->create_revision, (unsigned long)kv->mod_revision,
               (unsigned long)kv->version);
    return ++l->n != l->limit;
}

static char listed[8192];

static const char *list_at(struct store *s, const char *prefix, uint64_t revision)
{
    struct listing l = {0};
    _cleanup_err_ struct err e = ERR_INIT;
    uint64_t at = 0;
    if (s->ops->range(s, str_of(prefix), revision, listing_add, &l, &at, &e) < 0)
        snprintf(listed, sizeof listed, "%s: %s", err_reason_name(e.reason), e.message);
    else
        snprintf(listed, sizeof listed, "%s", buf_cstr(&l.text));
    if (revision && e.reason == ERR_NONE)
        assert_int_equal(at, revision);
    buf_done(&l.text);
    return listed;
}

#define assert_list(s, prefix, revision, text)                                                     \
    assert_string_equal(list_at((s), (prefix), (revision)), (text))

// A watch that writes down what it is told: "+key=value(previous)@revision " or "-key(previous)@…".
struct recorder {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct buf text;
    uint64_t revision; // of the last call
    size_t calls, events;
    struct store_watch *watch;
};

static void record(void *ctx, const struct store_event *events, size_t n, uint64_t revision)
{
    struct recorder *r = ctx;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n; i++) {
        const struct store_event *ev = &events[i];
        assert_true(ev->revision <= revision);
        assert_true(ev->revision >= ev->create_revision);
        buf_printf(&r->text, "%c%.*s", ev->op == STORE_PUT ? '+' : '-', STR_ARG(ev->key));
        if (ev->op == STORE_PUT)
            buf_printf(&r->text, "=%.*s", STR_ARG(blob_view(ev->value)));
        if (ev->previous)
            buf_printf(&r->text, "(%.*s)", STR_ARG(blob_view(ev->previous)));
        buf_printf(&r->text, "@%lu ", (unsigned long)ev->revision);
    }
    assert_true(revision >= r->revision);
    r->revision = revision;
    r->events += n;
    r->calls++;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void recorder_init(struct recorder *r)
{
    *r = (struct recorder){.text = BUF_INIT};
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
}

static void recorder_done(struct recorder *r)
{
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    buf_done(&r->text);
}

static void watch(struct store *s, struct recorder *r, const char *prefix, uint64_t after)
{
    recorder_init(r);
    assert_int_equal(s->ops->watch(s, str_of(prefix), after, record, r, &r->watch, NULL), 0);
}

// Waits until the watch has been told of the revision; at most ten seconds.
static void await_revision(struct recorder *r, uint64_t revision)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 10;
    pthread_mutex_lock(&r->lock);
    while (r->calls == 0 || r->revision < revision)
        if (pthread_cond_timedwait(&r->changed, &r->lock, &limit))
            fail_msg("no word of revision %lu, only of %lu", (unsigned long)revision,
                     (unsigned long)r->revision);
    pthread_mutex_unlock(&r->lock);
}

static void assert_recorded(struct recorder *r, const char *text)
{
    pthread_mutex_lock(&r->lock);
    assert_string_equal(buf_cstr(&r->text), text);
    pthread_mutex_unlock(&r->lock);
}

static void unwatch(struct store *s, struct recorder *r)
{
    s->ops->unwatch(s, r->watch);
    recorder_done(r);
}

// ---- the suite ----

static void conditions(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    uint64_t r = 0;
    assert_int_equal(store_revision(s), 1);
    assert_list(s, "/", 0, "");
    assert_int_equal(put(s, "/a", "1", 0, &r), STORE_OK);
    assert_int_equal(r, 2);
    assert_int_equal(put(s, "/a", "2", 0, &r), STORE_CONFLICT);
    assert_int_equal(put(s, "/a", "2", 3, &r), STORE_CONFLICT);
    assert_int_equal(store_revision(s), 2);
    assert_int_equal(put(s, "/a", "2", 2, &r), STORE_OK);
    assert_int_equal(r, 3);
    assert_int_equal(put(s, "/b", "1", 1, &r), STORE_CONFLICT); // is not there
    assert_int_equal(put(s, "/b", "1", STORE_ANY, &r), STORE_OK);
    assert_int_equal(put(s, "/b", "2", STORE_ANY, &r), STORE_OK);
    assert_int_equal(r, 5);
    assert_list(s, "/", 0, "/a=2@2/3/2 /b=2@4/5/2 ");
    assert_int_equal(del(s, "/b", 4, &r), STORE_CONFLICT);
    assert_int_equal(del(s, "/b", 5, &r), STORE_OK);
    assert_int_equal(r, 6);
    assert_int_equal(del(s, "/b", 5, &r), STORE_CONFLICT);
    assert_int_equal(del(s, "/b", STORE_ANY, &r), STORE_OK); // nothing to do: no revision
    assert_int_equal(r, 6);
    assert_int_equal(store_revision(s), 6);
    assert_int_equal(put(s, "/b", "3", 0, &r), STORE_OK); // a new life
    assert_list(s, "/", 0, "/a=2@2/3/2 /b=3@7/7/1 ");
    assert_int_equal(put(s, "/a", "", STORE_ANY, &r), STORE_OK); // an empty value is a value
    assert_list(s, "/a", 0, "/a=@2/8/3 ");
    store_close(s);
}

static void several_writes_all_or_none(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    struct recorder rec;
    watch(s, &rec, "/", 1);
    struct blob *v = blob_new(STR("v"));
    struct store_write w[] = {
        {STORE_PUT, STR("/x"), v, 0},
        {STORE_PUT, STR("/y"), v, STORE_ANY},
        {STORE_DELETE, STR("/z"), NULL, 7},
    };
    struct store_txn t = {.writes = w, .nwrites = 3};
    assert_int_equal(store_txn_wait(s, &t), STORE_CONFLICT);
    assert_int_equal(t.conflict, 2);
    assert_list(s, "/", 0, "");
    t = (struct store_txn){.writes = w, .nwrites = 2};
    assert_int_equal(store_txn_wait(s, &t), STORE_OK);
    assert_int_equal(t.revision, 2);
    assert_list(s, "/", 0, "/x=v@2/2/1 /y=v@2/2/1 ");
    struct store_write twice[] = {
        {STORE_PUT, STR("/q"), v, STORE_ANY},
        {STORE_DELETE, STR("/q"), NULL, STORE_ANY},
    };
    t = (struct store_txn){.writes = twice, .nwrites = 2};
    assert_int_equal(store_txn_wait(s, &t), STORE_CONFLICT); // a key once
    assert_int_equal(t.conflict, 1);
    t = (struct store_txn){0}; // none at all: a barrier
    assert_int_equal(store_txn_wait(s, &t), STORE_OK);
    assert_int_equal(t.revision, 2);
    struct store_write swap[] = {
        {STORE_DELETE, STR("/x"), NULL, 2},
        {STORE_PUT, STR("/w"), v, 0},
    };
    t = (struct store_txn){.writes = swap, .nwrites = 2};
    assert_int_equal(store_txn_wait(s, &t), STORE_OK);
    assert_recorded(&rec, "+/x=v@2 +/y=v@2 -/x(v)@3 +/w=v@3 "); // no waiting: read your own write
    assert_list(s, "/", 2, "/x=v@2/2/1 /y=v@2/2/1 ");
    blob_unref(v);
    unwatch(s, &rec);
    store_close(s);
}

static void ranges_by_prefix_and_revision(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    put(s, "/r/pods/a/1", "1", 0, NULL);     // 2
    put(s, "/r/pods/b/1", "1", 0, NULL);     // 3
    put(s, "/r/podsx/a/1", "1", 0, NULL);    // 4
    put(s, "/r/pods/a/1", "2", 2, NULL);     // 5
    del(s, "/r/pods/b/1", 3, NULL);          // 6
    put(s, "/r/pods/a/0", "1", 0, NULL);     // 7
    put(s, "/r/pods/b/1", "again", 0, NULL); // 8
    assert_list(s, "/r/pods/", 0,
                "/r/pods/a/0=1@7/7/1 /r/pods/a/1=2@2/5/2 /r/pods/b/1=again@8/8/1 ");
    assert_list(s, "/r/pods/", 8,
                "/r/pods/a/0=1@7/7/1 /r/pods/a/1=2@2/5/2 /r/pods/b/1=again@8/8/1 ");
    assert_list(s, "/r/pods/", 6, "/r/pods/a/1=2@2/5/2 ");
    assert_list(s, "/r/pods/", 5, "/r/pods/a/1=2@2/5/2 /r/pods/b/1=1@3/3/1 ");
    assert_list(s, "/r/pods/", 4, "/r/pods/a/1=1@2/2/1 /r/pods/b/1=1@3/3/1 ");
    assert_list(s, "/r/pods/", 2, "/r/pods/a/1=1@2/2/1 ");
    assert_list(s, "/r/pods/", 1, "");
    assert_list(s, "", 3, "/r/pods/a/1=1@2/2/1 /r/pods/b/1=1@3/3/1 ");
    assert_list(s, "/r/pods/", 9, "Timeout: Too large resource version: 9, current: 8");
    struct listing l = {.limit = 2};
    uint64_t at = 0;
    assert_int_equal(s->ops->range(s, STR("/"), 0, listing_add, &l, &at, NULL), 0);
    assert_int_equal(l.n, 2); // fn stopped it
    assert_int_equal(at, 8);
    buf_done(&l.text);
    store_close(s);
}

static void watches(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    struct recorder all, past, future, gone;
    put(s, "/a/1", "1", 0, NULL); // 2
    put(s, "/b/1", "1", 0, NULL); // 3
    del(s, "/a/1", 2, NULL);      // 4
    watch(s, &all, "", 1);
    watch(s, &past, "/a/", 2);
    watch(s, &future, "/", 6); // from a revision that is yet to come
    watch(s, &gone, "/", 4);
    await_revision(&past, 4);
    assert_recorded(&past, "-/a/1(1)@4 ");
    put(s, "/a/2", "1", 0, NULL); // 5
    unwatch(s, &gone);            // its recorder is freed: a late callback would be seen by ASan
    put(s, "/a/2", "2", 5, NULL); // 6
    put(s, "/b/1", "2", 3, NULL); // 7
    assert_recorded(&all, "+/a/1=1@2 +/b/1=1@3 -/a/1(1)@4 +/a/2=1@5 +/a/2=2(1)@6 +/b/1=2(1)@7 ");
    assert_recorded(&past, "-/a/1(1)@4 +/a/2=1@5 +/a/2=2(1)@6 ");
    assert_recorded(&future, "+/b/1=2(1)@7 ");
    assert_int_equal(past.revision, 7); // a mark for every group
    unwatch(s, &all), unwatch(s, &past), unwatch(s, &future);
    store_close(s);
}

static void long_past_in_order(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    struct recorder all, half;
    enum { N = 1500 };
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "/k/%d", i % 7);
        assert_int_equal(put(s, key, "v", STORE_ANY, NULL), STORE_OK);
    }
    watch(s, &all, "/k/", 1);
    watch(s, &half, "/k/3", N / 2);
    await_revision(&all, N + 1);
    await_revision(&half, N + 1);
    assert_int_equal(all.events, N);
    assert_int_equal(half.events, 107);
    assert_true(all.calls < 10);
    struct str rest = buf_view(&all.text);
    for (uint64_t r = 2; r <= N + 1; r++) {
        struct str word = str_cut(&rest, ' ');
        uint64_t got = 0;
        assert_true(str_to_u64(str_from(word, (size_t)str_chr(word, '@') + 1), &got));
        assert_int_equal(got, r);
    }
    unwatch(s, &all), unwatch(s, &half);
    store_close(s);
}

static void compaction(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    _cleanup_err_ struct err e = ERR_INIT;
    struct recorder rec;
    struct store_watch *w = NULL;
    for (int i = 0; i < 300; i++)
        put(s, "/a", i % 2 ? "odd" : "even", STORE_ANY, NULL); // 2 .. 301
    assert_list(s, "/", s->ops->floor(s), "");
    assert_int_equal(s->ops->compact(s, 200, &e), 0);
    assert_int_equal(s->ops->floor(s), 200);
    assert_int_equal(s->ops->compact(s, 100, &e), 0); // already
    assert_int_equal(s->ops->compact(s, 302, &e), -400);
    assert_string_equal(e.message, "required revision is a future revision");
    assert_list(s, "/", 199, "Expired: required revision has been compacted");
    assert_list(s, "/", 200, "/a=even@2/200/199 ");
    assert_list(s, "/", 0, "/a=odd@2/301/300 ");
    assert_int_equal(s->ops->watch(s, STR("/"), 199, record, NULL, &w, &e), -410);
    assert_true(err_is(&e, ERR_EXPIRED));
    assert_string_equal(e.message, "required revision has been compacted");
    assert_null(w);
    watch(s, &rec, "/", 200);
    await_revision(&rec, 301);
    assert_int_equal(rec.events, 101);
    assert_int_equal(s->ops->compact(s, 301, NULL), 0);
    put(s, "/a", "more", STORE_ANY, NULL);
    assert_int_equal(rec.events, 102); // a running watch is not touched
    assert_list(s, "/", 301, "/a=odd@2/301/300 ");
    unwatch(s, &rec);
    store_close(s);
}

// A watch that unwatches itself and another, watches anew, and submits, all from the callback.
struct busy {
    struct store *store;
    struct store_watch *self, *other;
    struct recorder late;
    struct one one;
    struct completion done;
    int calls;
};

static void busy_done(struct store_txn *t)
{
    struct busy *b = t->ctx;
    completion_signal(&b->done);
}

static void busy_callback(void *ctx, const struct store_event *events, size_t n, uint64_t revision)
{
    (void)events, (void)revision;
    struct busy *b = ctx;
    if (n == 0)
        return;
    assert_int_equal(b->calls++, 0);
    b->store->ops->unwatch(b->store, b->self);
    b->store->ops->unwatch(b->store, b->other);
    watch(b->store, &b->late, "/", 1);
    store_txn(b->store, &b->one.txn);
}

static void callback_uses_the_store(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    struct busy b = {.store = s};
    struct recorder other;
    completion_init(&b.done);
    one_init(&b.one, STORE_PUT, "/from/callback", "x", 0);
    b.one.txn.complete = busy_done;
    b.one.txn.ctx = &b;
    assert_int_equal(s->ops->watch(s, STR("/"), 1, busy_callback, &b, &b.self, NULL), 0);
    watch(s, &other, "/", 1);
    b.other = other.watch;
    put(s, "/a", "1", 0, NULL);
    completion_wait(&b.done);
    assert_int_equal(b.one.txn.result, STORE_OK);
    put(s, "/b", "1", 0, NULL);
    await_revision(&b.late, 4);
    assert_recorded(&b.late, "+/a=1@2 +/from/callback=x@3 +/b=1@4 ");
    assert_int_equal(b.calls, 1);
    assert_recorded(&other, "");
    unwatch(s, &b.late);
    recorder_done(&other);
    blob_unref(b.one.write.value);
    completion_done(&b.done);
    store_close(s);
}

// Threads that increment a shared counter by compare-and-swap, and write keys of their own, while
// one thread ranges and another watches.
enum { CLIENTS = 4, ROUNDS = 150 };

struct client {
    struct store *store;
    int id;
    uint64_t conflicts;
};

static bool counter_read(void *ctx, const struct store_kv *kv)
{
    struct store_kv *out = ctx;
    *out = *kv;
    blob_ref(out->value);
    return false;
}

static void *client_run(void *arg)
{
    struct client *c = arg;
    uint64_t last = 0;
    for (int i = 0; i < ROUNDS;) {
        struct store_kv kv = {0};
        uint64_t value = 0, r = 0, at = 0;
        c->store->ops->range(c->store, STR("/counter"), 0, counter_read, &kv, &at, NULL);
        if (kv.value)
            BUG_ON(!str_to_u64(blob_view(kv.value), &value));
        blob_unref(kv.value);
        char text[24], key[40];
        snprintf(text, sizeof text, "%lu", (unsigned long)value + 1);
        snprintf(key, sizeof key, "/own/%d/%d", c->id, i);
        if (put(c->store, "/counter", text, (int64_t)kv.mod_revision, &r) == STORE_OK) {
            BUG_ON(r <= last);
            last = r;
            BUG_ON(put(c->store, key, text, 0, &r) != STORE_OK || r <= last);
            last = r;
            i++;
        } else {
            c->conflicts++;
        }
        BUG_ON(store_revision(c->store) < last);
    }
    return NULL;
}

static bool count(void *ctx, const struct store_kv *kv)
{
    (void)kv;
    ++*(size_t *)ctx;
    return true;
}

static void many_threads(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    struct recorder rec;
    watch(s, &rec, "/counter", 1);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.store = s, .id = i};
        threads[i] = thread_start("client", client_run, &clients[i]);
    }
    // Meanwhile: what a revision shows never changes.
    for (int i = 0; i < 50; i++) {
        size_t first = 0, again = 0;
        uint64_t at = 0, same = 0;
        assert_int_equal(s->ops->range(s, STR("/"), 0, count, &first, &at, NULL), 0);
        assert_int_equal(s->ops->range(s, STR("/"), at, count, &again, &same, NULL), 0);
        assert_int_equal(first, again);
        assert_int_equal(at, same);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(store_revision(s), 1 + 2 * CLIENTS * ROUNDS);
    assert_int_equal(rec.events, CLIENTS * ROUNDS);
    char want[24];
    snprintf(want, sizeof want, "/counter=%d@", CLIENTS * ROUNDS);
    assert_memory_equal(list_at(s, "/counter", 0), want, strlen(want));
    size_t n = 0;
    assert_int_equal(s->ops->range(s, STR("/own/"), 0, count, &n, &(uint64_t){0}, NULL), 0);
    assert_int_equal(n, CLIENTS * ROUNDS);
    unwatch(s, &rec);
    store_close(s);
}

// Closing answers what waits: each with a true result, none twice, none forgotten.
enum { WAITING = 200 };
static atomic_int answered;

static void count_answer(struct store_txn *t)
{
    (void)t;
    atomic_fetch_add(&answered, 1);
}

static void close_while_waiting(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    struct recorder rec;
    watch(s, &rec, "/", 1);
    static struct one ones[WAITING];
    char keys[WAITING][16];
    atomic_store(&answered, 0);
    for (int i = 0; i < WAITING; i++) {
        snprintf(keys[i], sizeof keys[i], "/k/%03d", i);
        one_init(&ones[i], STORE_PUT, keys[i], "v", 0);
        ones[i].txn.complete = count_answer;
        store_txn(s, &ones[i].txn);
    }
    store_close(s);
    assert_int_equal(atomic_load(&answered), WAITING);
    for (int i = 0; i < WAITING; i++) {
        assert_int_equal(ones[i].txn.result, STORE_OK);
        assert_int_equal(ones[i].txn.revision, i + 2);
        blob_unref(ones[i].write.value);
    }
    assert_int_equal(rec.events, WAITING);
    recorder_done(&rec);
}

static void restart(void **state)
{
    (void)state;
    if (!suite_restarts())
        return;
    struct store *s = suite_open(false);
    put(s, "/a", "1", 0, NULL); // 2
    put(s, "/b", "1", 0, NULL); // 3
    put(s, "/a", "2", 2, NULL); // 4
    del(s, "/b", 3, NULL);      // 5
    put(s, "/c", "1", 0, NULL); // 6
    store_close(s);
    s = suite_open(true);
    assert_int_equal(store_revision(s), 6);
    assert_list(s, "/", 0, "/a=2@2/4/2 /c=1@6/6/1 ");
    assert_int_equal(put(s, "/a", "3", 2, NULL), STORE_CONFLICT);
    assert_int_equal(put(s, "/a", "3", 4, NULL), STORE_OK); // 7
    // What the log still has can be watched and read across the restart.
    struct recorder rec;
    watch(s, &rec, "/", 2);
    await_revision(&rec, 7);
    assert_recorded(&rec, "+/b=1@3 +/a=2(1)@4 -/b(1)@5 +/c=1@6 +/a=3(2)@7 ");
    assert_list(s, "/", 4, "/a=2@2/4/2 /b=1@3/3/1 ");
    unwatch(s, &rec);
    store_close(s);
    s = suite_open(true);
    assert_int_equal(store_revision(s), 7);
    assert_list(s, "/", 0, "/a=3@2/7/3 /c=1@6/6/1 ");
    store_close(s);
}

static void texts(void **state)
{
    (void)state;
    assert_string_equal(store_result_text(STORE_FULL), "the store's disk is full");
    assert_string_equal(store_result_text(STORE_CLOSED), "the store is closed");
    store_close(NULL);
}

#define SUITE_TESTS                                                                                \
    cmocka_unit_test(conditions), cmocka_unit_test(several_writes_all_or_none),                    \
        cmocka_unit_test(ranges_by_prefix_and_revision), cmocka_unit_test(watches),                \
        cmocka_unit_test(long_past_in_order), cmocka_unit_test(compaction),                        \
        cmocka_unit_test(callback_uses_the_store), cmocka_unit_test(many_threads),                 \
        cmocka_unit_test(close_while_waiting), cmocka_unit_test(restart), cmocka_unit_test(texts)
