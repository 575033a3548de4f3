// fmt.Sprint of decoded JSON.
#include "object/go_text.h"
#include "object/json.h"

static int member_order(const void *a, const void *b)
{
    const struct member *x = *(const struct member *const *)a,
                        *y = *(const struct member *const *)b;
    return str_cmp(x->key, y->key);
}

void go_text(struct buf *b, const struct value *v)
{
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_NULL:
        buf_puts(b, "<nil>");
        break;
    case VALUE_STRING:
        buf_str(b, value_string(v));
        break;
    case VALUE_ARRAY:
        buf_char(b, '[');
        for (uint32_t i = 0; i < v->n; i++) {
            buf_puts(b, i ? " " : "");
            go_text(b, v->items[i]);
        }
        buf_char(b, ']');
        break;
    case VALUE_OBJECT: {
        struct member **order = mem_alloc((v->n + 1) * sizeof *order);
        for (uint32_t i = 0; i < v->n; i++)
            order[i] = &v->members[i];
        qsort(order, v->n, sizeof *order, member_order);
        buf_puts(b, "map[");
        for (uint32_t i = 0; i < v->n; i++) {
            buf_puts(b, i ? " " : "");
            buf_str(b, order[i]->key);
            buf_char(b, ':');
            go_text(b, order[i]->value);
        }
        buf_char(b, ']');
        free(order);
        break;
    }
    default:
        json_write(b, v);
    }
}

const char *go_type(const struct value *v)
{
    static const char *const names[] = {[VALUE_NULL] = "<nil>",
                                        [VALUE_BOOL] = "bool",
                                        [VALUE_INT] = "int64",
                                        [VALUE_FLOAT] = "float64",
                                        [VALUE_STRING] = "string",
                                        [VALUE_ARRAY] = "[]interface {}",
                                        [VALUE_OBJECT] = "map[string]interface {}"};
    return names[v ? v->kind : VALUE_NULL];
}
