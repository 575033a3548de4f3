// Protobuf: what is decoded is encoded again, and that decodes to the same tree.
#include "object/json.h"
#include "object/protobuf.h"

#define F(text, k, ...)                                                                            \
    {                                                                                              \
        .name = {text, sizeof text - 1}, .kind = k, __VA_ARGS__                                    \
    }
static const struct type type;
static const struct field fields[] = {
    F("s", FIELD_STRING, .pb = {1}),
    F("i", FIELD_INT32, .pb = {2}),
    F("p", FIELD_INT64, .pb = {3}, .flags = FIELD_POINTER),
    F("m", FIELD_MESSAGE, .pb = {4}, .type = &type, .flags = FIELD_POINTER),
    F("ml", FIELD_MESSAGE, .pb = {5}, .type = &type, .shape = SHAPE_LIST),
    F("in1", FIELD_STRING, .pb = {6, 1}),
    F("in2", FIELD_BOOL, .pb = {6, 2}, .flags = FIELD_POINTER),
    F("in3", FIELD_STRING, .pb = {6, 3, 1}, .shape = SHAPE_LIST),
    F("map", FIELD_MESSAGE, .pb = {7}, .shape = SHAPE_MAP, .type = &type),
    F("t", FIELD_TIME, .pb = {8}),
    F("u", FIELD_MICRO_TIME, .pb = {9}, .flags = FIELD_POINTER),
    F("n", FIELD_INT_OR_STRING, .pb = {10}),
    F("d", FIELD_DURATION, .pb = {11}, .flags = FIELD_POINTER),
    F("b", FIELD_BYTES, .pb = {12}),
    F("a", FIELD_ANY, .pb = {13}),
    F("f", FIELD_DOUBLE, .pb = {14}),
    F("z", FIELD_QUANTITY, .pb = {15}, .shape = SHAPE_MAP),
    F("e", FIELD_STRING, .pb = {16}, .shape = SHAPE_MAP, .flags = FIELD_LIST_OF_LIST),
};
static const struct type type = {
    .name = {"t.T", 3}, .fields = fields, .nfields = sizeof fields / sizeof *fields};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct str version, kind, raw = str_n(data, size);
    struct value *v, *again;
    if (protobuf_envelope(raw, &version, &kind, &raw, NULL) < 0)
        raw = str_n(data, size);
    if (protobuf_decode(&a, &type, raw, &v, NULL) < 0)
        return 0;
    json_text(&a, v);
    // What comes from outside may hold quantities that are none and times that Go would not write;
    // those stay as they are.
    if (protobuf_encode(&b, &type, v, NULL) < 0)
        return 0;
    BUG_ON(protobuf_decode(&a, &type, buf_view(&b), &again, NULL) < 0);
    BUG_ON(!value_eq(v, again));
    return 0;
}
