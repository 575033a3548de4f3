// What Go's values have beyond JSON's, on the value tree: sizes of integers, times, and things with
// methods that the host gives (.Files, .Capabilities).
#pragma once
#include "object/value.h"
#include "template/template.h"
#include "text/zone.h"

// `cap` of a VALUE_INT.
enum template_int {
    TEMPLATE_INT64,
    TEMPLATE_INT,
    TEMPLATE_INT32,
    TEMPLATE_UINT8,
    TEMPLATE_DURATION
};
// `b` of a VALUE_ARRAY: []string, of a VALUE_OBJECT: map[string]string, of a VALUE_STRING: []uint8
// (bytes).

enum { TEMPLATE_TIME = 32, TEMPLATE_HOST };

struct template_time {
    int64_t seconds; // since 1970
    int32_t ns;
    const struct zone *zone;
};

// A thing of the host: fields by name, methods by name, a type for error texts.
struct template_thing;
typedef struct value *template_method_fn(struct template_call *call, struct template_thing *self,
                                         struct value **args, size_t n);
struct template_method {
    const char *name, *params;
    template_method_fn *fn;
};
struct template_type {
    const char *name; // "*chart.Metadata"
    const struct template_method *methods;
    size_t nmethods;
    bool map; // an unknown field is a missing key, not a fault
};
struct template_thing {
    const struct template_type *type;
    struct value *fields; // VALUE_OBJECT
    void *data;
};

struct value *template_int_value(struct arena *a, enum template_int size, int64_t i);
struct value *template_time_value(struct arena *a, struct template_time t);
struct value *template_thing_value(struct arena *a, struct template_thing *thing);
static inline const struct template_time *template_time_of(const struct value *v)
{
    return (const struct template_time *)v->s;
}
static inline struct template_thing *template_thing_of(const struct value *v)
{
    return (struct template_thing *)(uintptr_t)v->s;
}

bool template_true(const struct value *v);                 // Go's truth; NULL is false
const char *template_type_name(const struct value *v);     // "float64", "map[string]interface {}"
const char *template_kind_name(const struct value *v);     // "float64", "map", "invalid"
void template_print(struct buf *b, const struct value *v); // fmt's %v; NULL: "<no value>"
struct str template_text(struct arena *a, const struct value *v); // the same as a string
// fmt.Sprintf.
void template_sprintf(struct buf *b, struct str format, struct value **args, size_t n);
// fmt.Sprint: a space between two operands of which neither is a string.
void template_sprint(struct buf *b, struct value **args, size_t n);
// strconv.FormatFloat with a verb of efgEG; precision -1: the shortest that reads back the same.
void template_float(struct buf *b, double f, char verb, int precision);
// The tree with times and things made strings and objects, for YAML and JSON.
struct value *template_plain(struct arena *a, const struct value *v);
int template_compare_keys(const void *a, const void *b); // struct member *, by key
struct member **template_sorted(struct arena *a, const struct value *object);
