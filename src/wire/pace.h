// The pace that a peer must keep while something is its turn: sending the rest of a body, taking
// what is queued for it. Private to this room.
//
// A bucket of patience. It holds PACE_GRACE_SECONDS; time drains it, and every PACE_BYTES that move
// fill it by a second, never above the brim. So silence is cut after the grace, a byte now and then
// (slow-loris) gains nothing, a burst buys no more than the grace again, and who keeps the pace may
// go on for as long as there is something to move. Looking costs nothing between looks: bytes are
// only counted, and the sum is done when a connection's tick comes round.
#pragma once
#include "base/time.h"

enum { PACE_GRACE_SECONDS = 30, PACE_BYTES = 1024 };

struct pace {
    uint64_t due;   // when patience ends; 0: it is not the peer's turn
    uint64_t moved; // bytes since the last look
};

static inline void pace_rest(struct pace *p) // not the peer's turn
{
    p->due = 0;
    p->moved = 0;
}

static inline void pace_moved(struct pace *p, size_t n)
{
    p->moved += n;
}

// A look, on the peer's turn; the first one starts the clock. True: too slow, for too long.
static inline bool pace_late(struct pace *p, uint64_t now)
{
    uint64_t brim = now + PACE_GRACE_SECONDS * (uint64_t)NS_PER_S;
    uint64_t seconds = p->moved / PACE_BYTES; // the rest is carried on
    if (!p->due || seconds >= PACE_GRACE_SECONDS) {
        p->due = brim;
        p->moved = 0;
        return false;
    }
    p->due += seconds * NS_PER_S;
    p->moved -= seconds * PACE_BYTES;
    if (p->due > brim)
        p->due = brim;
    return now >= p->due;
}
