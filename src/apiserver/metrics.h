// What the API server counts (base/metric.h): requests over HTTP by verb and code, how long they
// took, watches, what is stored. One table for each server, registered while it lives.
#pragma once
#include "apiserver/server.h"

void metrics_init(struct apiserver *s);
void metrics_done(struct apiserver *s);
// An exchange has ended. verb 0: it was no request for a resource; status 0: nothing was answered
// (the client left). Watches and what the node answers are counted, not timed: they last as long as
// the client wishes.
void metrics_request(struct apiserver *s, enum verb_bit verb, int status, uint64_t took_ns);
