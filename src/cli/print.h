// Printing objects in the forms of -o: a table for people (the columns that the kind's table in
// schema/columns.h has), wide, json, yaml, name, jsonpath=TEMPLATE, custom-columns=NAME:PATH,…
#pragma once
#include "cli/context.h"
#include "object/value.h"

struct kind;
// What is printed: objects of one kind, in order.
struct print_list {
    const struct kind *kind;
    struct value **items;
    size_t n;
};
struct print_options {
    bool no_headers;
    bool with_kind;      // names as "pod/web": several kinds in one table each
    bool with_namespace; // a NAMESPACE column
    bool single;         // one object was asked for by its name: json and yaml give it alone
};
// Whether -o has a form that there is, before anything is asked of a server.
int print_check(const struct cli *c, struct err *e);
// Prints all lists to c->out, in the form of c->output (NULL: a table). managedFields are left out.
int print_objects(struct cli *c, const struct print_list *lists, size_t n,
                  const struct print_options *opt, struct err *e);
// Sorts the keys of an object, and of all within it, as the originals' maps are printed.
void print_sort_keys(struct value *v);
// "pod/web", "deployment.apps/web": as -o name and messages have it. In `a`.
struct str print_name(struct arena *a, const struct kind *k, struct str name);
