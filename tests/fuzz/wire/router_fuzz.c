// Paths against a route table. First line: the method; the rest: the path.
#include "base/err.h"
#include "wire/http_router.h"
#include <string.h>

static void nothing(struct http_routed *r, struct str body)
{
    (void)r, (void)body;
}

#define ROW(m, p)                                                                                  \
    {                                                                                              \
        m, p, HTTP_BODY_NONE, 0, nothing                                                           \
    }
static const struct http_route routes[] = {
    ROW("GET", "/"),
    ROW("GET", "/{name...}/manifests/{reference}"),
    ROW("PUT", "/a/{b}/c/{d}"),
    ROW("*", "/x/{y...}"),
    {0},
};
static const struct http_mount mounts[] = {
    {.prefix = "/v2", .routes = routes},
    {.prefix = "", .routes = routes},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct http_router *t = http_router_new(mounts, 2);
    struct str path = str_n(data, size), method = str_cut(&path, '\n'), allow;
    struct http_routed r = {0};
    int status = http_router_match(t, &a, method, path, &r, &allow);
    BUG_ON(status && status != 400 && status != 404 && status != 405);
    BUG_ON((status == 405) != (allow.n > 0));
    BUG_ON(!status && (!r.route || r.nparams > HTTP_PARAMS_MAX));
    for (size_t i = 0; i < r.nparams && !status; i++)
        BUG_ON(!r.params[i].n || r.params[i].n > path.n);
    http_router_free(t);
    return 0;
}
