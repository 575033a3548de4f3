// The shorthands of client.h: each fills one api_request and makes one call. Nothing is remembered
// here.
#include "client/client.h"
#include "base/log.h"

static struct api_request request(struct client *c, enum verb_bit verb, const struct kind *k,
                                  struct str ns, struct str name)
{
    return (struct api_request){
        .verb = verb,
        .kind = k,
        .ns = ns,
        .name = name,
        .field_manager = c->name,
        .grace_period_seconds = -1,
    };
}

// Makes the call and hands the object out where it is wanted.
static int call(struct client *c, const struct api_request *r, struct object **ret, struct err *e)
{
    _cleanup_answer_ struct api_answer answer = {0};
    int rc = client_call(c, r, &answer, e);
    if (rc < 0)
        return rc;
    if (ret)
        *ret = TAKE_PTR(answer.object);
    return 0;
}

void client_free(struct client *c)
{
    if (c)
        c->ops->free(c);
}

int client_get(struct client *c, const struct kind *k, struct str ns, struct str name,
               struct object **ret, struct err *e)
{
    struct api_request r = request(c, VERB_GET, k, ns, name);
    return call(c, &r, ret, e);
}

int client_list(struct client *c, const struct kind *k, struct str ns, struct str label_selector,
                struct str field_selector, struct api_answer *ret, struct err *e)
{
    struct api_request r = request(c, VERB_LIST, k, ns, STR_NULL);
    r.label_selector = label_selector;
    r.field_selector = field_selector;
    *ret = (struct api_answer){0};
    return client_call(c, &r, ret, e);
}

int client_create(struct client *c, const struct kind *k, struct str ns, const struct value *body,
                  struct object **ret, struct err *e)
{
    struct api_request r = request(c, VERB_CREATE, k, ns, value_str_at(body, "metadata.name"));
    r.body = body;
    return call(c, &r, ret, e);
}

static int update(struct client *c, const struct kind *k, struct str subresource,
                  const struct value *body, struct object **ret, struct err *e)
{
    struct str ns =
        k->flags & KIND_NAMESPACED ? value_str_at(body, "metadata.namespace") : STR_NULL;
    struct api_request r = request(c, VERB_UPDATE, k, ns, value_str_at(body, "metadata.name"));
    r.subresource = subresource;
    r.body = body;
    return call(c, &r, ret, e);
}

int client_update(struct client *c, const struct kind *k, const struct value *body,
                  struct object **ret, struct err *e)
{
    return update(c, k, STR_NULL, body, ret, e);
}

int client_update_status(struct client *c, const struct kind *k, const struct value *body,
                         struct object **ret, struct err *e)
{
    return update(c, k, STR("status"), body, ret, e);
}

int client_patch(struct client *c, const struct kind *k, struct str ns, struct str name,
                 struct str subresource, enum patch_type type, const struct value *patch,
                 struct object **ret, struct err *e)
{
    struct api_request r = request(c, VERB_PATCH, k, ns, name);
    r.subresource = subresource;
    r.patch_type = type;
    r.body = patch;
    return call(c, &r, ret, e);
}

int client_delete(struct client *c, const struct kind *k, struct str ns, struct str name,
                  const struct client_delete_options *opt, struct err *e)
{
    struct api_request r = request(c, VERB_DELETE, k, ns, name);
    if (opt) {
        r.propagation = opt->propagation;
        r.grace_period_seconds = opt->grace_period_seconds;
        r.precondition_uid = opt->uid;
        r.precondition_resource_version = opt->resource_version;
    }
    return call(c, &r, NULL, e);
}

const struct kind *client_kind(const char *group, const char *resource)
{
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);
        if (str_eqc(k->group, group) && str_eqc(k->resource, resource))
            return k;
    }
    log_error("client", "no such kind resource=%s group=\"%s\"", resource, group);
    abort();
}

int client_delete_tree(struct client *c, const struct kind *k, const struct value *tree,
                       enum propagation propagation, int64_t grace, uint64_t *ret_revision,
                       struct err *e)
{
    _cleanup_answer_ struct api_answer answer = {0};
    struct api_request r = {
        .verb = VERB_DELETE,
        .kind = k,
        .ns = value_str_at(tree, "metadata.namespace"),
        .name = value_str_at(tree, "metadata.name"),
        .propagation = propagation,
        .grace_period_seconds = grace,
        .precondition_uid = value_str_at(tree, "metadata.uid"),
    };
    int rc = client_call(c, &r, &answer, e);
    if (rc == 0 && ret_revision)
        *ret_revision = answer.revision;
    return rc;
}

bool client_namespace_terminating(const struct err *e)
{
    for (size_t i = 0; i < e->ncauses; i++) {
        if (strcmp(e->causes[i].reason, "NamespaceTerminating") == 0)
            return true;
    }
    return false;
}
