// Groups. The overlay of keys changed by earlier transactions of the group is an open-addressing
// table of indices into the changes, emptied by group_start; it is the whole difference between
// "the index" and "what this transaction sees".
#include "store/group.h"
#include "base/arena.h"

enum { KEEP_CHANGES = 4096 }; // an unusually large group gives its memory back

static uint32_t *slot_of(struct group *g, struct str key)
{
    for (size_t i = str_hash(key) & (g->nslots - 1);; i = (i + 1) & (g->nslots - 1)) {
        uint32_t *s = &g->slots[i];
        if (*s == 0 || str_eq(change_key(&g->changes[*s - 1]), key))
            return s;
    }
}

static void grow(struct group *g)
{
    g->cap = g->cap ? g->cap * 2 : 64;
    g->changes = mem_realloc(g->changes, g->cap * sizeof *g->changes);
    free(g->slots);
    g->nslots = g->cap * 2;
    g->slots = mem_zalloc(g->nslots * sizeof *g->slots);
    for (size_t i = 0; i < g->n; i++)
        *slot_of(g, change_key(&g->changes[i])) = (uint32_t)i + 1;
}

// The entry that a transaction added now would find.
static struct entry *current(struct group *g, struct str key)
{
    if (g->n) {
        uint32_t s = *slot_of(g, key);
        if (s)
            return g->changes[s - 1].now;
    }
    return mvcc_get(g->mvcc, key);
}

static bool holds(const struct store_write *w, const struct entry *now)
{
    if (w->expected_revision == STORE_ANY)
        return true;
    return w->expected_revision == (now ? (int64_t)now->mod_revision : 0);
}

static void add(struct group *g, const struct store_write *w, uint64_t revision)
{
    struct entry *before = current(g, w->key), *now = NULL;
    if (w->op == STORE_DELETE && !before)
        return; // nothing happened, as in etcd
    if (w->op == STORE_PUT)
        now = entry_new(w->key, w->value, before ? before->create_revision : revision, revision,
                        before ? before->version + 1 : 1);
    if (g->n == g->cap)
        grow(g);
    g->changes[g->n] = (struct change){revision, now, entry_ref(before)};
    uint32_t *slot = slot_of(g, w->key);
    *slot = (uint32_t)++g->n;
    g->bytes += w->key.n + (w->op == STORE_PUT ? w->value->n : 0);
}

void group_init(struct group *g, struct mvcc *m)
{
    *g = (struct group){.mvcc = m};
}

void group_done(struct group *g)
{
    free(g->changes);
    free(g->slots);
    *g = (struct group){0};
}

void group_start(struct group *g)
{
    BUG_ON(g->n);
    g->revision = mvcc_revision(g->mvcc);
    g->bytes = 0;
}

void group_add(struct group *g, struct store_txn *t)
{
    for (size_t i = 0; i < t->nwrites; i++) {
        const struct store_write *w = &t->writes[i];
        BUG_ON(w->op == STORE_PUT && !w->value);
        bool ok = holds(w, current(g, w->key));
        for (size_t j = 0; ok && j < i; j++) // a key may be written once in a transaction
            ok = !str_eq(t->writes[j].key, w->key);
        if (!ok) {
            t->result = STORE_CONFLICT;
            t->conflict = i;
            t->revision = g->revision;
            return;
        }
    }
    size_t before = g->n;
    for (size_t i = 0; i < t->nwrites; i++)
        add(g, &t->writes[i], g->revision + 1);
    if (g->n > before)
        g->revision++;
    t->result = STORE_OK;
    t->revision = g->revision;
}

void group_clear(struct group *g, bool taken)
{
    for (size_t i = 0; i < g->n && !taken; i++) {
        entry_unref(g->changes[i].now);
        entry_unref(g->changes[i].before);
    }
    g->n = 0;
    if (g->cap > KEEP_CHANGES) {
        group_done(&(struct group){.changes = g->changes, .slots = g->slots});
        g->changes = NULL;
        g->slots = NULL;
        g->cap = g->nslots = 0;
    } else if (g->nslots) {
        memset(g->slots, 0, g->nslots * sizeof *g->slots);
    }
}
