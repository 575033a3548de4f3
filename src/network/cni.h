// CNI plugins (cni.dev, specification 0.3.0 to 1.0.0): network configuration lists executed for one
// sandbox. Blocking, any thread.
#pragma once
#include "network/pod_network.h"

struct cni;
// The first .conflist or .conf in name order, as the specification's runtimes do. ERR_NOT_FOUND:
// there is none.
int cni_load(const char *conf_dir, const char *bin_dirs, const char *state_dir, struct cni **ret,
             struct err *e);
void cni_free(struct cni *c);
// ADD; the result is kept in state_dir for CHECK-less DEL. *ret_ip in `a`.
int cni_add(struct cni *c, struct arena *a, const struct pod_network_request *r, struct str *ret_ip,
            struct err *e);
int cni_del(struct cni *c, const struct pod_network_request *r, struct err *e);
// Calls fn for every sandbox that has a kept result.
int cni_each(struct cni *c, void (*fn)(void *ctx, struct str sandbox_id), void *ctx, struct err *e);
