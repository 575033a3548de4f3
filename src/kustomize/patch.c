// Patches: which objects they are for, and which of two languages they are in. A patch without a
// target names its object by kind and name, as it was called at any time; with one it goes to all
// that are selected.
#include "object/patch.h"
#include "kustomize/private.h"
#include "object/json.h"
#include "object/yaml.h"

// One patch, read.
struct patch {
    struct str source;                // for messages: [path: "x.yaml"]
    struct kustomize_resources merge; // strategic merge patches, or
    struct value *operations;         // a JSON patch
};

static int source_text(struct kustomize_target *t, const struct value *entry, struct str *ret,
                       struct patch *p, struct err *e)
{
    struct str path = value_str_at(entry, "path"), text = str_trim(value_str_at(entry, "patch"));
    if (!path.n && !text.n)
        return err_set(e, ERR_INVALID, "must specify one of patch and path in an entry of patches");
    if (path.n && text.n)
        return err_set(e, ERR_INVALID, "patch and path can't be set at the same time");
    if (text.n) {
        p->source = arena_printf(t->run->a, "[patch: %.*s]", STR_ARG(text));
        *ret = text;
        return 0;
    }
    p->source = arena_printf(t->run->a, "[path: \"%.*s\"]", STR_ARG(path));
    _cleanup_err_ struct err inner = ERR_INIT;
    if (kustomize_target_read(t, path, ret, &inner) < 0)
        return err_wrap(e, &inner, "failed to get the patch file from path(%.*s)", STR_ARG(path));
    return 0;
}

static int read_patch(struct kustomize_target *t, const struct value *entry, struct patch *p,
                      struct err *e)
{
    struct str text;
    int rc = source_text(t, entry, &text, p, e);
    if (rc < 0)
        return rc;
    struct arena *a = t->run->a;
    struct value *whole;
    _cleanup_err_ struct err ignored = ERR_INIT;
    if (yaml_parse(a, text, NULL, &whole, &ignored) == 0 && value_is(whole, VALUE_ARRAY)) {
        p->operations = whole;
        return 0;
    }
    _cleanup_err_ struct err inner = ERR_INIT;
    if (kustomize_parse(t->run, text, p->source, &p->merge, &inner) < 0)
        return err_wrap(e, &inner, "unable to parse SM or JSON patch from %.*s",
                        STR_ARG(p->source));
    for (size_t i = 0; i < p->merge.n; i++) {
        p->merge.items[i]->name_change = value_bool_at(entry, "options.allowNameChange", false);
        p->merge.items[i]->kind_change = value_bool_at(entry, "options.allowKindChange", false);
    }
    return 0;
}

static void put_back(struct arena *a, struct value *object, const char *path, struct value *v)
{
    if (v)
        value_set_at(a, object, path, v);
    else
        value_del_at(object, path);
}

// *ret_gone: nothing is left of the object.
static int merge_into(struct kustomize_run *run, struct kustomize_resource *r,
                      const struct kustomize_resource *patch, bool *ret_gone, struct err *e)
{
    struct value *name = value_at(r->object, "metadata.name"),
                 *space = value_at(r->object, "metadata.namespace"),
                 *kind = value_getc(r->object, "kind");
    if (patch->name_change || patch->kind_change)
        kustomize_remember(run->a, r);
    struct value *merged;
    int rc = kustomize_merge(run->a, value_str_at(r->object, "apiVersion"), value_string(kind),
                             r->object, patch->object, &merged, e);
    if (rc < 0)
        return rc;
    *ret_gone = !merged || !merged->n;
    if (*ret_gone)
        return 0;
    r->object = merged;
    if (!patch->kind_change)
        put_back(run->a, merged, "kind", kind);
    if (!patch->name_change)
        put_back(run->a, merged, "metadata.name", name);
    put_back(run->a, merged, "metadata.namespace", space);
    return 0;
}

static void drop(struct kustomize_resources *rs, const struct kustomize_resource *gone)
{
    size_t n = 0;
    for (size_t i = 0; i < rs->n; i++)
        if (rs->items[i] != gone)
            rs->items[n++] = rs->items[i];
    rs->n = n;
    kustomize_renamed(rs);
}

static int merge_by_name(struct kustomize_target *t, struct kustomize_bag *bag,
                         const struct kustomize_resource *patch, struct err *e)
{
    struct kustomize_id id = kustomize_id_now(patch);
    struct kustomize_resource *r;
    bool gone;
    _cleanup_err_ struct err inner = ERR_INIT;
    if (kustomize_find(t->run, &bag->resources, &id, &r, &inner) < 0)
        return err_wrap(e, &inner, "no resource matches strategic merge patch \"%.*s\"",
                        STR_ARG(kustomize_id_text(t->run->a, &id)));
    int rc = merge_into(t->run, r, patch, &gone, e);
    if (rc == 0 && gone)
        drop(&bag->resources, r);
    if (rc == 0 && (patch->name_change || patch->kind_change))
        kustomize_renamed(&bag->resources);
    return rc;
}

static int merge_selected(struct kustomize_target *t, struct kustomize_bag *bag,
                          const struct patch *p, const struct value *target, struct err *e)
{
    struct arena *a = t->run->a;
    struct kustomize_resources *rs = &bag->resources;
    if (p->merge.n != 1)
        return err_set(
            e, ERR_INVALID,
            "Multiple Strategic-Merge Patches in one `patches` entry is not allowed to set "
            "`patches.target` field: %.*s",
            STR_ARG(p->source));
    size_t n = 0, all = rs->n;
    int rc = 0;
    for (size_t i = 0; i < all; i++) {
        struct kustomize_resource *r = rs->items[i];
        bool selected = false, gone = false;
        if (rc == 0 && (rc = kustomize_selects(t->run, target, r, &selected, e)) == 0 && selected) {
            struct kustomize_resource one = *p->merge.items[0];
            one.object = value_clone(a, one.object);
            put_back(a, one.object, "apiVersion", value_getc(r->object, "apiVersion"));
            rc = merge_into(t->run, r, &one, &gone, e);
        }
        if (!gone)
            rs->items[n++] = r;
    }
    rs->n = n;
    kustomize_renamed(rs);
    return rc;
}

static int patch_operations(struct kustomize_run *run, struct kustomize_resource *r,
                            const struct value *operations, struct err *e)
{
    _cleanup_err_ struct err inner = ERR_INIT;
    struct value *patched;
    if (patch_json(run->a, r->object, operations, &patched, &inner) < 0) {
        struct kustomize_id id = kustomize_id_now(r);
        return err_wrap(e, &inner, "applying a JSON patch to %.*s",
                        STR_ARG(kustomize_id_text(run->a, &id)));
    }
    r->object =
        value_clone(run->a, patched); // what it shares with others must not change with them
    return 0;
}

static int apply_entry(struct kustomize_target *t, struct kustomize_bag *bag,
                       const struct value *entry, struct err *e)
{
    struct patch p = {0};
    const struct value *target = value_getc(entry, "target");
    int rc = read_patch(t, entry, &p, e);
    if (rc < 0)
        return rc;
    if (!p.operations && target)
        return merge_selected(t, bag, &p, target, e);
    if (!p.operations) {
        for (size_t i = 0; i < p.merge.n && rc == 0; i++)
            rc = merge_by_name(t, bag, p.merge.items[i], e);
        return rc;
    }
    if (!target)
        return err_set(e, ERR_INVALID, "must specify a target for JSON patch %.*s",
                       STR_ARG(p.source));
    for (size_t i = 0; i < bag->resources.n; i++) {
        bool selected;
        struct kustomize_resource *r = bag->resources.items[i];
        if ((rc = kustomize_selects(t->run, target, r, &selected, e)) < 0)
            return rc;
        if (!selected)
            continue;
        kustomize_remember(t->run->a, r);
        if ((rc = patch_operations(t->run, r, p.operations, e)) < 0)
            return rc;
    }
    kustomize_renamed(&bag->resources);
    return 0;
}

// Deprecated: a list of files or of patches themselves.
static int apply_strategic(struct kustomize_target *t, struct kustomize_bag *bag,
                           const struct value *item, struct err *e)
{
    struct str text = value_string(item), content;
    struct kustomize_resources patches = {0};
    _cleanup_err_ struct err inner = ERR_INIT;
    if (str_chr(text, '\n') >= 0 || text.n == 0)
        content = text;
    else if (kustomize_target_read(t, text, &content, &inner) < 0)
        return err_wrap(e, &inner, "reading the strategic merge patch %.*s", STR_ARG(text));
    if (kustomize_parse(t->run, content, text, &patches, &inner) < 0)
        return err_wrap(e, &inner, "unable to parse SM or JSON patch from %.*s", STR_ARG(text));
    for (size_t i = 0; i < patches.n; i++) {
        int rc = merge_by_name(t, bag, patches.items[i], e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int kustomize_patches(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    int rc;
    value_each_item (value_getc(t->k, "patchesStrategicMerge"), item)
        if ((rc = apply_strategic(t, bag, item, e)) < 0)
            return rc;
    value_each_item (value_getc(t->k, "patches"), entry)
        if ((rc = apply_entry(t, bag, entry, e)) < 0)
            return rc;
    return 0;
}

// Deprecated: JSON patches whose target is one object by its name. A name that they change is not
// followed by references, unlike with `patches`.
int kustomize_patches_json(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    value_each_item (value_getc(t->k, "patchesJson6902"), entry) {
        const struct value *target = value_getc(entry, "target");
        struct kustomize_gvk gvk = kustomize_gvk_of(target);
        struct kustomize_id id = {gvk.group, gvk.version, gvk.kind,
                                  value_str_at(target, "namespace"), value_str_at(target, "name")};
        struct patch p = {0};
        struct kustomize_resource *r;
        int rc = read_patch(t, entry, &p, e);
        if (rc == 0 && !p.operations)
            rc = err_set(e, ERR_INVALID, "%.*s is no JSON patch", STR_ARG(p.source));
        if (rc < 0 || (rc = kustomize_find(t->run, &bag->resources, &id, &r, e)) < 0 ||
            (rc = patch_operations(t->run, r, p.operations, e)) < 0)
            return rc;
        kustomize_renamed(&bag->resources);
    }
    return 0;
}
