// See pending.h.
#include "scheduler/pending.h"
#include "base/time.h"

#define BACKOFF_FIRST NS_PER_S
#define BACKOFF_MAX   (10 * NS_PER_S)

static void place(struct pod_heap *h, size_t at, struct pod *p)
{
    h->items[at] = p;
    p->heap = (uint32_t)at + 1;
}

static void up(struct pod_heap *h, size_t at)
{
    struct pod *p = h->items[at];
    for (; at && h->before(p, h->items[(at - 1) / 2]); at = (at - 1) / 2)
        place(h, at, h->items[(at - 1) / 2]);
    place(h, at, p);
}

static void down(struct pod_heap *h, size_t at)
{
    struct pod *p = h->items[at];
    for (size_t child; (child = 2 * at + 1) < h->n; at = child) {
        if (child + 1 < h->n && h->before(h->items[child + 1], h->items[child]))
            child++;
        if (!h->before(h->items[child], p))
            break;
        place(h, at, h->items[child]);
    }
    place(h, at, p);
}

static void heap_push(struct pod_heap *h, struct pod *p)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 64;
        h->items = mem_realloc(h->items, h->cap * sizeof *h->items);
    }
    place(h, h->n, p);
    up(h, h->n++);
}

static void heap_remove(struct pod_heap *h, struct pod *p)
{
    size_t at = p->heap - 1;
    p->heap = 0;
    struct pod *moved = h->items[--h->n];
    if (moved == p)
        return;
    place(h, at, moved);
    up(h, at);
    down(h, moved->heap - 1);
}

static bool more_urgent(const struct pod *a, const struct pod *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->sequence < b->sequence;
}

static bool sooner(const struct pod *a, const struct pod *b)
{
    return a->due < b->due;
}

void pending_init(struct pending *q)
{
    *q = (struct pending){.active.before = more_urgent, .backoff.before = sooner};
}

void pending_done(struct pending *q)
{
    free(q->active.items);
    free(q->backoff.items);
}

void pending_remove(struct pending *q, struct pod *p)
{
    switch ((enum pod_state)p->state) {
    case POD_ACTIVE:
        heap_remove(&q->active, p);
        break;
    case POD_BACKOFF:
        heap_remove(&q->backoff, p);
        break;
    case POD_WAITING:
        *p->at_waiting = p->next_waiting;
        if (p->next_waiting)
            p->next_waiting->at_waiting = p->at_waiting;
        q->nwaiting--;
        break;
    case POD_NEW:
    case POD_BOUND:
        break;
    }
    p->state = POD_NEW;
}

void pending_activate(struct pending *q, struct pod *p)
{
    pending_remove(q, p);
    p->state = POD_ACTIVE;
    if (!p->sequence)
        p->sequence = ++q->sequence; // keeps its age through failures
    heap_push(&q->active, p);
}

void pending_wait(struct pending *q, struct pod *p)
{
    pending_remove(q, p);
    p->state = POD_WAITING;
    p->next_waiting = q->waiting;
    p->at_waiting = &q->waiting;
    if (q->waiting)
        q->waiting->at_waiting = &p->next_waiting;
    q->waiting = p;
    q->nwaiting++;
}

void pending_wake(struct pending *q, struct pod *p, uint64_t now)
{
    if (p->due <= now) {
        pending_activate(q, p);
        return;
    }
    pending_remove(q, p);
    p->state = POD_BACKOFF;
    heap_push(&q->backoff, p);
}

void pending_failed(struct pod *p, uint64_t now)
{
    uint64_t wait = p->attempts > 4 ? BACKOFF_MAX : (uint64_t)BACKOFF_FIRST << p->attempts;
    p->due = now + (wait > BACKOFF_MAX ? BACKOFF_MAX : wait);
    p->attempts++;
}

struct pod *pending_pop(struct pending *q)
{
    if (!q->active.n)
        return NULL;
    struct pod *p = q->active.items[0];
    pending_remove(q, p);
    return p;
}

uint64_t pending_due(struct pending *q, uint64_t now)
{
    while (q->backoff.n && q->backoff.items[0]->due <= now)
        pending_activate(q, q->backoff.items[0]);
    return q->backoff.n ? q->backoff.items[0]->due : 0;
}
