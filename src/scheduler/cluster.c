// The cluster as the scheduler counts it: nodes in slots, pods on their nodes, groups of pods for
// spreading.
//
// A slot is a node's place for as long as it is there or a pod counts on it: pods may outlive their
// node object, or come before it. Slots of present nodes stand in `order`, which decisions walk
// through.
//
// Invariants:
//  1. used, nonzero, npods and ports of a slot are the sums over the pods in its list;
//  2. a pod with slot >= 0 is in that slot's list, once in its owner's group, and once in each
//  selector group of
//     its namespace that matches it;
//  3. order[nodes[order[i]].order] == order[i] and lists exactly the present nodes.
#include "scheduler/cluster.h"

enum { SELECTOR_GROUPS_MAX = 512 };

// Groups.

static struct str group_name(const name_hash *key)
{
    return str_n(key, sizeof *key);
}

static void group_free(struct group *g)
{
    if (g->select) {
        for (uint32_t i = 0; i < g->select->n; i++)
            free(g->select->items[i].values);
        free(g->select->items);
        free(g->select);
    }
    free(g->nodes);
    free(g);
}

static void group_add(struct group *g, uint32_t slot)
{
    if (g->n == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 4;
        g->nodes = mem_realloc(g->nodes, g->cap * sizeof *g->nodes);
    }
    g->nodes[g->n++] = slot;
}

static void group_remove(struct group *g, uint32_t slot)
{
    for (uint32_t i = g->n; i-- > 0;) {
        if (g->nodes[i] == slot) {
            g->nodes[i] = g->nodes[--g->n];
            return;
        }
    }
    BUG_ON(true);
}

static struct term *term_copy(const struct term *t)
{
    struct term *c = mem_zalloc(sizeof *c);
    c->items = mem_zalloc((t->n + 1) * sizeof *c->items);
    c->n = t->n;
    for (uint32_t i = 0; i < t->n; i++) {
        c->items[i] = t->items[i];
        c->items[i].values = mem_alloc((t->items[i].n + 1) * sizeof(name_hash));
        if (t->items[i].n)
            memcpy(c->items[i].values, t->items[i].values, t->items[i].n * sizeof(name_hash));
    }
    return c;
}

static bool group_matches(const struct group *g, const struct pod *p)
{
    return g->select && g->ns == p->ns_hash && term_matches(g->select, &p->labels, 0);
}

struct group *cluster_owner_group(struct cluster *c, name_hash owner)
{
    return owner ? map_get(&c->owners, group_name(&owner)) : NULL;
}

// The selector that was not asked for the longest time makes room.
static void forget_oldest(struct cluster *c)
{
    struct group *oldest = NULL;
    map_each (&c->selectors, s) {
        struct group *g = s->value;
        if (!oldest || g->used < oldest->used)
            oldest = g;
    }
    map_del(&c->selectors, group_name(&oldest->key));
    group_free(oldest);
}

struct group *cluster_group(struct cluster *c, name_hash key, name_hash ns, struct term *select)
{
    struct group *g = map_get(&c->selectors, group_name(&key));
    if (!g) {
        if (c->selectors.n >= SELECTOR_GROUPS_MAX)
            forget_oldest(c);
        g = mem_zalloc(sizeof *g);
        g->key = key;
        g->ns = ns;
        g->select = term_copy(select);
        map_set(&c->selectors, group_name(&key), g);
        for (uint32_t slot = 0; slot < c->nslots; slot++) {
            for (const struct pod *p = c->nodes[slot].pods; p; p = p->next_on_node) {
                if (group_matches(g, p))
                    group_add(g, slot);
            }
        }
    }
    g->used = ++c->tick;
    return g;
}

// Nodes.

struct node *cluster_node(struct cluster *c, struct str name)
{
    uintptr_t at = (uintptr_t)map_get(&c->by_name, name);
    return at ? &c->nodes[at - 1] : NULL;
}

static uint32_t slot_of(struct cluster *c, struct str name)
{
    uintptr_t at = (uintptr_t)map_get(&c->by_name, name);
    if (at)
        return (uint32_t)(at - 1);
    uint32_t slot = 0;
    while (slot < c->nslots && (c->nodes[slot].present || c->nodes[slot].npods))
        slot++; // only when a node appears
    if (slot == c->nslots) {
        if (c->nslots == c->slots_cap) {
            uint32_t cap = c->slots_cap ? c->slots_cap * 2 : 16;
            c->nodes = mem_realloc(c->nodes, cap * sizeof *c->nodes);
            c->order = mem_realloc(c->order, cap * sizeof *c->order);
            memset(c->nodes + c->slots_cap, 0, (cap - c->slots_cap) * sizeof *c->nodes);
            c->slots_cap = cap;
            // The lists' back pointers into the array have moved.
            for (uint32_t i = 0; i < c->nslots; i++) {
                if (c->nodes[i].pods)
                    c->nodes[i].pods->at_on_node = &c->nodes[i].pods;
            }
        }
        c->nslots++;
    }
    map_set(&c->by_name, name, (void *)(uintptr_t)(slot + 1));
    return slot;
}

// A slot that nobody needs any more is empty again.
static void slot_release(struct cluster *c, struct str name, struct node *n)
{
    if (n->present || n->npods)
        return;
    map_del(&c->by_name, name);
    free(n->ports);
    arena_done(&n->arena);
    *n = (struct node){0};
}

static void count_images(struct cluster *c, const struct node *n, intptr_t by)
{
    for (uint32_t i = 0; i < n->nimages; i++) {
        struct str key = group_name(&n->images[i].name);
        intptr_t count = (intptr_t)map_get(&c->image_nodes, key) + by;
        if (count)
            map_set(&c->image_nodes, key, (void *)count);
        else
            map_del(&c->image_nodes, key);
    }
}

static int64_t *extended_of(struct resources *r, const struct extended *like)
{
    for (uint32_t i = 0; i < r->nmore; i++) {
        if (r->more[i].name == like->name)
            return &r->more[i].amount;
    }
    return NULL;
}

// used.more has a place for each of room.more, in the same order: made anew when the node changes.
static void count_extended(struct node *n)
{
    n->used.nmore = n->room.nmore;
    n->used.more = arena_array(&n->arena, struct extended, n->room.nmore + 1);
    for (uint32_t i = 0; i < n->room.nmore; i++) {
        n->used.more[i] = n->room.more[i];
        n->used.more[i].amount = 0;
    }
    for (const struct pod *p = n->pods; p; p = p->next_on_node) {
        for (uint32_t i = 0; i < p->request.nmore; i++) {
            int64_t *used = extended_of(&n->used, &p->request.more[i]);
            if (used)
                *used += p->request.more[i].amount;
        }
    }
}

uint32_t cluster_node_set(struct cluster *c, struct object *o)
{
    uint32_t slot = slot_of(c, object_name(o));
    struct node *n = &c->nodes[slot];
    count_images(c, n, -1);
    node_extract(n, o);
    count_images(c, n, 1);
    count_extended(n);
    if (!n->present) {
        n->present = true;
        n->order = c->norder;
        c->order[c->norder++] = slot;
    }
    return slot;
}

void cluster_node_remove(struct cluster *c, struct str name)
{
    struct node *n = cluster_node(c, name);
    if (!n || !n->present)
        return;
    uint32_t last = c->order[--c->norder];
    c->order[n->order] = last;
    c->nodes[last].order = n->order;
    n->present = false;
    count_images(c, n, -1);
    n->nimages = 0;
    slot_release(c, name, n);
}

// Pods on nodes.

static void count(struct node *n, const struct pod *p, int sign)
{
    for (int i = 0; i < BASIC; i++)
        n->used.basic[i] += sign * p->request.basic[i];
    for (int i = 0; i < 2; i++)
        n->nonzero[i] += sign * p->nonzero[i];
    for (uint32_t i = 0; i < p->request.nmore; i++) {
        int64_t *used = extended_of(&n->used, &p->request.more[i]);
        if (used)
            *used += sign * p->request.more[i].amount;
    }
    n->npods += (uint32_t)sign;
}

static void take_ports(struct node *n, const struct pod *p)
{
    for (uint32_t i = 0; i < p->nports; i++) {
        if (n->nports == n->ports_cap) {
            n->ports_cap = n->ports_cap ? n->ports_cap * 2 : 4;
            n->ports = mem_realloc(n->ports, n->ports_cap * sizeof *n->ports);
        }
        n->ports[n->nports++] = p->ports[i];
    }
}

static void give_ports(struct node *n, const struct pod *p)
{
    for (uint32_t i = 0; i < p->nports; i++) {
        for (uint32_t j = 0; j < n->nports; j++) {
            if (n->ports[j].address == p->ports[i].address &&
                n->ports[j].port == p->ports[i].port &&
                n->ports[j].protocol == p->ports[i].protocol) {
                n->ports[j] = n->ports[--n->nports];
                break;
            }
        }
    }
}

// Groups of the pod: its owner's (made for its first pod, gone with its last) and the selectors
// that match.
static void count_groups(struct cluster *c, const struct pod *p, uint32_t slot, bool add)
{
    struct group *g = cluster_owner_group(c, p->owner);
    if (p->owner && !g && add) {
        g = mem_zalloc(sizeof *g);
        g->key = p->owner;
        map_set(&c->owners, group_name(&g->key), g);
    }
    if (g && add) {
        group_add(g, slot);
    } else if (g) {
        group_remove(g, slot);
        if (!g->n) {
            map_del(&c->owners, group_name(&g->key));
            group_free(g);
        }
    }
    map_each (&c->selectors, s) {
        struct group *selected = s->value;
        if (group_matches(selected, p))
            add ? group_add(selected, slot) : group_remove(selected, slot);
    }
}

void cluster_add(struct cluster *c, struct pod *p, struct str node_name)
{
    BUG_ON(p->slot >= 0);
    uint32_t slot = slot_of(c, node_name);
    struct node *n = &c->nodes[slot];
    if (!n->name.p) { // a node that has not been seen yet
        n->name = arena_str(&n->arena, node_name);
        n->name_hash = hash_of(node_name);
    }
    p->slot = (int32_t)slot;
    p->next_on_node = n->pods;
    p->at_on_node = &n->pods;
    if (n->pods)
        n->pods->at_on_node = &p->next_on_node;
    n->pods = p;
    if (p->nanti) {
        p->next_anti = c->anti;
        p->at_anti = &c->anti;
        if (c->anti)
            c->anti->at_anti = &p->next_anti;
        c->anti = p;
    }
    count(n, p, 1);
    take_ports(n, p);
    count_groups(c, p, slot, true);
}

void cluster_remove(struct cluster *c, struct pod *p)
{
    if (p->slot < 0)
        return;
    uint32_t slot = (uint32_t)p->slot;
    struct node *n = &c->nodes[slot];
    *p->at_on_node = p->next_on_node;
    if (p->next_on_node)
        p->next_on_node->at_on_node = p->at_on_node;
    if (p->nanti) {
        *p->at_anti = p->next_anti;
        if (p->next_anti)
            p->next_anti->at_anti = p->at_anti;
    }
    count(n, p, -1);
    give_ports(n, p);
    count_groups(c, p, slot, false);
    p->slot = -1;
    if (!n->present && !n->npods) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        slot_release(c, arena_str(&a, n->name), n);
    }
}

void cluster_done(struct cluster *c)
{
    map_each (&c->owners, s)
        group_free(s->value);
    map_each (&c->selectors, s)
        group_free(s->value);
    map_done(&c->owners);
    map_done(&c->selectors);
    map_done(&c->image_nodes);
    map_done(&c->by_name);
    for (uint32_t i = 0; i < c->nslots; i++) {
        free(c->nodes[i].ports);
        arena_done(&c->nodes[i].arena);
    }
    free(c->nodes);
    free(c->order);
    *c = (struct cluster){0};
}
