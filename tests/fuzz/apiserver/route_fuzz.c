// Paths: whatever comes, the route is one of those that there are, its strings lie within bounds,
// and a resource route has what its verb needs.
#include "apiserver/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const methods[] = {"GET",   "HEAD",   "POST",   "PUT",
                                          "PATCH", "DELETE", "OPTIONS"};
    if (!size || size > 8192)
        return 0;
    struct arena a = ARENA_INIT;
    struct route r;
    route_parse(&a, str_n(data + 1, size - 1), &r);
    BUG_ON(r.what > ROUTE_JWKS);
    if (r.what == ROUTE_RESOURCE) {
        BUG_ON(!r.kind);
        BUG_ON(r.subresource.n && (!r.sub || !r.name.n));
        BUG_ON(r.ns.n && !(r.kind->flags & KIND_NAMESPACED));
        unsigned verb = route_verb(&r, str_of(methods[data[0] % 7]), data[0] & 128);
        BUG_ON(verb == VERB_GET && !r.name.n);
        BUG_ON(verb == VERB_LIST && r.name.n);
        BUG_ON(verb && !((r.sub ? r.sub->verbs : r.kind->verbs) & verb));
        route_allowed(&a, &r);
    }
    arena_done(&a);
    return 0;
}
