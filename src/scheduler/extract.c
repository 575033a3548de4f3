// From API objects to the compact forms of cluster.h: the only place of the scheduler that walks
// trees.
#include "base/list.h"
#include "object/quantity.h"
#include "scheduler/cluster.h"

name_hash hash_of(struct str s)
{
    uint64_t h = s.p ? str_hash(s) : 0;
    return s.p && !h ? 1 : h;
}

const struct label *label_find(const struct labels *l, name_hash key)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->items[i].key == key)
            return &l->items[i];
    }
    return NULL;
}

static struct labels extract_labels(struct arena *a, const struct value *v)
{
    struct labels l = {arena_array(a, struct label, value_len(v) + 1), 0};
    value_each_field (v, f) {
        struct label *one = &l.items[l.n++];
        struct str text = value_string(f->value);
        one->key = hash_of(f->key);
        one->value = hash_of(text.p ? text : STR(""));
        one->numeric = str_to_i64(text, &one->number);
    }
    return l;
}

// Selectors.

static bool value_among(const struct requirement *r, name_hash v)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->values[i] == v)
            return true;
    }
    return false;
}

bool term_matches(const struct term *t, const struct labels *l, name_hash node_name)
{
    for (uint32_t i = 0; i < t->n; i++) {
        const struct requirement *r = &t->items[i];
        const struct label *have = r->op == MATCH_NAME ? NULL : label_find(l, r->key);
        bool ok = false;
        switch ((enum match_op)r->op) {
        case MATCH_IN:
            ok = have && value_among(r, have->value);
            break;
        case MATCH_NOT_IN:
            ok = !have || !value_among(r, have->value);
            break;
        case MATCH_EXISTS:
            ok = have;
            break;
        case MATCH_ABSENT:
            ok = !have;
            break;
        case MATCH_GT:
            ok = have && have->numeric && have->number > r->number;
            break;
        case MATCH_LT:
            ok = have && have->numeric && have->number < r->number;
            break;
        case MATCH_NAME: // a field: metadata.name In or NotIn (number: 1 negates)
            ok = value_among(r, node_name) != (r->number == 1);
            break;
        }
        if (!ok)
            return false;
    }
    return true;
}

static bool op_of(struct str text, uint8_t *ret)
{
    static const char *const names[] = {"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"};
    for (uint8_t i = 0; i < 6; i++) {
        if (str_eqc(text, names[i])) {
            *ret = i;
            return true;
        }
    }
    return false;
}

// Adds one matchExpression. An operator that is not known matches nothing.
static void add_expression(struct arena *a, struct term *t, const struct value *v, bool field)
{
    struct requirement *r = &t->items[t->n++];
    const struct value *values = value_getc(v, "values");
    r->key = hash_of(value_str_at(v, "key"));
    r->values = arena_array(a, name_hash, value_len(values) + 1);
    if (!op_of(value_str_at(v, "operator"), &r->op))
        r->op = MATCH_IN;
    value_each_item (values, one) {
        struct str text = value_string(one);
        r->values[r->n++] = hash_of(text.p ? text : STR(""));
        str_to_i64(text, &r->number);
    }
    if (field) {
        r->number = r->op == MATCH_NOT_IN;
        r->op = MATCH_NAME;
    }
}

static void add_equal(struct arena *a, struct term *t, struct str key, struct str value)
{
    struct requirement *r = &t->items[t->n++];
    r->op = MATCH_IN;
    r->key = hash_of(key);
    r->values = arena_array(a, name_hash, 1);
    r->values[0] = hash_of(value.p ? value : STR(""));
    r->n = 1;
}

// A nodeSelectorTerm. An empty one matches nothing.
static struct term node_term(struct arena *a, const struct value *v)
{
    const struct value *labels = value_getc(v, "matchExpressions");
    const struct value *fields = value_getc(v, "matchFields");
    size_t n = value_len(labels) + value_len(fields);
    struct term t = {arena_array(a, struct requirement, n + 1), 0, 0};
    value_each_item (labels, one)
        add_expression(a, &t, one, false);
    value_each_item (fields, one)
        add_expression(a, &t, one, true);
    if (!n)
        t.items[t.n++].op = MATCH_IN; // no label has the key 0
    return t;
}

// A LabelSelector over pods; NULL (absent) selects nothing. `more`: keys whose value is taken from
// the pod itself.
static struct term *pod_selector(struct arena *a, const struct value *v, const struct value *more,
                                 const struct value *own_labels)
{
    const struct value *equal = value_getc(v, "matchLabels");
    const struct value *expressions = value_getc(v, "matchExpressions");
    size_t n = value_len(equal) + value_len(expressions) + value_len(more);
    struct term *t = arena_new(a, struct term);
    t->items = arena_array(a, struct requirement, n + 1);
    if (!v) {
        t->items[t->n++].op = MATCH_IN;
        return t;
    }
    value_each_field (equal, f)
        add_equal(a, t, f->key, value_string(f->value));
    value_each_item (expressions, one)
        add_expression(a, t, one, false);
    value_each_item (more, key) {
        const struct value *own = value_get(own_labels, value_string(key));
        if (own)
            add_equal(a, t, value_string(key), value_string(own));
    }
    return t;
}

static name_hash mix(name_hash h, uint64_t v)
{
    h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    return h * 0xff51afd7ed558ccdu;
}

static name_hash group_key(name_hash ns, const struct term *t)
{
    name_hash h = mix(1, ns);
    for (uint32_t i = 0; i < t->n; i++) {
        const struct requirement *r = &t->items[i];
        h = mix(mix(mix(h, r->op), r->key), (uint64_t)r->number);
        for (uint32_t v = 0; v < r->n; v++)
            h = mix(h, r->values[v]);
    }
    return h ? h : 1;
}

// Resources.

static int64_t amount(struct str name, const struct value *v)
{
    struct quantity q;
    if (!quantity_parse(value_string(v), &q))
        return value_int_or(v, 0);
    return str_eqc(name, "cpu") ? quantity_milli(&q) : quantity_value(&q);
}

static int64_t *resource_slot(struct arena *a, struct resources *r, struct str name)
{
    static const char *const basic[] = {"cpu", "memory", "ephemeral-storage"};
    for (int i = 0; i < BASIC; i++) {
        if (str_eqc(name, basic[i]))
            return &r->basic[i];
    }
    name_hash h = hash_of(name);
    for (uint32_t i = 0; i < r->nmore; i++) {
        if (r->more[i].name == h)
            return &r->more[i].amount;
    }
    size_t size = r->nmore * sizeof *r->more;
    r->more = arena_grow(a, r->more, size, size + sizeof *r->more);
    r->more[r->nmore] = (struct extended){h, 0, arena_str(a, name)};
    return &r->more[r->nmore++].amount;
}

static void add_list(struct arena *a, struct resources *r, const struct value *list)
{
    value_each_field (list, f) {
        if (!str_eqc(f->key, "pods"))
            *resource_slot(a, r, f->key) += amount(f->key, f->value);
    }
}

static void add_resources(struct arena *a, struct resources *to, const struct resources *from)
{
    for (int i = 0; i < BASIC; i++)
        to->basic[i] += from->basic[i];
    for (uint32_t i = 0; i < from->nmore; i++)
        *resource_slot(a, to, from->more[i].text) += from->more[i].amount;
}

static void max_resources(struct arena *a, struct resources *to, const struct resources *from)
{
    for (int i = 0; i < BASIC; i++)
        to->basic[i] = to->basic[i] > from->basic[i] ? to->basic[i] : from->basic[i];
    for (uint32_t i = 0; i < from->nmore; i++) {
        int64_t *slot = resource_slot(a, to, from->more[i].text);
        *slot = *slot > from->more[i].amount ? *slot : from->more[i].amount;
    }
}

#define DEFAULT_CPU    100 // for scoring, where a container asks for nothing
#define DEFAULT_MEMORY (200LL * 1024 * 1024)

static void add_nonzero(int64_t nonzero[2], const struct resources *r)
{
    nonzero[0] += r->basic[CPU] ? r->basic[CPU] : DEFAULT_CPU;
    nonzero[1] += r->basic[MEMORY] ? r->basic[MEMORY] : DEFAULT_MEMORY;
}

// The sum over containers and sidecars, or what an init container needs beside the sidecars before
// it, whichever is more; and the overhead. Requests of the pod itself come before its containers'.
static void extract_request(struct pod *p, const struct value *spec)
{
    struct arena *a = &p->arena;
    struct resources sidecars = {0};
    const struct value *containers = value_getc(spec, "containers");
    const struct value *inits = value_getc(spec, "initContainers");
    value_each_item (containers, c) {
        struct resources r = {0};
        add_list(a, &r, value_at(c, "resources.requests"));
        add_resources(a, &p->request, &r);
        add_nonzero(p->nonzero, &r);
    }
    struct resources most = {0};
    value_each_item (inits, c) {
        struct resources r = {0};
        add_list(a, &r, value_at(c, "resources.requests"));
        if (str_eqc(value_str_at(c, "restartPolicy"), "Always")) {
            add_resources(a, &p->request, &r);
            add_nonzero(p->nonzero, &r);
            add_resources(a, &sidecars, &r);
            max_resources(a, &most, &sidecars);
        } else {
            add_resources(a, &r, &sidecars);
            max_resources(a, &most, &r);
        }
    }
    max_resources(a, &p->request, &most);
    const struct value *own = value_at(spec, "resources.requests");
    value_each_field (own, f)
        *resource_slot(a, &p->request, f->key) = amount(f->key, f->value);
    struct resources overhead = {0};
    add_list(a, &overhead, value_getc(spec, "overhead"));
    add_resources(a, &p->request, &overhead);
    for (int i = 0; i < 2; i++) {
        if (p->nonzero[i] < p->request.basic[i])
            p->nonzero[i] = p->request.basic[i];
    }
}

// Pods.

static uint8_t effect_of(struct str s)
{
    return str_eqc(s, "NoSchedule")         ? EFFECT_NO_SCHEDULE
           : str_eqc(s, "PreferNoSchedule") ? EFFECT_PREFER_NO_SCHEDULE
           : str_eqc(s, "NoExecute")        ? EFFECT_NO_EXECUTE
                                            : EFFECT_NONE;
}

static void extract_tolerations(struct pod *p, const struct value *list)
{
    p->tolerations = arena_array(&p->arena, struct toleration, value_len(list) + 1);
    value_each_item (list, t) {
        struct str key = value_str_at(t, "key"), value = value_str_at(t, "value");
        p->tolerations[p->ntolerations++] = (struct toleration){
            .key = key.n ? hash_of(key) : 0,
            .value = hash_of(value.p ? value : STR("")),
            .effect = effect_of(value_str_at(t, "effect")),
            .exists = str_eqc(value_str_at(t, "operator"), "Exists"),
        };
    }
}

bool tolerates(const struct pod *p, const struct taint *taint)
{
    for (uint32_t i = 0; i < p->ntolerations; i++) {
        const struct toleration *t = &p->tolerations[i];
        if ((!t->effect || t->effect == taint->effect) && (!t->key || t->key == taint->key) &&
            (t->exists || (t->key && t->value == taint->value)))
            return true;
    }
    return false;
}

static void extract_ports(struct pod *p, const struct value *spec)
{
    static const char *const lists[] = {"containers", "initContainers"};
    for (int l = 0; l < 2; l++) {
        const struct value *containers = value_getc(spec, lists[l]);
        value_each_item (containers, c) {
            if (l == 1 && !str_eqc(value_str_at(c, "restartPolicy"), "Always"))
                continue;
            const struct value *ports = value_getc(c, "ports");
            value_each_item (ports, one) {
                int64_t port = value_int_at(one, "hostPort", 0);
                struct str address = value_str_at(one, "hostIP");
                struct str protocol = value_str_at(one, "protocol");
                if (port <= 0 || port > 65535)
                    continue;
                bool all = !address.n || str_eqc(address, "0.0.0.0") || str_eqc(address, "::");
                size_t size = p->nports * sizeof *p->ports;
                p->ports = arena_grow(&p->arena, p->ports, size, size + sizeof *p->ports);
                p->ports[p->nports++] = (struct host_port){
                    .address = all ? 0 : (uint32_t)hash_of(address) | 1,
                    .port = (uint16_t)port,
                    .protocol = protocol.n ? (uint8_t)protocol.p[0] : 'T',
                };
            }
        }
    }
}

static void extract_node_affinity(struct pod *p, const struct value *spec)
{
    struct arena *a = &p->arena;
    const struct value *selector = value_getc(spec, "nodeSelector");
    p->selector.items = arena_array(a, struct requirement, value_len(selector) + 1);
    value_each_field (selector, f)
        add_equal(a, &p->selector, f->key, value_string(f->value));
    const struct value *required =
        value_at(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    const struct value *terms = value_getc(required, "nodeSelectorTerms");
    p->has_affinity = value_is(required, VALUE_OBJECT);
    p->affinity = arena_array(a, struct term, value_len(terms) + 1);
    value_each_item (terms, t)
        p->affinity[p->naffinity++] = node_term(a, t);
    const struct value *preferred =
        value_at(spec, "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution");
    p->preferred = arena_array(a, struct term, value_len(preferred) + 1);
    value_each_item (preferred, t) {
        struct term *one = &p->preferred[p->npreferred++];
        *one = node_term(a, value_getc(t, "preference"));
        one->weight = (int32_t)value_int_at(t, "weight", 0);
    }
}

static void extract_spreads(struct pod *p, const struct value *spec, const struct value *labels)
{
    const struct value *list = value_getc(spec, "topologySpreadConstraints");
    p->spreads = arena_array(&p->arena, struct spread, value_len(list) + 1);
    value_each_item (list, v) {
        struct spread *s = &p->spreads[p->nspreads++];
        s->topology = hash_of(value_str_at(v, "topologyKey"));
        s->max_skew = (int32_t)value_int_at(v, "maxSkew", 1);
        s->min_domains = (int32_t)value_int_at(v, "minDomains", 1);
        s->hard = !str_eqc(value_str_at(v, "whenUnsatisfiable"), "ScheduleAnyway");
        s->ignore_affinity = str_eqc(value_str_at(v, "nodeAffinityPolicy"), "Ignore");
        s->honor_taints = str_eqc(value_str_at(v, "nodeTaintsPolicy"), "Honor");
        s->select = pod_selector(&p->arena, value_getc(v, "labelSelector"),
                                 value_getc(v, "matchLabelKeys"), labels);
        s->group = group_key(p->ns_hash, s->select);
    }
}

static struct pod_term *pod_terms(struct pod *p, const struct value *list,
                                  const struct value *labels, bool weighted, uint32_t *ret_n)
{
    struct pod_term *terms = arena_array(&p->arena, struct pod_term, value_len(list) + 1);
    *ret_n = 0;
    value_each_item (list, v) {
        struct pod_term *t = &terms[(*ret_n)++];
        const struct value *body = weighted ? value_getc(v, "podAffinityTerm") : v;
        const struct value *names = value_getc(body, "namespaces");
        const struct value *spaces = value_getc(body, "namespaceSelector");
        t->weight = (int32_t)value_int_at(v, "weight", 0);
        t->topology = hash_of(value_str_at(body, "topologyKey"));
        t->select = pod_selector(&p->arena, value_getc(body, "labelSelector"),
                                 value_getc(body, "matchLabelKeys"), labels);
        // An empty selector means all namespaces. One that selects by label is taken for all as
        // well: anti-affinity then keeps further apart than asked, never closer.
        t->all_namespaces = value_is(spaces, VALUE_OBJECT);
        t->namespaces = arena_array(&p->arena, name_hash, value_len(names) + 1);
        value_each_item (names, n)
            t->namespaces[t->nnamespaces++] = hash_of(value_string(n));
        if (!t->nnamespaces && !t->all_namespaces)
            t->namespaces[t->nnamespaces++] = p->ns_hash;
    }
    return terms;
}

static void extract_pod_affinity(struct pod *p, const struct value *spec,
                                 const struct value *labels)
{
    static const char required[] = "requiredDuringSchedulingIgnoredDuringExecution";
    static const char preferred[] = "preferredDuringSchedulingIgnoredDuringExecution";
    const struct value *near = value_at(spec, "affinity.podAffinity");
    const struct value *apart = value_at(spec, "affinity.podAntiAffinity");
    p->affine = pod_terms(p, value_getc(near, required), labels, false, &p->naffine);
    p->anti = pod_terms(p, value_getc(apart, required), labels, false, &p->nanti);
    p->prefer_affine = pod_terms(p, value_getc(near, preferred), labels, true, &p->nprefer_affine);
    p->prefer_anti = pod_terms(p, value_getc(apart, preferred), labels, true, &p->nprefer_anti);
}

// Image names as nodes list them: with a tag.
static struct str image_name(struct arena *a, struct str image)
{
    ptrdiff_t slash = str_rchr(image, '/');
    struct str last = str_from(image, (size_t)(slash + 1));
    if (str_chr(last, ':') >= 0 || str_chr(last, '@') >= 0)
        return image;
    return arena_printf(a, "%.*s:latest", STR_ARG(image));
}

struct pod_block {
    struct pod pod;
    char room[768] __attribute__((aligned(16))); // enough for nearly every pod
};

struct pod *pod_new(struct object *o)
{
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    // One block: the struct, and behind it the room that its arena begins with.
    struct pod_block *block = mem_alloc(sizeof *block);
    struct pod *p = &block->pod;
    *p = (struct pod){.arena = {.at = block->room, .end = block->room + sizeof block->room}};
    const struct value *tree = object_tree(&scratch, o);
    struct value *spec = value_getc(tree, "spec");
    const struct value *labels = value_at(tree, "metadata.labels");
    p->object = object_ref(o);
    p->ns = object_namespace(o);
    p->name = object_name(o);
    p->key = arena_printf(&p->arena, "%.*s/%.*s", STR_ARG(p->ns), STR_ARG(p->name));
    p->uid = arena_str(&p->arena, value_str_at(tree, "metadata.uid"));
    p->uid_hash = hash_of(p->uid);
    p->ns_hash = hash_of(p->ns);
    p->slot = -1;
    p->priority = (int32_t)value_int_at(spec, "priority", 0);
    p->never_preempts = str_eqc(value_str_at(spec, "preemptionPolicy"), "Never");
    p->gated = value_len(value_getc(spec, "schedulingGates")) > 0;
    p->node_name = arena_str(&p->arena, value_str_at(spec, "nodeName"));
    value_delc(spec, "nodeName"); // being bound changes nothing else
    p->spec_hash = mix(spec ? value_hash(spec) : 0, labels ? value_hash(labels) : 0);
    const struct value *owners = value_at(tree, "metadata.ownerReferences");
    value_each_item (owners, owner) {
        if (value_bool_at(owner, "controller", false))
            p->owner = mix(p->ns_hash, hash_of(value_str_at(owner, "uid")));
    }
    p->labels = extract_labels(&p->arena, labels);
    extract_request(p, spec);
    extract_ports(p, spec);
    extract_tolerations(p, value_getc(spec, "tolerations"));
    extract_node_affinity(p, spec);
    extract_spreads(p, spec, labels);
    extract_pod_affinity(p, spec, labels);
    const struct value *containers = value_getc(spec, "containers");
    p->images = arena_array(&p->arena, name_hash, value_len(containers) + 1);
    value_each_item (containers, c)
        p->images[p->nimages++] = hash_of(image_name(&p->arena, value_str_at(c, "image")));
    return p;
}

void pod_free(struct pod *p)
{
    if (!p)
        return;
    BUG_ON(p->slot >= 0);
    object_unref(p->object);
    arena_done(&p->arena); // what did not fit into the block
    free(container_of(p, struct pod_block, pod));
}

// Nodes.

static void extract_node(struct node *n, struct object *o)
{
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    const struct value *tree = object_tree(&scratch, o), *spec = value_getc(tree, "spec");
    const struct value *room = value_at(tree, "status.allocatable");
    struct arena *a = &n->arena;
    n->name = arena_str(a, object_name(o));
    n->name_hash = hash_of(n->name);
    n->labels = extract_labels(a, value_at(tree, "metadata.labels"));
    const struct label *zone = label_find(&n->labels, hash_of(STR("topology.kubernetes.io/zone")));
    n->zone = zone ? zone->value : 0;
    n->room = (struct resources){0};
    add_list(a, &n->room, room);
    for (int i = 0; i < 2; i++)
        n->hundredth[i] = n->room.basic[i] > 0 ? 100.0 / (double)n->room.basic[i] : 0;
    struct quantity pods;
    n->max_pods = quantity_parse(value_str_at(room, "pods"), &pods)
                      ? (uint32_t)quantity_value(&pods)
                      : (uint32_t)value_int_at(room, "pods", 0);
    n->unschedulable = value_bool_at(spec, "unschedulable", false);
    const struct value *taints = value_getc(spec, "taints");
    const struct value *labels = value_at(tree, "metadata.labels");
    n->shape = mix(mix(labels ? value_hash(labels) : 0, room ? value_hash(room) : 0),
                   mix(taints ? value_hash(taints) : 0, n->unschedulable));
    n->taints = arena_array(a, struct taint, value_len(taints) + 1);
    n->ntaints = 0;
    value_each_item (taints, t) {
        struct str key = value_str_at(t, "key"), value = value_str_at(t, "value");
        n->taints[n->ntaints++] = (struct taint){
            .key = hash_of(key),
            .value = hash_of(value.p ? value : STR("")),
            .effect = effect_of(value_str_at(t, "effect")),
            .key_text = arena_str(a, key),
            .value_text = arena_str(a, value),
        };
    }
    const struct value *images = value_at(tree, "status.images");
    size_t names = 0;
    value_each_item (images, i)
        names += value_len(value_getc(i, "names"));
    n->images = arena_array(a, struct image, names + 1);
    n->nimages = 0;
    value_each_item (images, i) {
        const struct value *list = value_getc(i, "names");
        value_each_item (list, name)
            n->images[n->nimages++] =
                (struct image){hash_of(value_string(name)), value_int_at(i, "sizeBytes", 0)};
    }
}

void node_extract(struct node *n, struct object *o)
{
    arena_done(&n->arena);
    n->arena = ARENA_INIT;
    extract_node(n, o);
}
