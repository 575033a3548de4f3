// "Wait until my own writes have come back": a loop that counts what is there would act twice on
// the same gap while its informer lags, so after writing at revision r it does nothing more for the
// key until the informer has applied r. No timeouts: the event of r brings the key back.
//
// One struct for each informer that is waited for. Any thread.
#pragma once
#include "base/map.h"
#include <pthread.h>

struct expectations {
    pthread_mutex_t lock; // guards revisions
    struct map revisions; // key -> revision, as a pointer
};
void expectations_init(struct expectations *x);
void expectations_done(struct expectations *x);
void expectations_expect(struct expectations *x, struct str key, uint64_t revision); // 0: nothing
// applied: informer_revision of the informer that is waited for.
bool expectations_met(struct expectations *x, struct str key, uint64_t applied);
void expectations_forget(struct expectations *x, struct str key); // the object is gone
