// Node CIDRs: gives every node its own part of the cluster's pod range (spec.podCIDR), the first
// that is free.
//
// Which parts are taken is a bitmap, kept by the node events. A reconcile marks the part it is
// about to write and takes the mark back where the write fails; there is one worker, so two nodes
// never get the same part.
#include "controller/control.h"

struct cidrs {
    struct control *control;
    struct informer *nodes;
    struct informer_handler on_node;
    struct work_queue *queue;
    struct event_recorder *events;
    uint32_t base; // first address of the range
    unsigned bits; // prefix length of a part
    size_t parts;
    pthread_mutex_t lock; // guards used
    uint64_t *used;
    size_t next; // where the last one was found: parts of deleted nodes rest a while
};

static bool parse_cidr(struct str text, uint32_t *ret_address, unsigned *ret_bits)
{
    uint32_t address = 0;
    uint64_t n;
    ptrdiff_t slash = str_chr(text, '/');
    if (slash < 0 || !str_to_u64(str_from(text, (size_t)slash + 1), &n) || n > 32)
        return false;
    *ret_bits = (unsigned)n;
    struct str rest = str_sub(text, 0, (size_t)slash);
    for (int i = 0; i < 4; i++) {
        struct str part = str_cut(&rest, '.');
        if (!str_to_u64(part, &n) || n > 255 || (i < 3) != (rest.p != NULL))
            return false;
        address = address << 8 | (uint32_t)n;
    }
    *ret_address = address;
    return true;
}

// The part of the range that a node's CIDR lies in; false: none of ours.
static bool part_of(struct cidrs *c, struct str cidr, size_t *ret)
{
    uint32_t address;
    unsigned bits;
    if (!parse_cidr(cidr, &address, &bits))
        return false;
    size_t part = (size_t)(address - c->base) >> (32 - c->bits);
    if (address < c->base || part >= c->parts)
        return false;
    *ret = part;
    return true;
}

static void mark(struct cidrs *c, size_t part, bool used)
{
    pthread_mutex_lock(&c->lock);
    if (used)
        c->used[part / 64] |= 1ull << part % 64;
    else
        c->used[part / 64] &= ~(1ull << part % 64);
    pthread_mutex_unlock(&c->lock);
}

// Finds and marks a free part.
static bool take(struct cidrs *c, size_t *ret)
{
    bool found = false;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->parts && !found; i++) {
        size_t part = (c->next + i) % c->parts;
        if (c->used[part / 64] >> part % 64 & 1)
            continue;
        c->used[part / 64] |= 1ull << part % 64;
        c->next = part + 1;
        *ret = part;
        found = true;
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str name,
                                       uint64_t *after_ns, struct err *e)
{
    struct cidrs *c = ctx;
    size_t part;
    (void)after_ns;
    _cleanup_object_ struct object *o = informer_get(c->nodes, name);
    if (!o || meta_deleting(object_tree(a, o)) || value_str_at(object_tree(a, o), "spec.podCIDR").n)
        return RECONCILE_DONE;
    if (!take(c, &part)) {
        event_record(c->events, o, "Normal", "CIDRNotAvailable",
                     "Node %.*s status is now: CIDRNotAvailable", STR_ARG(name));
        return RECONCILE_DONE; // a node that goes makes room: see on_node
    }
    uint32_t address = c->base + (uint32_t)(part << (32 - c->bits));
    struct str cidr = arena_printf(a, "%u.%u.%u.%u/%u", address >> 24, address >> 16 & 255,
                                   address >> 8 & 255, address & 255, c->bits);
    struct value *patch = value_object(a), *list = value_array(a);
    value_push(a, list, value_str(a, cidr));
    // No version: once it is set, the API server lets nobody change it.
    value_set_at(a, patch, "metadata.uid", value_str(a, meta_uid(object_tree(a, o))));
    value_set_at(a, patch, "spec.podCIDR", value_str(a, cidr));
    value_set_at(a, patch, "spec.podCIDRs", list);
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_patch(c->control->client, KIND("", "nodes"), STR_NULL, name, STR_NULL,
                          PATCH_TYPE_MERGE, patch, NULL, &why);
    if (rc == 0)
        return RECONCILE_DONE;
    mark(c, part, false);
    if (err_is(&why, ERR_NOT_FOUND))
        return RECONCILE_DONE;
    err_move(e, &why);
    return RECONCILE_RETRY;
}

static void enqueue_waiting(struct cidrs *c)
{
    _cleanup_objects_ struct object_list nodes;
    informer_list(c->nodes, STR_NULL, &nodes);
    for (size_t i = 0; i < nodes.n; i++) {
        if (str_find(blob_view(nodes.items[i]->json), STR("\"podCIDR\"")) < 0)
            work_queue_add_object(c->queue, nodes.items[i]);
    }
}

static void on_node(void *ctx, struct object *old, struct object *new)
{
    struct cidrs *c = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    size_t part;
    if (new &&old)
        return; // spec.podCIDR is set once
    struct str cidr = value_str_at(object_tree(&a, new ? new : old), "spec.podCIDR");
    if (new &&cidr.n && part_of(c, cidr, &part))
        mark(c, part, true);
    else if (new)
        work_queue_add(c->queue, object_name(new));
    if (new)
        return;
    if (cidr.n && part_of(c, cidr, &part))
        mark(c, part, false);
    enqueue_waiting(c);
}

static void *make(struct control *control)
{
    const struct controller_options *opt = control->options;
    uint32_t base;
    unsigned range;
    if (!opt->pod_cidr.n)
        return NULL;
    if (!parse_cidr(opt->pod_cidr, &base, &range) || range > opt->node_cidr_bits ||
        opt->node_cidr_bits > 30 || opt->node_cidr_bits - range > 20) {
        log_error("node-cidr", "unusable pod range, nodes get none range=%.*s bits=%u",
                  STR_ARG(opt->pod_cidr), opt->node_cidr_bits);
        return NULL;
    }
    struct cidrs *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->bits = opt->node_cidr_bits;
    c->base = range ? base & (uint32_t)(UINT64_MAX << (32 - range)) : 0;
    c->parts = (size_t)1 << (c->bits - range);
    c->used = mem_zalloc((c->parts + 63) / 64 * sizeof *c->used);
    c->nodes = informers_get(control->informers, KIND("", "nodes"));
    pthread_mutex_init(&c->lock, NULL);
    c->events =
        event_recorder_new(control->client, control->executor, STR("cidrAllocator"), STR_NULL);
    c->queue = work_queue_new(control->executor, "node-cidr", 1, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct cidrs *c = self;
    c->on_node = (struct informer_handler){on_node, c, NULL};
    informer_add_handler(c->nodes, &c->on_node);
}

static void stop(void *self)
{
    struct cidrs *c = self;
    informer_remove_handler(c->nodes, &c->on_node);
    work_queue_free(c->queue);
    event_recorder_free(c->events);
    pthread_mutex_destroy(&c->lock);
    free(c->used);
    free(c);
}

const struct controller_row node_cidr_controller = {"node-cidr", make, run, stop};
