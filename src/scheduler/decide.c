// One decision, from the pod to a node or to the reasons why not.
//
// Not every node is looked at: with a hundred nodes or more, the search ends when enough candidates
// are found (half of the nodes, less the more there are, never fewer than five in a hundred nor
// fewer than a hundred), and the next decision begins where this one ended. Among the best, chance
// decides.
#include "scheduler/decide.h"
#include "base/buf.h"

static uint32_t enough(uint32_t nodes)
{
    if (nodes < 100)
        return nodes;
    uint32_t percent = nodes / 125 < 45 ? 50 - nodes / 125 : 5;
    uint32_t n = (uint32_t)((uint64_t)nodes * percent / 100);
    return n < 100 ? 100 : n;
}

static uint64_t random_next(struct random *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state;
}

// Reasons, counted by text.
struct reasons {
    struct arena *a;
    struct reason {
        const char *text;
        uint32_t count;
    } * items;
    uint32_t n, final;
};

static void note(struct reasons *r, const struct rejection *why)
{
    for (unsigned t = 0; t < why->ntexts; t++) {
        uint32_t i = 0;
        while (i < r->n && strcmp(r->items[i].text, why->texts[t]) != 0)
            i++;
        if (i == r->n) {
            size_t size = r->n * sizeof *r->items;
            r->items = arena_grow(r->a, r->items, size, size + sizeof *r->items);
            r->items[r->n++] = (struct reason){why->texts[t], 0};
        }
        r->items[i].count++;
    }
    r->final += why->final;
}

static int by_text(const void *pa, const void *pb)
{
    return str_cmp(*(const struct str *)pa, *(const struct str *)pb);
}

// "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: …"
static struct str explain(const struct decision *d, const struct reasons *r)
{
    uint32_t nodes = d->cluster->norder;
    if (!nodes)
        return STR("no nodes available to schedule pods");
    struct str *parts = arena_array(d->a, struct str, r->n + 1);
    for (uint32_t i = 0; i < r->n; i++)
        parts[i] = arena_printf(d->a, "%u %s", r->items[i].count, r->items[i].text);
    qsort(parts, r->n, sizeof *parts, by_text);
    struct str list = arena_join(d->a, parts, r->n, STR(", "));
    struct str text = arena_printf(d->a, "0/%u nodes are available: %.*s.", nodes, STR_ARG(list));
    if (d->pod->never_preempts)
        return arena_printf(d->a, "%.*s preemption: not eligible due to preemptionPolicy=Never.",
                            STR_ARG(text));
    struct str hope = STR_NULL;
    if (nodes > r->final)
        hope =
            arena_printf(d->a, "%u No preemption victims found for incoming pod", nodes - r->final);
    if (r->final)
        hope = arena_printf(d->a, "%.*s%s%u Preemption is not helpful for scheduling",
                            STR_ARG(hope), hope.n ? ", " : "", r->final);
    return arena_printf(d->a, "%.*s preemption: 0/%u nodes are available: %.*s.", STR_ARG(text),
                        nodes, STR_ARG(hope));
}

void decide(struct decision *d, uint32_t *next_start, struct random *random, struct verdict *ret)
{
    struct cluster *c = d->cluster;
    uint32_t wanted = enough(c->norder), n = 0, looked = 0;
    uint32_t *slots = arena_alloc(d->a, (wanted + 1) * sizeof *slots);
    *ret = (struct verdict){.slot = -1};
    decision_prepare(d);
    if (*next_start >= c->norder)
        *next_start = 0;
    for (uint32_t at = *next_start; looked < c->norder && n < wanted; looked++) {
        uint32_t slot = c->order[at];
        if (node_passes(d, &c->nodes[slot], NULL))
            slots[n++] = slot;
        if (++at == c->norder)
            at = 0;
    }
    ret->evaluated = looked;
    if (!n) {
        // Once more, for the reasons: this pod has time now.
        struct reasons reasons = {.a = d->a};
        for (uint32_t i = 0; i < c->norder; i++) {
            struct rejection why;
            if (node_passes(d, &c->nodes[c->order[i]], &why))
                continue;
            ret->rejected |= why.filter;
            note(&reasons, &why);
        }
        ret->message = explain(d, &reasons);
        return;
    }
    if (c->norder)
        *next_start = (*next_start + looked) % c->norder;
    if (n == 1) {
        ret->slot = (int32_t)slots[0];
        return;
    }
    int64_t *totals = arena_alloc(d->a, n * sizeof *totals), best = INT64_MIN;
    uint32_t ties = 0;
    score_nodes(d, slots, n, totals);
    for (uint32_t i = 0; i < n; i++) {
        if (totals[i] > best) {
            best = totals[i];
            ties = 1;
            ret->slot = (int32_t)slots[i];
        } else if (totals[i] == best && random_next(random) % ++ties == 0) {
            ret->slot = (int32_t)slots[i];
        }
    }
}
