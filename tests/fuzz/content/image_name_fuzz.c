// Image names. What is accepted must be a fixed point: its full text parses to the same text.
#include "content/image_name.h"
#include <stddef.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a = ARENA_INIT;
    struct image_name name, again;
    if (image_name_parse(&a, str_n(data, n), &name, NULL) == 0) {
        struct str text = image_name_text(&a, &name);
        // A tag may have ".." in it, a repository not.
        BUG_ON(memchr(text.p, 0, text.n) || str_find(name.path, STR("..")) >= 0);
        BUG_ON(image_name_parse(&a, text, &again, NULL) < 0);
        BUG_ON(!str_eq(text, image_name_text(&a, &again)));
    }
    arena_done(&a);
    return 0;
}
