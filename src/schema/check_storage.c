// Rules of volumes of the cluster and of claims that look at more than one field, or at the object
// before. Their sources are check_volume.c's.
#include "object/quantity.h"
#include "schema/check.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_persistent_volume, check_claim_spec, check_claim;

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const struct str access_modes[] = {STR("ReadOnlyMany"), STR("ReadWriteMany"),
                                          STR("ReadWriteOnce"), STR("ReadWriteOncePod"), STR_NULL};

static void check_modes(struct check *c, const struct value *modes)
{
    bool alone = false;
    value_each_item (modes, mode) {
        const struct str *known = access_modes;
        while (known->p && !str_eq(*known, value_string(mode)))
            known++;
        if (!known->p)
            check_not_supported(c, "accessModes", mode, access_modes);
        alone |= str_eqc(value_string(mode), "ReadWriteOncePod");
    }
    if (alone && value_len(modes) > 1)
        check_forbidden(c, "accessModes", "may not use ReadWriteOncePod with other access modes");
}

static void check_positive(struct check *c, const struct value *amount, bool volume)
{
    struct quantity q;
    if (!quantity_parse(value_string(amount), &q))
        return;
    if (volume && q.nano < 0)
        check_invalid(c, NULL, value_int(c->arena, quantity_value(&q)),
                      "must be a valid resource quantity");
    if (q.nano <= 0)
        check_invalid(c, NULL, amount, "must be greater than zero");
}

// ---- volumes ----------------------------------------------------------------------------------

static bool is_volume_source(struct str key)
{
    static const char *const others[] = {
        "capacity",
        "accessModes",
        "claimRef",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "mountOptions",
        "volumeMode",
        "nodeAffinity",
        "volumeAttributesClassName",
    };
    for (size_t i = 0; i < COUNT(others); i++)
        if (str_eqc(key, others[i]))
            return false;
    return true;
}

static void check_capacity(struct check *c, const struct value *spec)
{
    const struct value *capacity = value_getc(spec, "capacity");
    if (!value_getc(capacity, "storage") || value_len(capacity) > 1)
        check_not_supported(c, "capacity", capacity ? capacity : value_object(c->arena),
                            (const struct str[]){STR("storage"), STR_NULL});
    value_each_field (capacity, m) {
        size_t mark = check_push_key(c, "capacity", m->key);
        check_positive(c, m->value, true);
        check_pop(c, mark);
    }
}

static void check_volume_spec(struct check *c, const struct value *spec)
{
    struct value *class = value_getc(spec, "volumeAttributesClassName");
    check_modes(c, value_getc(spec, "accessModes"));
    check_capacity(c, spec);
    if (has(spec, "nodeAffinity") && !value_at(spec, "nodeAffinity.required"))
        check_required(c, "nodeAffinity.required", "must specify required node constraints");
    if (has(spec, "local")) {
        for (struct str rest = value_str_at(spec, "local.path"); rest.p && rest.n;)
            if (str_eqc(str_cut(&rest, '/'), "..")) {
                check_invalid(c, "local.path", value_at(spec, "local.path"),
                              "must not contain '..'");
                break;
            }
        if (!has(spec, "nodeAffinity"))
            check_required(c, "nodeAffinity", "Local volume requires node affinity");
    }
    if (str_eqc(value_str_at(spec, "persistentVolumeReclaimPolicy"), "Recycle") &&
        str_eqc(value_str_at(spec, "hostPath.path"), "/"))
        check_forbidden(c, "persistentVolumeReclaimPolicy",
                        "may not be 'recycle' for a hostPath mount of '/'");
    if (!has(spec, "volumeAttributesClassName"))
        return;
    if (!value_string(class).n)
        check_required(c, "volumeAttributesClassName", "an empty string is disallowed");
    else
        check_format(c, "volumeAttributesClassName", class, FORMAT_DNS1123_SUBDOMAIN);
    if (!has(spec, "csi"))
        check_required(c, "csi", "has to be specified when using volumeAttributesClassName");
}

void check_persistent_volume(struct check *c, const struct value *pv, const struct value *old)
{
    const struct value *spec = value_getc(pv, "spec"), *was = value_getc(old, "spec");
    size_t mark = check_push(c, "spec");
    check_volume_spec(c, spec);
    if (was) {
        bool changed = false;
        value_each_field (spec, m)
            changed |= is_volume_source(m->key) && !same(m->value, value_get(was, m->key));
        value_each_field (was, m)
            changed |= is_volume_source(m->key) && !has(spec, arena_cstr(c->arena, m->key)) &&
                       m->value->kind != VALUE_NULL;
        if (changed)
            check_forbidden(c, "persistentvolumesource",
                            "spec.persistentvolumesource is immutable after creation");
        if (has(was, "volumeAttributesClassName") && !has(spec, "volumeAttributesClassName"))
            check_forbidden(c, "volumeAttributesClassName",
                            "update from non-nil value to nil is forbidden");
        if (has(was, "nodeAffinity") &&
            !same(value_getc(spec, "nodeAffinity"), value_getc(was, "nodeAffinity")))
            check_invalid(c, "nodeAffinity", value_getc(spec, "nodeAffinity"),
                          "field is immutable, except for updating from beta label to GA");
    }
    check_pop(c, mark);
    if (was) // the originals leave "spec" out of this path
        check_immutable(c, spec, was, "volumeMode");
}

// ---- claims -----------------------------------------------------------------------------------

static void check_source(struct check *c, const struct value *spec, const char *field)
{
    const struct value *source = value_getc(spec, field);
    if (!value_is(source, VALUE_OBJECT))
        return;
    struct str group = value_str_at(source, "apiGroup");
    size_t mark = check_push(c, field);
    if (!value_str_at(source, "name").n)
        check_required(c, "name", NULL);
    if (!value_str_at(source, "kind").n)
        check_required(c, "kind", NULL);
    if (!group.n && !str_eqc(value_str_at(source, "kind"), "PersistentVolumeClaim"))
        check_invalid(c, NULL, value_getc(source, "kind"),
                      "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    if (group.n)
        check_format(c, "apiGroup", value_getc(source, "apiGroup"), FORMAT_DNS1123_SUBDOMAIN);
    if (value_str_at(source, "namespace").n)
        check_format(c, "namespace", value_getc(source, "namespace"), FORMAT_DNS1123_LABEL);
    check_pop(c, mark);
}

void check_claim_spec(struct check *c, const struct value *spec, const struct value *old)
{
    (void)old;
    const struct value *storage = value_at(spec, "resources.requests.storage");
    if (!value_len(value_getc(spec, "accessModes")))
        check_required(c, "accessModes", "at least 1 access mode is required");
    check_modes(c, value_getc(spec, "accessModes"));
    // Empty means: of no class, and so not of the default one either.
    if (value_str_at(spec, "storageClassName").n)
        check_format(c, "storageClassName", value_getc(spec, "storageClassName"),
                     FORMAT_DNS1123_SUBDOMAIN);
    size_t mark = check_push_key(c, "resources", STR("storage"));
    if (!storage)
        check_required(c, NULL, NULL);
    else
        check_positive(c, storage, false);
    check_pop(c, mark);
    check_source(c, spec, "dataSource");
    check_source(c, spec, "dataSourceRef");
    static const char *const parts[] = {"apiGroup", "kind", "name"};
    const struct value *source = value_getc(spec, "dataSource"),
                       *ref = value_getc(spec, "dataSourceRef");
    // The originals show here a path where a value belongs, which prints as nothing.
    struct value *nothing = value_object(c->arena);
    if (value_str_at(ref, "namespace").n && has(spec, "dataSource")) {
        check_invalid(c, NULL, nothing,
                      "may not be specified when dataSourceRef.namespace is specified");
    } else if (has(spec, "dataSource") && has(spec, "dataSourceRef")) {
        bool equal = true;
        for (size_t i = 0; i < COUNT(parts); i++)
            equal &= str_eq(value_str_at(source, parts[i]), value_str_at(ref, parts[i]));
        if (!equal)
            check_invalid(c, NULL, nothing, "must match dataSourceRef");
    }
    if (value_str_at(spec, "volumeAttributesClassName").n)
        check_format(c, "volumeAttributesClassName", value_getc(spec, "volumeAttributesClassName"),
                     FORMAT_DNS1123_SUBDOMAIN);
}

void check_claim(struct check *c, const struct value *claim, const struct value *old)
{
    const struct value *now = value_getc(claim, "spec"), *was = value_getc(old, "spec");
    if (!was)
        return;
    struct value *spec = value_clone(c->arena, now), *before = value_clone(c->arena, was);
    bool bound = str_eqc(value_str_at(old, "status.phase"), "Bound");
    if (!value_str_at(was, "volumeName").n) { // the binder may set it once
        value_delc(spec, "volumeName");
        value_delc(before, "volumeName");
    }
    if (bound) {
        value_del_at(spec, "resources.requests");
        value_del_at(before, "resources.requests");
        // Asking for less takes a growth back that did not succeed, down to what there is.
        struct quantity a, b, there = {0};
        quantity_parse(value_str_at(old, "status.capacity.storage"), &there);
        if (quantity_parse(value_str_at(now, "resources.requests.storage"), &a) &&
            quantity_parse(value_str_at(was, "resources.requests.storage"), &b) &&
            quantity_cmp(&a, &b) < 0 && quantity_cmp(&a, &there) <= 0)
            check_forbidden(c, "spec.resources.requests.storage",
                            "field can not be less than status.capacity");
    }
    value_delc(spec, "volumeAttributesClassName");
    value_delc(before, "volumeAttributesClassName");
    if (!value_eq(spec, before))
        check_forbidden(c, "spec",
                        "spec is immutable after creation except resources.requests and "
                        "volumeAttributesClassName for bound claims");
    if (value_str_at(old, "status.currentVolumeAttributesClassName").n &&
        !same(value_getc(now, "volumeAttributesClassName"),
              value_getc(was, "volumeAttributesClassName"))) {
        if (!has(now, "volumeAttributesClassName"))
            check_forbidden(c, "spec.volumeAttributesClassName",
                            "update to nil is forbidden when "
                            "status.currentVolumeAttributesClassName is not nil");
        else if (!value_str_at(now, "volumeAttributesClassName").n)
            check_forbidden(c, "spec.volumeAttributesClassName",
                            "update to empty string is forbidden when "
                            "status.currentVolumeAttributesClassName is not nil");
    }
}
