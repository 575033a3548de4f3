// Patches: the input is a JSON array of a document and a patch; every kind of patch is tried. The
// inputs stay as they are, the results are as deep as readers allow, and a merge diff does what it
// says.
#include "object/json.h"
#include "object/patch.h"

#define F(text, k, ...)                                                                            \
    {                                                                                              \
        .name = {text, sizeof text - 1}, .kind = k, __VA_ARGS__                                    \
    }
static const struct type type;
static const struct field fields[] = {
    F("a", FIELD_MESSAGE, .type = &type),
    F("l", FIELD_MESSAGE, .shape = SHAPE_LIST, .type = &type, .flags = PATCH_MERGE,
      .merge_key = {"k", 1}),
    F("k", FIELD_STRING),
    F("s", FIELD_STRING, .shape = SHAPE_LIST, .flags = PATCH_MERGE),
    F("t", FIELD_STRING, .shape = SHAPE_LIST),
    F("m", FIELD_MESSAGE, .shape = SHAPE_MAP, .type = &type),
    F("x", FIELD_ANY),
    F("n", FIELD_MESSAGE, .shape = SHAPE_LIST, .type = &type, .flags = PATCH_MERGE),
};
static const struct type type = {
    .name = {"t.T", 3}, .fields = fields, .nfields = sizeof fields / sizeof *fields};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v = NULL, *out = NULL;
    struct json_options borrow = {.borrow = true};
    if (json_parse(&a, str_n(data, size), &borrow, &v, NULL) < 0 || value_len(v) < 2 ||
        v->kind != VALUE_ARRAY)
        return 0;
    struct str before = json_text(&a, v);
    const struct value *doc = v->items[0], *patch = v->items[1];
    if (patch_json(&a, doc, patch, &out, &e) == 0)
        BUG_ON(value_depth(out) > JSON_DEPTH);
    else
        BUG_ON(!e.reason);
    err_done(&e);
    e = ERR_INIT;
    BUG_ON(patch_merge(&a, doc, patch, &out, NULL) < 0);
    json_text(&a, out);
    if (patch_strategic(&a, &type, doc, patch, &out, &e) == 0)
        json_text(&a, out);
    else
        BUG_ON(!e.reason);
    // A diff from one to the other, nulls in the target aside.
    struct value *to = NULL, *nothing = value_object(&a);
    patch_merge(&a, nothing, patch, &to, NULL);
    if (value_is(doc, VALUE_OBJECT) && value_is(to, VALUE_OBJECT)) {
        struct value *from = NULL;
        patch_merge(&a, nothing, doc, &from, NULL);
        patch_merge(&a, from, patch_merge_diff(&a, from, to), &out, NULL);
        BUG_ON(!value_eq(out, to));
    }
    BUG_ON(!str_eq(before, json_text(&a, v)));
    return 0;
}
