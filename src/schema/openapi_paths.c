// Operations: one for each verb of each resource, as the originals describe them. Clients look at
// the extensions (which kind, which action) and at which query parameters an operation knows; the
// rest is for generators and people.
#include "object/json.h"
#include "schema/openapi_private.h"

struct parameter {
    const char *name, *type, *description;
};

static const struct parameter pretty[] = {
    {"pretty", "string", "If 'true', then the output is pretty printed."},
    {0},
};
static const struct parameter writing[] = {
    {"dryRun", "string", "'All': go through all steps, but store nothing."},
    {"fieldManager", "string", "Who changes the object: at most 128 printable characters."},
    {"fieldValidation", "string",
     "What to do about unknown and duplicate fields: Ignore, Warn or Strict."},
    {0},
};
static const struct parameter applying[] = {
    {"dryRun", "string", "'All': go through all steps, but store nothing."},
    {"fieldManager", "string", "Who changes the object; required for apply."},
    {"fieldValidation", "string",
     "What to do about unknown and duplicate fields: Ignore, Warn or Strict."},
    {"force", "boolean", "Apply: take over fields that others own."},
    {0},
};
static const struct parameter deleting[] = {
    {"dryRun", "string", "'All': go through all steps, but store nothing."},
    {"gracePeriodSeconds", "integer", "Seconds until the object is deleted; 0: at once."},
    {"ignoreStoreReadErrorWithClusterBreakingPotential", "boolean",
     "Delete an object that cannot be read back."},
    {"orphanDependents", "boolean", "Deprecated: use propagationPolicy."},
    {"propagationPolicy", "string", "What becomes of dependents: Orphan, Background, Foreground."},
    {0},
};
static const struct parameter listing[] = {
    {"allowWatchBookmarks", "boolean", "Watch: send BOOKMARK events."},
    {"continue", "string", "The token of the page before."},
    {"fieldSelector", "string", "Only objects with these fields."},
    {"labelSelector", "string", "Only objects with these labels."},
    {"limit", "integer", "At most so many objects; more with continue."},
    {"resourceVersion", "string", "How fresh the answer must be."},
    {"resourceVersionMatch", "string", "How resourceVersion is meant: NotOlderThan or Exact."},
    {"sendInitialEvents", "boolean", "Watch: begin with all objects, then a BOOKMARK."},
    {"timeoutSeconds", "integer", "End after so many seconds."},
    {"watch", "boolean", "Send changes as they happen."},
    {0},
};

static void parameters(struct openapi *o, const struct parameter *p, const char *in)
{
    struct buf *b = o->b;
    for (; p->name; p++) {
        openapi_item(b);
        buf_char(b, '{');
        openapi_text(b, "name", str_of(p->name));
        openapi_text(b, "in", str_of(in));
        openapi_text(b, "description", str_of(p->description));
        if (!strcmp(in, "path")) {
            openapi_key(b, "required");
            buf_puts(b, "true");
        }
        if (o->v3) {
            openapi_key(b, "schema");
            buf_printf(b, "{\"type\":\"%s\",\"uniqueItems\":true}", p->type);
        } else {
            openapi_text(b, "type", str_of(p->type));
            openapi_key(b, "uniqueItems");
            buf_puts(b, "true");
        }
        buf_char(b, '}');
    }
}

// "rbac.authorization.k8s.io" -> RbacAuthorization; core is Core.
static void group_word(struct buf *b, struct str group, bool capital)
{
    if (!group.n) {
        buf_puts(b, capital ? "Core" : "core");
        return;
    }
    if (str_ends(group, STR(".k8s.io")))
        group.n -= 7;
    while (group.p) {
        struct str part = str_cut(&group, '.');
        if (!part.n)
            continue;
        char first = part.p[0];
        buf_char(b, capital && first >= 'a' && first <= 'z' ? (char)(first - 'a' + 'A') : first);
        buf_str(b, str_from(part, 1));
        capital = true;
    }
}

enum action { GET, LIST, POST, PUT, PATCH, DELETE, DELETECOLLECTION, CONNECT_GET, CONNECT_POST };
static const struct {
    const char *method, *word, *action;
    const struct parameter *parameters;
} actions[] = {
    [GET] = {"get", "read", "get", NULL},
    [LIST] = {"get", "list", "list", listing},
    [POST] = {"post", "create", "post", writing},
    [PUT] = {"put", "replace", "put", writing},
    [PATCH] = {"patch", "patch", "patch", applying},
    [DELETE] = {"delete", "delete", "delete", deleting},
    [DELETECOLLECTION] = {"delete", "deleteCollection", "deletecollection", listing},
    [CONNECT_GET] = {"get", "connectGet", "connect", NULL},
    [CONNECT_POST] = {"post", "connectPost", "connect", NULL},
};

static const char *const produced[] = {"application/json", "application/yaml",
                                       "application/vnd.kubernetes.protobuf"};
static const char *const patches[] = {"application/json-patch+json", "application/merge-patch+json",
                                      "application/strategic-merge-patch+json",
                                      "application/apply-patch+yaml"};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static void media(struct buf *b, const char *key, const char *const *types, size_t n)
{
    openapi_key(b, key);
    buf_char(b, '[');
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s\"%s\"", i ? "," : "", types[i]);
    buf_char(b, ']');
}

static void patch_ref(struct openapi *o)
{
    buf_printf(o->b, "{\"$ref\":\"#/%s/io.k8s.apimachinery.pkg.apis.meta.v1.Patch\"}",
               o->v3 ? "components/schemas" : "definitions");
}

static void body(struct openapi *o, enum action act, const struct type *type)
{
    struct buf *b = o->b;
    if (!o->v3) { // one more parameter
        openapi_item(b);
        buf_puts(b, "{\"name\":\"body\",\"in\":\"body\"");
        if (act != DELETE && act != DELETECOLLECTION)
            buf_puts(b, ",\"required\":true");
        openapi_key(b, "schema");
        if (act == PATCH)
            patch_ref(o);
        else
            openapi_ref(o, type);
        buf_char(b, '}');
        return;
    }
    openapi_key(b, "requestBody");
    buf_puts(b, "{\"content\":{");
    if (act == PATCH) {
        for (size_t i = 0; i < COUNT(patches); i++) {
            openapi_key(b, patches[i]);
            buf_puts(b, "{\"schema\":");
            patch_ref(o);
            buf_char(b, '}');
        }
    } else {
        buf_puts(b, "\"*/*\":{\"schema\":");
        openapi_ref(o, type);
        buf_char(b, '}');
    }
    buf_puts(b, act == DELETE || act == DELETECOLLECTION ? "}}" : "},\"required\":true}");
}

static void response(struct openapi *o, const char *code, const char *text, const struct type *type)
{
    struct buf *b = o->b;
    openapi_key(b, code);
    buf_char(b, '{');
    openapi_text(b, "description", str_of(text));
    if (type && o->v3) {
        openapi_key(b, "content");
        buf_char(b, '{');
        for (size_t i = 0; i < COUNT(produced); i++) {
            openapi_key(b, produced[i]);
            buf_puts(b, "{\"schema\":");
            openapi_ref(o, type);
            buf_char(b, '}');
        }
        buf_char(b, '}');
    } else if (type) {
        openapi_key(b, "schema");
        openapi_ref(o, type);
    }
    buf_char(b, '}');
}

struct operation {
    enum action action;
    const struct kind *kind;       // whose path
    const struct subresource *sub; // or NULL
    bool all_namespaces;
    struct str group, version, word; // of the kind that the operation is about
    const struct type *in, *out;     // bodies; NULL: none, or a plain string
};

static void operation_id(struct buf *b, const struct operation *op)
{
    const struct kind *k = op->kind;
    buf_printf(b, "\"%s", actions[op->action].word);
    group_word(b, k->group, true);
    buf_printf(b, "%c%.*s", k->version.p[0] - 'a' + 'A', STR_ARG(str_from(k->version, 1)));
    if (op->action == DELETECOLLECTION)
        buf_puts(b, "Collection");
    if ((k->flags & KIND_NAMESPACED) && !op->all_namespaces)
        buf_puts(b, "Namespaced");
    buf_str(b, k->kind);
    if (op->sub) {
        buf_char(b, (char)(op->sub->name.p[0] - 'a' + 'A'));
        buf_str(b, str_from(op->sub->name, 1));
    }
    if (op->all_namespaces)
        buf_puts(b, "ForAllNamespaces");
    buf_char(b, '"');
}

static void operation(struct openapi *o, const struct operation *op)
{
    struct buf *b = o->b;
    const struct kind *k = op->kind;
    openapi_key(b, actions[op->action].method);
    buf_char(b, '{');
    openapi_key(b, "tags");
    buf_puts(b, "[\"");
    group_word(b, k->group, false);
    buf_printf(b, "_%.*s\"]", STR_ARG(k->version));
    openapi_key(b, "operationId");
    operation_id(b, op);
    if (!o->v3) {
        if (op->action == PATCH)
            media(b, "consumes", patches, COUNT(patches));
        else
            buf_puts(b, ",\"consumes\":[\"*/*\"]");
        media(b, "produces", produced, COUNT(produced));
        buf_puts(b, ",\"schemes\":[\"https\"]");
    }
    bool has_body = op->in || op->action == PATCH;
    if (actions[op->action].parameters || (has_body && !o->v3)) {
        openapi_key(b, "parameters");
        buf_char(b, '[');
        if (actions[op->action].parameters)
            parameters(o, actions[op->action].parameters, "query");
        if (has_body && !o->v3)
            body(o, op->action, op->in);
        buf_char(b, ']');
    }
    if (has_body && o->v3)
        body(o, op->action, op->in);
    openapi_key(b, "responses");
    buf_char(b, '{');
    response(o, "200", "OK", op->out);
    if (op->action == POST || op->action == PUT || op->action == PATCH)
        response(o, "201", "Created", op->out);
    if (op->action == POST || op->action == DELETE)
        response(o, "202", "Accepted", op->out);
    response(o, "401", "Unauthorized", NULL);
    buf_char(b, '}');
    openapi_text(b, "x-kubernetes-action", str_of(actions[op->action].action));
    openapi_key(b, "x-kubernetes-group-version-kind");
    buf_char(b, '{');
    openapi_text(b, "group", op->group);
    openapi_text(b, "kind", op->word);
    openapi_text(b, "version", op->version);
    buf_puts(b, "}}");
}

static const struct type *list_type(const struct kind *k)
{
    return type_by_kind(k->api_version, k->list_kind);
}

static void begin_path(struct openapi *o, const struct kind *k, bool namespaced, bool item,
                       const struct subresource *s)
{
    static const struct parameter name[] = {{"name", "string", "name of the object"}, {0}};
    static const struct parameter ns[] = {
        {"namespace", "string", "object name and auth scope, such as for teams and projects"}, {0}};
    struct buf *b = o->b;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = arena_printf(
        &a, "/%s/%.*s/%s%.*s%s%s%.*s", k->group.n ? "apis" : "api", STR_ARG(k->api_version),
        namespaced ? "namespaces/{namespace}/" : "", STR_ARG(k->resource), item ? "/{name}" : "",
        s ? "/" : "", STR_ARG(s ? s->name : STR_NULL));
    openapi_key(b, arena_cstr(&a, path));
    buf_char(b, '{');
    openapi_key(b, "parameters");
    buf_char(b, '[');
    if (item)
        parameters(o, name, "path");
    if (namespaced)
        parameters(o, ns, "path");
    parameters(o, pretty, "query");
    buf_char(b, ']');
}

static struct operation about(const struct kind *k, enum action action, const struct type *in,
                              const struct type *out)
{
    return (struct operation){action, k, NULL, false, k->group, k->version, k->kind, in, out};
}

static void kind_paths(struct openapi *o, const struct kind *k)
{
    const struct type *status = type_by_name(STR("meta.v1.Status"));
    const struct type *options = type_by_name(STR("meta.v1.DeleteOptions"));
    bool namespaced = k->flags & KIND_NAMESPACED;
    if ((k->verbs & VERB_LIST) && namespaced) {
        struct operation op = about(k, LIST, NULL, list_type(k));
        op.all_namespaces = true;
        begin_path(o, k, false, false, NULL);
        operation(o, &op);
        buf_char(o->b, '}');
    }
    begin_path(o, k, namespaced, false, NULL);
    const struct operation collection[] = {
        about(k, LIST, NULL, list_type(k)),
        about(k, POST, k->type, k->type),
        about(k, DELETECOLLECTION, options, status),
    };
    static const unsigned collection_verbs[] = {VERB_LIST, VERB_CREATE, VERB_DELETECOLLECTION};
    for (size_t i = 0; i < COUNT(collection); i++)
        if (k->verbs & collection_verbs[i])
            operation(o, &collection[i]);
    buf_char(o->b, '}');
    static const unsigned item_verbs[] = {VERB_GET, VERB_UPDATE, VERB_PATCH, VERB_DELETE};
    const struct operation item[] = {
        about(k, GET, NULL, k->type),
        about(k, PUT, k->type, k->type),
        about(k, PATCH, NULL, k->type),
        about(k, DELETE, options, k->flags & KIND_GRACEFUL ? k->type : status),
    };
    if (!(k->verbs & (VERB_GET | VERB_UPDATE | VERB_PATCH | VERB_DELETE)))
        return;
    begin_path(o, k, namespaced, true, NULL);
    for (size_t i = 0; i < COUNT(item); i++)
        if (k->verbs & item_verbs[i])
            operation(o, &item[i]);
    buf_char(o->b, '}');
}

static void sub_path(struct openapi *o, const struct kind *k, const struct subresource *s)
{
    static const struct {
        unsigned verb;
        enum action action;
    } table[] = {{VERB_GET, GET},     {VERB_CREATE, POST},         {VERB_UPDATE, PUT},
                 {VERB_PATCH, PATCH}, {VERB_CONNECT, CONNECT_GET}, {VERB_CONNECT, CONNECT_POST}};
    begin_path(o, k, k->flags & KIND_NAMESPACED, true, s);
    for (size_t i = 0; i < COUNT(table); i++) {
        if (!(s->verbs & table[i].verb))
            continue;
        bool connect = table[i].verb == VERB_CONNECT || str_eqc(s->name, "log");
        const struct type *type = connect ? NULL : s->type ? s->type : k->type;
        bool sends = table[i].action == POST || table[i].action == PUT;
        struct operation op = about(k, table[i].action, sends ? type : NULL, type);
        op.sub = s;
        if (s->kind.p) {
            op.group = s->group;
            op.version = s->version;
            op.word = s->kind;
        }
        operation(o, &op);
    }
    buf_char(o->b, '}');
}

void openapi_paths(struct openapi *o, const struct package *package)
{
    for (size_t i = 0; i < schema_nkinds; i++) {
        const struct kind *k = &schema_kinds[i];
        if (!str_eq(k->group, package->group) || !str_eq(k->version, package->version))
            continue;
        kind_paths(o, k);
        for (size_t j = 0; j < k->nsubresources; j++)
            sub_path(o, k, &k->subresources[j]);
    }
}
