// The filters, as a table: each says of one node whether the pod may go there, and if not why, in
// upstream's words. A filter that has nothing to say about this pod is skipped before nodes are
// looked at (`concerns`).
#include "scheduler/decide.h"
#include <stdio.h>

static bool say(struct rejection *r, const char *text)
{
    if (r && r->ntexts < sizeof r->texts / sizeof *r->texts)
        r->texts[r->ntexts++] = text;
    return false;
}

// Counting by topology domain.

static struct domain *domain_slot(const struct domains *d, name_hash value)
{
    for (uint32_t i = (uint32_t)(value ^ value >> 32) & (d->cap - 1);; i = (i + 1) & (d->cap - 1)) {
        if (d->slots[i].value == value || !d->slots[i].value)
            return &d->slots[i];
    }
}

static void domains_init(struct domains *d, struct arena *a, uint32_t most)
{
    *d = (struct domains){.cap = 16};
    while (d->cap < most * 2)
        d->cap *= 2;
    d->slots = arena_array(a, struct domain, d->cap);
}

static struct domain *domain_add(struct domains *d, name_hash value)
{
    struct domain *s = domain_slot(d, value);
    if (!s->value) {
        s->value = value;
        d->n++;
    }
    return s;
}

int64_t domains_count(const struct domains *d, name_hash value, bool *ret_known)
{
    const struct domain *s = d->cap ? domain_slot(d, value) : NULL;
    bool known = s && s->value;
    if (ret_known)
        *ret_known = known;
    return known ? s->pods : 0;
}

static name_hash domain_of(const struct node *n, name_hash topology)
{
    const struct label *l = label_find(&n->labels, topology);
    return l ? l->value : 0;
}

static bool affinity_matches(const struct pod *p, const struct node *n)
{
    if (p->selector.n && !term_matches(&p->selector, &n->labels, n->name_hash))
        return false;
    if (!p->has_affinity)
        return true;
    for (uint32_t i = 0; i < p->naffinity; i++) {
        if (term_matches(&p->affinity[i], &n->labels, n->name_hash))
            return true;
    }
    return false;
}

static bool taints_tolerated(const struct pod *p, const struct node *n)
{
    for (uint32_t i = 0; i < n->ntaints; i++) {
        if (n->taints[i].effect != EFFECT_PREFER_NO_SCHEDULE && !tolerates(p, &n->taints[i]))
            return false;
    }
    return true;
}

static void prepare_spread(struct decision *d, const struct spread *s, struct domains *out)
{
    struct cluster *c = d->cluster;
    const struct group *g = cluster_group(c, s->group, d->pod->ns_hash, s->select);
    domains_init(out, d->a, c->norder + 1);
    out->self = term_matches(s->select, &d->pod->labels, 0);
    bool *eligible = arena_array(d->a, bool, c->nslots + 1);
    for (uint32_t i = 0; i < c->norder; i++) {
        const struct node *n = &c->nodes[c->order[i]];
        name_hash value = domain_of(n, s->topology);
        if (!value || (!s->ignore_affinity && !affinity_matches(d->pod, n)) ||
            (s->honor_taints && !taints_tolerated(d->pod, n)))
            continue;
        eligible[c->order[i]] = true;
        domain_add(out, value)->eligible = true;
    }
    for (uint32_t i = 0; i < g->n; i++) {
        if (eligible[g->nodes[i]])
            domain_slot(out, domain_of(&c->nodes[g->nodes[i]], s->topology))->pods++;
    }
    out->least = INT64_MAX;
    for (uint32_t i = 0; i < out->cap; i++) {
        if (out->slots[i].eligible && out->slots[i].pods < out->least)
            out->least = out->slots[i].pods;
    }
    if (out->n < (uint32_t)s->min_domains || !out->n)
        out->least = 0;
}

// Which pods a term of pod affinity counts, by domain.
static bool term_selects(const struct pod_term *t, const struct pod *other)
{
    bool ns = t->all_namespaces;
    for (uint32_t i = 0; i < t->nnamespaces && !ns; i++)
        ns = t->namespaces[i] == other->ns_hash;
    return ns && term_matches(t->select, &other->labels, 0);
}

static struct domains *prepare_terms(struct decision *d, const struct pod_term *terms, uint32_t n)
{
    struct cluster *c = d->cluster;
    if (!n)
        return NULL;
    struct domains *out = arena_array(d->a, struct domains, n);
    for (uint32_t t = 0; t < n; t++) {
        domains_init(&out[t], d->a, c->norder + 1);
        for (uint32_t i = 0; i < c->norder; i++) {
            const struct node *node = &c->nodes[c->order[i]];
            name_hash value = domain_of(node, terms[t].topology);
            if (!value)
                continue;
            for (const struct pod *p = node->pods; p; p = p->next_on_node) {
                if (term_selects(&terms[t], p)) {
                    domain_add(&out[t], value)->pods++;
                    out[t].neligible++;
                }
            }
        }
    }
    return out;
}

// Domains that a pod already running wants for itself.
static void prepare_against(struct decision *d)
{
    struct cluster *c = d->cluster;
    for (const struct pod *p = c->anti; p; p = p->next_anti) {
        for (uint32_t t = 0; t < p->nanti; t++) {
            if (!term_selects(&p->anti[t], d->pod))
                continue;
            name_hash value = domain_of(&c->nodes[p->slot], p->anti[t].topology);
            if (!value)
                continue;
            uint32_t k = 0;
            while (k < d->nagainst && d->against_keys[k] != p->anti[t].topology)
                k++;
            if (k == d->nagainst) {
                d->against = arena_grow(d->a, d->against, k * sizeof *d->against,
                                        (k + 1) * sizeof *d->against);
                d->against_keys = arena_grow(d->a, d->against_keys, k * sizeof *d->against_keys,
                                             (k + 1) * sizeof *d->against_keys);
                domains_init(&d->against[k], d->a, c->norder + c->nslots + 1);
                d->against_keys[k] = p->anti[t].topology;
                d->nagainst++;
            }
            domain_add(&d->against[k], value)->pods++;
        }
    }
}

// The filters.

static bool filter_unschedulable(const struct decision *d, const struct node *n,
                                 struct rejection *r)
{
    static struct taint cordon = {.effect = EFFECT_NO_SCHEDULE};
    if (!n->unschedulable)
        return true;
    struct taint t = cordon;
    t.key = hash_of(STR("node.kubernetes.io/unschedulable"));
    t.value = hash_of(STR(""));
    return tolerates(d->pod, &t) || say(r, "node(s) were unschedulable");
}

static bool filter_taints(const struct decision *d, const struct node *n, struct rejection *r)
{
    for (uint32_t i = 0; i < n->ntaints; i++) {
        const struct taint *t = &n->taints[i];
        if (t->effect == EFFECT_PREFER_NO_SCHEDULE || tolerates(d->pod, t))
            continue;
        if (!r)
            return false;
        struct str text = arena_printf(d->a, "node(s) had untolerated taint {%.*s: %.*s}",
                                       STR_ARG(t->key_text), STR_ARG(t->value_text));
        return say(r, arena_cstr(d->a, text));
    }
    return true;
}

static bool filter_affinity(const struct decision *d, const struct node *n, struct rejection *r)
{
    return affinity_matches(d->pod, n) ||
           say(r, "node(s) didn't match Pod's node affinity/selector");
}

static bool filter_ports(const struct decision *d, const struct node *n, struct rejection *r)
{
    for (uint32_t i = 0; i < d->pod->nports; i++) {
        const struct host_port *want = &d->pod->ports[i];
        for (uint32_t j = 0; j < n->nports; j++) {
            const struct host_port *used = &n->ports[j];
            if (used->port == want->port && used->protocol == want->protocol &&
                (!used->address || !want->address || used->address == want->address))
                return say(r, "node(s) didn't have free ports for the requested pod ports");
        }
    }
    return true;
}

static bool filter_resources(const struct decision *d, const struct node *n, struct rejection *r)
{
    static const char *const texts[BASIC] = {"Insufficient cpu", "Insufficient memory",
                                             "Insufficient ephemeral-storage"};
    const struct resources *want = &d->pod->request;
    bool ok = true;
    if (n->npods + 1 > n->max_pods)
        ok = say(r, "Too many pods");
    for (int i = 0; i < BASIC; i++) {
        if (want->basic[i] && want->basic[i] > n->room.basic[i] - n->used.basic[i])
            ok = say(r, texts[i]);
    }
    for (uint32_t i = 0; i < want->nmore; i++) {
        int64_t room = 0;
        for (uint32_t j = 0; j < n->room.nmore; j++) {
            if (n->room.more[j].name == want->more[i].name)
                room = n->room.more[j].amount - n->used.more[j].amount;
        }
        if (want->more[i].amount && want->more[i].amount > room) {
            if (!r)
                return false;
            struct str text = arena_printf(d->a, "Insufficient %.*s", STR_ARG(want->more[i].text));
            ok = say(r, arena_cstr(d->a, text));
        }
    }
    return ok;
}

static bool filter_spread(const struct decision *d, const struct node *n, struct rejection *r)
{
    for (uint32_t i = 0; i < d->pod->nspreads; i++) {
        const struct spread *s = &d->pod->spreads[i];
        if (!s->hard)
            continue;
        name_hash value = domain_of(n, s->topology);
        if (!value) {
            if (r)
                r->final = true;
            return say(r, "node(s) didn't match pod topology spread constraints (missing required "
                          "label)");
        }
        int64_t skew =
            domains_count(&d->spreads[i], value, NULL) + d->spreads[i].self - d->spreads[i].least;
        if (skew > s->max_skew)
            return say(r, "node(s) didn't match pod topology spread constraints");
    }
    return true;
}

static bool filter_pod_affinity(const struct decision *d, const struct node *n, struct rejection *r)
{
    const struct pod *p = d->pod;
    for (uint32_t t = 0; t < p->naffine; t++) {
        name_hash value = domain_of(n, p->affine[t].topology);
        if (!value || (!d->first_of_kind && !domains_count(&d->affine[t], value, NULL))) {
            if (r)
                r->final = true;
            return say(r, "node(s) didn't match pod affinity rules");
        }
    }
    for (uint32_t t = 0; t < p->nanti; t++) {
        name_hash value = domain_of(n, p->anti[t].topology);
        if (value && domains_count(&d->anti[t], value, NULL))
            return say(r, "node(s) didn't match pod anti-affinity rules");
    }
    for (uint32_t k = 0; k < d->nagainst; k++) {
        name_hash value = domain_of(n, d->against_keys[k]);
        if (value && domains_count(&d->against[k], value, NULL))
            return say(r, "node(s) didn't satisfy existing pods anti-affinity rules");
    }
    return true;
}

static bool has_affinity(const struct decision *d)
{
    return d->pod->selector.n || d->pod->has_affinity;
}

static bool has_ports(const struct decision *d)
{
    return d->pod->nports;
}

static bool has_spreads(const struct decision *d)
{
    return d->pod->nspreads;
}

static bool has_pod_affinity(const struct decision *d)
{
    return d->pod->naffine || d->pod->nanti || d->nagainst;
}

// In upstream's order. final: taking pods away from the node would not help.
static const struct filter {
    unsigned bit;
    bool final;
    bool (*concerns)(const struct decision *d); // NULL: every pod
    bool (*passes)(const struct decision *d, const struct node *n, struct rejection *r);
} filters[] = {
    // at most as many as decision.filters holds
    {REJECT_UNSCHEDULABLE, true, NULL, filter_unschedulable},
    {REJECT_TAINT, true, NULL, filter_taints},
    {REJECT_AFFINITY, true, has_affinity, filter_affinity},
    {REJECT_PORTS, false, has_ports, filter_ports},
    {REJECT_RESOURCES, false, NULL, filter_resources},
    {REJECT_SPREAD, false, has_spreads, filter_spread},
    {REJECT_POD_AFFINITY, false, has_pod_affinity, filter_pod_affinity},
};

void decision_prepare(struct decision *d)
{
    const struct pod *p = d->pod;
    d->spreads = p->nspreads ? arena_array(d->a, struct domains, p->nspreads) : NULL;
    for (uint32_t i = 0; i < p->nspreads; i++)
        prepare_spread(d, &p->spreads[i], &d->spreads[i]);
    d->affine = prepare_terms(d, p->affine, p->naffine);
    d->anti = prepare_terms(d, p->anti, p->nanti);
    d->prefer_affine = prepare_terms(d, p->prefer_affine, p->nprefer_affine);
    d->prefer_anti = prepare_terms(d, p->prefer_anti, p->nprefer_anti);
    d->against = NULL;
    d->against_keys = NULL;
    d->nagainst = 0;
    if (d->cluster->anti)
        prepare_against(d);
    d->nfilters = 0;
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        if (!filters[i].concerns || filters[i].concerns(d))
            d->filters[d->nfilters++] = &filters[i];
    }
    // The first pod of a group that wants to be near its own kind would wait for ever.
    d->first_of_kind = p->naffine > 0;
    for (uint32_t t = 0; t < p->naffine; t++) {
        if (d->affine[t].neligible || !term_selects(&p->affine[t], p))
            d->first_of_kind = false;
    }
}

bool node_passes(const struct decision *d, const struct node *n, struct rejection *r)
{
    for (unsigned i = 0; i < d->nfilters; i++) {
        const struct filter *f = d->filters[i];
        if (r)
            *r = (struct rejection){.filter = f->bit, .final = f->final};
        if (!f->passes(d, n, r))
            return false;
    }
    return true;
}
