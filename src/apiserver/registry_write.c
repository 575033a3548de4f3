// create, update and patch: from what the client sent to what will be stored.
//
// What the server owns in metadata (uid, creationTimestamp, generation, deletion…) is set here for
// every kind; status and the rest are kept apart as the reference says (main writes don't touch
// status, status writes touch nothing but status, labels and annotations). Kinds add their own by
// strategy.h.
//
// A write that changes nothing is not made: no revision, no event.
//
// managedFields are accepted and left out: field ownership comes with server-side apply.
#include "apiserver/convert.h"
#include "apiserver/server.h"
#include "apiserver/strategy.h"
#include "base/time.h"
#include "object/json.h"
#include "object/patch.h"
#include "schema/rules.h"

#define NAME_BASE_MAX 58 // generateName: as much of it as leaves room for five random characters

// ---- decoding

// `unknown field "a", duplicate field "b"`
static struct str strict_faults(struct arena *a, const struct value *unknown,
                                const struct value *twice)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    value_each_item (unknown, u)
        buf_printf(&b, "%sunknown field \"%.*s\"", b.n ? ", " : "", STR_ARG(value_string(u)));
    value_each_item (twice, d)
        buf_printf(&b, "%sduplicate field \"%.*s\"", b.n ? ", " : "", STR_ARG(value_string(d)));
    return arena_str(a, buf_view(&b));
}

static void strict_warnings(struct op *op, const struct value *unknown, const struct value *twice)
{
    value_each_item (unknown, u)
        op_warn(op, "unknown field \"%.*s\"", STR_ARG(value_string(u)));
    value_each_item (twice, d)
        op_warn(op, "duplicate field \"%.*s\"", STR_ARG(value_string(d)));
}

static struct str version_part(struct str api_version)
{
    ptrdiff_t slash = str_chr(api_version, '/');
    return slash < 0 ? api_version : str_from(api_version, (size_t)slash + 1);
}

int op_decode(struct op *op, const struct value *body, const struct type *type,
              struct str api_version, struct str kind, struct value **ret, struct err *e)
{
    struct arena *a = op->a;
    if (!value_is(body, VALUE_OBJECT))
        return err_set(e, ERR_BAD_REQUEST, "the body of the request must be a %.*s object",
                       STR_ARG(kind));
    struct str sent_version = value_str_at(body, "apiVersion"),
               sent_kind = value_str_at(body, "kind");
    if (sent_kind.n && !str_eq(sent_kind, kind))
        return err_set(e, ERR_BAD_REQUEST,
                       "%.*s in version \"%.*s\" cannot be handled as a %.*s: "
                       "the kind in the data does not match the expected kind",
                       STR_ARG(sent_kind), STR_ARG(version_part(sent_version)), STR_ARG(kind));
    if (sent_version.n && !str_eq(sent_version, api_version))
        return err_set(e, ERR_BAD_REQUEST,
                       "the API version in the data (%.*s) does not match the expected API version "
                       "(%.*s)",
                       STR_ARG(sent_version), STR_ARG(api_version));
    struct value *v = value_clone(a, body), *unknown = value_array(a);
    value_setc(a, v, "kind", value_str(a, kind));
    value_setc(a, v, "apiVersion", value_str(a, api_version));
    const struct value *twice = op->request->duplicate_fields;
    enum field_validation how = op->request->field_validation;
    _cleanup_err_ struct err why = ERR_INIT;
    if (type && schema_check_fields(a, type, v, unknown, &why) < 0)
        return err_set(e, ERR_BAD_REQUEST,
                       "%.*s in version \"%.*s\" cannot be handled as a %.*s: %s", STR_ARG(kind),
                       STR_ARG(version_part(api_version)), STR_ARG(kind), why.message);
    if ((value_len(unknown) || value_len(twice)) && how == VALIDATION_STRICT)
        return err_set(
            e, ERR_BAD_REQUEST,
            "%.*s in version \"%.*s\" cannot be handled as a %.*s: strict decoding error: "
            "%.*s",
            STR_ARG(kind), STR_ARG(version_part(api_version)), STR_ARG(kind),
            STR_ARG(strict_faults(a, unknown, twice)));
    if (how == VALIDATION_WARN || how == VALIDATION_DEFAULT)
        strict_warnings(op, unknown, twice);
    *ret = v;
    return 0;
}

// ---- metadata

static struct value *metadata_of(struct arena *a, struct value *v)
{
    struct value *m = value_getc(v, "metadata");
    if (!value_is(m, VALUE_OBJECT))
        value_setc(a, v, "metadata", m = value_object(a));
    return m;
}

static void copy_field(struct arena *a, struct value *to, const struct value *from, const char *key)
{
    struct value *v = value_getc(from, key);
    if (v)
        value_setc(a, to, key, v);
    else
        value_delc(to, key);
}

// The namespace of the body must be that of the request; cluster-scoped objects have none.
static int check_namespace(struct op *op, struct value *meta, struct err *e)
{
    struct str sent = value_string(value_getc(meta, "namespace"));
    if (!(op->kind->flags & KIND_NAMESPACED)) {
        value_delc(meta, "namespace");
        return 0;
    }
    if (sent.n && !str_eq(sent, op->ns))
        return err_set(e, ERR_BAD_REQUEST,
                       "the namespace of the provided object does not match the namespace sent on "
                       "the request");
    value_setc(op->a, meta, "namespace", value_str(op->a, op->ns));
    return 0;
}

static int choose_name(struct op *op, struct value *meta, struct err *e)
{
    struct str name = value_string(value_getc(meta, "name"));
    struct str base = value_string(value_getc(meta, "generateName"));
    if (name.n || !base.n) {
        op->name = name;
        if (!name.n)
            return api_invalid(e, op->kind, name, "FieldValueRequired", "metadata.name",
                               "Required value: name or generateName is required");
        return 0;
    }
    base = str_sub(base, 0, NAME_BASE_MAX);
    char *p = arena_alloc(op->a, base.n + 5);
    memcpy(p, base.p, base.n);
    env_name_suffix(op->server->env, p + base.n, 5);
    op->name = str_n(p, base.n + 5);
    op->made_name = op->attempts < 8;
    value_setc(op->a, meta, "name", value_str(op->a, op->name));
    return 0;
}

static void set_created(struct op *op, struct value *meta)
{
    struct arena *a = op->a;
    char *uid = arena_alloc(a, 36);
    env_uuid(op->server->env, uid);
    value_setc(a, meta, "uid", value_str(a, str_n(uid, 36)));
    value_setc(a, meta, "creationTimestamp", op_now(op));
    value_delc(meta, "deletionTimestamp");
    value_delc(meta, "deletionGracePeriodSeconds");
    value_delc(meta, "selfLink");
    value_delc(meta, "managedFields");
    if (op->kind->flags & KIND_GENERATION)
        value_setc(a, meta, "generation", value_int(a, 1));
    else if (!(op->strategy && op->strategy->keep_metadata_generation))
        value_delc(meta, "generation");
}

static int no_apply_yet(struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED_MEDIA,
                   "the body of the request was in an unknown format - accepted media types "
                   "include: application/json-patch+json, application/merge-patch+json, "
                   "application/strategic-merge-patch+json (server-side apply is not served yet)");
}

// What is there, before the new state takes over. op->creating says that nothing is.
int op_find(struct op *op, struct err *e)
{
    op->found = cache_get(op->server->cache, op->kind, op->ns, op->name);
    op->key = cache_key(op->a, op->kind, op->ns, op->name);
    if (op->found)
        return op_tree(op, op->found, &op->old, e) < 0 ? err_code(e) : OP_NEXT;
    if (op->request->verb == VERB_UPDATE && (op->kind->flags & KIND_CREATE_ON_UPDATE) &&
        !op->request->subresource.n) {
        op->creating = true;
        return OP_NEXT;
    }
    // To apply what does not exist is to create it: that it is not there is not the fault.
    if (op->request->verb == VERB_PATCH && op->request->patch_type == PATCH_TYPE_APPLY)
        return no_apply_yet(e);
    return api_not_found(e, op->kind, op->name);
}

int op_tree(struct op *op, struct object *o, struct value **ret, struct err *e)
{
    (void)e;
    struct value *v = object_tree(op->a, o);
    value_delc(value_getc(v, "metadata"), "resourceVersion");
    convert_from_storage(op->a, op->kind, v);
    *ret = v;
    return 0;
}

// ---- bodies

int op_create_body(struct op *op, struct err *e)
{
    const struct kind *k = op->kind;
    int r = op_decode(op, op->request->body, k->type, kind_api_version(k), k->kind, &op->new, e);
    if (r < 0)
        return r;
    op->creating = true;
    struct value *meta = metadata_of(op->a, op->new);
    r = check_namespace(op, meta, e);
    if (r < 0)
        return r;
    if (value_string(value_getc(meta, "resourceVersion")).n)
        return err_set(e, ERR_BAD_REQUEST,
                       "resourceVersion should not be set on objects to be created");
    value_delc(meta, "resourceVersion");
    r = choose_name(op, meta, e);
    if (r < 0)
        return r;
    set_created(op, meta);
    op->key = cache_key(op->a, k, op->ns, op->name);
    return OP_NEXT;
}

// The body of an update or the result of a patch has to name what the URL names.
static int check_identity(struct op *op, struct value *meta, struct err *e)
{
    struct str name = value_string(value_getc(meta, "name"));
    if (!name.n)
        return err_set(
            e, ERR_BAD_REQUEST,
            "the name of the object (%.*s based on URL) was undeterminable: name must be "
            "provided",
            STR_ARG(op->name));
    if (!str_eq(name, op->name))
        return err_set(e, ERR_BAD_REQUEST,
                       "the name of the object (%.*s) does not match the name on the URL (%.*s)",
                       STR_ARG(name), STR_ARG(op->name));
    return check_namespace(op, meta, e);
}

// The revision and uid that the client expects, against what is there. Takes resourceVersion out of
// the tree.
static int check_expected(struct op *op, struct value *meta, struct err *e)
{
    struct str rv = value_string(value_getc(meta, "resourceVersion"));
    struct str uid = value_string(value_getc(meta, "uid"));
    struct str old_uid = value_str_at(op->old, "metadata.uid");
    uint64_t revision = 0;
    if (rv.n && !str_eqc(rv, "0") && !str_to_u64(rv, &revision))
        return api_invalid(e, op->kind, op->name, "FieldValueInvalid", "metadata.resourceVersion",
                           "Invalid value: \"%.*s\": must be a decimal number", STR_ARG(rv));
    op->conditional = revision != 0;
    if (!revision && op->request->verb == VERB_UPDATE &&
        !(op->kind->flags & KIND_UNCONDITIONAL_UPDATE))
        return api_invalid(e, op->kind, op->name, "FieldValueInvalid", "metadata.resourceVersion",
                           "Invalid value: 0x0: must be specified for an update");
    if (revision && revision != op->found->revision)
        return api_conflict(e, op->kind, op->name, NULL);
    if (uid.n && !str_eq(uid, old_uid))
        return api_conflict(
            e, op->kind, op->name,
            "Precondition failed: UID in precondition: %.*s, UID in object meta: %.*s",
            STR_ARG(uid), STR_ARG(old_uid));
    value_delc(meta, "resourceVersion");
    return 0;
}

// What an update cannot change, taken over from the old state.
static void keep_metadata(struct op *op, struct value *meta)
{
    static const char *const always[] = {"uid", "creationTimestamp", "generation",
                                         "deletionTimestamp", "deletionGracePeriodSeconds"};
    const struct value *old = value_getc(op->old, "metadata");
    bool own_generation = op->strategy && op->strategy->keep_metadata_generation;
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (!own_generation || strcmp(always[i], "generation"))
            copy_field(op->a, meta, old, always[i]);
    if (!value_getc(meta, "generateName"))
        copy_field(op->a, meta, old, "generateName");
    value_delc(meta, "selfLink");
    value_delc(meta, "managedFields");
}

// As much of a patch as helps in a message.
#define PATCH_SHOWN_MAX 4096

static int bad_patch(struct op *op, struct err *e, const char *text)
{
    // Nameless, as the originals have it; kubectl prints "The request is invalid: patch: …".
    _cleanup_buf_ struct buf quoted = BUF_INIT;
    json_write_string(&quoted, json_text(op->a, op->request->body));
    struct str patch = str_sub(buf_view(&quoted), 0, PATCH_SHOWN_MAX);
    err_set(e, ERR_INVALID, " \"\" is invalid: patch: Invalid value: %.*s: %s", STR_ARG(patch),
            text);
    err_cause(e, "FieldValueInvalid", STR("patch"), "Invalid value: %.*s: %s", STR_ARG(patch),
              text);
    return -422;
}

static int apply_patch(struct op *op, const struct value *doc, const struct type *type,
                       struct value **ret, struct err *e)
{
    const struct api_request *r = op->request;
    switch (r->patch_type) {
    case PATCH_TYPE_JSON:
        return patch_json(op->a, doc, r->body, ret, e);
    case PATCH_TYPE_MERGE:
        return patch_merge(op->a, doc, r->body, ret, e);
    case PATCH_TYPE_STRATEGIC:
        if (op->kind->flags & KIND_CUSTOM)
            break;
        return patch_strategic(op->a, type, doc, r->body, ret, e);
    case PATCH_TYPE_APPLY:
        return no_apply_yet(e);
    default:
        break;
    }
    return err_set(
        e, ERR_UNSUPPORTED_MEDIA,
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json");
}

// The state that the patch makes of `old` (with resourceVersion in it, which the patch may test or
// set).
static int patched(struct op *op, struct err *e)
{
    struct arena *a = op->a;
    const struct kind *k = op->kind;
    struct value *doc = value_clone(a, op->old), *unknown = value_array(a);
    struct value *meta = metadata_of(a, doc);
    value_setc(a, meta, "resourceVersion",
               value_str(a, arena_printf(a, "%llu", (unsigned long long)op->found->revision)));
    int r = apply_patch(op, doc, k->type, &op->new, e);
    if (r < 0)
        return r;
    _cleanup_err_ struct err why = ERR_INIT;
    if (!value_is(op->new, VALUE_OBJECT))
        return bad_patch(op, e, "the result of the patch is no object");
    // The result may share parts with the patch and with `doc`.
    op->new = value_clone(a, op->new);
    if (!str_eq(value_str_at(op->new, "kind"), k->kind) ||
        !str_eq(value_str_at(op->new, "apiVersion"), kind_api_version(k)))
        return err_set(e, ERR_BAD_REQUEST, "a patch may not change kind or apiVersion");
    if (schema_check_fields(a, k->type, op->new, unknown, &why) < 0)
        return bad_patch(op, e, why.message);
    const struct value *twice = op->request->duplicate_fields;
    enum field_validation how = op->request->field_validation;
    if ((value_len(unknown) || value_len(twice)) && how == VALIDATION_STRICT) {
        struct str text = strict_faults(a, unknown, twice);
        return bad_patch(
            op, e, arena_cstr(a, arena_printf(a, "strict decoding error: %.*s", STR_ARG(text))));
    }
    if (how == VALIDATION_WARN || how == VALIDATION_DEFAULT)
        strict_warnings(op, unknown, twice);
    // A patch that says nothing about the version is not conditional on it.
    if (str_eq(value_str_at(op->new, "metadata.resourceVersion"),
               value_str_at(doc, "metadata.resourceVersion")) &&
        !value_at(op->request->body, "metadata.resourceVersion"))
        value_delc(value_getc(op->new, "metadata"), "resourceVersion");
    return 0;
}

int op_update_body(struct op *op, struct err *e)
{
    const struct kind *k = op->kind;
    if (op->sub_ops && op->sub_ops->update_body)
        return op->sub_ops->update_body(op, e);
    int r = op->request->verb == VERB_PATCH ? patched(op, e)
                                            : op_decode(op, op->request->body, k->type,
                                                        kind_api_version(k), k->kind, &op->new, e);
    if (r < 0)
        return r;
    struct value *meta = metadata_of(op->a, op->new);
    r = check_identity(op, meta, e);
    if (r < 0)
        return r;
    if (op->creating) {
        if (value_string(value_getc(meta, "resourceVersion")).n)
            return api_not_found(e, k, op->name);
        set_created(op, meta);
        return OP_NEXT;
    }
    r = check_expected(op, meta, e);
    if (r < 0)
        return r;
    keep_metadata(op, meta);
    return OP_NEXT;
}

// ---- default, prepare, validate

int op_default(struct op *op, struct err *e)
{
    int r = schema_default(op->a, op->kind, op->new, e);
    return r < 0 ? r : OP_NEXT;
}

// A status write: everything but status, labels and annotations is as it was.
static void keep_all_but_status(struct op *op)
{
    struct arena *a = op->a;
    struct value *meta = value_getc(op->new, "metadata");
    struct value *old_meta = value_clone(a, value_getc(op->old, "metadata"));
    struct value *next = value_clone(a, op->old);
    copy_field(a, old_meta, meta, "labels");
    copy_field(a, old_meta, meta, "annotations");
    value_setc(a, next, "metadata", old_meta);
    copy_field(a, next, op->new, "status");
    op->new = next;
}

// generation counts changes of what is neither metadata nor status.
static bool desired_changed(const struct value *old, const struct value *new)
{
    value_each_field (new, m)
        if (!str_eqc(m->key, "metadata") && !str_eqc(m->key, "status") &&
            !value_eq(m->value, value_get(old, m->key)))
            return true;
    value_each_field (old, m)
        if (!str_eqc(m->key, "metadata") && !str_eqc(m->key, "status") && !value_get(new, m->key))
            return true;
    return false;
}

int op_prepare(struct op *op, struct err *e)
{
    const struct strategy *st = op->strategy;
    bool has_status = op->kind->flags & KIND_STATUS;
    int r = 0;
    if (op->creating) {
        if (has_status && !(st && st->keep_status_on_create))
            value_setc(op->a, op->new, "status", value_object(op->a));
        if (st && st->prepare_create)
            r = st->prepare_create(op, e);
        return r < 0 ? r : OP_NEXT;
    }
    if (op_sub(op, "status"))
        keep_all_but_status(op);
    else if (has_status && !op->request->subresource.n)
        copy_field(op->a, op->new, op->old, "status");
    if (st && st->prepare_update)
        r = st->prepare_update(op, e);
    if (r < 0)
        return r;
    if ((op->kind->flags & KIND_GENERATION) && desired_changed(op->old, op->new)) {
        struct value *meta = value_getc(op->new, "metadata");
        int64_t g = value_int_at(op->old, "metadata.generation", 0);
        value_setc(op->a, meta, "generation", value_int(op->a, g + 1));
    }
    return OP_NEXT;
}

int op_validate(struct op *op, struct err *e)
{
    struct value *meta = value_getc(op->new, "metadata");
    // Whether a revision had to be named is settled; validation wants to see one.
    if (op->found)
        value_setc(
            op->a, meta, "resourceVersion",
            value_str(op->a, arena_printf(op->a, "%llu", (unsigned long long)op->found->revision)));
    const char *apart = op->strategy ? op->strategy->unvalidated : NULL;
    struct value *part = apart ? value_at(op->new, apart) : NULL;
    if (part)
        value_del_at(op->new, apart);
    int r =
        schema_validate_subresource(op->a, op->kind, op->request->subresource, op->new, op->old, e);
    if (part)
        value_set_at(op->a, op->new, apart, part);
    value_delc(meta, "resourceVersion");
    if (r < 0)
        return r;
    if (op->strategy && op->strategy->finish)
        r = op->strategy->finish(op, e);
    if (r < 0)
        return r;
    op_warnings(op);
    return OP_NEXT;
}

// ---- encode

// An object that is being deleted goes when its last finalizer does and no grace period runs.
static bool released(const struct op *op)
{
    const struct value *meta = value_getc(op->new, "metadata");
    if (!value_getc(meta, "deletionTimestamp") || value_len(value_getc(meta, "finalizers")))
        return false;
    if (str_eqc(op->kind->resource, "namespaces") && !op->kind->group.n &&
        value_len(value_at(op->new, "spec.finalizers")))
        return false;
    return value_int_at(meta, "deletionGracePeriodSeconds", 0) == 0;
}

int op_encode(struct op *op, struct err *e)
{
    const struct kind *stored = op->kind->storage ? op->kind->storage : op->kind;
    if (op->found && value_eq(op->old, op->new)) {
        op->unchanged = true;
        return OP_NEXT;
    }
    struct value *v = op->new;
    if (convert_needed(op->kind)) {
        v = value_clone(op->a, v);
        convert_to_storage(op->a, op->kind, v);
    }
    int r = object_from_value(stored, op->key, 0, v, &op->made, e);
    if (r < 0)
        return r;
    int64_t expected = op->found ? (int64_t)op->found->revision : 0;
    // The object's own write comes first in the transaction: op_committed asks which one failed.
    struct store_write first = {
        .op = STORE_PUT, .key = op->key, .value = op->made->json, .expected_revision = expected};
    if (op->found && released(op)) {
        op->removing = true;
        first.op = STORE_DELETE;
        first.value = NULL;
        if (op->strategy && op->strategy->remove && (r = op->strategy->remove(op, e)) < 0)
            return r;
    }
    op_write(op, first.op, first.key, first.value, first.expected_revision);
    memmove(op->writes + 1, op->writes, (op->nwrites - 1) * sizeof *op->writes);
    op->writes[0] = first;
    return OP_NEXT;
}
