// OpenAPI documents: the index and group versions of v3, and v2 whole.
#include "schema/openapi.h"
#include "object/json.h"
#include "schema/openapi_private.h"

// The fingerprint is of the tables' sources and of the renderer's (cmake/kinds.cmake).
struct str openapi_hash(void)
{
    return str_of(schema_fingerprint);
}

static void path_of(struct buf *b, const struct package *p)
{
    if (p->group.n)
        buf_printf(b, "apis/%.*s/%.*s", STR_ARG(p->group), STR_ARG(p->version));
    else
        buf_printf(b, "api/%.*s", STR_ARG(p->version));
}

void openapi_v3_index(struct buf *b)
{
    bool first = true;
    buf_puts(b, "{\"paths\":{");
    for (size_t i = 0; i < schema_npackages; i++) {
        const struct package *p = &schema_packages[i];
        if (!p->serves)
            continue;
        buf_puts(b, first ? "\"" : ",\"");
        first = false;
        path_of(b, p);
        buf_puts(b, "\":{\"serverRelativeURL\":\"/openapi/v3/");
        path_of(b, p);
        buf_printf(b, "?hash=%.*s\"}", STR_ARG(openapi_hash()));
    }
    buf_puts(b, "}}");
}

static void begin(struct openapi *o)
{
    if (o->v3)
        buf_puts(o->b, "{\"openapi\":\"3.0.0\"");
    else
        buf_puts(o->b, "{\"swagger\":\"2.0\"");
    buf_puts(o->b, ",\"info\":{\"title\":\"Kubernetes\",\"version\":\"v1.34.0\"},\"paths\":{");
}

// DeleteOptions and Status are in every document that has kinds; types that no operation names
// (an envelope like WatchEvent) come with them.
static void want_common(struct openapi *o)
{
    static const struct str names[] = {STR("meta.v1.WatchEvent"), STR("meta.v1.APIResourceList")};
    _cleanup_buf_ struct buf nowhere = BUF_INIT;
    struct openapi silent = {&nowhere, o->v3, o->wanted};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        openapi_ref(&silent, type_by_name(names[i]));
}

static const char bearer[] = "{\"BearerToken\":{\"type\":\"apiKey\",\"description\":\"Bearer Token "
                             "authentication\",\"name\":\"authorization\",\"in\":\"header\"}}";

bool openapi_v3(struct buf *b, struct str path)
{
    const struct package *package = NULL;
    for (size_t i = 0; i < schema_npackages && !package; i++) {
        _cleanup_buf_ struct buf name = BUF_INIT;
        if (!schema_packages[i].serves)
            continue;
        path_of(&name, &schema_packages[i]);
        if (str_eq(buf_view(&name), path))
            package = &schema_packages[i];
    }
    if (!package)
        return false;
    struct openapi o = {b, true, mem_zalloc(schema_ntypes)};
    begin(&o);
    openapi_paths(&o, package);
    want_common(&o);
    buf_puts(b, "},\"components\":{\"schemas\":{");
    openapi_schemas(&o);
    buf_printf(b, "},\"securitySchemes\":%s}}", bearer);
    free(o.wanted);
    return true;
}

void openapi_v2(struct buf *b)
{
    struct openapi o = {b, false, mem_zalloc(schema_ntypes)};
    begin(&o);
    for (size_t i = 0; i < schema_npackages; i++)
        if (schema_packages[i].serves)
            openapi_paths(&o, &schema_packages[i]);
    want_common(&o);
    buf_puts(b, "},\"definitions\":{");
    openapi_schemas(&o);
    buf_printf(b, "},\"securityDefinitions\":%s,\"security\":[{\"BearerToken\":[]}]}", bearer);
    free(o.wanted);
}
