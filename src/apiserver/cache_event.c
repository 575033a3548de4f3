// One change of one object, and the line that watchers are sent for it. The line is made when the
// first watcher needs it and shared from then on: a thousand watchers of an event cost one
// encoding. Two threads may make it at the same time; the first to publish wins and the other
// throws its own away.
#include "apiserver/cache_private.h"

struct cache_event *cache_event_ref(struct cache_event *ev)
{
    // Relaxed: who copies a reference already holds one.
    atomic_fetch_add_explicit(&ev->refs, 1, memory_order_relaxed);
    return ev;
}

void cache_event_unref(struct cache_event *ev)
{
    if (!ev || atomic_fetch_sub_explicit(&ev->refs, 1, memory_order_acq_rel) != 1)
        return;
    object_unref(ev->object);
    object_unref(ev->previous);
    for (size_t i = 0; i < 3; i++)
        blob_unref(atomic_load_explicit(&ev->lines[i], memory_order_relaxed));
    free(ev);
}

struct object *cache_event_object(struct cache_event *ev, enum watch_type type)
{
    if (type != WATCH_DELETED)
        return object_ref(ev->object);
    return object_with_revision(ev->previous ? ev->previous : ev->object, ev->revision);
}

struct blob *cache_event_line(struct cache_event *ev, enum watch_type type)
{
    BUG_ON(type > WATCH_DELETED);
    // Acquire pairs with the release below: whoever sees the pointer sees the bytes.
    struct blob *line = atomic_load_explicit(&ev->lines[type], memory_order_acquire);
    if (line)
        return line;
    _cleanup_object_ struct object *o = cache_event_object(ev, type);
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_reserve(&b, object_json_size(o) + 48);
    buf_puts(&b, "{\"type\":\"");
    buf_puts(&b, watch_type_name(type));
    buf_puts(&b, "\",\"object\":");
    object_write(&b, o);
    buf_puts(&b, "}\n");
    struct blob *made = blob_new(buf_view(&b));
    if (atomic_compare_exchange_strong_explicit(&ev->lines[type], &line, made, memory_order_acq_rel,
                                                memory_order_acquire))
        return made;
    blob_unref(made);
    return line;
}
