// Definitions of types, as the originals publish them: the differences between v2 and v3 are few
// (where references point, int-or-string, the wrapping of a described reference).
#include "object/json.h"
#include "schema/openapi_private.h"

// Types of one value. The originals give each a definition; so do clients expect.
static const struct scalar {
    uint8_t kind;
    const char *name, *v2, *v3;
} scalars[] = {
    {FIELD_QUANTITY, "io.k8s.apimachinery.pkg.api.resource.Quantity", "\"type\":\"string\"",
     "\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]"},
    {FIELD_INT_OR_STRING, "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
     "\"type\":\"string\",\"format\":\"int-or-string\"",
     "\"format\":\"int-or-string\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]"},
    {FIELD_TIME, "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
     "\"type\":\"string\",\"format\":\"date-time\"",
     "\"type\":\"string\",\"format\":\"date-time\""},
    {FIELD_MICRO_TIME, "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
     "\"type\":\"string\",\"format\":\"date-time\"",
     "\"type\":\"string\",\"format\":\"date-time\""},
};

static const struct {
    uint8_t kind;
    const char *json;
} plain[] = {
    {FIELD_STRING, "\"type\":\"string\""},
    {FIELD_BYTES, "\"type\":\"string\",\"format\":\"byte\""},
    {FIELD_BOOL, "\"type\":\"boolean\""},
    {FIELD_INT32, "\"type\":\"integer\",\"format\":\"int32\""},
    {FIELD_INT64, "\"type\":\"integer\",\"format\":\"int64\""},
    {FIELD_DOUBLE, "\"type\":\"number\",\"format\":\"double\""},
    {FIELD_DURATION, "\"type\":\"string\""},
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

void openapi_item(struct buf *b)
{
    if (b->n && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[' && b->p[b->n - 1] != ':')
        buf_char(b, ',');
}

void openapi_key(struct buf *b, const char *name)
{
    openapi_item(b);
    json_write_string(b, str_of(name));
    buf_char(b, ':');
}

void openapi_text(struct buf *b, const char *name, struct str s)
{
    openapi_key(b, name);
    json_write_string(b, s);
}

struct str openapi_name(struct arena *a, const struct type *type)
{
    ptrdiff_t dot = str_rchr(type->name, '.');
    struct str package = str_sub(type->name, 0, (size_t)dot);
    for (size_t i = 0; i < schema_npackages; i++)
        if (str_eq(schema_packages[i].name, package))
            return arena_printf(a, "%.*s%.*s", STR_ARG(schema_packages[i].openapi),
                                STR_ARG(str_from(type->name, (size_t)dot)));
    return type->name;
}

// Everything that a wanted type refers to is wanted.
static void want(struct openapi *o, const struct type *type)
{
    size_t i = (size_t)(type - schema_types);
    BUG_ON(i >= schema_ntypes);
    if (o->wanted[i])
        return;
    o->wanted[i] = true;
    for (uint32_t f = 0; f < type->nfields; f++)
        if (type->fields[f].type)
            want(o, type->fields[f].type);
}

static void ref_name(struct openapi *o, struct str name)
{
    openapi_key(o->b, "$ref");
    buf_printf(o->b, "\"#/%s/%.*s\"", o->v3 ? "components/schemas" : "definitions", STR_ARG(name));
}

void openapi_ref(struct openapi *o, const struct type *type)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    want(o, type);
    openapi_item(o->b);
    buf_char(o->b, '{');
    ref_name(o, openapi_name(&a, type));
    buf_char(o->b, '}');
}

// The members of the value's own schema. A reference with company must be wrapped in v3.
static void write_value(struct openapi *o, const struct field *f, bool alone)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str name = STR_NULL;
    for (size_t i = 0; i < COUNT(scalars); i++)
        if (scalars[i].kind == f->kind)
            name = str_of(scalars[i].name);
    if (f->type) {
        want(o, f->type);
        name = openapi_name(&a, f->type);
    }
    if (name.p) {
        if (o->v3 && !alone) {
            openapi_key(o->b, "allOf");
            buf_puts(o->b, "[{");
            ref_name(o, name);
            buf_puts(o->b, "}]");
        } else {
            ref_name(o, name);
        }
        return;
    }
    if (f->flags & FIELD_LIST_OF_LIST) {
        openapi_item(o->b);
        buf_puts(o->b, "\"type\":\"array\",\"items\":{\"type\":\"string\"}");
        return;
    }
    for (size_t i = 0; i < COUNT(plain); i++) {
        if (plain[i].kind == f->kind) {
            openapi_item(o->b);
            buf_puts(o->b, plain[i].json);
        }
    }
    if (f->rules && f->rules->values) {
        openapi_key(o->b, "enum");
        buf_char(o->b, '[');
        for (const struct str *v = f->rules->values; v->p; v++) {
            openapi_item(o->b);
            json_write_string(o->b, *v);
        }
        buf_char(o->b, ']');
    }
    // Part of the key of its list: whoever merges lists on its own must know it.
    if (str_eqc(f->name, "protocol") && f->rules && f->rules->preset)
        openapi_text(o->b, "default", value_string(f->rules->preset));
}

static void write_field(struct openapi *o, const struct field *f)
{
    struct buf *b = o->b;
    static const struct {
        uint32_t flag;
        const char *name;
    } list_types[] = {{LIST_ATOMIC, "atomic"}, {LIST_SET, "set"}, {LIST_MAP, "map"}};
    _cleanup_arena_ struct arena a = ARENA_INIT;
    openapi_key(b, arena_cstr(&a, f->name));
    buf_char(b, '{');
    if (f->doc)
        openapi_text(b, "description", str_of(f->doc));
    if (f->shape == SHAPE_ONE) {
        bool alone = !f->doc && !(f->flags & (MAP_ATOMIC | PATCH_MERGE | PATCH_RETAIN_KEYS));
        write_value(o, f, alone);
    } else {
        openapi_text(b, "type", f->shape == SHAPE_LIST ? STR("array") : STR("object"));
        openapi_key(b, f->shape == SHAPE_LIST ? "items" : "additionalProperties");
        buf_char(b, '{');
        write_value(o, f, true);
        buf_char(b, '}');
    }
    for (size_t i = 0; i < COUNT(list_types); i++)
        if ((f->flags & list_types[i].flag) && f->shape == SHAPE_LIST)
            openapi_text(b, "x-kubernetes-list-type", str_of(list_types[i].name));
    if (f->list_keys) {
        openapi_key(b, "x-kubernetes-list-map-keys");
        buf_char(b, '[');
        for (const struct str *k = f->list_keys; k->p; k++) {
            openapi_item(b);
            json_write_string(b, *k);
        }
        buf_char(b, ']');
    }
    if (f->flags & MAP_ATOMIC)
        openapi_text(b, "x-kubernetes-map-type", STR("atomic"));
    if (f->merge_key.p)
        openapi_text(b, "x-kubernetes-patch-merge-key", f->merge_key);
    if ((f->flags & PATCH_MERGE) && (f->flags & PATCH_RETAIN_KEYS))
        openapi_text(b, "x-kubernetes-patch-strategy", STR("merge,retainKeys"));
    else if (f->flags & PATCH_MERGE)
        openapi_text(b, "x-kubernetes-patch-strategy", STR("merge"));
    else if (f->flags & PATCH_RETAIN_KEYS)
        openapi_text(b, "x-kubernetes-patch-strategy", STR("retainKeys"));
    buf_char(b, '}');
}

// A type that has kind and apiVersion is an object of its own in its group version.
static void write_gvk(struct buf *b, const struct type *type)
{
    ptrdiff_t dot = str_rchr(type->name, '.');
    struct str package = str_sub(type->name, 0, (size_t)dot);
    struct str kind = str_from(type->name, (size_t)dot + 1), group = STR(""), version = STR("v1");
    if (!type_field(type, STR("kind")) || !type_field(type, STR("apiVersion")))
        return;
    bool meta = str_eqc(package, "meta.v1");
    bool found = meta && (str_eqc(kind, "Status") || str_eqc(kind, "DeleteOptions") ||
                          str_starts(kind, STR("API")));
    for (size_t i = 0; i < schema_npackages && !found; i++) {
        const struct package *p = &schema_packages[i];
        if (!p->serves || !str_eq(p->name, package))
            continue;
        struct str object = str_ends(kind, STR("List")) ? str_sub(kind, 0, kind.n - 4) : kind;
        found = kind_by_kind(p->group, p->version, object) || str_eqc(kind, "Scale") ||
                str_eqc(kind, "Eviction") || str_eqc(kind, "TokenRequest");
        group = p->group;
        version = p->version;
    }
    if (!found)
        return; // ObjectReference and the like only look so
    openapi_key(b, "x-kubernetes-group-version-kind");
    buf_puts(b, "[{");
    openapi_text(b, "group", group);
    openapi_text(b, "kind", kind);
    openapi_text(b, "version", version);
    buf_puts(b, "}]");
}

static void write_type(struct openapi *o, const struct type *type)
{
    struct buf *b = o->b;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    openapi_key(b, arena_cstr(&a, openapi_name(&a, type)));
    buf_char(b, '{');
    if (type->doc)
        openapi_text(b, "description", str_of(type->doc));
    if (type->preserve_unknown) { // any JSON; those of meta are objects
        if (!str_starts(type->name, STR("apiextensions")))
            openapi_text(b, "type", STR("object"));
        buf_char(b, '}');
        return;
    }
    openapi_text(b, "type", STR("object"));
    bool required = false;
    for (uint32_t i = 0; i < type->nfields; i++) {
        if (!(type->fields[i].flags & FIELD_REQUIRED))
            continue;
        if (!required) {
            openapi_key(b, "required");
            buf_char(b, '[');
        }
        required = true;
        openapi_item(b);
        json_write_string(b, type->fields[i].name);
    }
    if (required)
        buf_char(b, ']');
    if (type->nfields) {
        openapi_key(b, "properties");
        buf_char(b, '{');
        for (uint32_t i = 0; i < type->nfields; i++)
            write_field(o, &type->fields[i]);
        buf_char(b, '}');
    }
    write_gvk(b, type);
    buf_char(b, '}');
}

void openapi_schemas(struct openapi *o)
{
    for (size_t i = 0; i < COUNT(scalars); i++) {
        openapi_key(o->b, scalars[i].name);
        buf_printf(o->b, "{%s}", o->v3 ? scalars[i].v3 : scalars[i].v2);
    }
    openapi_key(o->b, "io.k8s.apimachinery.pkg.apis.meta.v1.Patch");
    buf_puts(o->b, "{\"type\":\"object\"}");
    for (size_t i = 0; i < schema_ntypes; i++)
        if (o->wanted[i])
            write_type(o, &schema_types[i]);
}
