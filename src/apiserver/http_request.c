// From query and body to a struct api_request. Everything that a client can get wrong here is 400,
// 415 or 422 with a text that says what.
#include "apiserver/http_private.h"
#include "object/json.h"
#include "object/protobuf.h"
#include "object/yaml.h"

#define MANAGER_MAX 128

struct str query_param(struct http_ctx *c, const char *name)
{
    struct str v = http_query(&c->arena, http_request(c->tie.x), name, 0);
    return v.p ? (v.n ? arena_str(&c->arena, v) : STR("")) : STR_NULL;
}

bool query_flag(struct http_ctx *c, const char *name)
{
    struct str v = query_param(c, name);
    return v.p && !str_eqc(v, "false") && !str_eqc(v, "0") && !str_eqc(v, "f") && !str_eqc(v, "F");
}

static int number(struct http_ctx *c, const char *name, int64_t *ret, struct err *e)
{
    struct str v = query_param(c, name);
    if (!v.n || str_to_i64(v, ret))
        return 0;
    return err_set(e, ERR_BAD_REQUEST, "%s: Invalid value: \"%.*s\": must be an integer", name,
                   STR_ARG(v));
}

static int unsupported(struct err *e, const char *options, const char *field, struct str value,
                       const char *supported)
{
    err_set(e, ERR_INVALID,
            "%s.meta.k8s.io \"\" is invalid: %s: Unsupported value: \"%.*s\": supported values: %s",
            options, field, STR_ARG(value), supported);
    err_details(e, STR_NULL, STR("meta.k8s.io"), str_of(options));
    err_cause(e, "FieldValueNotSupported", str_of(field),
              "Unsupported value: \"%.*s\": supported values: %s", STR_ARG(value), supported);
    return -422;
}

static const char *options_name(enum verb_bit v)
{
    return v == VERB_CREATE   ? "CreateOptions"
           : v == VERB_UPDATE ? "UpdateOptions"
           : v == VERB_PATCH  ? "PatchOptions"
                              : "DeleteOptions";
}

static int write_options(struct http_ctx *c, struct api_request *r, struct err *e)
{
    const char *options = options_name(r->verb);
    struct str dry = query_param(c, "dryRun"), how = query_param(c, "fieldValidation");
    if (dry.n && !str_eqc(dry, "All"))
        return unsupported(e, options, "dryRun", dry, "\"All\"");
    r->dry_run = dry.n;
    r->field_manager = query_param(c, "fieldManager");
    if (r->field_manager.n > MANAGER_MAX)
        return err_set(
            e, ERR_INVALID,
            "%s.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than "
            "%d bytes",
            options, MANAGER_MAX);
    r->field_validation = str_eqc(how, "Strict")   ? VALIDATION_STRICT
                          : str_eqc(how, "Warn")   ? VALIDATION_WARN
                          : str_eqc(how, "Ignore") ? VALIDATION_IGNORE
                                                   : VALIDATION_DEFAULT;
    if (how.n && r->field_validation == VALIDATION_DEFAULT)
        return unsupported(e, options, "fieldValidation", how, "\"Ignore\", \"Strict\", \"Warn\"");
    r->force = query_flag(c, "force");
    return 0;
}

static int set_propagation(struct api_request *r, struct str policy, struct err *e)
{
    if (!policy.n)
        return 0;
    r->propagation = str_eqc(policy, "Background")   ? PROPAGATION_BACKGROUND
                     : str_eqc(policy, "Foreground") ? PROPAGATION_FOREGROUND
                     : str_eqc(policy, "Orphan")     ? PROPAGATION_ORPHAN
                                                     : PROPAGATION_DEFAULT;
    if (r->propagation == PROPAGATION_DEFAULT)
        return unsupported(e, "DeleteOptions", "propagationPolicy", policy,
                           "\"Foreground\", \"Background\", \"Orphan\"");
    return 0;
}

int request_from_query(struct http_ctx *c, enum verb_bit verb, struct err *e)
{
    struct api_request *r = &c->call.request;
    r->verb = verb;
    r->kind = c->route.kind;
    r->subresource = c->route.subresource;
    r->ns = c->route.ns;
    r->name = c->route.name;
    trace_parse(http_header(http_request(c->tie.x), "traceparent"), &r->trace);
    int code = 0;
    if (verb & (VERB_LIST | VERB_WATCH | VERB_DELETECOLLECTION)) {
        r->label_selector = query_param(c, "labelSelector");
        r->field_selector = query_param(c, "fieldSelector");
        r->continue_token = query_param(c, "continue");
        r->resource_version = query_param(c, "resourceVersion");
        r->resource_version_match = query_param(c, "resourceVersionMatch");
        r->allow_bookmarks = query_flag(c, "allowWatchBookmarks");
        r->send_initial_events = query_flag(c, "sendInitialEvents");
        code = number(c, "limit", &r->limit, e);
        if (code >= 0)
            code = number(c, "timeoutSeconds", &r->timeout_seconds, e);
    }
    if (code >= 0 &&
        (verb & (VERB_CREATE | VERB_UPDATE | VERB_PATCH | VERB_DELETE | VERB_DELETECOLLECTION)))
        code = write_options(c, r, e);
    if (code >= 0 && (verb & (VERB_DELETE | VERB_DELETECOLLECTION))) {
        code = number(c, "gracePeriodSeconds", &r->grace_period_seconds, e);
        if (code >= 0)
            code = set_propagation(r, query_param(c, "propagationPolicy"), e);
        struct str orphan = query_param(c, "orphanDependents");
        if (orphan.n && r->propagation == PROPAGATION_DEFAULT)
            r->propagation = str_eqc(orphan, "true") ? PROPAGATION_ORPHAN : PROPAGATION_BACKGROUND;
    }
    return code;
}

bool request_takes_body(enum verb_bit verb)
{
    return verb & (VERB_CREATE | VERB_UPDATE | VERB_PATCH | VERB_DELETE | VERB_DELETECOLLECTION);
}

// ---- bodies

static int unknown_type(struct err *e, const char *accepted)
{
    return err_set(
        e, ERR_UNSUPPORTED_MEDIA,
        "the body of the request was in an unknown format - accepted media types include: "
        "%s",
        accepted);
}

static int parse_text(struct http_ctx *c, struct str body, bool yaml, struct value **ret,
                      struct err *e)
{
    struct value *twice = value_array(&c->arena);
    _cleanup_err_ struct err why = ERR_INIT;
    struct json_options opt = {.duplicates = twice, .borrow = true, .max_values = VALUES_MAX};
    int r = yaml ? yaml_parse(&c->arena, body, twice, ret, &why)
                 : json_parse(&c->arena, body, &opt, ret, &why);
    if (r < 0)
        return err_set(e, why.reason, "%s", why.message);
    if (value_len(twice))
        c->call.request.duplicate_fields = twice;
    return 0;
}

static const struct type *body_type(const struct http_ctx *c, struct str api_version,
                                    struct str kind)
{
    const struct route *r = &c->route;
    if (r->sub && r->sub->type)
        return r->sub->type;
    const struct type *any = type_by_kind(api_version, kind);
    return any && !str_eq(kind, r->kind->kind) ? any : r->kind->type;
}

static int parse_protobuf(struct http_ctx *c, struct str body, struct value **ret, struct err *e)
{
    struct str api_version, kind, raw;
    int r = protobuf_envelope(body, &api_version, &kind, &raw, e);
    if (r < 0)
        return r;
    r = protobuf_decode(&c->arena, body_type(c, api_version, kind), raw, ret, e);
    if (r < 0)
        return r;
    if (kind.n)
        value_setc(&c->arena, *ret, "kind", value_str(&c->arena, kind));
    if (api_version.n)
        value_setc(&c->arena, *ret, "apiVersion", value_str(&c->arena, api_version));
    return 0;
}

static int parse_object(struct http_ctx *c, struct str type, struct str body, struct value **ret,
                        struct err *e)
{
    if (!type.n || str_ieq(type, STR("application/json")) || str_eqc(type, "*/*"))
        return parse_text(c, body, false, ret, e);
    if (str_ieq(type, STR("application/yaml")) || str_ieq(type, STR("application/x-yaml")) ||
        str_ieq(type, STR("text/yaml")))
        return parse_text(c, body, true, ret, e);
    if (str_ieq(type, STR("application/vnd.kubernetes.protobuf")))
        return parse_protobuf(c, body, ret, e);
    return unknown_type(e,
                        "application/json, application/yaml, application/vnd.kubernetes.protobuf");
}

static const struct {
    const char *type;
    enum patch_type patch;
} patch_types[] = {
    {"application/json-patch+json", PATCH_TYPE_JSON},
    {"application/merge-patch+json", PATCH_TYPE_MERGE},
    {"application/strategic-merge-patch+json", PATCH_TYPE_STRATEGIC},
    {"application/apply-patch+yaml", PATCH_TYPE_APPLY},
};

static int patch_body(struct http_ctx *c, struct str type, struct str body, struct value **ret,
                      struct err *e)
{
    struct api_request *r = &c->call.request;
    for (size_t i = 0; i < sizeof patch_types / sizeof *patch_types; i++)
        if (str_ieq(type, str_of(patch_types[i].type)))
            r->patch_type = patch_types[i].patch;
    if (r->patch_type == PATCH_TYPE_NONE)
        return unknown_type(e, "application/json-patch+json, application/merge-patch+json, "
                               "application/strategic-merge-patch+json");
    return parse_text(c, body, r->patch_type == PATCH_TYPE_APPLY, ret, e);
}

static int delete_body(struct http_ctx *c, const struct value *v, struct err *e)
{
    struct api_request *r = &c->call.request;
    struct arena *a = &c->arena;
    if (!value_is(v, VALUE_OBJECT))
        return err_set(e, ERR_BAD_REQUEST,
                       "the body of the request must be a DeleteOptions object");
    struct str kind = value_str_at(v, "kind");
    if (kind.n && !str_eqc(kind, "DeleteOptions"))
        return err_set(e, ERR_BAD_REQUEST,
                       "%.*s in version \"%.*s\" cannot be handled as a DeleteOptions",
                       STR_ARG(kind), STR_ARG(value_str_at(v, "apiVersion")));
    r->grace_period_seconds = value_int_at(v, "gracePeriodSeconds", r->grace_period_seconds);
    const struct value *orphan = value_getc(v, "orphanDependents");
    struct str policy = value_str_at(v, "propagationPolicy");
    if (orphan && policy.n)
        return err_set(
            e, ERR_INVALID,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: "
            "\"%.*s\": orphanDependents and deletionPropagation cannot be both set",
            STR_ARG(policy));
    if (orphan)
        r->propagation = value_bool_or(orphan, false) ? PROPAGATION_ORPHAN : PROPAGATION_BACKGROUND;
    int code = set_propagation(r, policy, e);
    if (code < 0)
        return code;
    r->precondition_uid = arena_str(a, value_str_at(v, "preconditions.uid"));
    r->precondition_resource_version =
        arena_str(a, value_str_at(v, "preconditions.resourceVersion"));
    const struct value *dry = value_getc(v, "dryRun");
    value_each_item (dry, d) {
        if (!str_eqc(value_string(d), "All"))
            return unsupported(e, "DeleteOptions", "dryRun", value_string(d), "\"All\"");
        r->dry_run = true;
    }
    return 0;
}

int request_body(struct http_ctx *c, struct err *e)
{
    struct api_request *r = &c->call.request;
    struct str type = content_type_base(c->content_type), body = c->body;
    struct value *v = NULL;
    bool deleting = r->verb & (VERB_DELETE | VERB_DELETECOLLECTION);
    if (deleting && !str_trim(body).n)
        return 0;
    int code = r->verb == VERB_PATCH ? patch_body(c, type, body, &v, e)
                                     : parse_object(c, type, body, &v, e);
    if (code < 0)
        return code;
    if (deleting)
        return delete_body(c, v, e);
    r->body = v;
    return 0;
}
