// JSON: whatever is read is written, read again and the same; the input is never read past its end,
// with or without borrowing. What parses may become a published object and come back.
#include "object/json.h"
#include "object/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT, pretty = BUF_INIT;
    struct str in = str_n(data, size);
    struct value *v = NULL, *w = NULL, *x = NULL, *y = NULL;
    struct value *duplicates = value_array(&a);
    struct json_options copy = {.duplicates = duplicates}, borrow = {.borrow = true};
    int r = json_parse(&a, in, &copy, &v, NULL);
    BUG_ON(json_parse(&a, in, &borrow, &w, NULL) != r);
    if (r < 0)
        return 0;
    BUG_ON(!value_eq(v, w) || value_hash(v) != value_hash(w));
    json_write(&b, v);
    json_write_pretty(&pretty, v, 2);
    BUG_ON(json_parse(&a, buf_view(&b), NULL, &x, NULL) < 0 || !value_eq(v, x));
    BUG_ON(json_parse(&a, buf_view(&pretty), NULL, &y, NULL) < 0 || !value_eq(v, y));
    struct object *o = NULL;
    if (object_from_value(NULL, STR("/registry/x/y"), 7, v, &o, NULL) == 0) {
        struct value *t = object_tree(&a, o);
        struct object *again = NULL, *stored = NULL;
        BUG_ON(object_from_value(NULL, o->key, 7, t, &again, NULL) < 0);
        BUG_ON(!str_eq(blob_view(o->json), blob_view(again->json)));
        BUG_ON(object_from_blob(NULL, o->key, 7, o->json, &stored, NULL) < 0);
        BUG_ON(!str_eq(object_name(stored), object_name(o)));
        object_unref(o);
        object_unref(again);
        object_unref(stored);
    }
    return 0;
}
