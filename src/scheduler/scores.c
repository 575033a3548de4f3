// The scores, as a table: each rates every candidate from 0 to 100; the sum by weight decides.
// Weights and formulas are upstream's defaults. A score that has nothing to say about this pod is
// skipped.
//
// Spreading without constraints of the pod's own: fewer pods of the same controller on the node,
// and in its zone, are better.
#include "scheduler/decide.h"

enum { BEST = 100 };

typedef void score_fn(const struct decision *d, const uint32_t *slots, uint32_t n, int64_t *out);

static const struct node *node_at(const struct decision *d, uint32_t slot)
{
    return &d->cluster->nodes[slot];
}

// To 0 … 100 by the largest; reverse: the largest becomes 0.
static void normalize(int64_t *out, uint32_t n, bool reverse)
{
    int64_t most = 0;
    for (uint32_t i = 0; i < n; i++)
        most = out[i] > most ? out[i] : most;
    for (uint32_t i = 0; i < n; i++) {
        int64_t share = most ? out[i] * BEST / most : 0;
        out[i] = reverse ? BEST - share : share;
    }
}

// Free cpu and memory after the pod, in equal parts (NodeResourcesFit, LeastAllocated).
static void score_least_allocated(const struct decision *d, const uint32_t *slots, uint32_t n,
                                  int64_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct node *node = node_at(d, slots[i]);
        int64_t sum = 0, parts = 0;
        for (int r = 0; r < 2; r++) {
            int64_t left = node->room.basic[r] - node->nonzero[r] - d->pod->nonzero[r];
            parts += node->room.basic[r] > 0;
            if (left > 0)
                sum += (int64_t)((double)left * node->hundredth[r]);
        }
        out[i] = parts == 2 ? sum / 2 : sum;
    }
}

// Cpu and memory used in like measure.
static void score_balanced(const struct decision *d, const uint32_t *slots, uint32_t n,
                           int64_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct node *node = node_at(d, slots[i]);
        double part[2];
        for (int r = 0; r < 2; r++) {
            double used = (double)(node->used.basic[r] + d->pod->request.basic[r]);
            part[r] = used * node->hundredth[r] / BEST;
            part[r] = part[r] < 1 ? part[r] : 1;
        }
        double away = part[0] > part[1] ? part[0] - part[1] : part[1] - part[0];
        out[i] = (int64_t)((1 - away / 2) * BEST);
    }
}

// Taints that say PreferNoSchedule and are not tolerated.
static void score_taints(const struct decision *d, const uint32_t *slots, uint32_t n, int64_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct node *node = node_at(d, slots[i]);
        out[i] = 0;
        for (uint32_t t = 0; t < node->ntaints; t++) {
            if (node->taints[t].effect == EFFECT_PREFER_NO_SCHEDULE &&
                !tolerates(d->pod, &node->taints[t]))
                out[i]++;
        }
    }
    normalize(out, n, true);
}

static void score_node_affinity(const struct decision *d, const uint32_t *slots, uint32_t n,
                                int64_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct node *node = node_at(d, slots[i]);
        out[i] = 0;
        for (uint32_t t = 0; t < d->pod->npreferred; t++) {
            if (term_matches(&d->pod->preferred[t], &node->labels, node->name_hash))
                out[i] += d->pod->preferred[t].weight;
        }
    }
    normalize(out, n, false);
}

static name_hash domain_of(const struct node *n, name_hash topology)
{
    const struct label *l = label_find(&n->labels, topology);
    return l ? l->value : 0;
}

// Constraints of the pod that are only wishes.
static void score_spread_wishes(const struct decision *d, const uint32_t *slots, uint32_t n,
                                int64_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        out[i] = 0;
        for (uint32_t s = 0; s < d->pod->nspreads; s++) {
            const struct spread *c = &d->pod->spreads[s];
            if (!c->hard)
                out[i] += domains_count(&d->spreads[s],
                                        domain_of(node_at(d, slots[i]), c->topology), NULL) *
                          BEST / (c->max_skew + 1);
        }
    }
    normalize(out, n, true);
}

enum { ZONES = 64 };

static void score_owner_spread(const struct decision *d, const uint32_t *slots, uint32_t n,
                               int64_t *out)
{
    const struct group *g = cluster_owner_group(d->cluster, d->pod->owner);
    struct {
        name_hash zone;
        int64_t pods;
    } zones[ZONES];
    uint32_t nzones = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        name_hash zone = node_at(d, g->nodes[i])->zone;
        d->by_node[g->nodes[i]]++;
        if (!zone)
            continue;
        uint32_t z = 0;
        while (z < nzones && zones[z].zone != zone)
            z++;
        if (z == ZONES)
            continue; // more zones than anybody has: the rest does not count
        if (z == nzones) {
            zones[nzones].zone = zone;
            zones[nzones++].pods = 0;
        }
        zones[z].pods++;
    }
    for (uint32_t i = 0; i < n; i++) {
        name_hash zone = node_at(d, slots[i])->zone;
        out[i] = (int64_t)d->by_node[slots[i]] * 3; // a node weighs more than its zone
        for (uint32_t z = 0; z < nzones && zone; z++) {
            if (zones[z].zone == zone)
                out[i] += zones[z].pods;
        }
    }
    for (uint32_t i = 0; i < g->n; i++)
        d->by_node[g->nodes[i]] = 0;
    normalize(out, n, true);
}

static void score_pod_affinity(const struct decision *d, const uint32_t *slots, uint32_t n,
                               int64_t *out)
{
    const struct pod *p = d->pod;
    int64_t least = 0, most = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct node *node = node_at(d, slots[i]);
        out[i] = 0;
        for (uint32_t t = 0; t < p->nprefer_affine; t++)
            out[i] += p->prefer_affine[t].weight *
                      domains_count(&d->prefer_affine[t],
                                    domain_of(node, p->prefer_affine[t].topology), NULL);
        for (uint32_t t = 0; t < p->nprefer_anti; t++)
            out[i] -= p->prefer_anti[t].weight *
                      domains_count(&d->prefer_anti[t], domain_of(node, p->prefer_anti[t].topology),
                                    NULL);
        least = i == 0 || out[i] < least ? out[i] : least;
        most = i == 0 || out[i] > most ? out[i] : most;
    }
    for (uint32_t i = 0; i < n; i++)
        out[i] = most > least ? (out[i] - least) * BEST / (most - least) : 0;
}

// Images that are there already, less where few nodes have them (so that not all pods run to one
// node).
static void score_images(const struct decision *d, const uint32_t *slots, uint32_t n, int64_t *out)
{
    const int64_t mb = 1024 * 1024, low = 23 * mb, high = 1000 * mb * d->pod->nimages;
    for (uint32_t i = 0; i < n; i++) {
        const struct node *node = node_at(d, slots[i]);
        int64_t sum = 0;
        for (uint32_t p = 0; p < d->pod->nimages; p++) {
            for (uint32_t m = 0; m < node->nimages; m++) {
                if (node->images[m].name != d->pod->images[p])
                    continue;
                struct str key = str_n(&node->images[m].name, sizeof(name_hash));
                int64_t have = (int64_t)(intptr_t)map_get(&d->cluster->image_nodes, key);
                sum += (int64_t)((__int128)node->images[m].size * have / d->cluster->norder);
                break;
            }
        }
        sum = sum < low ? low : sum > high ? high : sum;
        out[i] = high > low ? BEST * (sum - low) / (high - low) : 0;
    }
}

static bool has_preferences(const struct decision *d)
{
    return d->pod->npreferred;
}

static bool has_wishes(const struct decision *d)
{
    return d->pod->nspreads;
}

static bool has_siblings(const struct decision *d)
{
    return !d->pod->nspreads && cluster_owner_group(d->cluster, d->pod->owner);
}

static bool has_pod_preferences(const struct decision *d)
{
    return d->pod->nprefer_affine || d->pod->nprefer_anti;
}

static bool images_known(const struct decision *d)
{
    for (uint32_t i = 0; i < d->pod->nimages; i++) {
        if (map_has(&d->cluster->image_nodes, str_n(&d->pod->images[i], sizeof(name_hash))))
            return true;
    }
    return false;
}

static const struct score {
    int64_t weight;
    bool (*concerns)(const struct decision *d); // NULL: every pod
    score_fn *fn;
} scores[] = {
    {1, NULL, score_least_allocated},
    {1, NULL, score_balanced},
    {3, NULL, score_taints},
    {2, has_preferences, score_node_affinity},
    {2, has_wishes, score_spread_wishes},
    {2, has_siblings, score_owner_spread},
    {2, has_pod_preferences, score_pod_affinity},
    {1, images_known, score_images},
};

void score_nodes(const struct decision *d, uint32_t *slots, uint32_t n, int64_t *totals)
{
    int64_t *part = arena_array(d->a, int64_t, n);
    memset(totals, 0, n * sizeof *totals);
    for (size_t i = 0; i < sizeof scores / sizeof *scores; i++) {
        if (scores[i].concerns && !scores[i].concerns(d))
            continue;
        scores[i].fn(d, slots, n, part);
        for (uint32_t k = 0; k < n; k++)
            totals[k] += scores[i].weight * part[k];
    }
}
