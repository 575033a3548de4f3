// The span's normal form, its bytes, Zipkin's v2 JSON.
#include "base/err.h"
#include "trace/span_json.h"
#include "unit.h"

static struct span *read_one(struct arena *a, const char *text)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct span *spans = NULL;
    size_t n = 0;
    if (span_json_read(a, str_of(text), &spans, &n, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(n, 1);
    return spans;
}

static void assert_json(const char *in, const char *out)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT, bytes = BUF_INIT;
    struct span *s = read_one(&a, in), again;
    span_json_write(&b, s);
    assert_string_equal(buf_cstr(&b), out);
    // And through the store's own bytes.
    span_encode(&bytes, s);
    struct str rest = buf_view(&bytes);
    assert_true(span_decode(&a, &rest, &again));
    assert_int_equal(rest.n, 0);
    buf_reset(&b);
    span_json_write(&b, &again);
    assert_string_equal(buf_cstr(&b), out);
}

static void json_normal_form(void **state)
{
    (void)state;
    assert_json("[{\"traceId\":\"1\",\"id\":\"2\"}]",
                "{\"traceId\":\"0000000000000001\",\"id\":\"0000000000000002\"}");
    assert_json(
        "[{\"id\":\"b\",\"traceId\":\"00000000000000010000000000000002\",\"parentId\":\"a\","
        "\"kind\":\"CLIENT\",\"name\":\"GET /Users\",\"timestamp\":\"1502787600000000\","
        "\"duration\":150,\"localEndpoint\":{\"serviceName\":\"FrontEnd\",\"ipv4\":\"127.0.0.1\","
        "\"ipv6\":\"2001:db8::c001\",\"port\":8080},\"remoteEndpoint\":{\"ipv6\":\"::ffff:1.2.3."
        "4\","
        "\"port\":0},\"annotations\":[{\"timestamp\":3,\"value\":\"z\"},{\"timestamp\":1,\"value\":"
        "\"b\"},{\"value\":\"b\",\"timestamp\":1}],\"tags\":{\"z\":\"1\",\"a\":\"\"},\"debug\":"
        "true,"
        "\"shared\":false,\"unknown\":[{}]}]",
        "{\"traceId\":\"00000000000000010000000000000002\",\"parentId\":\"000000000000000a\","
        "\"id\":"
        "\"000000000000000b\",\"kind\":\"CLIENT\",\"name\":\"get /users\",\"timestamp\":"
        "1502787600000000,\"duration\":150,\"localEndpoint\":{\"serviceName\":\"frontend\","
        "\"ipv4\":"
        "\"127.0.0.1\",\"ipv6\":\"2001:db8::c001\",\"port\":8080},\"remoteEndpoint\":{\"ipv4\":"
        "\"1.2.3.4\"},\"annotations\":[{\"timestamp\":1,\"value\":\"b\"},{\"timestamp\":3,"
        "\"value\":"
        "\"z\"}],\"tags\":{\"a\":\"\",\"z\":\"1\"},\"debug\":true}");
    // A trace ID of 128 bits whose upper half is zero is one of 64; a span is not its own parent.
    assert_json(
        "[{\"traceId\":\"00000000000000000000000000000007\",\"id\":\"7\",\"parentId\":\"7\","
        "\"name\":null,\"localEndpoint\":{},\"timestamp\":-1,\"tags\":{}}]",
        "{\"traceId\":\"0000000000000007\",\"id\":\"0000000000000007\"}");
}

static void json_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *in, *message;
    } cases[] = {
        {"{}", "Malformed reading List<Span> from json: expected a list"},
        {"[1]", "Malformed reading List<Span> from json: expected an object at $[0]"},
        {"[{\"id\":\"1\"}]",
         "Malformed reading List<Span> from json: traceId is empty at $[0].traceId"},
        {"[{\"traceId\":\"1\"}]", "Malformed reading List<Span> from json: id is empty at $[0].id"},
        {"[{\"traceId\":\"0\",\"id\":\"1\"}]",
         "Malformed reading List<Span> from json: traceId is all zeros at $[0].traceId"},
        {"[{\"traceId\":\"1\",\"id\":\"1\"},{\"traceId\":\"X\",\"id\":\"1\"}]",
         "Malformed reading List<Span> from json: should be lower-hex encoded with no prefix at "
         "$[1].traceId"},
        {"[{\"traceId\":\"1\",\"id\":\"12345678901234567\"}]",
         "Malformed reading List<Span> from json: id.length > 16 at $[0].id"},
        {"[{\"traceId\":\"1\",\"id\":\"1\",\"kind\":\"BOSS\"}]",
         "Malformed reading List<Span> from json: no such kind at $[0].kind"},
        {"[{\"traceId\":\"1\",\"id\":\"1\",\"tags\":{\"a\":1}}]",
         "Malformed reading List<Span> from json: expected a string at $[0].tags"},
        {"[{\"traceId\":\"1\",\"id\":\"1\",\"annotations\":[{\"value\":\"x\"}]}]",
         "Malformed reading List<Span> from json: incomplete annotation at $[0].annotations"},
        {"[{\"traceId\":\"1\",\"id\":\"1\",\"duration\":\"long\"}]",
         "Malformed reading List<Span> from json: expected a whole number at $[0].duration"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct span *spans;
        size_t n;
        assert_int_equal(span_json_read(&a, str_of(cases[i].in), &spans, &n, &e), -400);
        assert_string_equal(e.message, cases[i].message);
    }
}

// Cut at any place, or with any byte changed, the bytes are refused or give some span; never more
// than what is there is read (the sanitizers watch).
static void bytes_are_checked(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct span out;
    span_encode(&b,
                read_one(&a, "[{\"traceId\":\"10000000000000002\",\"id\":\"3\",\"parentId\":\"4\","
                             "\"name\":\"n\",\"timestamp\":5,\"duration\":6,\"localEndpoint\":{"
                             "\"serviceName\":\"s\",\"ipv4\":\"1.2.3.4\",\"port\":80},\"tags\":{"
                             "\"k\":\"v\"},\"annotations\":[{\"timestamp\":1,\"value\":\"a\"}]}]"));
    for (size_t n = 0; n < b.n; n++) {
        char *copy = mem_alloc(n + 1);
        memcpy(copy, b.p, n);
        struct str rest = {copy, n};
        assert_false(span_decode(&a, &rest, &out));
        free(copy);
    }
    for (size_t i = 0; i < b.n * 8; i++) {
        b.p[i / 8] ^= (char)(1 << i % 8);
        struct str rest = buf_view(&b);
        span_decode(&a, &rest, &out);
        b.p[i / 8] ^= (char)(1 << i % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_normal_form),
        cmocka_unit_test(json_refusals),
        cmocka_unit_test(bytes_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
