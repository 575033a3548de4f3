// See revisions.h.
#include "controller/revisions.h"

static const struct kind *revision_kind(void)
{
    return KIND("apps", "controllerrevisions");
}

static int by_number(const void *pa, const void *pb)
{
    const struct revision *a = pa, *b = pb;
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return str_cmp(a->name, b->name);
}

static void read_revision(struct revisions *h, struct value *tree)
{
    h->items[h->n++] = (struct revision){
        .tree = tree,
        .name = value_str_at(tree, "metadata.name"),
        .hash = meta_label(tree, h->hash_label),
        .number = value_int_at(tree, "revision", 0),
    };
}

int revisions_load(struct reconcile *p, unsigned source, const char *hash_label,
                   struct revisions *ret, struct err *e)
{
    struct selector *selector;
    *ret = (struct revisions){.p = p, .source = source, .hash_label = hash_label};
    int rc = selector_from_value(p->a, value_at(p->tree, "spec.selector"), &selector, e);
    if (rc < 0)
        return rc;
    rc = owner_claim(p->r->client, p->a, p->r->owned[source], p->r->kind, p->tree, selector,
                     &ret->claimed, &ret->nclaimed, e);
    if (rc < 0) {
        ret->nclaimed = 0;
        return rc;
    }
    ret->items = arena_array(p->a, struct revision, ret->nclaimed + 1);
    for (size_t i = 0; i < ret->nclaimed; i++)
        read_revision(ret, ret->claimed[i].tree);
    qsort(ret->items, ret->n, sizeof *ret->items, by_number);
    return 0;
}

// {"spec": {"template": {…, "$patch": "replace"}}}
static struct value *data_of(struct reconcile *p)
{
    struct value *data = value_object(p->a);
    struct value *template = value_clone(p->a, value_at(p->tree, "spec.template"));
    value_delc(value_getc(template, "metadata"), "creationTimestamp");
    value_put(p->a, template, "$patch", STR("replace"));
    value_set_at(p->a, data, "spec.template", template);
    return data;
}

// Ten letters that are safe in a name, and spell no words.
static struct str hash_of(struct arena *a, const struct value *data, int64_t collisions)
{
    static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
    uint64_t hash = str_hash_keyed(json_text(a, data), 0, (uint64_t)collisions);
    char *text = arena_alloc(a, 10);
    for (size_t i = 0; i < 10; i++, hash /= sizeof letters - 1)
        text[i] = letters[hash % (sizeof letters - 1)];
    return str_n(text, 10);
}

static struct value *new_revision(struct revisions *h, struct value *data, struct str hash,
                                  int64_t number)
{
    struct arena *a = h->p->a;
    struct value *r = value_object(a), *meta = value_object(a), *owners = value_array(a);
    struct value *labels = value_at(h->p->tree, "spec.template.metadata.labels");
    struct value *annotations = value_at(h->p->tree, "metadata.annotations");
    labels = labels ? value_clone(a, labels) : value_object(a);
    value_put(a, labels, h->hash_label, hash);
    value_put(a, r, "kind", STR("ControllerRevision"));
    value_put(a, r, "apiVersion", STR("apps/v1"));
    value_put(a, meta, "name",
              arena_printf(a, "%.*s-%.*s", STR_ARG(str_sub(h->p->name, 0, 223)), STR_ARG(hash)));
    value_put(a, meta, "namespace", h->p->ns);
    value_setc(a, meta, "labels", labels);
    if (annotations) {
        annotations = value_clone(a, annotations);
        value_delc(annotations, "kubectl.kubernetes.io/last-applied-configuration");
        value_setc(a, meta, "annotations", annotations);
    }
    value_push(a, owners, owner_reference(a, h->p->r->kind, h->p->tree));
    value_setc(a, meta, "ownerReferences", owners);
    value_setc(a, r, "metadata", meta);
    value_setc(a, r, "data", data);
    value_put_int(a, r, "revision", number);
    return r;
}

static int renumber(struct revisions *h, struct revision *r, int64_t number, struct err *e)
{
    _cleanup_object_ struct object *written = NULL;
    value_put_int(h->p->a, r->tree, "revision", number);
    int rc = client_update(h->p->r->client, revision_kind(), r->tree, &written, e);
    if (rc < 0)
        return rc;
    r->number = number;
    reconcile_expect(h->p, h->source, written->revision);
    return 0;
}

int revisions_update(struct revisions *h, int64_t *collisions, struct revision **ret, struct err *e)
{
    struct value *data = data_of(h->p);
    int64_t next = h->n ? h->items[h->n - 1].number + 1 : 1;
    for (size_t i = h->n; i-- > 0;) {
        if (!value_eq(value_getc(h->items[i].tree, "data"), data))
            continue;
        *ret = &h->items[i];
        return i + 1 == h->n ? 0 : renumber(h, *ret, next, e);
    }
    _cleanup_err_ struct err why = ERR_INIT;
    struct value *body = new_revision(h, data, hash_of(h->p->a, data, *collisions), next);
    int rc = client_create(h->p->r->client, revision_kind(), h->p->ns, body, &h->made, &why);
    if (rc < 0) {
        // The name is taken by another template, or by one that the cache does not show yet: the
        // next try has another name or finds it.
        if (err_is(&why, ERR_ALREADY_EXISTS))
            ++*collisions;
        err_move(e, &why);
        return rc;
    }
    reconcile_expect(h->p, h->source, h->made->revision);
    read_revision(h, object_tree(h->p->a, h->made));
    *ret = &h->items[h->n - 1];
    return 0;
}

struct revision *revisions_find(struct revisions *h, struct str name)
{
    for (size_t i = 0; i < h->n; i++) {
        if (str_eq(h->items[i].name, name))
            return &h->items[i];
    }
    return NULL;
}

const struct value *revision_template(const struct revision *r)
{
    return value_at(r->tree, "data.spec.template");
}

int revisions_prune(struct revisions *h, bool (*live)(void *ctx, const struct revision *r),
                    void *ctx, struct err *e)
{
    int64_t limit = value_int_at(h->p->tree, "spec.revisionHistoryLimit", 10), spare = 0;
    for (size_t i = 0; i < h->n; i++)
        spare += !live(ctx, &h->items[i]);
    for (size_t i = 0; i < h->n && spare > limit; i++) {
        uint64_t revision = 0;
        if (live(ctx, &h->items[i]))
            continue;
        _cleanup_err_ struct err why = ERR_INIT;
        int rc = client_delete_tree(h->p->r->client, revision_kind(), h->items[i].tree,
                                    PROPAGATION_DEFAULT, -1, &revision, &why);
        if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
            err_move(e, &why);
            return rc;
        }
        reconcile_expect(h->p, h->source, revision);
        spare--;
    }
    return 0;
}

void revisions_done(struct revisions *h)
{
    owner_claimed_done(h->claimed, h->nclaimed);
    object_unref(h->made);
}
