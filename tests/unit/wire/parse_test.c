// The parsers without sockets: heads, targets, queries, chunks, dates; output queues.
#include "unit.h"
#include "wire/http_parse.h"
#include "wire/outq.h"
#include <string.h>

static void head_end(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int end;
    } rows[] = {
        {"", 0},
        {"GET / HTTP/1.1\r\n", 0},
        {"GET / HTTP/1.1\r\n\r\nrest", 18},
        {"a\r\nb\r\n\r\n", 8},
        {"\r\nx", 2},
        {"a\nb", -1},
        {"a\r\n\n", -1},
        {"\n", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct str s = str_of(rows[i].text);
        assert_int_equal(http_head_end(s.p, s.n, 0), rows[i].end);
        // Told in two steps, the answer is the same.
        for (size_t cut = 0; cut <= s.n; cut++) {
            ptrdiff_t first = http_head_end(s.p, cut, 0);
            assert_int_equal(first ? first : http_head_end(s.p, s.n, cut), rows[i].end);
        }
    }
}

static void decoding(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; // NULL: refused
        bool plus, keep;
    } rows[] = {
        {"plain", "plain", true, true},      {"a%20b+c", "a b c", true, false},
        {"a+b", "a+b", false, false},        {"a%2fb", "a/b", false, false},
        {"a%2Fb%41", "a%2FbA", false, true}, {"%", NULL, false, false},
        {"%4", NULL, false, false},          {"%4g", NULL, false, false},
        {"%00", NULL, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct str out;
        bool ok = http_percent_decode(&a, str_of(rows[i].in), rows[i].plus, rows[i].keep, &out);
        assert_int_equal(ok, rows[i].out != NULL);
        if (ok)
            assert_true(str_eqc(out, rows[i].out));
    }
}

static void queries(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct http_request r = {.query =
                                 STR("command=sh&command=-c&command=echo+%26&tty&x=&bad=%zz&=y")};
    assert_true(str_eqc(http_query(&a, &r, "command", 0), "sh"));
    assert_true(str_eqc(http_query(&a, &r, "command", 2), "echo &"));
    assert_null(http_query(&a, &r, "command", 3).p);
    assert_non_null(http_query(&a, &r, "tty", 0).p);
    assert_non_null(http_query(&a, &r, "x", 0).p);
    assert_int_equal(http_query(&a, &r, "x", 0).n, 0);
    assert_null(http_query(&a, &r, "bad", 0).p);
    assert_null(http_query(&a, &r, "absent", 0).p);
    r.query = STR_NULL;
    assert_null(http_query(&a, &r, "x", 0).p);
}

static void gzip_choice(void **state)
{
    (void)state;
    assert_true(http_accepts_gzip(STR("gzip")));
    assert_true(http_accepts_gzip(STR("deflate, GZIP;q=0.5")));
    assert_true(http_accepts_gzip(STR("*")));
    assert_false(http_accepts_gzip(STR("")));
    assert_false(http_accepts_gzip(STR("identity, br")));
    assert_false(http_accepts_gzip(STR("gzip;q=0")));
    assert_false(http_accepts_gzip(STR("gzip; q=0.000")));
}

static void dates(void **state)
{
    (void)state;
    char out[30] = {0};
    http_date(784111777LL * 1000000000, out);
    assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_string_equal(http_status_text(429), "Too Many Requests");
    assert_string_equal(http_status_text(299), "");
}

static void chunks_in_every_cut(void **state)
{
    (void)state;
    struct str in = STR("3\r\nabc\r\n0A ; x=\"y\"\r\n0123456789\r\n0\r\nA: b\r\n\r\nnext");
    for (size_t cut = 0; cut <= in.n; cut++) {
        struct http_chunked c = HTTP_CHUNKED_INIT;
        struct str parts[2] = {str_sub(in, 0, cut), str_from(in, cut)}, part;
        char got[32];
        size_t n = 0, over = 0;
        int code = 0;
        for (int i = 0; i < 2; i++) {
            while ((code = http_chunked_next(&c, &parts[i], &part)) == 1) {
                memcpy(got + n, part.p, part.n);
                n += part.n;
            }
            over += parts[i].n;
        }
        assert_int_equal(code, 2);
        assert_int_equal(over, 4);
        assert_int_equal(n, 13);
        assert_memory_equal(got, "abc0123456789", 13);
    }
    static const char *const broken[] = {
        "x",        "\r\n",    "-1\r\n",   "1\n",      "1\r\nab\r\n",         "1 \n",
        "1\r\na\n", "0\r\n\n", "0\r\nA\n", "0\r\n\rx", "1234567890123456\r\n"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct http_chunked c = HTTP_CHUNKED_INIT;
        struct str s = str_of(broken[i]), part;
        int code;
        while ((code = http_chunked_next(&c, &s, &part)) == 1)
            ;
        assert_int_equal(code, -1);
    }
    // Trailers and extensions without end are refused.
    struct http_chunked c = HTTP_CHUNKED_INIT;
    struct str part, s = STR("1;");
    assert_int_equal(http_chunked_next(&c, &s, &part), 0);
    int code = 0;
    for (int i = 0; i < 20000 && !code; i++) {
        s = STR("x");
        code = http_chunked_next(&c, &s, &part);
    }
    assert_int_equal(code, -1);
}

static void output_queue(void **state)
{
    (void)state;
    struct outq q = OUTQ_INIT, other = OUTQ_INIT;
    struct blob *b = blob_alloc(100000);
    char *want = malloc(400000), *scratch = malloc(20000);
    size_t n = 0, at = 0;
    for (size_t i = 0; i < b->n; i++)
        b->p[i] = (char)(i * 7);
    for (int i = 0; i < 40; i++) {
        size_t k = (size_t)i * 97 % 5000;
        if (i % 3 == 0) {
            outq_blob(&q, b, k, k);
            memcpy(want + n, b->p + k, k);
            n += k;
        } else {
            outq_add(&q, b->p + 2 * k, k);
            memcpy(want + n, b->p + 2 * k, k);
            n += k;
        }
    }
    assert_true(atomic_load(&b->refs) > 1); // shared, not copied
    assert_int_equal(q.n, n);
    // Moved piecewise to another queue and read there, nothing is lost or changed.
    for (size_t step = 1; q.n; step = step * 5 % 7919) {
        size_t take = step < q.n ? step : q.n;
        outq_move(&other, &q, take);
        struct str s = outq_peek(&other, scratch, 20000);
        assert_memory_equal(s.p, want + at, s.n);
        size_t drop = other.n > 3000 ? other.n - 1000 : other.n / 2;
        outq_drop(&other, drop);
        at += drop;
    }
    struct iovec iov[64];
    int pieces = outq_iov(&other, iov, 64);
    size_t sum = 0;
    for (int i = 0; i < pieces; i++)
        sum += iov[i].iov_len;
    assert_int_equal(sum, other.n);
    assert_int_equal(at + other.n, n);
    outq_done(&other);
    outq_done(&q);
    assert_int_equal(atomic_load(&b->refs), 1);
    blob_unref(b);
    free(want);
    free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_end),     cmocka_unit_test(decoding),
        cmocka_unit_test(queries),      cmocka_unit_test(gzip_choice),
        cmocka_unit_test(dates),        cmocka_unit_test(chunks_in_every_cut),
        cmocka_unit_test(output_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
