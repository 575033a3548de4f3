// YAML: reading never crashes or runs away; what is read is written as YAML that reads the same.
#include "object/json.h"
#include "object/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct yaml_reader *r = yaml_open(str_n(data, size));
    struct value *v, *again, *duplicates = value_array(&a);
    while (yaml_next(r, &a, duplicates, &v, NULL) == 1) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        yaml_write(&b, v);
        if (value_depth(v) < YAML_DEPTH && b.n < 1 << 20) {
            BUG_ON(yaml_parse(&a, buf_view(&b), NULL, &again, &e) < 0);
            BUG_ON(!value_eq(v, again));
        }
    }
    yaml_close(r);
    return 0;
}
