// Protobuf by small tables: which zeros are written and read, the special messages, what is
// refused. (Real types: unit/schema/roundtrip_test.)
#include "object/protobuf.h"
#include "unit/object/test.h"

static const struct field inner_fields[] = {
    {.name = {"x", 1}, .kind = FIELD_STRING, .pb = {1}},
    {.name = {"y", 1}, .kind = FIELD_INT32, .flags = FIELD_POINTER, .pb = {2}},
};
static const struct type inner = {.name = {"t.Inner", 7}, .fields = inner_fields, .nfields = 2};
#define F(text, k, ...)                                                                            \
    {                                                                                              \
        .name = {text, sizeof text - 1}, .kind = k, __VA_ARGS__                                    \
    }
// A value that is an object or a list of them, and one that is a boolean or an object.
static const struct field either_fields[] = {
    F("one", FIELD_MESSAGE, .pb = {1}, .type = &inner, .flags = FIELD_POINTER),
    F("more", FIELD_MESSAGE, .pb = {2}, .type = &inner, .shape = SHAPE_LIST),
};
static const struct type either = {.name = {"t.Either", 8}, .fields = either_fields, .nfields = 2};
static const struct field allowed_fields[] = {
    F("allows", FIELD_BOOL, .pb = {1}),
    F("one", FIELD_MESSAGE, .pb = {2}, .type = &inner, .flags = FIELD_POINTER),
};
static const struct type allowed = {
    .name = {"t.Allowed", 9}, .fields = allowed_fields, .nfields = 2};
static const struct field fields[] = {
    F("kind", FIELD_STRING),
    F("s", FIELD_STRING, .pb = {1}),
    F("i", FIELD_INT32, .pb = {2}, .flags = FIELD_REQUIRED),
    F("p", FIELD_INT64, .pb = {3}, .flags = FIELD_POINTER),
    F("m", FIELD_MESSAGE, .pb = {4}, .type = &inner),
    F("q", FIELD_MESSAGE, .pb = {5}, .type = &inner, .flags = FIELD_POINTER),
    F("in1", FIELD_STRING, .pb = {6, 1}),
    F("in2", FIELD_BOOL, .pb = {6, 2}, .flags = FIELD_POINTER),
    F("l", FIELD_STRING, .pb = {7}, .shape = SHAPE_LIST),
    F("map", FIELD_STRING, .pb = {8}, .shape = SHAPE_MAP),
    F("t", FIELD_TIME, .pb = {9}),
    F("u", FIELD_MICRO_TIME, .pb = {10}, .flags = FIELD_POINTER),
    F("n", FIELD_INT_OR_STRING, .pb = {11}, .flags = FIELD_POINTER),
    F("d", FIELD_DURATION, .pb = {12}, .flags = FIELD_POINTER),
    F("b", FIELD_BYTES, .pb = {13}),
    F("a", FIELD_ANY, .pb = {14}, .flags = FIELD_POINTER),
    F("f", FIELD_DOUBLE, .pb = {15}, .flags = FIELD_POINTER),
    F("z", FIELD_QUANTITY, .pb = {16}, .shape = SHAPE_MAP),
    F("e", FIELD_STRING, .pb = {17}, .shape = SHAPE_MAP, .flags = FIELD_LIST_OF_LIST),
    F("v", FIELD_UNION, .pb = {18}, .type = &either, .flags = FIELD_POINTER),
    F("w", FIELD_UNION, .pb = {19}, .type = &allowed, .flags = FIELD_POINTER),
};
static const struct type type = {
    .name = {"t.T", 3}, .fields = fields, .nfields = sizeof fields / sizeof *fields};

static const char *hex(struct arena *a, struct str s)
{
    char *out = arena_alloc(a, s.n * 2 + 1);
    for (size_t i = 0; i < s.n; i++)
        snprintf(out + 2 * i, 3, "%02x", (unsigned char)s.p[i]);
    out[2 * s.n] = 0;
    return out;
}

static struct str unhex(struct arena *a, const char *text)
{
    size_t n = strlen(text) / 2;
    char *out = arena_alloc(a, n + 1);
    for (size_t i = 0; i < n; i++) {
        char two[3] = {text[2 * i], text[2 * i + 1], 0};
        out[i] = (char)strtol(two, NULL, 16);
    }
    return str_n(out, n);
}

// The message of {} : zeros of everything that is no pointer.
#define S0 "0a00"
#define I0 "1000"
#define M0 "22020a00"
#define IN "32020a00"
#define T0 "4a00"

static void both_ways(void **state)
{
    (void)state;
    static const struct {
        const char *json, *hex;
    } rows[] = {
        {"{\"i\":0}", S0 I0 M0 IN T0},
        {"{\"s\":\"ab\",\"i\":-1}", "0a026162"
                                    "10ffffffffffffffffff01" M0 IN T0},
        {"{\"i\":0,\"p\":0}", S0 I0 "1800" M0 IN T0},
        {"{\"i\":0,\"m\":{\"x\":\"v\",\"y\":0}}", S0 I0 "22050a01761000" IN T0},
        {"{\"i\":0,\"q\":{}}", S0 I0 M0 "2a020a00" IN T0},
        {"{\"i\":0,\"in1\":\"v\",\"in2\":false}", S0 I0 M0 "32050a01761000" T0},
        {"{\"i\":0,\"l\":[\"\",\"x\"]}", S0 I0 M0 IN "3a00"
                                                     "3a0178" T0},
        {"{\"i\":0,\"map\":{\"a\":\"1\",\"b\":\"\"}}", S0 I0 M0 IN "42060a0161120131"
                                                                   "42050a01621200" T0},
        {"{\"i\":0,\"t\":\"2008-01-01T01:01:01Z\"}", S0 I0 M0 IN "4a0808cda1e6bb041000"},
        {"{\"i\":0,\"u\":\"1970-01-01T00:00:01.000002Z\"}", S0 I0 M0 IN T0 "5205080110d00f"},
        {"{\"i\":0,\"u\":\"1969-12-31T23:59:59.000000Z\"}",
         S0 I0 M0 IN T0 "520d08ffffffffffffffffff011000"},
        // conformance-first-run: the year 1, and as far as RFC 3339 reaches
        {"{\"i\":0,\"u\":\"0001-01-01T00:00:02.000000Z\"}",
         S0 I0 M0 IN T0 "520d088292b8c398feffffff011000"},
        {"{\"i\":0,\"u\":\"9999-12-31T23:59:59.000000Z\"}",
         S0 I0 M0 IN T0 "520908ff82d1ffaf071000"},
        {"{\"i\":0,\"n\":5}", S0 I0 M0 IN T0 "5a06080010051a00"},
        {"{\"i\":0,\"n\":\"5%\"}", S0 I0 M0 IN T0 "5a08080110001a023525"},
        {"{\"i\":0,\"d\":\"1m0s\"}", S0 I0 M0 IN T0 "62070880b09dc2df01"},
        {"{\"i\":0,\"b\":\"AAH/\"}", S0 I0 M0 IN T0 "6a030001ff"},
        {"{\"i\":0,\"a\":{\"x\":[1,null]}}", S0 I0 M0 IN T0 "72100a0e7b2278223a5b312c6e756c6c5d7d"},
        {"{\"i\":0,\"f\":1.5}", S0 I0 M0 IN T0 "79000000000000f83f"},
        {"{\"i\":0,\"f\":0}", S0 I0 M0 IN T0 "790000000000000000"},
        {"{\"i\":0,\"z\":{\"cpu\":\"1\"}}", S0 I0 M0 IN T0 "82010a0a036370"
                                                           "7512030a0131"},
        {"{\"i\":0,\"e\":{\"k\":[\"v\",\"w\"],\"l\":[]}}",
         S0 I0 M0 IN T0 "8a010b0a016b12060a01760a0177"
                        "8a01050a016c1200"},
        {"{\"i\":0,\"v\":{\"x\":\"a\"}}", S0 I0 M0 IN T0 "9201050a030a0161"},
        {"{\"i\":0,\"v\":[{\"x\":\"a\"},{\"x\":\"b\"}]}",
         S0 I0 M0 IN T0 "92010a12030a016112030a0162"},
        {"{\"i\":0,\"w\":true}", S0 I0 M0 IN T0 "9a01020801"},
        {"{\"i\":0,\"w\":false}", S0 I0 M0 IN T0 "9a01020800"},
        {"{\"i\":0,\"w\":{\"x\":\"a\"}}", S0 I0 M0 IN T0 "9a0107080112030a0161"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_buf_ struct buf b = BUF_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *v = tree(&a, rows[i].json), *again;
        if (protobuf_encode(&b, &type, v, &e) < 0)
            fail_msg("%s: %s", rows[i].json, e.message);
        assert_string_equal(hex(&a, buf_view(&b)), rows[i].hex);
        if (protobuf_decode(&a, &type, buf_view(&b), &again, &e) < 0)
            fail_msg("%s: %s", rows[i].json, e.message);
        assert_json(&a, again, rows[i].json);
    }
}

static void long_messages(void **state)
{
    (void)state;
    for (size_t n = 100; n < 70000; n = n * 3 / 2) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_buf_ struct buf b = BUF_INIT;
        char *text = arena_alloc(&a, n);
        memset(text, 'x', n);
        struct value *v = tree(&a, "{\"i\":1,\"q\":{},\"map\":{}}"), *again;
        value_set_at(&a, v, "q.x", value_str(&a, str_n(text, n)));
        value_set_at(&a, v, "map.k", value_str(&a, str_n(text, n)));
        assert_int_equal(protobuf_encode(&b, &type, v, NULL), 0);
        assert_int_equal(protobuf_decode(&a, &type, buf_view(&b), &again, NULL), 0);
        assert_true(value_eq(v, again));
        // Every truncation is refused or means something else, and never reads past the end.
        for (size_t cut = 0; cut < 64; cut++) {
            _cleanup_free_ char *part = malloc(cut + 1);
            memcpy(part, b.p, cut);
            protobuf_decode(&a, &type, str_n(part, cut), &again, NULL);
        }
    }
}

static void reads_leniently(void **state)
{
    (void)state;
    static const struct {
        const char *hex, *json;
    } rows[] = {
        {"", "{}"},
        {"0a01610a0162", "{\"s\":\"b\"}"}, // the last one wins
        {"f80f01"
         "0a0161",
         "{\"s\":\"a\"}"}, // an unknown field
        {"fb0f0801fc0f"
         "0a0161",
         "{\"s\":\"a\"}"},                        // an unknown group
        {"42030a0161", "{\"map\":{\"a\":\"\"}}"}, // an entry without its value
        {"42060a0162120132"
         "42060a0161120131"
         "42060a0162120133",
         "{\"map\":{\"a\":\"1\",\"b\":\"3\"}}"}, // sorted, the last one wins
        {"4a0d088092b8c398feffffff011000", "{}"},
        {"7200", "{}"}, // raw JSON of nothing
        {"4a00", "{}"}, // the zero time
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *v;
        if (protobuf_decode(&a, &type, unhex(&a, rows[i].hex), &v, &e) < 0)
            fail_msg("%s: %s", rows[i].hex, e.message);
        assert_json(&a, v, rows[i].json);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *hex, *message;
    } rows[] = {
        {"0a", "proto: malformed message: the message is cut off"},
        {"0a0561", "proto: malformed message: the message is cut off"},
        {"0aff", "proto: malformed message: the message is cut off"},
        {"00", "proto: malformed message: the message is cut off"},
        {"10ffffffffffffffffff7f", "proto: malformed message: the message is cut off"},
        {"fb0f", "proto: malformed message: the message is cut off"},
        {"0801", "proto: wrong wireType = 0 for field s"},
        {"1201"
         "00",
         "proto: wrong wireType = 2 for field i"},
        {"0a01ff", "proto: field s contains invalid UTF-8"},
        {"720a0a087b227822", "proto: malformed message: the message is cut off"},
        {"72030a017b", "field a: line 1, column 2: unexpected end of JSON input"},
        {"79000000000000f07f", "proto: field f cannot be represented in JSON"},
        {"4a0a08ffffffffffffffff7f", "proto: time out of range in field t"},
        {"4a07088083d1ffaf07", "proto: time out of range in field t"}, // the year 10000
        {"420112", "proto: malformed message: a map entry is cut off"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *v = NULL;
        assert_int_equal(protobuf_decode(&a, &type, unhex(&a, rows[i].hex), &v, &e), -400);
        assert_string_equal(e.message, rows[i].message);
        assert_null(v);
    }
}

static void refuses_to_encode(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
    } rows[] = {
        {"[]", "only objects can be encoded as protobuf"},
        {"{\"s\":1}", "cannot encode field \"s\" as protobuf: not a string"},
        {"{\"i\":\"1\"}", "cannot encode field \"i\" as protobuf: not an integer"},
        {"{\"i\":4294967296}", "cannot encode field \"i\" as protobuf: not a 32-bit integer"},
        {"{\"m\":[]}", "cannot encode field \"m\" as protobuf: not an object"},
        {"{\"l\":{}}", "cannot encode field \"l\" as protobuf: not a list"},
        {"{\"map\":[]}", "cannot encode field \"map\" as protobuf: not an object"},
        {"{\"t\":\"now\"}", "cannot encode field \"t\" as protobuf: not an RFC 3339 time"},
        {"{\"b\":\"*\"}", "cannot encode field \"b\" as protobuf: not base64"},
        {"{\"n\":true}", "cannot encode field \"n\" as protobuf: neither an integer nor a string"},
        {"{\"d\":\"x\"}", "cannot encode field \"d\" as protobuf: not a duration"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_buf_ struct buf b = BUF_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        assert_int_equal(protobuf_encode(&b, &type, tree(&a, rows[i].json), &e), -400);
        assert_string_equal(e.message, rows[i].message);
    }
}

static void envelope(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct str version, kind, raw;
    struct value *v = tree(&a, "{\"kind\":\"T\",\"apiVersion\":\"t/v1\",\"s\":\"x\"}");
    assert_int_equal(protobuf_encode_object(&b, &type, v, NULL), 0);
    assert_string_equal(hex(&a, buf_view(&b)), "6b387300"
                                               "0a090a04742f7631120154"
                                               "120f0a0178" I0 M0 IN T0 "1a00"
                                               "2200");
    assert_int_equal(protobuf_envelope(buf_view(&b), &version, &kind, &raw, NULL), 0);
    assert_str(version, "t/v1");
    assert_str(kind, "T");
    assert_int_equal(raw.n, 15);
    assert_int_equal(protobuf_envelope(STR("{}"), &version, &kind, &raw, &e), -400);
    assert_string_equal(e.message,
                        "provided data does not appear to be a protobuf message, expected "
                        "prefix [107 56 115 0]");
    err_done(&e);
    e = ERR_INIT;
    assert_int_equal(protobuf_envelope(unhex(&a, "6b3873001a0467"
                                                 "7a6970"),
                                       &version, &kind, &raw, &e),
                     -415);
    assert_string_equal(e.message, "content encoding gzip is not supported");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),         cmocka_unit_test(long_messages),
        cmocka_unit_test(reads_leniently),   cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_to_encode), cmocka_unit_test(envelope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
