// Quantities: the canonical form parses to the same amount and is canonical (but for binary amounts
// that have no suffix to show it, such as 62.5Ki, which is 64000).
#include "base/err.h"
#include "object/quantity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_buf_ struct buf b = BUF_INIT, c = BUF_INIT;
    struct quantity q, again;
    if (!quantity_parse(str_n(data, size), &q))
        return 0;
    quantity_write(&b, &q);
    BUG_ON(!quantity_parse(buf_view(&b), &again) || quantity_cmp(&q, &again) != 0);
    quantity_write(&c, &again);
    BUG_ON(q.format == again.format && !str_eq(buf_view(&b), buf_view(&c)));
    quantity_value(&q);
    quantity_milli(&q);
    quantity_add(&again, &q);
    quantity_sub(&again, &q);
    return 0;
}
