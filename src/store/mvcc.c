// See the header for the idea. The lock is held for: the apply of a group (microseconds a key; a
// reader's snapshot could otherwise catch the tree half changed), the taking of a reference, the
// taking of a span. Never while memory is freed in bulk or a callback runs.
//
// Invariants, under the lock:
//  1. the index holds exactly the entries that are the latest of their key and no deletion;
//  2. history holds every change with floor < revision <= `revision`, in order;
//  3. floor <= revision.
#include "store/mvcc.h"
#include "base/arena.h"

static void tree_ref(void *e)
{
    entry_ref(e);
}

static void tree_unref(void *e)
{
    entry_unref(e);
}

static struct str tree_key(const void *e)
{
    return entry_key(e);
}

static const struct ptree_ops tree_ops = {.ref = tree_ref, .unref = tree_unref, .key = tree_key};

void mvcc_init(struct mvcc *m, size_t history_events, size_t history_bytes)
{
    pthread_mutex_init(&m->lock, NULL);
    m->index = NULL;
    m->revision = 1; // as in etcd: the first write is 2
    history_init(&m->history, m->revision, history_events, history_bytes);
}

void mvcc_done(struct mvcc *m)
{
    ptree_unref(&tree_ops, m->index);
    history_done(&m->history);
    pthread_mutex_destroy(&m->lock);
}

void mvcc_reset(struct mvcc *m)
{
    ptree_unref(&tree_ops, m->index);
    m->index = NULL;
}

// Without the lock: only the writer, which is the caller, changes the index.
struct entry *mvcc_get(const struct mvcc *m, struct str key)
{
    return ptree_get(&tree_ops, m->index, key);
}

struct history_block *mvcc_apply(struct mvcc *m, const struct change *changes, size_t n,
                                 uint64_t revision)
{
    pthread_mutex_lock(&m->lock);
    BUG_ON(revision < m->revision);
    for (size_t i = 0; i < n; i++) {
        if (changes[i].now)
            ptree_put_in(&tree_ops, &m->index, changes[i].now);
        else
            BUG_ON(!ptree_del_in(&tree_ops, &m->index, entry_key(changes[i].before)));
        history_append(&m->history, &changes[i]);
    }
    m->revision = revision;
    struct history_block *forgotten = history_trim(&m->history);
    pthread_mutex_unlock(&m->lock);
    return forgotten;
}

void mvcc_load(struct mvcc *m, struct entry *e)
{
    ptree_put_in(&tree_ops, &m->index, e);
    entry_unref(e);
}

void mvcc_load_end(struct mvcc *m, uint64_t revision)
{
    m->revision = revision;
    m->history.floor = revision;
}

uint64_t mvcc_revision(struct mvcc *m)
{
    pthread_mutex_lock(&m->lock);
    uint64_t revision = m->revision;
    pthread_mutex_unlock(&m->lock);
    return revision;
}

uint64_t mvcc_floor(struct mvcc *m)
{
    pthread_mutex_lock(&m->lock);
    uint64_t floor = m->history.floor;
    pthread_mutex_unlock(&m->lock);
    return floor;
}

static int expired(struct err *e)
{
    return err_set(e, ERR_EXPIRED, "required revision has been compacted");
}

// Turns *version (owned) back to the revision before the changes of the span, for keys with the
// prefix; frees the span.
static void undo(struct ptree **version, struct str prefix, struct history_span *span)
{
    _cleanup_free_ const struct change **list = NULL;
    size_t n = 0, cap = 0;
    for (const struct change *c; (c = span_next(span));) {
        if (!str_starts(change_key(c), prefix))
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : 64;
            list = mem_realloc(list, cap * sizeof *list);
        }
        list[n++] = c;
    }
    while (n--) { // newest first
        if (list[n]->before)
            ptree_put_in(&tree_ops, version, list[n]->before);
        else
            ptree_del_in(&tree_ops, version, change_key(list[n]));
    }
    span_done(span);
}

int mvcc_range(struct mvcc *m, struct str prefix, uint64_t revision,
               bool (*fn)(void *ctx, const struct store_kv *kv), void *ctx, uint64_t *ret_revision,
               struct err *e)
{
    struct history_span span = {0};
    pthread_mutex_lock(&m->lock);
    uint64_t now = m->revision;
    bool too_new = revision > now, too_old = revision && revision < m->history.floor;
    struct ptree *version = NULL;
    if (!too_new && !too_old) {
        version = ptree_ref(m->index);
        if (revision && revision < now)
            history_span(&m->history, revision, &span);
    }
    pthread_mutex_unlock(&m->lock);
    if (too_new)
        return err_set(e, ERR_TIMEOUT, "Too large resource version: %lu, current: %lu",
                       (unsigned long)revision, (unsigned long)now);
    if (too_old)
        return expired(e);
    if (span.first)
        undo(&version, prefix, &span);

    struct ptree_cursor c;
    for (struct entry *at = ptree_seek(&c, &tree_ops, version, prefix);
         at && str_starts(entry_key(at), prefix); at = ptree_next(&c)) {
        struct store_kv kv = {entry_key(at), at->value, at->create_revision, at->mod_revision,
                              at->version};
        if (!fn(ctx, &kv))
            break;
    }
    ptree_unref(&tree_ops, version);
    if (ret_revision)
        *ret_revision = revision ? revision : now;
    return 0;
}

int mvcc_span(struct mvcc *m, uint64_t after, struct history_span *ret, struct err *e)
{
    pthread_mutex_lock(&m->lock);
    bool here = after >= m->history.floor;
    if (here)
        history_span(&m->history, after, ret);
    pthread_mutex_unlock(&m->lock);
    return here ? 0 : expired(e);
}

int mvcc_compact(struct mvcc *m, uint64_t revision, struct err *e)
{
    pthread_mutex_lock(&m->lock);
    uint64_t now = m->revision;
    struct history_block *forgotten =
        revision <= now ? history_forget(&m->history, revision) : NULL;
    pthread_mutex_unlock(&m->lock);
    history_free(forgotten);
    if (revision > now)
        return err_set(e, ERR_BAD_REQUEST, "required revision is a future revision");
    return 0;
}
