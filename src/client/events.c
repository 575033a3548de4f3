// The event recorder: what happened to an object, for people (`kubectl describe`, `kubectl get
// events`).
//
// Recording only notes the event in memory and adds its key to a work queue; the queue's reconcile
// creates the Event object or raises its count. So a recorder never waits for the API, and a burst
// of equal events becomes one write that carries the last count.
//
// Equal events (same object, type, reason, message, source) within ten minutes are one Event with a
// count. Each object may cause 25 events, then one in five minutes (upstream's spam filter). What
// is remembered is bounded: the least recently used notes go first; what goes unwritten is lost, as
// events may be.
//
// Lock: `lock` guards notes and buckets; it is not held while writing.
#include "base/list.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/queue.h"
#include "object/json.h"
#include <stdio.h>

enum { NOTES_MAX = 1024, BUCKETS_MAX = 1024, ATTEMPTS_MAX = 8, BURST = 25 };
#define SAME_EVENT_NS  (600 * NS_PER_S)
#define TOKEN_EVERY_NS (300 * NS_PER_S)
#define MESSAGE_MAX    1024 // bytes: the API's limit on core/v1 events' message

// One Event object, ours to write.
struct note {
    struct list link; // least recently used first
    struct str key;   // owned, as all strings here
    struct str ns, name, reference_json, type, reason, message;
    int64_t first, last;
    unsigned count, written; // written: the count that the API knows; 0: not created
    unsigned attempts;
};

struct bucket {
    struct list link;
    struct str key;
    double tokens;
    int64_t at;
};

struct event_recorder {
    struct client *client;
    struct env *env;
    struct str component, host;
    struct work_queue *queue;
    pthread_mutex_t lock;
    struct map notes, buckets; // by key
    struct list notes_lru, buckets_lru;
    uint64_t sequence;
};

static void note_free(struct event_recorder *r, struct note *n)
{
    map_del(&r->notes, n->key);
    list_remove(&n->link);
    free((char *)n->key.p);
    free((char *)n->ns.p);
    free((char *)n->name.p);
    free((char *)n->reference_json.p);
    free((char *)n->type.p);
    free((char *)n->reason.p);
    free((char *)n->message.p);
    free(n);
}

static void bucket_free(struct event_recorder *r, struct bucket *b)
{
    map_del(&r->buckets, b->key);
    list_remove(&b->link);
    free((char *)b->key.p);
    free(b);
}

static bool allowed(struct event_recorder *r, struct str object_key, int64_t now)
{
    struct bucket *b = map_get(&r->buckets, object_key);
    if (!b) {
        if (r->buckets.n >= BUCKETS_MAX)
            bucket_free(r, container_of(r->buckets_lru.next, struct bucket, link));
        b = mem_zalloc(sizeof *b);
        b->key = mem_str(object_key);
        b->tokens = BURST;
        b->at = now;
        map_set(&r->buckets, b->key, b);
        list_init(&b->link);
    }
    list_remove(&b->link);
    list_push(&r->buckets_lru, &b->link);
    b->tokens += (double)(now - b->at) / (double)TOKEN_EVERY_NS;
    b->at = now;
    if (b->tokens > BURST)
        b->tokens = BURST;
    if (b->tokens < 1)
        return false;
    b->tokens -= 1;
    return true;
}

static struct value *event_body(struct event_recorder *r, struct arena *a, const struct note *n)
{
    struct value *ev = value_object(a), *reference = NULL;
    struct str first = time_rfc3339(a, n->first, 0), last = time_rfc3339(a, n->last, 0);
    value_setc(a, ev, "kind", value_strc(a, "Event"));
    value_setc(a, ev, "apiVersion", value_strc(a, "v1"));
    value_set_at(a, ev, "metadata.name", value_str(a, arena_str(a, n->name)));
    value_set_at(a, ev, "metadata.namespace", value_str(a, arena_str(a, n->ns)));
    struct json_options opt = {0};
    BUG_ON(json_parse(a, arena_str(a, n->reference_json), &opt, &reference, NULL) < 0);
    value_setc(a, ev, "involvedObject", reference);
    value_setc(a, ev, "reason", value_str(a, arena_str(a, n->reason)));
    value_setc(a, ev, "message", value_str(a, arena_str(a, n->message)));
    value_set_at(a, ev, "source.component", value_str(a, r->component));
    if (r->host.n)
        value_set_at(a, ev, "source.host", value_str(a, r->host));
    value_setc(a, ev, "firstTimestamp", value_str(a, first));
    value_setc(a, ev, "lastTimestamp", value_str(a, last));
    value_setc(a, ev, "count", value_int(a, n->count));
    value_setc(a, ev, "type", value_str(a, arena_str(a, n->type)));
    value_setc(a, ev, "eventTime", value_null(a));
    value_setc(a, ev, "reportingComponent", value_str(a, r->component));
    value_setc(a, ev, "reportingInstance", value_str(a, r->host));
    return ev;
}

static struct value *count_patch(struct arena *a, const struct note *n)
{
    struct value *patch = value_object(a);
    value_setc(a, patch, "count", value_int(a, n->count));
    value_setc(a, patch, "lastTimestamp", value_str(a, time_rfc3339(a, n->last, 0)));
    return patch;
}

// What the writer is to make of an error: the event is worth a few attempts, and only where the API
// server could not answer; a refusal (a namespace that goes away, say) is final.
static bool worth_retrying(const struct err *e)
{
    return e->reason == ERR_TOO_MANY_REQUESTS || e->reason >= ERR_INTERNAL;
}

static enum reconcile_result write_event(void *ctx, struct arena *a, struct str key,
                                         uint64_t *after_ns, struct err *e)
{
    struct event_recorder *r = ctx;
    const struct kind *events = KIND("", "events");
    (void)after_ns;
    pthread_mutex_lock(&r->lock);
    struct note *n = map_get(&r->notes, key);
    if (!n || n->written == n->count) {
        pthread_mutex_unlock(&r->lock);
        return RECONCILE_DONE;
    }
    unsigned count = n->count;
    bool create = n->written == 0;
    struct value *body = create ? event_body(r, a, n) : count_patch(a, n);
    struct str ns = arena_str(a, n->ns), name = arena_str(a, n->name);
    pthread_mutex_unlock(&r->lock);

    _cleanup_err_ struct err failure = ERR_INIT;
    int rc = create ? client_create(r->client, events, ns, body, NULL, &failure)
                    : client_patch(r->client, events, ns, name, STR_NULL, PATCH_TYPE_MERGE, body,
                                   NULL, &failure);
    enum reconcile_result result = RECONCILE_DONE;
    pthread_mutex_lock(&r->lock);
    n = map_get(&r->notes, key); // it may have been forgotten meanwhile
    if (n && rc == 0) {
        n->written = count;
        n->attempts = 0;
    } else if (n && !create && err_is(&failure, ERR_NOT_FOUND)) {
        n->written = 0; // it was deleted: make it again
        result = RECONCILE_AFTER;
    } else if (n && worth_retrying(&failure) && ++n->attempts < ATTEMPTS_MAX) {
        result = RECONCILE_RETRY;
    } else if (n) {
        note_free(r, n);
    }
    pthread_mutex_unlock(&r->lock);
    if (result == RECONCILE_RETRY)
        err_move(e, &failure);
    return result;
}

struct event_recorder *event_recorder_new(struct client *c, struct executor *x,
                                          struct str component, struct str host)
{
    struct event_recorder *r = mem_zalloc(sizeof *r);
    r->client = c;
    r->env = c->env;
    r->component = mem_str(component);
    r->host = mem_str(host);
    list_init(&r->notes_lru);
    list_init(&r->buckets_lru);
    pthread_mutex_init(&r->lock, NULL);
    r->queue = work_queue_new(x, "events", 1, write_event, r);
    return r;
}

void event_recorder_free(struct event_recorder *r)
{
    if (!r)
        return;
    work_queue_free(r->queue);
    list_each_safe (&r->notes_lru, l)
        note_free(r, container_of(l, struct note, link));
    list_each_safe (&r->buckets_lru, l)
        bucket_free(r, container_of(l, struct bucket, link));
    map_done(&r->notes);
    map_done(&r->buckets);
    pthread_mutex_destroy(&r->lock);
    free((char *)r->component.p);
    free((char *)r->host.p);
    free(r);
}

static void record(struct event_recorder *r, struct arena *a, const struct value *reference,
                   const char *type, const char *reason, struct str message)
{
    int64_t now = env_now(r->env);
    struct str object_key = arena_printf(
        a, "%.*s/%.*s/%.*s/%.*s", STR_ARG(value_str_at(reference, "kind")),
        STR_ARG(value_str_at(reference, "namespace")), STR_ARG(value_str_at(reference, "name")),
        STR_ARG(value_str_at(reference, "uid")));
    struct str key =
        arena_printf(a, "%.*s\n%.*s\n%s\n%s\n%.*s", STR_ARG(object_key),
                     STR_ARG(value_str_at(reference, "fieldPath")), type, reason, STR_ARG(message));
    pthread_mutex_lock(&r->lock);
    if (!allowed(r, object_key, now)) {
        pthread_mutex_unlock(&r->lock);
        return;
    }
    struct note *n = map_get(&r->notes, key);
    if (n && now - n->last > SAME_EVENT_NS) {
        note_free(r, n);
        n = NULL;
    }
    if (!n) {
        if (r->notes.n >= NOTES_MAX)
            note_free(r, container_of(r->notes_lru.next, struct note, link));
        struct str ns = value_str_at(reference, "namespace");
        struct str name = value_str_at(reference, "name");
        n = mem_zalloc(sizeof *n);
        n->key = mem_str(key);
        n->ns = mem_str(ns.n ? ns : STR("default"));
        // Nanoseconds as upstream, made unique where the clock stands still.
        n->name =
            mem_str(arena_printf(a, "%.*s.%llx", (int)(name.n > 230 ? 230 : name.n),
                                 name.p ? name.p : "", (unsigned long long)now + r->sequence++));
        n->reference_json = mem_str(json_text(a, reference));
        n->type = mem_str(str_of(type));
        n->reason = mem_str(str_of(reason));
        n->message = mem_str(message);
        n->first = now;
        map_set(&r->notes, n->key, n);
        list_init(&n->link);
    }
    list_remove(&n->link);
    list_push(&r->notes_lru, &n->link);
    n->last = now;
    n->count++;
    pthread_mutex_unlock(&r->lock);
    work_queue_add(r->queue, key);
}

static struct str text(struct arena *a, const char *fmt, va_list ap)
{
    struct str message = arena_vprintf(a, fmt, ap);
    if (message.n <= MESSAGE_MAX)
        return message;
    size_t n = MESSAGE_MAX; // not in the middle of a character
    while (n && ((unsigned char)message.p[n] & 0xc0) == 0x80)
        n--;
    return str_sub(message, 0, n);
}

void event_record_ref(struct event_recorder *r, const struct value *object_reference,
                      const char *type, const char *reason, const char *fmt, ...)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    va_list ap;
    va_start(ap, fmt);
    struct str message = text(&a, fmt, ap);
    va_end(ap);
    record(r, &a, object_reference, type, reason, message);
}

void event_record(struct event_recorder *r, const struct object *about, const char *type,
                  const char *reason, const char *fmt, ...)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    va_list ap;
    va_start(ap, fmt);
    struct str message = text(&a, fmt, ap);
    va_end(ap);
    record(r, &a, client_reference(&a, about), type, reason, message);
}

struct value *client_reference(struct arena *a, const struct object *o)
{
    struct value *ref = value_object(a);
    struct str ns = object_namespace(o);
    value_setc(a, ref, "kind", value_str(a, o->kind->kind));
    if (ns.n)
        value_setc(a, ref, "namespace", value_str(a, ns));
    value_setc(a, ref, "name", value_str(a, object_name(o)));
    value_setc(a, ref, "uid", value_str(a, value_str_at(object_metadata(a, o), "uid")));
    value_setc(a, ref, "apiVersion", value_str(a, kind_api_version(o->kind)));
    value_setc(a, ref, "resourceVersion",
               value_str(a, arena_printf(a, "%llu", (unsigned long long)o->revision)));
    return ref;
}
