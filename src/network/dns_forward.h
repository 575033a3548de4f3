// Asking upstream resolvers: one socket and one random id a query (nothing to guess for a spoofer),
// UDP, or TCP where the client came by TCP; the next server after a timeout. Bounded number in
// flight.
#pragma once
#include "network/dns_message.h"
#include "wire/loop.h"

struct dns_forwarder;
// Servers are read from a resolv.conf, again when it changes; `own` (our address) is left out, lest
// we ask ourselves.
struct dns_forwarder *dns_forwarder_new(struct loop *l, const char *resolv_conf, struct str own);
void dns_forwarder_free(struct dns_forwarder *f); // calls in flight end without done
// Sends the message (its id is replaced) and gives the response, with the original id, to done; n
// 0: nobody answered.
void dns_forward(struct dns_forwarder *f, const uint8_t *query, size_t n, bool tcp,
                 void (*done)(void *ctx, const uint8_t *response, size_t n), void *ctx);
