// metadata: what every object must have and may not change.
#include "object/key_index.h"
#include "schema/check.h"

static const struct str orphan = STR("orphan"), foreground = STR("foregroundDeletion");

static bool has_string(const struct value *list, struct str s)
{
    value_each_item (list, item)
        if (str_eq(value_string(item), s))
            return true;
    return false;
}

static void check_name(struct check *c, const struct value *meta)
{
    struct value *name = value_getc(meta, "name"), *base = value_getc(meta, "generateName");
    enum rule_format format = (enum rule_format)c->kind->name_format;
    if (base && base->n) {
        // The base may end in a dash, since five letters follow it.
        struct str s = value_string(base);
        while (s.n && s.p[s.n - 1] == '-')
            s.n--;
        struct str whole = arena_printf(c->arena, "%.*sa", STR_ARG(s));
        struct value *messages = value_array(c->arena);
        schema_format_ok(c->arena, format, whole, messages);
        value_each_item (messages, m)
            check_invalid(c, "generateName", base, "%.*s", STR_ARG(value_string(m)));
    }
    if (!name || !name->n)
        check_required(c, "name", "name or generateName is required");
    else
        check_format(c, "name", name, format);
}

static void check_owners(struct check *c, const struct value *owners)
{
    const struct value *controller = NULL;
    for (size_t i = 0; i < value_len(owners); i++) {
        const struct value *o = value_item(owners, i);
        struct str api = value_str_at(o, "apiVersion");
        size_t slashes = 0; // a group version that does not parse is none
        for (size_t j = 0; j < api.n; j++)
            slashes += api.p[j] == '/';
        if (!api.n || str_ends(api, STR("/")) || slashes > 1)
            check_invalid(c, "ownerReferences.apiVersion", value_getc(o, "apiVersion"),
                          "version must not be empty");
        static const char *const needed[] = {"kind", "name", "uid"};
        for (size_t j = 0; j < 3; j++) {
            if (!value_str_at(o, needed[j]).n) {
                struct str field = arena_printf(c->arena, "ownerReferences.%s", needed[j]);
                check_invalid(c, arena_cstr(c->arena, field), NULL, "must not be empty");
            }
        }
        if (str_eqc(api, "v1") && str_eqc(value_str_at(o, "kind"), "Event"))
            check_invalid(c, "ownerReferences", o,
                          "/v1, Kind=Event is disallowed from being an owner");
        if (!value_bool_at(o, "controller", false))
            continue;
        if (controller)
            check_invalid(c, "ownerReferences", owners,
                          "Only one reference can have Controller set to true. Found \"true\" in "
                          "references for %.*s/%.*s and %.*s/%.*s",
                          STR_ARG(value_str_at(controller, "kind")),
                          STR_ARG(value_str_at(controller, "name")),
                          STR_ARG(value_str_at(o, "kind")), STR_ARG(value_str_at(o, "name")));
        else
            controller = o;
    }
}

void check_finalizer_name(struct check *c, const char *field, const struct value *name)
{
    struct str s = value_string(name);
    if (str_chr(s, '/') < 0 && !str_eqc(s, "kubernetes") && !str_eq(s, orphan) &&
        !str_eq(s, foreground))
        check_invalid(c, field, name,
                      "name is neither a standard finalizer name nor is it fully qualified");
}

static void check_finalizers(struct check *c, const struct value *list, const struct value *meta,
                             const struct value *old)
{
    // Custom kinds and those that define them take any name.
    bool own = c->kind->flags & KIND_CUSTOM || str_eqc(c->kind->group, "apiextensions.k8s.io") ||
               str_eqc(c->kind->group, "apiregistration.k8s.io");
    value_each_item (list, f)
        check_format(c, "finalizers", f, FORMAT_QUALIFIED_NAME);
    value_each_item (list, f) {
        size_t mark = check_push_index(c, "finalizers", f_i);
        if (!own)
            check_finalizer_name(c, NULL, f);
        check_pop(c, mark);
    }
    if (has_string(list, orphan) && has_string(list, foreground))
        check_invalid(c, "finalizers", list,
                      "finalizer orphan and foregroundDeletion cannot be both set");
    if (!value_getc(old, "deletionTimestamp"))
        return;
    _cleanup_buf_ struct buf added = BUF_MAX(4096);
    _cleanup_key_index_ struct key_index before = KEY_INDEX_INIT;
    value_each_item (value_getc(old, "finalizers"), f)
        key_index_add(&before, value_string(f));
    value_each_item (value_getc(meta, "finalizers"), f)
        if (key_index_find(&before, value_string(f)) < 0)
            buf_printf(&added, "%s\"%.*s\"", added.n ? ", " : "", STR_ARG(value_string(f)));
    if (added.n)
        check_forbidden(c, "finalizers",
                        "no new finalizers can be added if the object is being deleted, found new "
                        "finalizers []string{%s}",
                        buf_cstr(&added));
}

void check_metadata(struct check *c)
{
    const struct value *meta = value_getc(c->root, "metadata");
    const struct value *old = value_getc(c->old_root, "metadata");
    if (c->kind->flags & KIND_VIRTUAL)
        return; // reviews and bindings have no identity
    size_t mark = check_push(c, "metadata");
    struct value *ns = value_getc(meta, "namespace"), *generation = value_getc(meta, "generation");
    if (!old) {
        check_name(c, meta);
        if (c->kind->flags & KIND_NAMESPACED) {
            if (!ns || !ns->n)
                check_required(c, "namespace", NULL);
            else
                check_format(c, "namespace", ns, FORMAT_DNS1123_LABEL);
        } else if (ns && ns->n) {
            check_forbidden(c, "namespace", "not allowed on this type");
        }
        if (value_int_or(generation, 0) < 0)
            check_invalid(c, "generation", generation, MUST_NOT_BE_NEGATIVE);
    } else {
        static const char *const fixed[] = {
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        };
        if (!value_str_at(meta, "resourceVersion").n)
            check_invalid(c, "resourceVersion", value_int(c->arena, 0),
                          "must be specified for an update");
        if (value_int_or(generation, 0) < value_int_at(old, "generation", 0))
            check_invalid(c, "generation", generation, "must not be decremented");
        for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
            check_immutable(c, meta, old, fixed[i]);
    }
    check_owners(c, value_getc(meta, "ownerReferences"));
    check_finalizers(c, value_getc(meta, "finalizers"), meta, old);
    check_pop(c, mark);
}
