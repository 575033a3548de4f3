// The way in of an object: decoding, defaults, validation, tables. The input is JSON: an object, or
// a list of a new and an old one. Nothing crashes, what is canonical stays as it is, defaults are
// filled in once, and a refusal says why.
#include "object/json.h"
#include "schema/columns.h"
#include "schema/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct value *take_in(struct arena *a, const struct kind *k, struct value *v)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *unknown = value_array(a);
    if (schema_check_fields(a, k->type, v, unknown, &e) < 0) {
        BUG_ON(!err_is(&e, ERR_BAD_REQUEST) || !e.message || !*e.message);
        return NULL;
    }
    struct value *again = value_clone(a, v);
    unknown = value_array(a);
    BUG_ON(schema_check_fields(a, k->type, again, unknown, NULL) < 0);
    BUG_ON(value_len(unknown) || !value_eq(again, v));
    BUG_ON(schema_default(a, k, v, NULL) < 0);
    again = value_clone(a, v);
    BUG_ON(schema_default(a, k, again, NULL) < 0);
    BUG_ON(!value_eq(again, v));
    // defaults are themselves well-formed
    BUG_ON(schema_check_fields(a, k->type, again, unknown, NULL) < 0 || value_len(unknown));
    return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v = NULL, *old = NULL;
    if (size > 1 << 16 || json_parse(&a, str_n(data, size), NULL, &v, NULL) < 0)
        return 0;
    if (v->kind == VALUE_ARRAY) {
        old = value_item(v, 1);
        v = value_item(v, 0);
    }
    const struct kind *k =
        kind_by_api_version(value_str_at(v, "apiVersion"), value_str_at(v, "kind"));
    if (!k || !value_is(v, VALUE_OBJECT))
        return 0;
    if (value_is(old, VALUE_OBJECT))
        old = take_in(&a, k, old);
    else
        old = NULL;
    v = take_in(&a, k, v);
    if (!v)
        return 0;
    int code = schema_validate(&a, k, v, old, &e);
    BUG_ON(code && (code != -422 || !e.ncauses || !e.message));
    BUG_ON(!code && e.message);
    static const struct str subresources[] = {STR("status"), STR("resize"), STR("binding"),
                                              STR("ephemeralcontainers")};
    for (size_t i = 0; i < sizeof subresources / sizeof *subresources; i++)
        schema_validate_subresource(&a, k, subresources[i], v, old, NULL);
    BUG_ON(value_len(schema_table_row(&a, k, v, 1767225600000000000)) != k->ncolumns);
    return 0;
}
