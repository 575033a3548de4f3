// Upgraded connections. The stream is the owner's; what is here only queues and asks for a turn, so
// nothing is called back from inside a call.
#include "wire/raw_private.h"

void raw_init(struct http_raw *r, struct stream *s, void (*kick)(struct http_raw *r),
              const struct http_raw_handler *h)
{
    *r = (struct http_raw){.s = s, .kick = kick, .h = *h, .active = true};
}

bool raw_drained(struct http_raw *r)
{
    if (!r->active || !r->drain || r->s->out.n >= r->drain_low)
        return false;
    void (*fn)(struct http_raw * r) = r->drain;
    r->drain = NULL;
    fn(r);
    return true;
}

void raw_ended(struct http_raw *r)
{
    if (!r->active)
        return;
    r->active = false;
    r->h.on_close(r);
}

void *http_raw_ctx(struct http_raw *r)
{
    return r->h.ctx;
}

struct loop *http_raw_loop(struct http_raw *r)
{
    return r->s->loop;
}

static bool writable(const struct http_raw *r)
{
    return r->active && !r->closing && !r->aborted && !r->s->error;
}

void http_raw_send(struct http_raw *r, struct str bytes)
{
    if (!writable(r))
        return;
    outq_str(&r->s->out, bytes);
    r->kick(r);
}

void http_raw_send_blob(struct http_raw *r, struct blob *bytes)
{
    if (!writable(r))
        return;
    outq_blob(&r->s->out, bytes, 0, bytes->n);
    r->kick(r);
}

size_t http_raw_pending(struct http_raw *r)
{
    return r->s->out.n;
}

void http_raw_on_drain(struct http_raw *r, size_t low, void (*fn)(struct http_raw *r))
{
    r->drain_low = low;
    r->drain = fn;
    r->kick(r);
}

void http_raw_pause(struct http_raw *r, bool paused)
{
    r->paused = paused;
    r->kick(r);
}

void http_raw_close(struct http_raw *r)
{
    r->closing = true;
    r->kick(r);
}

void http_raw_abort(struct http_raw *r)
{
    r->aborted = true;
    r->kick(r);
}
