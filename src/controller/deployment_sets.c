// The ReplicaSets of a deployment: which are its own, which one carries the current template, how
// the next one is made, and how their sizes are changed.
//
// Names: <deployment>-<hash>, where the hash covers the template and status.collisionCount. A name
// that is taken by something else raises the count, so the next attempt takes another name.
// Templates are compared as values and never by hash: the hash may change between versions of this
// program without a rollout.
#include "base/buf.h"
#include "controller/deployment.h"

int64_t rs_spec_replicas(const struct rs *s)
{
    return s->replicas;
}

int64_t rs_status_replicas(const struct rs *s)
{
    return s->status_replicas;
}

int64_t rs_ready(const struct rs *s)
{
    return s->ready;
}

int64_t rs_available(const struct rs *s)
{
    return s->available;
}

int64_t rollout_sum(struct rollout *r, bool old_only, int64_t (*of)(const struct rs *set))
{
    int64_t sum = 0;
    for (size_t i = 0; i < r->nall; i++) {
        if (!old_only || r->all[i] != r->new)
            sum += of(r->all[i]);
    }
    return sum;
}

// Loading.

static void read_numbers(struct rs *s)
{
    s->name = value_str_at(s->tree, "metadata.name");
    s->uid = meta_uid(s->tree);
    s->replicas = value_int_at(s->tree, "spec.replicas", 1);
    s->status_replicas = value_int_at(s->tree, "status.replicas", 0);
    s->ready = value_int_at(s->tree, "status.readyReplicas", 0);
    s->available = value_int_at(s->tree, "status.availableReplicas", 0);
    s->created = meta_time(s->tree, "metadata.creationTimestamp");
    s->deleting = meta_deleting(s->tree);
}

static int by_age(const void *pa, const void *pb)
{
    const struct rs *a = *(struct rs *const *)pa, *b = *(struct rs *const *)pb;
    if (a->created != b->created)
        return a->created < b->created ? -1 : 1;
    return str_cmp(a->name, b->name);
}

// The template without the label that this controller adds, and without Go's null timestamp.
static struct value *plain_template(struct arena *a, const struct value *template)
{
    struct value *t = value_clone(a, template);
    struct value *meta = value_getc(t, "metadata"), *labels = value_getc(meta, "labels");
    value_delc(labels, TEMPLATE_HASH);
    value_delc(meta, "creationTimestamp");
    return t;
}

static bool same_template(struct rollout *r, const struct value *plain, const struct value *set)
{
    const struct value *theirs = value_at(set, "spec.template");
    if (!theirs)
        return false;
    return value_eq(plain, plain_template(r->a, theirs));
}

int rollout_load(struct rollout *r)
{
    struct selector *selector;
    int rc = selector_from_value(r->a, value_at(r->d, "spec.selector"), &selector, r->e);
    if (rc < 0)
        return rc;
    rc = owner_claim(r->c->control->client, r->a, r->c->sets, KIND("apps", "deployments"), r->d,
                     selector, &r->claimed, &r->nclaimed, r->e);
    if (rc < 0) {
        r->nclaimed = 0;
        return rc;
    }
    r->all = arena_array(r->a, struct rs *, r->nclaimed + 1); // room for a new one
    for (size_t i = 0; i < r->nclaimed; i++) {
        struct rs *s = arena_new(r->a, struct rs);
        s->object = r->claimed[i].object;
        s->tree = r->claimed[i].tree;
        read_numbers(s);
        r->all[r->nall++] = s;
    }
    qsort(r->all, r->nall, sizeof *r->all, by_age);
    const struct value *plain = plain_template(r->a, value_at(r->d, "spec.template"));
    for (size_t i = 0; i < r->nall && !r->new; i++) {
        if (same_template(r, plain, r->all[i]->tree))
            r->new = r->all[i]; // the oldest, should there be several
    }
    return 0;
}

void rollout_unload(struct rollout *r)
{
    owner_claimed_done(r->claimed, r->nclaimed);
}

// Annotations and revisions.

static struct value *annotations_of(struct rollout *r, struct value *tree)
{
    return value_object_at(r->a, tree, "metadata.annotations");
}

static int64_t revision_of(const struct value *tree)
{
    int64_t n = 0;
    str_to_i64(value_string(value_get(value_at(tree, "metadata.annotations"), STR(REVISION))), &n);
    return n;
}

static bool annotate(struct rollout *r, struct value *tree, const char *key, struct str text)
{
    struct value *annotations = annotations_of(r, tree);
    if (str_eq(value_string(value_getc(annotations, key)), text))
        return false;
    value_put(r->a, annotations, key, text);
    return true;
}

static struct str number(struct rollout *r, int64_t n)
{
    return arena_printf(r->a, "%lld", (long long)n);
}

static bool annotate_sizes(struct rollout *r, struct value *set)
{
    bool desired = annotate(r, set, DESIRED_REPLICAS, number(r, r->replicas));
    bool most = annotate(r, set, MAX_REPLICAS, number(r, r->replicas + r->surge));
    return desired || most;
}

// The deployment's annotations belong on its set as well, but for those that are about one of the
// two.
static bool copy_annotations(struct rollout *r, struct value *set)
{
    static const char *const own[] = {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
    };
    bool changed = false;
    const struct value *from = value_at(r->d, "metadata.annotations");
    value_each_field (from, f) {
        bool skip = false;
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            skip = skip || str_eqc(f->key, own[i]);
        struct value *to = annotations_of(r, set);
        if (skip || str_eq(value_string(value_get(to, f->key)), value_string(f->value)))
            continue;
        value_set(r->a, to, f->key, f->value);
        changed = true;
    }
    return changed;
}

// The set takes the revision if that is newer than its own (it becomes current again after an
// undo); the one it had is remembered.
static bool annotate_revision(struct rollout *r, struct value *set, int64_t revision, bool exists)
{
    bool changed = copy_annotations(r, set);
    int64_t old = revision_of(set);
    if (old < revision) {
        struct value *annotations = annotations_of(r, set);
        struct str history = value_string(value_getc(annotations, REVISION_HISTORY));
        if (old)
            value_put(r->a, annotations, REVISION_HISTORY,
                      history.n ? arena_printf(r->a, "%.*s,%lld", STR_ARG(history), (long long)old)
                                : number(r, old));
        value_put(r->a, annotations, REVISION, number(r, revision));
        changed = true;
    }
    if (!exists)
        changed = annotate_sizes(r, set) || changed;
    return changed;
}

// Trees point into their objects: every object met stays until the end of the reconcile.
static void keep(struct rollout *r, struct object *o)
{
    size_t size = r->nclaimed * sizeof *r->claimed;
    r->claimed = arena_grow(r->a, r->claimed, size, size + sizeof *r->claimed);
    r->claimed[r->nclaimed++] = (struct owner_claimed){o, NULL};
}

static int update_set(struct rollout *r, struct rs *s)
{
    struct object *updated;
    int rc =
        client_update(r->c->control->client, KIND("apps", "replicasets"), s->tree, &updated, r->e);
    if (rc < 0)
        return rc;
    keep(r, updated);
    s->object = updated;
    s->tree = object_tree(r->a, updated);
    read_numbers(s);
    return 0;
}

// Making the new set.

// FNV-1a, 32 bits, in Kubernetes' alphabet of safe characters.
static struct str template_hash(struct rollout *r, const struct value *plain)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    struct str text = json_text(r->a, plain);
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (unsigned char)text.p[i]) * 16777619u;
    const struct value *count = value_at(r->d, "status.collisionCount");
    if (count) {
        uint32_t n = (uint32_t)value_int_or(count, 0);
        for (int i = 0; i < 4; i++)
            h = (h ^ (n >> 8 * i & 0xff)) * 16777619u;
    }
    char digits[16], out[16];
    int n = snprintf(digits, sizeof digits, "%u", h);
    for (int i = 0; i < n; i++)
        out[i] = alphabet[(unsigned char)digits[i] % 27];
    return arena_str(r->a, str_n(out, (size_t)n));
}

static struct value *new_set(struct rollout *r, struct value *plain, int64_t revision)
{
    struct arena *a = r->a;
    struct value *set = value_object(a), *owners = value_array(a);
    struct str hash = template_hash(r, plain);
    struct value *template = value_clone(a, plain);
    value_set(a, value_object_at(a, template, "metadata.labels"), STR(TEMPLATE_HASH),
              value_str(a, hash));
    struct value *selector = value_clone(a, value_at(r->d, "spec.selector"));
    value_set(a, value_object_at(a, selector, "matchLabels"), STR(TEMPLATE_HASH),
              value_str(a, hash));
    value_put(a, set, "kind", STR("ReplicaSet"));
    value_put(a, set, "apiVersion", STR("apps/v1"));
    struct str name = value_str_at(r->d, "metadata.name");
    value_set_at(a, set, "metadata.name",
                 value_str(a, arena_printf(a, "%.*s-%.*s", STR_ARG(name), STR_ARG(hash))));
    value_set_at(a, set, "metadata.namespace",
                 value_str(a, value_str_at(r->d, "metadata.namespace")));
    value_set_at(a, set, "metadata.labels", value_clone(a, value_at(template, "metadata.labels")));
    value_push(a, owners, owner_reference(a, KIND("apps", "deployments"), r->d));
    value_set_at(a, set, "metadata.ownerReferences", owners);
    int64_t size = r->replicas;
    if (r->rolling) {
        int64_t room = r->replicas + r->surge - rollout_sum(r, false, rs_spec_replicas);
        size = room <= 0 ? 0 : room < size ? room : size;
    }
    value_set_at(a, set, "spec.replicas", value_int(a, size));
    int64_t min_ready = value_int_at(r->d, "spec.minReadySeconds", 0);
    if (min_ready)
        value_set_at(a, set, "spec.minReadySeconds", value_int(a, min_ready));
    value_set_at(a, set, "spec.selector", selector);
    value_set_at(a, set, "spec.template", template);
    annotate_revision(r, set, revision, false);
    return set;
}

static void add_set(struct rollout *r, struct object *o, struct value *tree)
{
    keep(r, o);
    struct rs *s = arena_new(r->a, struct rs);
    s->object = o;
    s->tree = tree;
    read_numbers(s);
    struct rs **all = arena_array(r->a, struct rs *, r->nall + 2);
    memcpy(all, r->all, r->nall * sizeof *all);
    all[r->nall++] = s;
    r->all = all;
    r->new = s;
}

// The name is taken. By our own set, which the cache has not shown yet: take it. By another: next
// name.
static int name_taken(struct rollout *r, struct value *plain, struct value *set)
{
    struct object *there;
    int rc = client_get(r->c->control->client, KIND("apps", "replicasets"),
                        value_str_at(set, "metadata.namespace"), value_str_at(set, "metadata.name"),
                        &there, r->e);
    if (rc < 0)
        return rc;
    struct value *tree = object_tree(r->a, there);
    if (owner_controls(tree, meta_uid(r->d)) && same_template(r, plain, tree)) {
        add_set(r, there, tree);
        return 0;
    }
    struct value *status = value_object_at(r->a, r->d, "status");
    value_put_int(r->a, status, "collisionCount", value_int_at(status, "collisionCount", 0) + 1);
    object_unref(there);
    rc = rollout_write_status(r, status);
    if (rc < 0)
        return rc;
    return err_set(r->e, ERR_CONFLICT, "the name of the next ReplicaSet is taken");
}

static int create_set(struct rollout *r, int64_t revision, bool *ret_created)
{
    struct value *plain = plain_template(r->a, value_at(r->d, "spec.template"));
    struct value *set = new_set(r, plain, revision);
    struct object *made;
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_create(r->c->control->client, KIND("apps", "replicasets"),
                           value_str_at(set, "metadata.namespace"), set, &made, &why);
    if (rc == 0) {
        add_set(r, made, object_tree(r->a, made));
        *ret_created = true;
        if (r->new->replicas)
            event_record(r->c->events, r->object, "Normal", "ScalingReplicaSet",
                         "Scaled up replica set %.*s from 0 to %lld", STR_ARG(r->new->name),
                         (long long)r->new->replicas);
        return 0;
    }
    if (err_is(&why, ERR_ALREADY_EXISTS))
        return name_taken(r, plain, set);
    if (!client_namespace_terminating(&why)) {
        struct str name = value_str_at(set, "metadata.name");
        struct str message = arena_printf(r->a, "Failed to create new replica set \"%.*s\": %s",
                                          STR_ARG(name), why.message);
        event_record(r->c->events, r->object, "Warning", "ReplicaSetCreateError", "%.*s",
                     STR_ARG(message));
        if (rollout_has_deadline(r)) {
            struct value *status = value_object_at(r->a, r->d, "status");
            rollout_set_condition(r, status, "Progressing", "False", "ReplicaSetCreateError",
                                  message);
            rollout_write_status(r, status); // the first error is the one to tell
        }
    }
    err_move(r->e, &why);
    return rc;
}

int rollout_sync_revision(struct rollout *r, bool create)
{
    int64_t revision = 1;
    for (size_t i = 0; i < r->nall; i++) {
        if (r->all[i] != r->new &&revision_of(r->all[i]->tree) >= revision)
            revision = revision_of(r->all[i]->tree) + 1;
    }
    const char *reason = NULL;
    struct str message = STR_NULL;
    if (r->new) {
        int64_t min_ready = value_int_at(r->d, "spec.minReadySeconds", 0);
        bool differs = value_int_at(r->new->tree, "spec.minReadySeconds", 0) != min_ready;
        if (annotate_revision(r, r->new->tree, revision, true) || differs) {
            value_put_int(r->a, value_getc(r->new->tree, "spec"), "minReadySeconds", min_ready);
            int rc = update_set(r, r->new);
            if (rc < 0)
                return rc;
        }
        if (!condition_find(value_at(r->d, "status.conditions"), "Progressing")) {
            reason = "FoundNewReplicaSet";
            message = arena_printf(r->a, "Found new replica set \"%.*s\"", STR_ARG(r->new->name));
        }
    } else {
        bool created = false;
        int rc = create ? create_set(r, revision, &created) : 0;
        if (rc < 0 || !r->new)
            return rc;
        if (created) {
            reason = "NewReplicaSetCreated";
            message = arena_printf(r->a, "Created new replica set \"%.*s\"", STR_ARG(r->new->name));
        }
    }
    bool changed = annotate(r, r->d, REVISION, number(r, revision_of(r->new->tree)));
    struct value *status = value_object_at(r->a, r->d, "status");
    if (reason && rollout_has_deadline(r)) {
        rollout_set_condition(r, status, "Progressing", "True", reason, message);
        changed = true;
    }
    return changed ? rollout_write_status(r, status) : 0;
}

// Sizes.

static int set_size(struct rollout *r, struct rs *s, int64_t size, bool *ret_scaled)
{
    int64_t was = s->replicas;
    bool annotated = annotate_sizes(r, s->tree);
    if (size == was && !annotated)
        return 0;
    value_set_at(r->a, s->tree, "spec.replicas", value_int(r->a, size));
    int rc = update_set(r, s);
    if (rc < 0 || size == was)
        return rc;
    *ret_scaled = true;
    event_record(r->c->events, r->object, "Normal", "ScalingReplicaSet",
                 "Scaled %s replica set %.*s from %lld to %lld", was < size ? "up" : "down",
                 STR_ARG(s->name), (long long)was, (long long)size);
    return 0;
}

int rollout_scale(struct rollout *r, struct rs *set, int64_t size, bool *ret_scaled)
{
    return set->replicas == size ? 0 : set_size(r, set, size, ret_scaled);
}

// The only active set, or the newest where none is; NULL where several are active.
static struct rs *active_or_latest(struct rollout *r)
{
    struct rs *active = NULL;
    size_t n = 0;
    for (size_t i = 0; i < r->nall; i++) {
        if (r->all[i]->replicas > 0) {
            active = r->all[i];
            n++;
        }
    }
    if (n)
        return n == 1 ? active : NULL;
    return r->new ? r->new : r->nall ? r->all[r->nall - 1] : NULL;
}

static bool saturated(struct rollout *r)
{
    int64_t desired;
    return r->new && r->new->replicas == r->replicas &&
           r->new->available ==
               r->replicas &&str_to_i64(
                   value_string(value_get(value_at(r->new->tree, "metadata.annotations"),
                                          STR(DESIRED_REPLICAS))),
                   &desired) &&
           desired == r->replicas;
}

// How much a set is to grow (or shrink) to keep its share of the whole.
static int64_t fraction(struct rollout *r, const struct rs *s)
{
    int64_t before = 0;
    if (!r->replicas)
        return -s->replicas;
    str_to_i64(
        value_string(value_get(value_at(s->tree, "metadata.annotations"), STR(MAX_REPLICAS))),
        &before);
    if (before <= 0)
        before = value_int_at(r->d, "status.replicas", 0);
    if (before <= 0)
        return 0;
    int64_t scaled = s->replicas * (r->replicas + r->surge);
    return (2 * scaled + before) / (2 * before) - s->replicas; // rounded, halves up
}

static int larger_newer(const void *pa, const void *pb)
{
    const struct rs *a = *(struct rs *const *)pa, *b = *(struct rs *const *)pb;
    if (a->replicas != b->replicas)
        return a->replicas > b->replicas ? -1 : 1;
    return by_age(pb, pa);
}

static int larger_older(const void *pa, const void *pb)
{
    const struct rs *a = *(struct rs *const *)pa, *b = *(struct rs *const *)pb;
    if (a->replicas != b->replicas)
        return a->replicas > b->replicas ? -1 : 1;
    return by_age(pa, pb);
}

int rollout_scale_proportionally(struct rollout *r)
{
    bool scaled;
    int rc;
    struct rs *only = active_or_latest(r);
    if (only)
        return rollout_scale(r, only, r->replicas, &scaled);
    if (saturated(r)) {
        for (size_t i = 0; i < r->nall; i++) {
            if (r->all[i] != r->new && (rc = rollout_scale(r, r->all[i], 0, &scaled)) < 0)
                return rc;
        }
        return 0;
    }
    if (!r->rolling)
        return 0;
    struct rs **active = arena_array(r->a, struct rs *, r->nall + 1);
    size_t n = 0;
    for (size_t i = 0; i < r->nall; i++) {
        if (r->all[i]->replicas > 0)
            active[n++] = r->all[i];
    }
    int64_t allowed = r->replicas ? r->replicas + r->surge : 0;
    int64_t to_add = allowed - rollout_sum(r, false, rs_spec_replicas), added = 0;
    qsort(active, n, sizeof *active, to_add > 0 ? larger_newer : larger_older);
    int64_t *sizes = arena_array(r->a, int64_t, n + 1);
    for (size_t i = 0; i < n; i++) {
        int64_t part = 0;
        if (to_add && to_add != added) {
            int64_t left = to_add - added;
            part = fraction(r, active[i]);
            part = to_add > 0 ? (part < left ? part : left) : (part > left ? part : left);
        }
        sizes[i] = active[i]->replicas + part;
        added += part;
    }
    // The rounding's remainder goes to the first, the largest.
    for (size_t i = 0; i < n; i++) {
        if (i == 0 && to_add)
            sizes[0] += to_add - added;
        if ((rc = set_size(r, active[i], sizes[i] < 0 ? 0 : sizes[i], &scaled)) < 0)
            return rc;
    }
    return 0;
}

static int by_revision(const void *pa, const void *pb)
{
    const struct rs *a = *(struct rs *const *)pa, *b = *(struct rs *const *)pb;
    int64_t ra = revision_of(a->tree), rb = revision_of(b->tree);
    return ra != rb ? (ra < rb ? -1 : 1) : by_age(pa, pb);
}

int rollout_cleanup(struct rollout *r)
{
    int64_t keep = value_int_at(r->d, "spec.revisionHistoryLimit", INT32_MAX);
    struct rs **old = arena_array(r->a, struct rs *, r->nall + 1);
    size_t n = 0;
    if (keep == INT32_MAX)
        return 0;
    for (size_t i = 0; i < r->nall; i++) {
        if (r->all[i] != r->new && !r->all[i]->deleting)
            old[n++] = r->all[i];
    }
    qsort(old, n, sizeof *old, by_revision);
    for (size_t i = 0; i + (size_t)keep < n; i++) {
        const struct rs *s = old[i];
        if (s->status_replicas || s->replicas ||
            value_int_at(s->tree, "metadata.generation", 0) >
                value_int_at(s->tree, "status.observedGeneration", 0))
            continue;
        _cleanup_err_ struct err why = ERR_INIT;
        int rc = client_delete_tree(r->c->control->client, KIND("apps", "replicasets"), s->tree,
                                    PROPAGATION_BACKGROUND, -1, NULL, &why);
        if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
            err_move(r->e, &why);
            return rc;
        }
    }
    return 0;
}
