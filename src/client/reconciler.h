// The frame of a controller: one row says which kind it keeps, and the rest (informers, handlers,
// queue, expectations, events, status writes) is the same for all.
//
//     static enum reconcile_result reconcile(struct reconcile *p, struct err *e)
//     {
//         ... p->tree is the object, p->ns and p->name its key; reads the informers, writes
//         through p->r->client, and says what it wrote: reconcile_expect(p, OWNED_JOBS, revision)
//         return reconcile_status(p, status, e);
//     }
//     static const struct reconciler_row row = {
//         .name = "cronjob", .component = "cronjob-controller", .workers = 2,
//         .group = "batch", .resource = "cronjobs",
//         .owned = {{"batch", "jobs"}},
//         .reconcile = reconcile,
//     };
//     struct reconciler *r = reconciler_new(client, informers, executor, &row, ctx);
//     ... once the informers are synced: reconciler_run(r); at the end, on the loop:
//     reconciler_free(r);
//
// An object of the row's kind comes when it changes. An object of an owned kind brings its
// controller (the owner with controller: true, where that is of the row's kind). What else must
// bring a key (a pod of another cache, an orphan that matches a selector) is added to r->queue by
// handlers of the caller.
//
// A pass is not begun while a write of this controller to an owned kind has not come back
// (expectations.h); its event brings the key again. Reconciles are level-triggered.
//
// Threads: reconciler_new, _run and _free on the loop; reconcile on the executor's workers, one
// pass a key.
#pragma once
#include "client/expectations.h"
#include "client/informer.h"
#include "client/meta.h"

enum { RECONCILER_OWNED_MAX = 4, RECONCILER_INDEXES_MAX = 4 };

struct reconciler;
struct reconcile {
    struct reconciler *r;
    void *ctx; // of reconciler_new
    struct arena *a;
    struct str key, ns, name;
    struct object *object; // borrowed
    struct value *tree;    // this pass's own: it may be changed
    uint64_t *after_ns;    // with RECONCILE_AFTER; see reconcile_after
};

struct reconciler_row {
    const char *name;      // of the queue, in logs
    const char *component; // the source of events, "cronjob-controller"
    unsigned workers;      // keys at the same time
    const char *group, *resource;
    struct {
        const char *group, *resource;
    } owned[RECONCILER_OWNED_MAX]; // ends with resource NULL; they get the index "controller-uid"
    struct {
        const char *name;
        informer_index_fn *fn;
    } indexes[RECONCILER_INDEXES_MAX]; // of the row's kind; ends with name NULL
    enum reconcile_result (*reconcile)(struct reconcile *p, struct err *e);
    // The object is gone; NULL: nothing to do. The pass has no object and no tree.
    enum reconcile_result (*gone)(struct reconcile *p, struct err *e);
    // Another cache whose own writes a pass waits for (source RECONCILER_EXTRA); NULL: none.
    uint64_t (*applied)(void *ctx);
};
enum { RECONCILER_EXTRA = RECONCILER_OWNED_MAX, RECONCILER_SOURCES };

// Read-only for others than reconciler.c.
struct reconciler {
    const struct reconciler_row *row;
    const struct kind *kind;
    void *ctx;
    struct client *client;
    struct env *env;
    struct informer *informer, *owned[RECONCILER_OWNED_MAX];
    struct informer_handler on_object, on_owned[RECONCILER_OWNED_MAX];
    struct work_queue *queue;
    struct event_recorder *events;
    struct expectations expectations[RECONCILER_SOURCES];
    bool running;
};

// The row must outlive the reconciler.
struct reconciler *reconciler_new(struct client *c, struct informers *f, struct executor *x,
                                  const struct reconciler_row *row, void *ctx);
void reconciler_run(struct reconciler *r);
void reconciler_free(struct reconciler *r);

// What this pass wrote at `revision` to the owned kind of that index, or to RECONCILER_EXTRA.
void reconcile_expect(struct reconcile *p, unsigned source, uint64_t revision);
// Whether all that was written so far has come back.
bool reconcile_settled(struct reconcile *p);
// Come again in ns, or earlier where something earlier was asked for in this pass.
void reconcile_after(struct reconcile *p, uint64_t ns);
// Writes the object's status where it differs from what stands there. DONE (AFTER where asked for),
// or RETRY with the reason; somebody else's newer version is no fault: its event comes.
enum reconcile_result reconcile_status(struct reconcile *p, struct value *status, struct err *e);
// The result of a pass that ended well: AFTER where reconcile_after was called, else DONE.
enum reconcile_result reconcile_done(const struct reconcile *p);
