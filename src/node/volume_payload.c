// The files of configMap, secret, downwardAPI and projected volumes, collected into one list that
// volume_atomic.c writes. Words of errors are upstream's: they stand behind `MountVolume.SetUp
// failed for volume "x" : `.
#include "node/volume_internal.h"

void volume_files_add(struct arena *a, struct volume_files *f, struct str path, struct str data,
                      unsigned mode)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->p[i].path, path)) { // projected sources: the later one wins
            f->p[i].data = data;
            f->p[i].mode = mode;
            return;
        }
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 16;
        f->p = arena_grow(a, f->p, f->cap * sizeof(*f->p), cap * sizeof(*f->p));
        f->cap = cap;
    }
    f->p[f->n++] = (struct volume_file){path, data, mode};
}

// A key's bytes; false: no such key.
static bool key_data(struct arena *a, const struct value *object, bool secret, struct str key,
                     struct str *ret)
{
    const struct value *v = value_get(value_getc(object, "data"), key);
    if (v && !secret) {
        *ret = value_string(v);
        return true;
    }
    if (!v)
        v = value_get(value_getc(object, "binaryData"), key);
    return v && pod_data_decode(a, value_string(v), ret);
}

static void add_all(struct volume_request *r, const struct value *object, bool secret,
                    unsigned mode, struct volume_files *out)
{
    static const char *const lists[] = {"data", "binaryData"};
    for (size_t l = 0; l < 2; l++)
        value_each_field (value_getc(object, lists[l]), f) {
            struct str data;
            if (key_data(r->a, object, secret, f->key, &data))
                volume_files_add(r->a, out, f->key, data, mode);
        }
}

int volume_payload_object(struct volume_request *r, const char *resource,
                          const struct value *source, struct str name, unsigned mode,
                          struct volume_files *out, struct err *e)
{
    bool secret = strcmp(resource, "secrets") == 0;
    bool optional = value_bool_at(source, "optional", false);
    _cleanup_err_ struct err mine = ERR_INIT;
    const struct value *object = NULL;
    int rc = r->v->o.get(r->v->o.ctx, r->a, resource, r->ns, name, &object, &mine);
    if (rc < 0) {
        if (optional && err_is(&mine, ERR_NOT_FOUND))
            return 0;
        err_move(e, &mine);
        return rc;
    }
    const struct value *items = value_getc(source, "items");
    if (!value_len(items)) {
        add_all(r, object, secret, mode, out);
        return 0;
    }
    for (size_t i = 0; i < value_len(items); i++) {
        const struct value *item = value_item(items, i);
        struct str key = value_str_at(item, "key"), data;
        if (!key_data(r->a, object, secret, key, &data)) {
            if (optional)
                continue;
            return err_set(e, ERR_NOT_FOUND, "%s non-existent %s key: %.*s",
                           secret ? "references" : "configmap references",
                           secret ? "secret" : "config", STR_ARG(key));
        }
        volume_files_add(r->a, out, value_str_at(item, "path"), data,
                         (unsigned)value_int_at(item, "mode", mode));
    }
    return 0;
}

int volume_payload_downward(struct volume_request *r, const struct value *source, unsigned mode,
                            struct volume_files *out, struct err *e)
{
    const struct value *items = value_getc(source, "items");
    for (size_t i = 0; i < value_len(items); i++) {
        const struct value *item = value_item(items, i);
        const struct value *field = value_getc(item, "fieldRef"),
                           *resource = value_getc(item, "resourceFieldRef");
        struct str data = STR("");
        int rc = 0;
        if (field)
            rc = pod_field_ref(r->a, r->facts, value_str_at(field, "fieldPath"), &data, e);
        else if (resource)
            rc = pod_resource_ref(r->a, r->facts, NULL, resource, &data, e);
        if (rc < 0)
            return rc;
        volume_files_add(r->a, out, value_str_at(item, "path"), data,
                         (unsigned)value_int_at(item, "mode", mode));
    }
    return 0;
}

int volume_payload_projected(struct volume_request *r, const struct value *source,
                             struct volume_files *out, struct err *e)
{
    unsigned mode = (unsigned)value_int_at(source, "defaultMode", 0644);
    const struct value *sources = value_getc(source, "sources");
    for (size_t i = 0; i < value_len(sources); i++) {
        const struct value *s = value_item(sources, i), *one;
        int rc = 0;
        if ((one = value_getc(s, "configMap")))
            rc = volume_payload_object(r, "configmaps", one, value_str_at(one, "name"), mode, out,
                                       e);
        else if ((one = value_getc(s, "secret")))
            rc = volume_payload_object(r, "secrets", one, value_str_at(one, "name"), mode, out, e);
        else if ((one = value_getc(s, "downwardAPI")))
            rc = volume_payload_downward(r, one, mode, out, e);
        else if ((one = value_getc(s, "serviceAccountToken")))
            rc = volume_payload_token(r, one, i, mode, out, e);
        else if (value_len(s))
            rc = err_set(e, ERR_NOT_IMPLEMENTED,
                         "projected volume source %.*s is not supported by this node",
                         STR_ARG(s->members[0].key));
        if (rc < 0)
            return rc;
    }
    return 0;
}
