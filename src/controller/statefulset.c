// StatefulSet: pods with names (web-0, web-1 …), storage and an order of their own.
//
// One reconcile looks at the pods by ordinal and takes the steps that are due:
//
//   1. the revision of the template (revisions.c); a pod says in a label which one it was made from
//   2. replicas, from the lowest ordinal: a finished pod is deleted, a missing one made (its claims
//      first). OrderedReady stops at the first that is not ready for minReadySeconds; Parallel goes
//      on
//   3. pods beyond the replicas, from the highest ordinal; OrderedReady takes one at a time, and
//      only when those below are well
//   4. RollingUpdate, from the highest ordinal down to the partition: pods of another revision are
//      deleted, so long as no more than maxUnavailable are away
//
// A pod below the partition is made anew from the current revision, one at or above it from the
// update revision. When all pods have the update revision, it becomes the current one.
//
// Claims are never deleted here. Where the retention policy says Delete, they get an owner (the
// set, or the pod that is scaled away) and the garbage collector does the rest.
//
// Invariants: never two pods of one ordinal (the name sees to that); a pod's storage is made before
// it; OrderedReady never makes a pod while a lower one is not ready, and never deletes two at once.
#include "controller/pod_claims.h"
#include "controller/revisions.h"

enum { OWNED_REVISIONS };
enum { BURST = 500 }; // pods made in one pass
#define REVISION_LABEL "controller-revision-hash"
#define POD_NAME_LABEL "statefulset.kubernetes.io/pod-name"
#define INDEX_LABEL    "apps.kubernetes.io/pod-index"
#define HASH_LABEL     "controller.kubernetes.io/hash"

struct statefulsets {
    struct control *control;
    struct reconciler *r;
    struct informer *claims;
    struct pod_listener on_pod;
};

// One place of the set.
struct seat {
    int64_t ordinal;
    struct pod_facts *pod; // NULL: none
};

// One reconcile.
struct roll {
    struct statefulsets *c;
    struct reconcile *p;
    struct revisions history;
    struct revision *current, *update;
    struct pod_claims pods;
    struct map places;      // ordinal -> pod, of those that belong; sparse: the number of replicas
                            // is anybody's choice
    struct seat *condemned; // highest ordinal first
    size_t ncondemned, made;
    int64_t nreplicas;
    int64_t start, partition, min_ready, collisions;
    bool ordered, rolling;
};

// The ordinal in "web-3"; -1: the name is not one of the set's.
static int64_t ordinal_of(const struct value *set, struct str pod)
{
    struct str name = value_str_at(set, "metadata.name");
    uint64_t ordinal;
    if (pod.n < name.n + 2 || !str_starts(pod, name) || pod.p[name.n] != '-')
        return -1;
    struct str digits = str_from(pod, name.n + 1);
    if ((digits.n > 1 && digits.p[0] == '0') || !str_to_u64(digits, &ordinal) ||
        ordinal > INT32_MAX)
        return -1;
    return (int64_t)ordinal;
}

static bool is_member(const struct value *set, const struct pod_facts *p)
{
    return ordinal_of(set, p->name) >= 0;
}

static struct str revision_of(const struct pod_facts *p)
{
    return value_string(value_getc(p->labels, REVISION_LABEL));
}

static bool is_available(struct roll *s, const struct pod_facts *p)
{
    uint64_t wait;
    bool available = facts_available(p, s->min_ready, env_now(s->p->r->env), &wait);
    if (wait)
        reconcile_after(s->p, wait);
    return available;
}

// Ready long enough and not leaving.
static bool is_healthy(struct roll *s, const struct pod_facts *p)
{
    return p && !p->deleting && is_available(s, p);
}

// Storage.

static struct str claim_name(struct roll *s, const struct value *template, int64_t ordinal)
{
    return arena_printf(s->p->a, "%.*s-%.*s-%lld", STR_ARG(value_str_at(template, "metadata.name")),
                        STR_ARG(s->p->name), (long long)ordinal);
}

static struct value *plain_owner(struct arena *a, const char *api, const char *kind,
                                 struct str name, struct str uid)
{
    struct value *ref = value_object(a);
    value_put(a, ref, "apiVersion", str_of(api));
    value_put(a, ref, "kind", str_of(kind));
    value_put(a, ref, "name", name);
    value_put(a, ref, "uid", uid);
    return ref;
}

// Who owns a claim by the retention policy; NULL: nobody. pod: of its ordinal, or NULL.
static struct value *claim_owner(struct roll *s, const struct pod_facts *pod, bool condemned)
{
    const struct value *policy = value_at(s->p->tree, "spec.persistentVolumeClaimRetentionPolicy");
    if (condemned && pod && str_eqc(value_str_at(policy, "whenScaled"), "Delete"))
        return plain_owner(s->p->a, "v1", "Pod", pod->name, pod->uid);
    if (!condemned && str_eqc(value_str_at(policy, "whenDeleted"), "Delete"))
        return plain_owner(s->p->a, "apps/v1", "StatefulSet", s->p->name, meta_uid(s->p->tree));
    return NULL;
}

static bool is_ours(struct roll *s, const struct value *ref)
{
    struct str kind = value_str_at(ref, "kind"), name = value_str_at(ref, "name");
    return (str_eqc(kind, "StatefulSet") && str_eq(name, s->p->name)) ||
           (str_eqc(kind, "Pod") && ordinal_of(s->p->tree, name) >= 0);
}

// Brings the owners of an existing claim to what the policy says.
static int own_claim(struct roll *s, struct value *claim, struct value *owner, struct err *e)
{
    struct value *owners = value_array(s->p->a);
    const struct value *old = value_at(claim, "metadata.ownerReferences");
    bool there = false;
    value_each_item (old, ref) {
        bool same = owner && str_eq(value_str_at(ref, "uid"), value_str_at(owner, "uid"));
        there = there || same;
        if (same || !is_ours(s, ref))
            value_push(s->p->a, owners, ref);
    }
    if (owner && !there)
        value_push(s->p->a, owners, owner);
    if (value_len(owners) == value_len(old) && (!owner || there))
        return 0;
    value_set_at(s->p->a, claim, "metadata.ownerReferences", owners);
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_update(s->p->r->client, KIND("", "persistentvolumeclaims"), claim, NULL, &why);
    if (rc < 0 && !err_is(&why, ERR_CONFLICT) && !err_is(&why, ERR_NOT_FOUND)) {
        err_move(e, &why);
        return rc;
    }
    return 0;
}

static struct value *new_claim(struct roll *s, const struct value *template, struct str name,
                               struct value *owner)
{
    struct arena *a = s->p->a;
    struct value *claim = value_clone(a, template), *meta = value_object_at(a, claim, "metadata");
    const struct value *match = value_at(s->p->tree, "spec.selector.matchLabels");
    value_put(a, claim, "kind", STR("PersistentVolumeClaim"));
    value_put(a, claim, "apiVersion", STR("v1"));
    value_put(a, meta, "name", name);
    value_put(a, meta, "namespace", s->p->ns);
    value_delc(meta, "creationTimestamp");
    value_delc(claim, "status");
    struct value *labels = value_object_at(a, meta, "labels");
    value_each_field (match, f)
        value_set(a, labels, f->key, f->value);
    if (owner) {
        struct value *owners = value_array(a);
        value_push(a, owners, owner);
        value_setc(a, meta, "ownerReferences", owners);
    }
    return claim;
}

static int sync_claims(struct roll *s, int64_t ordinal, const struct pod_facts *pod, bool condemned,
                       struct err *e)
{
    const struct value *templates = value_at(s->p->tree, "spec.volumeClaimTemplates");
    value_each_item (templates, template) {
        struct str name = claim_name(s, template, ordinal);
        struct value *owner = claim_owner(s, pod, condemned);
        _cleanup_object_ struct object *o = informer_get_ns(s->c->claims, s->p->ns, name);
        int rc = 0;
        if (o) {
            rc = own_claim(s, object_tree(s->p->a, o), owner, e);
        } else if (!condemned) {
            _cleanup_err_ struct err why = ERR_INIT;
            rc = client_create(s->p->r->client, KIND("", "persistentvolumeclaims"), s->p->ns,
                               new_claim(s, template, name, owner), NULL, &why);
            if (rc == 0)
                event_record(s->p->r->events, s->p->object, "Normal", "SuccessfulCreate",
                             "create Claim %.*s Pod %.*s-%lld in StatefulSet %.*s success",
                             STR_ARG(name), STR_ARG(s->p->name), (long long)ordinal,
                             STR_ARG(s->p->name));
            else if (err_is(&why, ERR_ALREADY_EXISTS))
                rc = 0;
            else
                err_move(e, &why);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

// Pods.

static struct value *volumes_of(struct roll *s, const struct value *spec, int64_t ordinal)
{
    struct arena *a = s->p->a;
    struct value *volumes = value_array(a);
    const struct value *templates = value_at(s->p->tree, "spec.volumeClaimTemplates");
    const struct value *old = value_getc(spec, "volumes");
    value_each_item (templates, template) {
        struct value *v = value_object(a);
        value_setc(a, v, "name", value_at(template, "metadata.name"));
        value_set_at(a, v, "persistentVolumeClaim.claimName",
                     value_str(a, claim_name(s, template, ordinal)));
        value_push(a, volumes, v);
    }
    value_each_item (old, volume) {
        bool replaced = false;
        value_each_item (templates, template)
            replaced = replaced || str_eq(value_str_at(template, "metadata.name"),
                                          value_str_at(volume, "name"));
        if (!replaced)
            value_push(a, volumes, volume);
    }
    return volumes;
}

static struct value *new_pod(struct roll *s, int64_t ordinal)
{
    struct arena *a = s->p->a;
    struct revision *from =
        s->rolling && ordinal < s->start + s->partition ? s->current : s->update;
    struct value *template = value_clone(a, revision_template(from));
    value_delc(template, "$patch");
    struct value *pod = pod_from_template(a, s->p->r->kind, s->p->tree, template);
    struct value *meta = value_getc(pod, "metadata"), *spec = value_getc(pod, "spec");
    struct value *labels = value_object_at(a, meta, "labels");
    struct str name = arena_printf(a, "%.*s-%lld", STR_ARG(s->p->name), (long long)ordinal);
    value_delc(meta, "generateName");
    value_put(a, meta, "name", name);
    value_put(a, labels, POD_NAME_LABEL, name);
    value_put(a, labels, INDEX_LABEL, arena_printf(a, "%lld", (long long)ordinal));
    value_put(a, labels, REVISION_LABEL, from->name);
    value_put(a, spec, "hostname", name);
    struct str service = value_str_at(s->p->tree, "spec.serviceName");
    if (service.n)
        value_put(a, spec, "subdomain", service);
    struct value *volumes = volumes_of(s, spec, ordinal);
    if (value_len(volumes))
        value_setc(a, spec, "volumes", volumes);
    return pod;
}

static int create_pod(struct roll *s, int64_t ordinal, struct err *e)
{
    _cleanup_object_ struct object *made = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    struct str set = s->p->name;
    int rc = client_create(s->p->r->client, KIND("", "pods"), s->p->ns, new_pod(s, ordinal), &made,
                           &why);
    if (rc == 0) {
        reconcile_expect(s->p, RECONCILER_EXTRA, made->revision);
        event_record(s->p->r->events, s->p->object, "Normal", "SuccessfulCreate",
                     "create Pod %.*s-%lld in StatefulSet %.*s successful", STR_ARG(set),
                     (long long)ordinal, STR_ARG(set));
        return 0;
    }
    if (client_namespace_terminating(&why))
        return 0;
    event_record(s->p->r->events, s->p->object, "Warning", "FailedCreate",
                 "create Pod %.*s-%lld in StatefulSet %.*s failed error: %s", STR_ARG(set),
                 (long long)ordinal, STR_ARG(set), why.message);
    err_move(e, &why);
    return rc;
}

static int delete_pod(struct roll *s, const struct pod_facts *pod, struct err *e)
{
    _cleanup_err_ struct err why = ERR_INIT;
    uint64_t revision = 0;
    struct str set = s->p->name;
    int rc =
        client_delete_tree(s->p->r->client, KIND("", "pods"), object_tree(s->p->a, pod->object),
                           PROPAGATION_DEFAULT, -1, &revision, &why);
    reconcile_expect(s->p, RECONCILER_EXTRA, revision);
    if (rc == 0) {
        event_record(s->p->r->events, s->p->object, "Normal", "SuccessfulDelete",
                     "delete Pod %.*s in StatefulSet %.*s successful", STR_ARG(pod->name),
                     STR_ARG(set));
        return 0;
    }
    if (err_is(&why, ERR_NOT_FOUND))
        return 0;
    event_record(s->p->r->events, s->p->object, "Warning", "FailedDelete",
                 "delete Pod %.*s in StatefulSet %.*s failed error: %s", STR_ARG(pod->name),
                 STR_ARG(set), why.message);
    err_move(e, &why);
    return rc;
}

static struct seat seat_at(struct roll *s, int64_t i)
{
    int64_t ordinal = s->start + i;
    return (struct seat){ordinal, map_get(&s->places, str_n(&ordinal, sizeof ordinal))};
}

// The steps. Each returns 0 to go on, 1 where this pass has to stop, negative on failure.

static int step_replica(struct roll *s, const struct seat *seat, struct err *e)
{
    const struct pod_facts *pod = seat->pod;
    int rc = sync_claims(s, seat->ordinal, pod, false, e);
    if (rc < 0)
        return rc;
    if (!pod)
        return (rc = create_pod(s, seat->ordinal, e)) < 0 ? rc : s->ordered || ++s->made == BURST;
    if (facts_finished(pod) && !pod->deleting) {
        event_record(s->p->r->events, s->p->object, "Warning", "RecreatingFailedPod",
                     "StatefulSet %.*s/%.*s is recreating failed Pod %.*s", STR_ARG(s->p->ns),
                     STR_ARG(s->p->name), STR_ARG(pod->name));
        return (rc = delete_pod(s, pod, e)) < 0 ? rc : 1;
    }
    return s->ordered && !is_healthy(s, pod);
}

static int step_condemned(struct roll *s, const struct seat *seat, bool lower_healthy,
                          struct err *e)
{
    if (seat->pod->deleting)
        return s->ordered;
    // One that is not well may go when it is the only such one.
    if (s->ordered && !is_healthy(s, seat->pod) && !lower_healthy)
        return 1;
    int rc = sync_claims(s, seat->ordinal, seat->pod, true, e);
    if (rc == 0)
        rc = delete_pod(s, seat->pod, e);
    return rc < 0 ? rc : s->ordered;
}

static int step_update(struct roll *s, struct err *e)
{
    int64_t limit = control_scaled_value(
        value_at(s->p->tree, "spec.updateStrategy.rollingUpdate.maxUnavailable"), s->nreplicas,
        true, 1);
    int64_t away = 0;
    limit = limit < 1 ? 1 : limit;
    for (int64_t i = s->nreplicas; i-- > s->partition && away < limit;) {
        const struct pod_facts *pod = seat_at(s, i).pod;
        if (pod && !pod->deleting && !str_eq(revision_of(pod), s->update->name)) {
            int rc = delete_pod(s, pod, e);
            if (rc < 0)
                return rc;
            away++;
        } else if (!is_healthy(s, pod)) {
            away++;
        }
    }
    return 0;
}

static int steps(struct roll *s, struct err *e)
{
    int rc = 0;
    bool healthy = true;
    for (int64_t i = 0; i < s->nreplicas && rc == 0; i++) {
        const struct seat seat = seat_at(s, i);
        rc = step_replica(s, &seat, e);
        healthy = healthy && is_healthy(s, seat.pod);
    }
    for (size_t i = 0; i < s->ncondemned && rc == 0; i++)
        rc = step_condemned(s, &s->condemned[i], healthy, e);
    if (rc == 0 && s->rolling)
        rc = step_update(s, e);
    return rc < 0 ? rc : 0;
}

// Looking.

static int by_ordinal_down(const void *pa, const void *pb)
{
    const struct seat *a = pa, *b = pb;
    return a->ordinal == b->ordinal ? 0 : a->ordinal > b->ordinal ? -1 : 1;
}

static void seat_pods(struct roll *s)
{
    int64_t want = value_int_at(s->p->tree, "spec.replicas", 1);
    s->nreplicas = want < 0 ? 0 : want;
    s->condemned = arena_array(s->p->a, struct seat, s->pods.n + 1);
    for (size_t i = 0; i < s->pods.n; i++) {
        struct pod_facts *pod = s->pods.items[i];
        int64_t ordinal = ordinal_of(s->p->tree, pod->name), at = ordinal - s->start;
        if (at >= 0 && at < s->nreplicas)
            map_set(&s->places, str_n(&ordinal, sizeof ordinal), pod);
        else
            s->condemned[s->ncondemned++] = (struct seat){ordinal, pod};
    }
    qsort(s->condemned, s->ncondemned, sizeof *s->condemned, by_ordinal_down);
}

static struct value *status_of(struct roll *s)
{
    struct arena *a = s->p->a;
    int64_t replicas = 0, ready = 0, available = 0, current = 0, updated = 0;
    for (size_t i = 0; i < s->pods.n; i++) {
        const struct pod_facts *p = s->pods.items[i];
        replicas++;
        ready += p->ready && p->phase == PHASE_RUNNING;
        available += is_available(s, p);
        if (p->deleting)
            continue;
        current += str_eq(revision_of(p), s->current->name);
        updated += str_eq(revision_of(p), s->update->name);
    }
    if (s->rolling && updated == replicas && ready == replicas && replicas == s->nreplicas) {
        s->current = s->update; // the rollout is complete
        current = updated;
    }
    const struct value *old = value_at(s->p->tree, "status.conditions");
    struct value *status = value_object(a);
    value_put_nonzero(a, status, "observedGeneration",
                      value_int_at(s->p->tree, "metadata.generation", 0));
    value_put_int(a, status, "replicas", replicas);
    value_put_nonzero(a, status, "readyReplicas", ready);
    value_put_nonzero(a, status, "currentReplicas", current);
    value_put_nonzero(a, status, "updatedReplicas", updated);
    value_put(a, status, "currentRevision", s->current->name);
    value_put(a, status, "updateRevision", s->update->name);
    value_put_int(a, status, "collisionCount", s->collisions);
    value_put_int(a, status, "availableReplicas", available);
    if (value_len(old))
        value_setc(a, status, "conditions", value_at(s->p->tree, "status.conditions"));
    return status;
}

static bool is_live(void *ctx, const struct revision *r)
{
    struct roll *s = ctx;
    bool live = r->tree == s->current->tree || r->tree == s->update->tree;
    for (size_t i = 0; i < s->pods.n && !live; i++)
        live = str_eq(revision_of(s->pods.items[i]), r->name);
    return live;
}

static int look(struct roll *s, struct err *e)
{
    struct selector *selector;
    int rc = selector_from_value(s->p->a, value_at(s->p->tree, "spec.selector"), &selector, e);
    if (rc == 0)
        rc = pod_claims_take(s->c->control, s->p->a, s->p->r->kind, s->p->tree, selector, is_member,
                             &s->pods, e);
    reconcile_expect(s->p, RECONCILER_EXTRA, s->pods.adopted);
    if (rc == 0)
        rc = revisions_load(s->p, OWNED_REVISIONS, HASH_LABEL, &s->history, e);
    if (rc == 0)
        rc = revisions_update(&s->history, &s->collisions, &s->update, e);
    if (rc < 0)
        return rc;
    s->current = revisions_find(&s->history, value_str_at(s->p->tree, "status.currentRevision"));
    s->current = s->current ? s->current : s->update;
    seat_pods(s);
    return 0;
}

static enum reconcile_result work(struct roll *s, struct err *e)
{
    int64_t collisions = s->collisions;
    if (look(s, e) < 0) {
        if (s->collisions != collisions) { // the next name is tried with this count
            struct value *patch = value_object(s->p->a);
            value_set_at(s->p->a, patch, "status.collisionCount",
                         value_int(s->p->a, s->collisions));
            client_patch(s->p->r->client, s->p->r->kind, s->p->ns, s->p->name, STR("status"),
                         PATCH_TYPE_MERGE, patch, NULL, NULL);
        }
        return RECONCILE_RETRY;
    }
    if (s->pods.adopted)
        return RECONCILE_DONE; // they come as events
    _cleanup_err_ struct err failure = ERR_INIT;
    if (!meta_deleting(s->p->tree))
        steps(s, &failure);
    enum reconcile_result result = reconcile_status(s->p, status_of(s), e);
    if (result == RECONCILE_RETRY)
        return result;
    if (failure.reason) {
        err_move(e, &failure);
        return RECONCILE_RETRY;
    }
    if (!meta_deleting(s->p->tree) && revisions_prune(&s->history, is_live, s, e) < 0)
        return RECONCILE_RETRY;
    return result;
}

static enum reconcile_result reconcile(struct reconcile *p, struct err *e)
{
    const struct value *strategy = value_at(p->tree, "spec.updateStrategy");
    struct roll s = {
        .c = p->ctx,
        .p = p,
        .start = value_int_at(p->tree, "spec.ordinals.start", 0),
        .partition = value_int_at(strategy, "rollingUpdate.partition", 0),
        .min_ready = value_int_at(p->tree, "spec.minReadySeconds", 0),
        .collisions = value_int_at(p->tree, "status.collisionCount", 0),
        .ordered = !str_eqc(value_str_at(p->tree, "spec.podManagementPolicy"), "Parallel"),
        .rolling = !str_eqc(value_str_at(strategy, "type"), "OnDelete"),
    };
    enum reconcile_result result = work(&s, e);
    revisions_done(&s.history);
    pod_claims_done(&s.pods);
    map_done(&s.places);
    return result;
}

// Handlers.

static void enqueue_owner(struct statefulsets *c, const struct pod_facts *p)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (p && str_eqc(p->controller_kind, "StatefulSet"))
        work_queue_add(c->r->queue,
                       arena_printf(&a, "%.*s/%.*s", STR_ARG(p->ns), STR_ARG(p->controller_name)));
}

static void on_pod(void *ctx, const struct pod_facts *old, const struct pod_facts *new)
{
    struct statefulsets *c = ctx;
    enqueue_owner(c, old);
    enqueue_owner(c, new);
    // An orphan: the set that its name names, which looks at the labels itself.
    ptrdiff_t dash = new && !new->controller.n ? str_rchr(new->name, '-') : -1;
    if (dash <= 0)
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str key = arena_printf(&a, "%.*s/%.*s", STR_ARG(new->ns),
                                  STR_ARG(str_sub(new->name, 0, (size_t)dash)));
    _cleanup_object_ struct object *set = informer_get(c->r->informer, key);
    if (set)
        work_queue_add(c->r->queue, key);
}

static uint64_t applied(void *ctx)
{
    struct statefulsets *c = ctx;
    return pod_cache_revision(c->control->pods);
}

static const struct reconciler_row row = {
    .name = "statefulset",
    .component = "statefulset-controller",
    .workers = 5,
    .group = "apps",
    .resource = "statefulsets",
    .owned = {[OWNED_REVISIONS] = {"apps", "controllerrevisions"}},
    .reconcile = reconcile,
    .applied = applied,
};

static void *make(struct control *control)
{
    struct statefulsets *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->r = reconciler_new(control->client, control->informers, control->executor, &row, c);
    informer_add_index(c->r->owned[OWNED_REVISIONS], "orphans", owner_index_orphans);
    c->claims = informers_get(control->informers, KIND("", "persistentvolumeclaims"));
    return c;
}

static void run(void *self)
{
    struct statefulsets *c = self;
    c->on_pod = (struct pod_listener){on_pod, c, NULL};
    reconciler_run(c->r);
    pod_cache_listen(c->control->pods, &c->on_pod);
}

static void stop(void *self)
{
    struct statefulsets *c = self;
    pod_cache_unlisten(c->control->pods, &c->on_pod);
    reconciler_free(c->r);
    free(c);
}

const struct controller_row statefulset_controller = {"statefulset", make, run, stop};
