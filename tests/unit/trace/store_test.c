// The span store against a model: random traces, over several blocks and a restart, every trace and
// every search compared with what a plain walk over all spans says; links from known traces.
#include "base/thread.h"
#include "trace/span_json.h"
#include "trace/span_links.h"
#include "trace/span_store.h"
#include "unit.h"
#include <stdio.h>
#include <unistd.h>

static char root[64], dir[80];
static uint64_t rng = 11;

static unsigned rnd(unsigned n)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((rng >> 33) % n);
}

static struct span_store *open_store(void)
{
    const struct span_store_options opt = {.segment_bytes = 64 << 10, .strict_trace_id = true};
    struct span_store *s = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    if (span_store_open(env_system(), dir, &opt, &s, &e) < 0)
        fail_msg("%s", e.message);
    return s;
}

static void remove_name(void *ctx, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    unlink(path);
}

static int clear(void **state)
{
    (void)state;
    env_system()->ops->list_dir(env_system(), dir, remove_name, dir);
    rmdir(dir);
    return 0;
}

struct waiting {
    struct span_put put;
    struct completion done;
};

static void put_done(struct span_put *p)
{
    completion_signal(&((struct waiting *)p)->done);
}

static void put_spans(struct span_store *s, const struct span *spans, size_t n)
{
    struct waiting w = {.put = {.complete = put_done, .spans = (uint32_t)n}};
    for (size_t i = 0; i < n; i++)
        span_encode(&w.put.bytes, &spans[i]);
    completion_init(&w.done);
    span_store_put(s, &w.put);
    completion_wait(&w.done);
    completion_done(&w.done);
    assert_int_equal(w.put.result, 0);
    buf_done(&w.put.bytes);
}

// ---- the model ----

enum { TRACES = 400, ROUNDS = 3000 };
#define BASE 1600000000000000ull // microseconds

static struct arena model;
static struct span *all; // in the order of their putting
static size_t nall;
static uint64_t trace_ids[TRACES];

static struct str word(const char *of, unsigned n)
{
    return arena_printf(&model, "%s-%u", of, rnd(n));
}

static struct span random_span(void)
{
    unsigned t = rnd(TRACES);
    struct span s = {.trace_lo = trace_ids[t],
                     .trace_hi = t % 3 ? 0 : t + 1,
                     .id = ((uint64_t)rnd(1 << 30) << 20) + 1,
                     .parent = rnd(4) ? rnd(1 << 30) + 1 : 0,
                     .kind = (enum span_kind)rnd(5),
                     .name = word("name", 8),
                     .timestamp = rnd(20) ? BASE + t * 1000000ull + rnd(900000) : 0,
                     .duration = rnd(1000)};
    s.local.service = word("service", 6);
    if (rnd(2))
        s.remote.service = word("remote", 4);
    s.tags = arena_array(&model, struct span_tag, 2);
    for (s.ntags = 0; s.ntags < rnd(3); s.ntags++)
        s.tags[s.ntags] = (struct span_tag){word(s.ntags ? "zkey" : "key", 5), word("value", 30)};
    if (!rnd(3)) {
        s.annotations = arena_array(&model, struct span_annotation, 1);
        s.annotations[s.nannotations++] = (struct span_annotation){BASE, word("event", 5)};
    }
    assert_null(span_normalise(&model, &s));
    return s;
}

static void fill(struct span_store *s)
{
    all = mem_realloc(all, (nall + ROUNDS) * sizeof *all);
    for (size_t i = 0; i < ROUNDS;) {
        size_t n = 1 + rnd(8);
        n = n < ROUNDS - i ? n : ROUNDS - i;
        for (size_t k = 0; k < n; k++)
            all[nall + k] = random_span();
        put_spans(s, all + nall, n);
        nall += n;
        i += n;
    }
}

static size_t model_trace(uint64_t hi, uint64_t lo, struct span *to)
{
    size_t n = 0;
    for (size_t i = 0; i < nall; i++)
        if (all[i].trace_lo == lo && all[i].trace_hi == hi)
            to[n++] = all[i];
    return n;
}

static int by_bytes(const void *x, const void *y)
{
    return str_cmp(*(const struct str *)x, *(const struct str *)y);
}

// The spans as one text, whatever their order.
static struct str text_of(struct arena *a, const struct span *spans, size_t n)
{
    struct str *lines = arena_array(a, struct str, n + 1);
    for (size_t i = 0; i < n; i++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        span_json_write(&b, &spans[i]);
        lines[i] = arena_str(a, buf_view(&b));
    }
    qsort(lines, n, sizeof *lines, by_bytes);
    return arena_join(a, lines, n, STR("\n"));
}

static void check_traces(struct span_store *s)
{
    struct span *want = mem_alloc(nall * sizeof *want);
    for (unsigned t = 0; t < TRACES; t++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct span_trace got;
        uint64_t hi = t % 3 ? 0 : t + 1;
        size_t n = model_trace(hi, trace_ids[t], want);
        assert_int_equal(span_store_trace(s, &a, hi, trace_ids[t], &got, NULL), 0);
        assert_int_equal(got.n, n);
        assert_true(str_eq(text_of(&a, got.spans, n), text_of(&a, want, n)));
        assert_int_equal(span_store_trace(s, &a, hi + 1, trace_ids[t], &got, NULL), 0);
        assert_int_equal(got.n, 0);
    }
    free(want);
}

static struct span_query random_query(struct arena *a)
{
    struct span_query q = {.end_ms = BASE / 1000 + rnd(TRACES) * 1000,
                           .lookback_ms = 1 + rnd(TRACES * 1000),
                           .limit = 1 + rnd(12)};
    if (rnd(2))
        q.service = word("service", 7);
    if (!rnd(3))
        q.name = word("name", 8);
    if (!rnd(4))
        q.remote = word("remote", 4);
    if (!rnd(4))
        q.min_duration = 1 + rnd(999);
    if (q.min_duration && rnd(2))
        q.max_duration = q.min_duration + rnd(300);
    if (!rnd(3)) {
        q.words = arena_array(a, struct span_query_word, 2);
        q.words[q.nwords++] =
            (struct span_query_word){.key = rnd(2) ? word("event", 5) : word("key", 5)};
        if (rnd(2))
            q.words[q.nwords++] =
                (struct span_query_word){word("zkey", 5), word("value", 30), true};
    }
    return q;
}

// The times of the answers, latest first: of equal times any may be left out by the limit.
static void check_search(struct span_store *s, size_t *ret_hits)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct span_query q = random_query(&a);
    struct span *want = arena_array(&a, struct span, nall);
    uint64_t *times = arena_array(&a, uint64_t, TRACES + 1);
    size_t n = 0, got_n;
    struct span_trace *got;
    for (unsigned t = TRACES; t-- > 0;) {
        size_t k = model_trace(t % 3 ? 0 : t + 1, trace_ids[t], want);
        if (!k || !span_query_test(&q, want, k))
            continue;
        size_t at = n++;
        uint64_t time = span_query_timestamp(want, k);
        for (; at && times[at - 1] < time; at--)
            times[at] = times[at - 1];
        times[at] = time;
    }
    n = n < q.limit ? n : q.limit;
    assert_int_equal(span_store_search(s, &a, &q, &got, &got_n, NULL), 0);
    assert_int_equal(got_n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got[i].timestamp, times[i]);
        assert_true(span_query_test(&q, got[i].spans, got[i].n));
    }
    *ret_hits += n;
}

static void what_was_put_is_found(void **state)
{
    (void)state;
    struct span_store *s = open_store();
    size_t hits = 0;
    for (unsigned t = 0; t < TRACES; t++)
        trace_ids[t] = (uint64_t)rnd(1u << 31) << 33 | rnd(1u << 31) | 1;
    for (int life = 0; life < 2; life++) {
        fill(s);
        check_traces(s);
        for (int i = 0; i < 150; i++)
            check_search(s, &hits);
        struct span_store_facts f = span_store_facts(s);
        assert_int_equal(f.spans, nall);
        assert_true(f.blocks > 3 * (uint64_t)life);
        span_store_close(s);
        s = open_store();
        assert_int_equal(span_store_facts(s).spans, nall);
        check_traces(s);
    }
    assert_true(hits > 200); // the searches were not all in vain
    for (int i = 0; i < 150; i++)
        check_search(s, &hits);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str *list;
    size_t n;
    span_store_names(s, &a, SPAN_LIST_SERVICES, STR_NULL, &list, &n);
    assert_int_equal(n, 6);
    assert_true(str_eqc(list[0], "service-0") && str_eqc(list[5], "service-5"));
    span_store_names(s, &a, SPAN_LIST_NAMES, STR("service-3"), &list, &n);
    assert_int_equal(n, 8);
    span_store_names(s, &a, SPAN_LIST_REMOTES, STR("service-3"), &list, &n);
    assert_int_equal(n, 4);
    span_store_names(s, &a, SPAN_LIST_NAMES, STR("nobody"), &list, &n);
    assert_int_equal(n, 0);
    span_store_close(s);
    free(all);
    arena_done(&model);
}

static void damaged_blocks_are_refused(void **state)
{
    (void)state;
    // A block of the store that the test before left, if any: made anew here, small.
    clear(NULL);
    struct span_store *s = open_store();
    struct span span = {.trace_lo = 1, .id = 1, .name = STR("n")};
    for (int i = 0; i < 3000; i++) {
        span.id++;
        put_spans(s, &span, 1);
    }
    assert_true(span_store_facts(s).blocks > 0);
    span_store_close(s);
    char path[160];
    snprintf(path, sizeof path, "%s/block-%020d.spans", dir, 1);
    assert_int_equal(truncate(path, 1000), 0);
    _cleanup_err_ struct err e = ERR_INIT;
    const struct span_store_options opt = {.segment_bytes = 64 << 10};
    assert_int_equal(span_store_open(env_system(), dir, &opt, &s, &e), -500);
    assert_non_null(strstr(e.message, ".spans is not a block, or was cut short"));
}

// ---- links ----

static void assert_links(const char *spans_json, const char *want)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct span_links l = SPAN_LINKS_INIT;
    struct span *spans;
    size_t n;
    assert_int_equal(span_json_read(&a, str_of(spans_json), &spans, &n, NULL), 0);
    span_links_add(&l, spans, n);
    span_links_write(&l, &b);
    assert_string_equal(buf_cstr(&b), want);
    span_links_done(&l);
}

#define S(id, parent, kind, local, more)                                                           \
    "{\"traceId\":\"1\",\"id\":\"" id "\",\"parentId\":\"" parent "\",\"kind\":" kind              \
    ",\"localEndpoint\":{\"serviceName\":\"" local "\"}" more "}"
#define REMOTE(name) ",\"remoteEndpoint\":{\"serviceName\":\"" name "\"}"
#define FAILED       ",\"tags\":{\"error\":\"\"}"
#define LINK(p, c)   "{\"parent\":\"" p "\",\"child\":\"" c "\",\"callCount\":1"

static void links(void **state)
{
    (void)state;
    // The two halves of a call, with one ID; the database is known by its client only.
    assert_links("[" S("1", "", "\"CLIENT\"", "web",
                       "") "," S("1", "", "\"SERVER\"", "app",
                                 ",\"shared\":true") "," S("2", "1", "\"CLIENT\"", "app",
                                                           REMOTE("db") FAILED) "]",
                 "[" LINK("app", "db") ",\"errorCount\":1}," LINK("web", "app") "}]");
    // With an ID for each half; a local span lies between; the client's error counts.
    assert_links(
        "[" S("1", "", "\"SERVER\"", "web", "") "," S("2", "1", "null", "web", "") "," S(
            "3", "2", "\"CLIENT\"", "web", FAILED) "," S("4", "3", "\"SERVER\"", "app", "") "]",
        "[" LINK("web", "app") ",\"errorCount\":1}]");
    // Messages link by what they name, and need both.
    assert_links("[" S("1", "", "\"PRODUCER\"", "shop", REMOTE("kafka")) "," S(
                     "2", "1", "\"CONSUMER\"", "mail",
                     REMOTE("kafka")) "," S("3", "2", "\"CONSUMER\"", "mail", "") "]",
                 "[" LINK("kafka", "mail") "}," LINK("shop", "kafka") "}]");
    // A root SERVER with a named caller; a span without a kind that names both ends.
    assert_links("[" S("1", "", "\"SERVER\"", "app", REMOTE("phone")) "," S("2", "1", "null", "app",
                                                                            REMOTE("cache")) "]",
                 "[" LINK("app", "cache") "}," LINK("phone", "app") "}]");
    assert_links("[" S("1", "", "\"SERVER\"", "app", "") "]", "[]");
    // A client that says another service than the span above: the call between is added.
    assert_links(
        "[" S("1", "", "\"SERVER\"", "a", "") "," S("2", "1", "\"CLIENT\"", "b", REMOTE("c")) "]",
        "[" LINK("a", "b") "}," LINK("b", "c") "}]");
    // Parents in a circle end.
    assert_links("[" S("1", "2", "\"SERVER\"", "a", "") "," S("2", "1", "\"SERVER\"", "b", "") "]",
                 "[" LINK("a", "b") "}]");
}

int main(void)
{
    snprintf(root, sizeof root, "/tmp/coracle-spans-XXXXXX");
    if (!mkdtemp(root))
        return 1;
    snprintf(dir, sizeof dir, "%s/spans", root);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_was_put_is_found, clear),
        cmocka_unit_test_teardown(damaged_blocks_are_refused, clear),
        cmocka_unit_test(links),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(root);
    return failed;
}
