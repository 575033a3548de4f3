// Templates: any text parses or is refused, and executes within its bounds.
#include "object/json.h"
#include "template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct template_functions *const tables[] = {&template_builtins, NULL};
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf out = BUF_MAX(1 << 16);
    struct template_set *set = template_set_new(&a, &(struct template_options){.tables = tables});
    struct value *v;
    if (size > 4096 || memmem(data ? data : (const uint8_t *)"", size, "000000", 6))
        return 0; // loops over large numbers are bounded, but too long for a fuzzer
    json_parse(&a, STR("{\"s\":\"x\",\"l\":[1,2],\"m\":{\"k\":null}}"), NULL, &v, NULL);
    if (template_parse(set, STR("t"), str_n(data, size), NULL) == 0)
        template_execute(set, STR("t"), v, &out, NULL);
    return 0;
}
