// A trace is made into a tree and walked from the root: what a span says of its own service and of
// its peer gives a link, and what it does not say is taken from the nearest span above it that has
// a kind.
//
// The tree: the two halves of a call share an ID, and the server's is marked as shared; it stands
// below the client's. A span's parent is the shared half of its parent's ID where that is of the
// span's own service, or where it is the only half there; else the other half.
//
// Rules, from the original's observable behaviour:
//  - a CLIENT span with children says nothing: what is below it knows better;
//  - a span without a kind counts as a CLIENT if it names both ends, else it says nothing;
//  - SERVER and CONSUMER: the remote service calls the local one; CLIENT and PRODUCER: the reverse;
//  - messaging spans need both names and do not look above;
//  - a SERVER's caller is the nearest span above with a kind, whatever it says itself;
//  - where a CLIENT's own service is not that of the span above, the missing link is added;
//  - a link has an error if the span has a tag "error", or the CLIENT it answers has.
#include "trace/span_links.h"
#include "object/json.h"

struct span_node {
    const struct span *span;
    struct span_node *parent;
    bool has_children;
    bool shared; // the server's half of a shared ID
    size_t walk; // cut_circles: the walk that came by, + 1
};
enum { HALVES = 64 }; // spans of one ID that are looked at
struct span_link_counts {
    struct str parent, child; // owned, one block behind this
    uint64_t calls, errors;
    char text[];
};

void span_links_done(struct span_links *l)
{
    map_each (&l->map, s)
        free(s->value);
    map_done(&l->map);
}

static void link_add(struct span_links *l, struct str parent, struct str child, bool error)
{
    _cleanup_buf_ struct buf key = BUF_INIT;
    span_varint_put(&key, parent.n);
    buf_str(&key, parent);
    buf_str(&key, child);
    struct span_link_counts *c = map_get(&l->map, buf_view(&key));
    if (!c) {
        c = mem_zalloc(sizeof *c + parent.n + child.n);
        char *second = mempcpy(c->text, parent.p, parent.n);
        memcpy(second, child.p, child.n);
        c->parent = str_n(c->text, parent.n);
        c->child = str_n(second, child.n);
        map_set(&l->map, buf_view(&key), c);
    }
    c->calls++;
    c->errors += error;
}

// ---- the tree ----

static int by_id(const void *x, const void *y)
{
    const struct span_node *a = x, *b = y;
    return (a->span->id > b->span->id) - (a->span->id < b->span->id);
}

// The nodes with an ID: they stand together.
static struct span_node *with_id(struct span_node *nodes, size_t n, uint64_t id, size_t *ret_n)
{
    size_t left = 0, right = n;
    while (left < right) {
        size_t middle = left + (right - left) / 2;
        if (nodes[middle].span->id < id)
            left = middle + 1;
        else
            right = middle;
    }
    size_t end = left;
    while (end < n && end - left < HALVES && nodes[end].span->id == id)
        end++;
    *ret_n = end - left;
    return nodes + left;
}

// A SERVER that has its client's ID is its other half, also where it does not say so.
static void mark_shared(struct span_node *nodes, size_t n)
{
    for (size_t i = 0, end; i < n; i = end) {
        bool client = false;
        for (end = i; end < n && nodes[end].span->id == nodes[i].span->id; end++)
            client |= nodes[end].span->kind == SPAN_CLIENT;
        for (size_t k = i; k < end; k++)
            nodes[k].shared =
                nodes[k].span->shared || (client && nodes[k].span->kind == SPAN_SERVER);
    }
}

static struct span_node *parent_of(struct span_node *nodes, size_t n, const struct span_node *child)
{
    const struct span *s = child->span;
    struct span_node *best = NULL;
    size_t k;
    if (child->shared) {
        struct span_node *same = with_id(nodes, n, s->id, &k);
        for (size_t i = 0; i < k; i++)
            if (!same[i].shared)
                return &same[i];
    }
    if (!s->parent)
        return NULL;
    struct span_node *above = with_id(nodes, n, s->parent, &k);
    for (size_t i = 0; i < k; i++) {
        bool mine = str_eq(above[i].span->local.service, s->local.service);
        if (above[i].shared && mine)
            return &above[i];
        if (!best || (best->shared && !above[i].shared))
            best = &above[i];
    }
    return best;
}

// A chain of parents that comes back to where it began has no root: it is cut there. Each node is
// walked over once.
static void cut_circles(struct span_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct span_node *at = &nodes[i];
        for (; at && !at->walk; at = at->parent)
            at->walk = i + 1;
        if (at && at->walk == i + 1)
            at->parent = NULL;
    }
}

// ---- the walk ----

static bool has_error(const struct span *s)
{
    for (size_t i = 0; i < s->ntags; i++)
        if (str_eqc(s->tags[i].key, "error"))
            return true;
    return false;
}

static const struct span *remote_ancestor(const struct span_node *n)
{
    enum { FAR = 1000 }; // bounds what a chain made for it costs
    n = n->parent;
    for (int i = 0; n && i < FAR; n = n->parent, i++)
        if (n->span->kind)
            return n->span;
    return NULL;
}

static void link_node(struct span_links *l, const struct span_node *n)
{
    const struct span *s = n->span;
    enum span_kind kind = s->kind;
    struct str local = s->local.service, remote = s->remote.service;
    if (kind == SPAN_CLIENT && n->has_children)
        return;
    if (!kind) {
        if (!local.n || !remote.n)
            return;
        kind = SPAN_CLIENT;
    }
    bool error = has_error(s), serves = kind == SPAN_SERVER || kind == SPAN_CONSUMER;
    struct str parent = serves ? remote : local, child = serves ? local : remote;
    if (serves && !n->parent && !parent.n)
        return;
    if (kind == SPAN_PRODUCER || kind == SPAN_CONSUMER) {
        if (parent.n && child.n)
            link_add(l, parent, child, error);
        return;
    }
    const struct span *above = remote_ancestor(n);
    if (above && above->local.service.n) {
        struct str name = above->local.service;
        if (kind == SPAN_CLIENT && local.n && !str_eq(name, local))
            link_add(l, name, local, false);
        if (kind == SPAN_SERVER || !parent.n)
            parent = name;
        if (!error && above->kind == SPAN_CLIENT && s->parent && s->parent == above->id)
            error = has_error(above);
    }
    if (parent.n && child.n)
        link_add(l, parent, child, error);
}

void span_links_add(struct span_links *l, const struct span *spans, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct span_node *nodes = arena_array(&a, struct span_node, n + 1);
    for (size_t i = 0; i < n; i++)
        nodes[i] = (struct span_node){.span = &spans[i]};
    qsort(nodes, n, sizeof *nodes, by_id);
    mark_shared(nodes, n);
    for (size_t i = 0; i < n; i++)
        nodes[i].parent = parent_of(nodes, n, &nodes[i]);
    cut_circles(nodes, n);
    for (size_t i = 0; i < n; i++)
        if (nodes[i].parent)
            nodes[i].parent->has_children = true;
    for (size_t i = 0; i < n; i++)
        link_node(l, &nodes[i]);
}

// ---- writing ----

static int by_names(const void *x, const void *y)
{
    const struct span_link_counts *a = *(struct span_link_counts *const *)x,
                                  *b = *(struct span_link_counts *const *)y;
    int c = str_cmp(a->parent, b->parent);
    return c ? c : str_cmp(a->child, b->child);
}

void span_links_write(const struct span_links *l, struct buf *b)
{
    struct span_link_counts **list = mem_alloc((l->map.n + 1) * sizeof *list);
    size_t n = 0;
    map_each (&l->map, s)
        list[n++] = s->value;
    qsort(list, n, sizeof *list, by_names);
    buf_char(b, '[');
    for (size_t i = 0; i < n; i++) {
        buf_puts(b, i ? ",{\"parent\":" : "{\"parent\":");
        json_write_string(b, list[i]->parent);
        buf_puts(b, ",\"child\":");
        json_write_string(b, list[i]->child);
        buf_puts(b, ",\"callCount\":");
        buf_u64(b, list[i]->calls);
        if (list[i]->errors) {
            buf_puts(b, ",\"errorCount\":");
            buf_u64(b, list[i]->errors);
        }
        buf_char(b, '}');
    }
    buf_char(b, ']');
    free(list);
}
