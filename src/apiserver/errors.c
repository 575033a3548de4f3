// Refusals in the words that clients match on: kubectl, helm and Argo CD compare some of these
// texts, and client-go's IsNotFound and friends read reason and details. details.kind is the
// resource for what is about a request's target and the Kind for what is about an object's content,
// as the originals have it.
#include "apiserver/server.h"

const char *verb_name(enum verb_bit v)
{
    switch (v) {
    case VERB_GET:
        return "get";
    case VERB_LIST:
        return "list";
    case VERB_WATCH:
        return "watch";
    case VERB_CREATE:
        return "create";
    case VERB_UPDATE:
        return "update";
    case VERB_PATCH:
        return "patch";
    case VERB_DELETE:
        return "delete";
    case VERB_DELETECOLLECTION:
        return "deletecollection";
    default:
        return "connect";
    }
}

int api_not_found(struct err *e, const struct kind *k, struct str name)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    err_set(e, ERR_NOT_FOUND, "%.*s \"%.*s\" not found", STR_ARG(kind_qualified_resource(&a, k)),
            STR_ARG(name));
    err_details(e, name, k->group, k->resource);
    return -404;
}

int api_exists(struct err *e, const struct kind *k, struct str name)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    err_set(e, ERR_ALREADY_EXISTS, "%.*s \"%.*s\" already exists",
            STR_ARG(kind_qualified_resource(&a, k)), STR_ARG(name));
    err_details(e, name, k->group, k->resource);
    return -409;
}

int api_conflict(struct err *e, const struct kind *k, struct str name, const char *why, ...)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str text = STR("the object has been modified; please apply your changes to the latest "
                          "version and try again");
    if (why) {
        va_list ap;
        va_start(ap, why);
        text = arena_vprintf(&a, why, ap);
        va_end(ap);
    }
    err_set(e, ERR_CONFLICT, "Operation cannot be fulfilled on %.*s \"%.*s\": %.*s",
            STR_ARG(kind_qualified_resource(&a, k)), STR_ARG(name), STR_ARG(text));
    err_details(e, name, k->group, k->resource);
    return -409;
}

int api_forbidden(struct err *e, const struct kind *k, struct str name, const char *why, ...)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    va_list ap;
    va_start(ap, why);
    struct str text = arena_vprintf(&a, why, ap);
    va_end(ap);
    err_set(e, ERR_FORBIDDEN, "%.*s \"%.*s\" is forbidden: %.*s",
            STR_ARG(kind_qualified_resource(&a, k)), STR_ARG(name), STR_ARG(text));
    err_details(e, name, k->group, k->resource);
    return -403;
}

int api_invalid(struct err *e, const struct kind *k, struct str name, const char *reason,
                const char *field, const char *fmt, ...)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(&a, fmt, ap);
    va_end(ap);
    if (k->group.n)
        err_set(e, ERR_INVALID, "%.*s.%.*s \"%.*s\" is invalid: %s: %.*s", STR_ARG(k->kind),
                STR_ARG(k->group), STR_ARG(name), field, STR_ARG(text));
    else
        err_set(e, ERR_INVALID, "%.*s \"%.*s\" is invalid: %s: %.*s", STR_ARG(k->kind),
                STR_ARG(name), field, STR_ARG(text));
    err_details(e, name, k->group, k->kind);
    err_cause(e, reason, str_of(field), "%.*s", STR_ARG(text));
    return -422;
}
