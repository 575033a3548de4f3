// What is asked of the API server and answered by a node agent.
#pragma once
#include "apiserver/http_private.h"

// Where an agent listens: "https://10.0.0.7:10250". ERR_NOT_FOUND, or ERR_UNAVAILABLE where the
// node has no address.
int node_url(struct apiserver *s, struct arena *a, struct str node, struct str *ret, struct err *e);

struct refusals *refusals_new(void);
void refusals_free(struct refusals *f);
