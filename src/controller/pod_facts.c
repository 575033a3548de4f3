// See pod_facts.h. A block is made when an event comes, on the loop, and never changes after that;
// the lists that it stands in are the cache's.
//
// Lock: `lock` guards the maps and the lists. It is held for lookups and for copying references
// out.
#include "controller/pod_facts.h"

enum kind_of_list { BY_NS, BY_NODE, BY_CONTROLLER, LISTS };

struct bucket {
    struct list pods;
    size_t n;
};

struct pod_cache {
    struct informer *pods;
    struct informer_handler handler;
    struct pod_listener *listeners, *next_listener;
    pthread_mutex_t lock;
    struct map by_key;
    struct map buckets[LISTS]; // name -> struct bucket
    _Atomic(uint64_t) revision;
};

// Blocks: the struct, then the labels' tree, then the strings, in one piece of memory.

static struct str put_str(char **at, struct str s)
{
    if (!s.n)
        return STR_NULL;
    struct str copy = str_n(*at, s.n);
    memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

static uint8_t phase_of(struct str s)
{
    static const char *const names[] = {"Pending", "Unknown", "Running", "Succeeded", "Failed"};
    for (uint8_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (str_eqc(s, names[i]))
            return i;
    }
    return PHASE_PENDING;
}

static const struct value *copy_labels(struct pod_facts *p, char **at, const struct value *labels)
{
    size_t n = value_len(labels), i = 0;
    if (!n)
        return NULL;
    struct value *object = (struct value *)(p + 1), *values = object + 1;
    struct member *members = (struct member *)(values + n);
    value_each_field (labels, f) {
        struct str text = put_str(at, value_string(f->value));
        values[i] = (struct value){.kind = VALUE_STRING, .n = (uint32_t)text.n};
        values[i].s = text.p;
        members[i] = (struct member){put_str(at, f->key), &values[i]};
        i++;
    }
    *object = (struct value){.kind = VALUE_OBJECT, .n = (uint32_t)n, .cap = (uint32_t)n};
    object->members = members;
    return object;
}

static struct pod_facts *facts_new(struct object *o)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *pod = object_tree(&a, o), *spec = value_getc(pod, "spec");
    const struct value *labels = value_at(pod, "metadata.labels"), *owner = owner_controller(pod);
    struct str ns = object_namespace(o), name = object_name(o), uid = meta_uid(pod);
    struct str parts[] = {
        value_str_at(spec, "nodeName"), value_str_at(pod, "status.podIP"),
        value_str_at(spec, "hostname"), value_str_at(spec, "subdomain"),
        value_str_at(owner, "uid"),     value_str_at(owner, "kind"),
        value_str_at(owner, "name"),
    };
    enum { PARTS = sizeof parts / sizeof *parts };
    size_t n = value_len(labels), text = ns.n + 1 + name.n + uid.n;
    for (size_t i = 0; i < PARTS; i++)
        text += parts[i].n;
    value_each_field (labels, f)
        text += f->key.n + value_string(f->value).n;
    size_t tree = n ? (n + 1) * sizeof(struct value) + n * sizeof(struct member) : 0;

    struct pod_facts *p = mem_zalloc(sizeof *p + tree + text);
    char *at = (char *)(p + 1) + tree;
    atomic_init(&p->refs, 1);
    p->object = object_ref(o);
    p->key = str_n(at, ns.n + 1 + name.n);
    p->ns = put_str(&at, ns);
    *at++ = '/';
    p->name = put_str(&at, name);
    p->uid = put_str(&at, uid);
    struct str *fields[PARTS] = {&p->node,           &p->ip,         &p->hostname,
                                 &p->subdomain,      &p->controller, &p->controller_kind,
                                 &p->controller_name};
    for (size_t i = 0; i < PARTS; i++)
        *fields[i] = put_str(&at, parts[i]);
    p->labels = copy_labels(p, &at, labels);
    p->created = meta_time(pod, "metadata.creationTimestamp");
    p->ready = pod_ready(pod);
    p->ready_since = pod_ready_since(pod);
    p->phase = phase_of(value_str_at(pod, "status.phase"));
    p->deleting = meta_deleting(pod);
    str_to_i64(value_string(value_get(value_at(pod, "metadata.annotations"),
                                      STR("controller.kubernetes.io/pod-deletion-cost"))),
               &p->deletion_cost);
    const struct value *statuses = value_at(pod, "status.containerStatuses");
    value_each_item (statuses, s) {
        int64_t restarts = value_int_at(s, "restartCount", 0);
        p->restarts = restarts > p->restarts ? restarts : p->restarts;
    }
    list_init(&p->by_ns);
    list_init(&p->by_node);
    list_init(&p->by_controller);
    return p;
}

static struct pod_facts *facts_ref(struct pod_facts *p)
{
    if (p)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void pod_facts_unref(struct pod_facts *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    object_unref(p->object);
    free(p);
}

bool facts_available(const struct pod_facts *p, int64_t min_ready_seconds, int64_t now,
                     uint64_t *ret_wait_ns)
{
    *ret_wait_ns = 0;
    if (!p->ready)
        return false;
    int64_t due = p->ready_since + min_ready_seconds * NS_PER_S;
    if (!min_ready_seconds || due <= now)
        return true;
    *ret_wait_ns = (uint64_t)(due - now);
    return false;
}

// Lists. A pod without controller stands in its namespace's list of orphans, whose name no uid has.

static struct str list_name(const struct pod_facts *p, enum kind_of_list k)
{
    if (k == BY_CONTROLLER)
        return p->controller.n ? p->controller : str_sub(p->key, 0, p->ns.n + 1); // "namespace/"
    return k == BY_NS ? p->ns : p->node;
}

static struct list *link_of(struct pod_facts *p, enum kind_of_list k)
{
    return k == BY_NS ? &p->by_ns : k == BY_NODE ? &p->by_node : &p->by_controller;
}

static struct pod_facts *facts_of(struct list *l, enum kind_of_list k)
{
    return k == BY_NS     ? container_of(l, struct pod_facts, by_ns)
           : k == BY_NODE ? container_of(l, struct pod_facts, by_node)
                          : container_of(l, struct pod_facts, by_controller);
}

static void enlist(struct pod_cache *c, struct pod_facts *p, bool add)
{
    for (enum kind_of_list k = 0; k < LISTS; k++) {
        struct str name = list_name(p, k);
        if (!name.n)
            continue;
        struct bucket *b = map_get(&c->buckets[k], name);
        if (!b) {
            b = mem_zalloc(sizeof *b);
            list_init(&b->pods);
            map_set(&c->buckets[k], name, b);
        }
        if (add) {
            list_push(&b->pods, link_of(p, k));
            b->n++;
            continue;
        }
        list_remove(link_of(p, k));
        if (--b->n == 0) {
            map_del(&c->buckets[k], name);
            free(b);
        }
    }
}

static void on_change(void *ctx, struct object *old, struct object *new)
{
    struct pod_cache *c = ctx;
    const struct object *o = new ? new : old;
    char key[512];
    struct str ns = object_namespace(o), name = object_name(o);
    int n = snprintf(key, sizeof key, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
    struct pod_facts *now = new ? facts_new(new) : NULL;
    pthread_mutex_lock(&c->lock);
    struct pod_facts *was = map_get(&c->by_key, str_n(key, (size_t)n));
    if (was)
        enlist(c, was, false);
    if (now) {
        enlist(c, now, true);
        map_set(&c->by_key, now->key, now);
    } else {
        map_del(&c->by_key, str_n(key, (size_t)n));
    }
    c->revision = informer_revision(c->pods);
    pthread_mutex_unlock(&c->lock);
    for (struct pod_listener *l = c->listeners; l; l = c->next_listener) {
        c->next_listener = l->next;
        l->on_pod(l->ctx, was, now);
    }
    pod_facts_unref(was);
}

struct pod_cache *pod_cache_new(struct informers *f)
{
    struct pod_cache *c = mem_zalloc(sizeof *c);
    c->pods = informers_get(f, KIND("", "pods"));
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void pod_cache_run(struct pod_cache *c)
{
    c->handler = (struct informer_handler){on_change, c, NULL};
    informer_add_handler(c->pods, &c->handler);
    c->revision = informer_revision(c->pods);
}

void pod_cache_free(struct pod_cache *c)
{
    informer_remove_handler(c->pods, &c->handler);
    map_each (&c->by_key, s)
        pod_facts_unref(s->value);
    map_done(&c->by_key);
    for (int k = 0; k < LISTS; k++) {
        map_each (&c->buckets[k], s)
            free(s->value);
        map_done(&c->buckets[k]);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

uint64_t pod_cache_revision(struct pod_cache *c)
{
    return c->revision;
}

void pod_cache_listen(struct pod_cache *c, struct pod_listener *l)
{
    l->next = c->listeners;
    c->listeners = l;
    map_each (&c->by_key, s) // only this thread changes the map
        l->on_pod(l->ctx, NULL, s->value);
}

void pod_cache_unlisten(struct pod_cache *c, struct pod_listener *l)
{
    for (struct pod_listener **at = &c->listeners; *at; at = &(*at)->next) {
        if (*at != l)
            continue;
        *at = l->next;
        if (c->next_listener == l)
            c->next_listener = l->next;
        return;
    }
}

// Reading.

void pod_list_done(struct pod_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        pod_facts_unref(l->items[i]);
    l->n = 0;
}

struct pod_facts *pod_cache_get(struct pod_cache *c, struct str key)
{
    pthread_mutex_lock(&c->lock);
    struct pod_facts *p = facts_ref(map_get(&c->by_key, key));
    pthread_mutex_unlock(&c->lock);
    return p;
}

static void copy(struct pod_cache *c, struct arena *a, enum kind_of_list k, struct str name,
                 struct pod_list *ret)
{
    *ret = (struct pod_list){0};
    pthread_mutex_lock(&c->lock);
    struct bucket *b = map_get(&c->buckets[k], name);
    if (b) {
        ret->items = arena_alloc(a, b->n * sizeof *ret->items);
        list_each (&b->pods, l)
            ret->items[ret->n++] = facts_ref(facts_of(l, k));
    }
    pthread_mutex_unlock(&c->lock);
}

void pod_cache_by_namespace(struct pod_cache *c, struct arena *a, struct str ns,
                            struct pod_list *ret)
{
    copy(c, a, BY_NS, ns, ret);
}

void pod_cache_by_node(struct pod_cache *c, struct arena *a, struct str node, struct pod_list *ret)
{
    copy(c, a, BY_NODE, node, ret);
}

void pod_cache_by_controller(struct pod_cache *c, struct arena *a, struct str uid,
                             struct pod_list *ret)
{
    copy(c, a, BY_CONTROLLER, uid, ret);
}

void pod_cache_orphans(struct pod_cache *c, struct arena *a, struct str ns, struct pod_list *ret)
{
    copy(c, a, BY_CONTROLLER, arena_printf(a, "%.*s/", STR_ARG(ns)), ret);
}
