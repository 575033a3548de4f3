// What every cluster has from its first moment on.
#pragma once
#include "apiserver/server.h"

// Creates what is missing and repairs what belongs to the server. Blocks; start-up only.
int bootstrap_cluster(struct apiserver *s, struct err *e);
