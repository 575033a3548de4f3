// Selectors: what parses is written in canonical form, which parses to the same form. The input is
// tried as label selector, as field selector, and as a LabelSelector object.
#include "object/json.h"
#include "object/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT, c = BUF_INIT;
    struct str in = str_n(data, size);
    struct selector *s = NULL, *again = NULL;
    struct field_requirement *fields;
    struct value *v;
    size_t n;
    if (selector_parse(&a, in, &s, NULL) == 0) {
        selector_write(&b, s);
        BUG_ON(selector_parse(&a, buf_view(&b), &again, NULL) < 0);
        selector_write(&c, again);
        BUG_ON(!str_eq(buf_view(&b), buf_view(&c)));
        BUG_ON(selector_matches(s, NULL) != selector_matches(again, NULL));
    }
    field_selector_parse(&a, in, &fields, &n, NULL);
    if (json_parse(&a, in, NULL, &v, NULL) == 0 && selector_from_value(&a, v, &s, NULL) == 0)
        selector_matches(s, value_getc(v, "matchLabels"));
    return 0;
}
