// Who holds what of an event loop: connections, exchanges, body bytes, queued bytes, counted to the
// peer's address until somebody has vouched for the caller (http_vouch, or a verified client
// certificate) and to the user from then on. Private to this room; belongs to one loop, so nothing
// here is locked: each loop of a server has an even part of every limit.
//
// When a stranger's address holds too much, the newest is let in and the oldest that only waits for
// its own peer has to go: an attacker displaces himself, and who comes from the same address with
// an honest request is still answered. What waits for the server is never displaced; only when
// there is nothing else is a newcomer refused (429). See docs/decisions/0006.
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "wire/http.h"

struct http_conn;

struct holders {
    struct map by_key;
    struct list strangers; // connections nobody has vouched for, of all addresses, oldest first
    unsigned nstrangers, strangers_max;
    unsigned loops;
    size_t bodies;     // bytes of request bodies in memory, of everybody
    size_t held, peak; // rough bytes held for callers now; the most since memory was given back
};
struct holder {
    struct holders *all;
    enum http_trust trust;
    unsigned nconns, nexchanges;
    size_t bodies, queued;
    struct list conns, exchanges; // oldest first
    size_t key_n;
    char key[];
};

void holders_init(struct holders *hs, unsigned loops, unsigned strangers_max);
void holders_done(struct holders *hs); // everything has left

// A connection begins as a stranger's and is counted until it leaves.
void holder_conn(struct http_conn *c);
void holder_conn_leave(struct http_conn *c);
void holder_vouch(struct http_conn *c, struct str user, enum http_trust trust);
// An exchange begins as its connection's holder's. False: too many already are being worked on for
// this holder, and the newcomer should be refused.
bool holder_exchange(struct http_exchange *x);
void holder_exchange_leave(struct http_exchange *x);
// n more bytes of the request's body are to be kept in memory. False: too many are.
bool holder_body(struct http_exchange *x, size_t n);
void holder_body_less(struct http_exchange *x, size_t n);
// Bytes queued for the peer have become more or fewer; who holds too many loses the oldest stream.
void holder_queued(struct holder *h, size_t more, size_t less);
