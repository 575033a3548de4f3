// Go's text/template: parsing, execution, printing and error texts, over the value tree.
//
//     struct template_set *set = template_set_new(&arena, &options);
//     if (template_parse(set, STR("a.yaml"), text, &e) < 0) ...
//     if (template_execute(set, STR("a.yaml"), data, &out, &e) < 0) ...
//
// A set is a namespace: {{define}} in any text adds to it, a later definition of a name replaces an
// earlier one unless its body is empty. Sets and what execution makes live in the set's arena.
//
// Values are those of object/value.h, read as Go's: an array is []interface {}, an object is
// map[string]interface {}, VALUE_FLOAT is float64, VALUE_INT is int64 unless `cap` says otherwise
// (enum template_int). Two kinds are added, see template_value.h. NULL is "no value".
//
// Errors are Go's: "template: a.yaml:1:3: executing "a.yaml" at <.Foo.Bar>: nil pointer evaluating
// interface {}.Bar". Templates are strangers' programs: depth, steps, output and time are bounded.
#pragma once
#include "base/buf.h"
#include "base/env.h"
#include "base/err.h"
#include "object/value.h"

#define TEMPLATE_TEXT_MAX   ((size_t)16 << 20) // bytes of one text
#define TEMPLATE_DEPTH      1000               // templates within templates, as helm's include
#define TEMPLATE_NESTING    500                // actions or parentheses within one another
#define TEMPLATE_OUTPUT_MAX ((size_t)256 << 20)
#define TEMPLATE_STEPS      100000000
#define TEMPLATE_MEMORY_MAX ((size_t)1 << 30)

enum template_missing { TEMPLATE_MISSING_DEFAULT, TEMPLATE_MISSING_ZERO, TEMPLATE_MISSING_ERROR };

struct template_call;
// A function: its arguments have been checked against `params`. NULL is "no value". A failure is
// said with template_fail.
typedef struct value *template_fn(struct template_call *call, struct value **args, size_t n);

struct template_function {
    const char *name;
    // A letter for each parameter: s string, i int, I int64, b bool, f float64, a anything,
    // l []interface {}, m map[string]interface {}, d time.Duration, t time.Time; '*' behind the
    // last: any number.
    const char *params;
    template_fn *fn;
    int param; // for functions that share their body
};
// A table, sorted by name (checked when a set is made).
struct template_functions {
    const struct template_function *rows;
    size_t n;
};

struct template_options {
    enum template_missing missing;
    const struct template_functions *const *tables; // looked up in order, NULL ends them
    struct env *env;                                // clock and randomness; NULL: the system's
    void *host;                                     // what the tables' functions may ask for
};

struct template_set;
struct template_set *template_set_new(struct arena *a, const struct template_options *o);
int template_parse(struct template_set *set, struct str name, struct str text, struct err *e);
bool template_defined(const struct template_set *set, struct str name);
int template_execute(struct template_set *set, struct str name, struct value *data, struct buf *out,
                     struct err *e);

// ---- For functions ----

struct arena *template_arena(struct template_call *call);
struct env *template_env(struct template_call *call);
void *template_host(struct template_call *call);
int template_param(const struct template_call *call); // the row's `param`
const char *template_function_name(const struct template_call *call);
// Ends the execution with "error calling NAME: text". Returns NULL.
struct value *template_fail(struct template_call *call, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct value *template_fail_text(struct template_call *call, struct str text);
// Executes a template of the set and gives its output (include).
struct value *template_include(struct template_call *call, struct str name, struct value *data);
// Parses text under a name within the set as it is, executes it, forgets what it defined (tpl).
struct value *template_tpl(struct template_call *call, struct str name, struct str text,
                           struct value *data);

// The functions that text/template itself has.
extern const struct template_functions template_builtins;
