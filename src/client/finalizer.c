// See finalizer.h.
#include "client/finalizer.h"

static bool list_has(const struct value *list, const char *name)
{
    value_each_item (list, f) {
        if (str_eqc(value_string(f), name))
            return true;
    }
    return false;
}

bool finalizer_has(const struct value *tree, const char *name)
{
    return list_has(value_at(tree, "metadata.finalizers"), name);
}

static int write_list(struct client *c, struct arena *a, const struct object *o,
                      const struct value *meta, struct value *list, struct err *e)
{
    struct value *body = value_object(a);
    value_set_at(a, body, "metadata.uid", value_str(a, value_str_at(meta, "uid")));
    value_set_at(a, body, "metadata.resourceVersion",
                 value_str(a, arena_printf(a, "%llu", (unsigned long long)o->revision)));
    value_set_at(a, body, "metadata.finalizers", list);
    return client_patch(c, o->kind, object_namespace(o), object_name(o), STR_NULL, PATCH_TYPE_MERGE,
                        body, NULL, e);
}

int finalizer_add(struct client *c, struct arena *a, const struct object *o, const char *name,
                  struct err *e)
{
    const struct value *meta = object_metadata(a, o), *old = value_getc(meta, "finalizers");
    struct value *list = value_array(a);
    if (list_has(old, name))
        return 0;
    value_each_item (old, f)
        value_push(a, list, f);
    value_push(a, list, value_strc(a, name));
    return write_list(c, a, o, meta, list, e);
}

int finalizer_remove(struct client *c, struct arena *a, const struct object *o, const char *name,
                     struct err *e)
{
    const struct value *meta = object_metadata(a, o), *old = value_getc(meta, "finalizers");
    struct value *list = value_array(a);
    if (!list_has(old, name))
        return 0;
    value_each_item (old, f) {
        if (!str_eqc(value_string(f), name))
            value_push(a, list, f);
    }
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = write_list(c, a, o, meta, list, &why);
    if (rc < 0 && err_is(&why, ERR_NOT_FOUND))
        return 0;
    if (rc < 0)
        err_move(e, &why);
    return rc;
}
