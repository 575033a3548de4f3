// See http_documents.h. A short list, the latest used first; what does not fit falls off its end.
// Rendering happens under the lock: a crowd that asks for the same one waits for one rendering.
#include "apiserver/http_documents.h"
#include "base/arena.h"
#include "wire/http.h"
#include <pthread.h>

enum { DOCUMENTS_MAX = 64, DOCUMENTS_BYTES = 8 << 20, NAME_MAX_N = 128 };

struct document_kept {
    char name[NAME_MAX_N];
    size_t name_n;
    bool gzip;
    struct blob *body;
};

struct documents {
    pthread_mutex_t lock; // all below
    struct document_kept kept[DOCUMENTS_MAX];
    size_t n, bytes;
};

struct documents *documents_new(void)
{
    struct documents *d = mem_zalloc(sizeof *d);
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

static void drop_last(struct documents *d)
{
    struct document_kept *last = &d->kept[--d->n];
    d->bytes -= last->body->n;
    blob_unref(last->body);
}

void documents_free(struct documents *d)
{
    if (!d)
        return;
    while (d->n)
        drop_last(d);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static struct blob *find(struct documents *d, struct str name, bool gzip)
{
    for (size_t i = 0; i < d->n; i++) {
        struct document_kept k = d->kept[i];
        if (k.gzip != gzip || !str_eq(str_n(k.name, k.name_n), name))
            continue;
        memmove(&d->kept[1], &d->kept[0], i * sizeof *d->kept);
        d->kept[0] = k;
        return k.body;
    }
    return NULL;
}

static struct blob *keep(struct documents *d, struct str name, bool gzip, struct blob *body)
{
    while (d->n && (d->n == DOCUMENTS_MAX || d->bytes + body->n > DOCUMENTS_BYTES))
        drop_last(d);
    memmove(&d->kept[1], &d->kept[0], d->n * sizeof *d->kept);
    struct document_kept *k = &d->kept[0];
    *k = (struct document_kept){.name_n = name.n, .gzip = gzip, .body = body};
    memcpy(k->name, name.p, name.n);
    d->n++;
    d->bytes += body->n;
    return body;
}

static struct blob *plain(struct documents *d, struct str name,
                          bool (*render)(void *ctx, struct buf *b), void *ctx)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct blob *body = find(d, name, false);
    if (body || !render(ctx, &b))
        return body;
    return keep(d, name, false, blob_new(buf_view(&b)));
}

static struct blob *packed(struct documents *d, struct str name,
                           bool (*render)(void *ctx, struct buf *b), void *ctx)
{
    struct blob *body = find(d, name, true);
    if (body)
        return body;
    body = plain(d, name, render, ctx);
    struct blob *gzip = body ? http_gzip(blob_view(body)) : NULL;
    return gzip ? keep(d, name, true, gzip) : NULL;
}

struct blob *documents_get(struct documents *d, struct str name, bool gzip,
                           bool (*render)(void *ctx, struct buf *b), void *ctx)
{
    if (name.n > NAME_MAX_N) // no document has such a name
        return NULL;
    pthread_mutex_lock(&d->lock);
    struct blob *body = blob_ref(gzip ? packed(d, name, render, ctx) : plain(d, name, render, ctx));
    pthread_mutex_unlock(&d->lock);
    return body;
}
